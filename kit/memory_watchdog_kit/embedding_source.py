"""Where the embedding of a query comes from: the disk tier if it has it, else the model.

Covers: asking both, checking what they answer, counting and telling their failures.
Leaves to others: what is kept in memory (`query_embeddings`), what a similar query is good for (`semantic_cache`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memory_watchdog_kit.forking import held_across_forks
from memory_watchdog_kit.query_embeddings import Vector

EmbeddingModel = Callable[[list[str]], npt.NDArray[np.float32]]

# A model that is down fails at each query: one line a minute tells as much.
_COMPLAINT_SECONDS = 60.0

_log = logging.getLogger(__name__)


class EmbeddingTier(Protocol):
    """What is asked before the model and told its answers; `EmbeddingStore` is one."""

    def get(self, key: str) -> npt.NDArray[Any] | None:
        """The array under this key, or None."""
        ...

    def put(self, key: str, array: npt.NDArray[Any]) -> object:
        """Keep an array."""
        ...


class EmbeddingSource:
    """Vectors of texts. Safe from any thread if the model is. Failures are counted, told once a minute, not raised."""

    def __init__(self, model: EmbeddingModel, tier: EmbeddingTier | None, clock: Callable[[], float]) -> None:
        self._model = model
        self._tier = tier
        self._clock = clock
        self._lock = held_across_forks(threading.Lock())
        self._failures = 0
        self._untold = 0
        self._told_at: float | None = None

    @property
    def failures(self) -> int:
        """How often the model or the tier failed, or answered what is no embedding."""
        return self._failures

    def find(self, text: str, key: str, dimensions: int | None) -> Vector | None:
        """The embedding of a text, shape (d,); None if it cannot be had.

        `key` is its name in the tier, `dimensions` what the others of this model have: the tier's are not taken if they
        have another number, since they are from before a change of the model; the model's are.
        """
        kept = self._from_tier(key, dimensions)
        if kept is not None:
            return kept
        try:
            vector = checked_vector(self._model([text]))
        except Exception as error:  # noqa: BLE001 - a model may raise anything; without it the cache still has exact hits
            self._failed("the embedding model failed", error)
            return None
        if self._tier is not None:
            try:
                self._tier.put(key, vector)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed("the embedding could not be written to the tier below", error)
        return vector

    def _from_tier(self, key: str, dimensions: int | None) -> Vector | None:
        if self._tier is None:
            return None
        try:
            array = self._tier.get(key)
            if array is None:
                return None
            vector = checked_vector(np.asarray(array)[np.newaxis])
        except Exception as error:  # noqa: BLE001 - a tier may raise anything; the model still answers
            self._failed("the tier below the embeddings failed", error)
            return None
        return vector if dimensions in (None, len(vector)) else None

    def _failed(self, what: str, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            self._untold += 1
            now = self._clock()
            if self._told_at is not None and now - self._told_at < _COMPLAINT_SECONDS:
                return
            untold, self._untold, self._told_at = self._untold, 0, now
        again = f", {untold} times since the last time this was told" if untold > 1 else ""
        _log.warning("%s%s: %s: %s", what, again, type(error).__name__, error)


def checked_vector(answer: object) -> Vector:
    """The one vector of a model's answer to one text, float32 of shape (d,).

    Raises TypeError or ValueError for another shape than (1, d), anything but floats, and what has no direction: zero,
    NaN, infinite.
    """
    if not isinstance(answer, np.ndarray) or not np.issubdtype(answer.dtype, np.floating):
        found = f"an array of {answer.dtype}" if isinstance(answer, np.ndarray) else f"a {type(answer).__name__}"
        raise TypeError(f"an embedding is an array of float32, not {found}")
    if answer.ndim != 2 or answer.shape[0] != 1 or not answer.shape[1]:
        raise ValueError(f"the embeddings of one text have the shape (1, d), not {answer.shape}")
    with np.errstate(over="ignore"):  # float64 that float32 cannot hold: seen as infinite right below
        vector: Vector = np.array(answer[0], dtype=np.float32)
        length = float(np.sqrt(np.square(vector, dtype=np.float64).sum()))
    if not np.isfinite(length):
        raise ValueError("the embedding has numbers that are not finite")
    if not length:
        raise ValueError("the embedding is zero, which is like nothing")
    return vector

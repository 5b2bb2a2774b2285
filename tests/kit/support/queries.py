"""An embedding model that tests can reckon with: each word is a direction, so cosines are known."""

from __future__ import annotations

import threading
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 64


class Words:
    """Counts its calls; `answer` replaces what it gives, an exception is raised instead."""

    def __init__(self, dimensions: int = DIMENSIONS) -> None:
        self.dimensions = dimensions
        self.calls: list[str] = []
        self.answer: Any = None
        self._lock = threading.Lock()

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        with self._lock:
            self.calls += texts
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            given: NDArray[np.float32] = self.answer
            return given
        return np.stack([embedding(text, self.dimensions) for text in texts])


def embedding(text: str, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """The sum of the words' directions; a text without words is like no other."""
    vector = np.zeros(dimensions, np.float32)
    for word in text.split() or [text + " nothing"]:
        vector[zlib.crc32(word.encode()) % dimensions] += 1
    return vector


class Tier:
    """A tier below that lies in a dict."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.error: Exception | None = None

    def get(self, key: str) -> NDArray[Any] | None:
        if self.error:
            raise self.error
        return self.arrays.get(key)

    def put(self, key: str, array: NDArray[Any]) -> None:
        if self.error:
            raise self.error
        self.arrays[key] = array

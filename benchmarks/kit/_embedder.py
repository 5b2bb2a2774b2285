"""A small embedder of words and their beginnings, hashed: alike texts come out alike, and it needs no model."""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

DIMENSIONS = 384
_WORD = re.compile(r"[a-z0-9_]+")


def embed(texts: list[str]) -> npt.NDArray[np.float32]:
    """Float32 of shape (n, 384), each row of length 1."""
    found = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in zip(found, texts, strict=True):
        for word in _WORD.findall(text.lower()):
            for piece, weight in ((word, 1.0), (word[:5], 0.7), (word[:4], 0.5)):
                digest = zlib.crc32(piece.encode())
                row[digest % DIMENSIONS] += weight if digest >> 16 & 1 else -weight
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    np.divide(found, lengths, out=found, where=lengths > 0)
    return found

"""Embeddings without a model: words and runs of characters, hashed into a vector.

Covers: `HashingEmbedder`. It finds texts that share words, parts of words and neighbouring words, not those that mean
the same in other words; it needs numpy and nothing else, so that the server starts on a machine with nothing.
Leaves to others: which embedder is taken (`embedders`), keeping what was computed (`keeping`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

DIMENSIONS = 384
"""As many as all-MiniLM-L6-v2 has, so that both embedders cost the caches the same."""

_WORD = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|\d+|[^\W\d_]+")
"""The words in an identifier: `SplitCamelCase` and `snake_case` are three and two."""

_TOO_COMMON = frozenset(
    (
        *("a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "that", "the", "this"),
        *("def", "else", "false", "if", "import", "none", "not", "return", "self", "to", "true", "with"),
    )
)
"""Words that say nothing of what a text is about, in English and in Python."""

_PAIR_WEIGHT = 0.5
_CHARACTERS_WEIGHT = 0.25
"""Three characters in a row say less than a word: they are there for plurals, endings and misspellings."""

_SPREAD = np.uint32(2_654_435_769)
"""2^32 divided by the golden ratio (Knuth, TAOCP 3, 6.4): neighbouring numbers end far apart."""


class HashingEmbedder:
    """Texts to unit vectors, the same in every process and on every machine. A text of 1 KB takes about 0.3 ms."""

    name = "hashing-384"
    dimensions = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Floats:
        """float32 of shape (n, 384), each of length 1, also that of an empty text."""
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in zip(rows, texts, strict=True):
            _add_words(row, text)
            _add_characters(row, text)
        lengths = np.linalg.norm(rows, axis=1)
        rows[lengths == 0, 0] = lengths[lengths == 0] = 1.0
        rows /= lengths[:, np.newaxis]
        return rows

    def close(self) -> None:
        """Nothing is held."""


def _add_words(row: Floats, text: str) -> None:
    words = [word for found in _WORD.findall(text) if (word := found.lower()) not in _TOO_COMMON]
    hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint32, len(words))
    _add_counted(row, hashes, 1.0)
    _add_counted(row, hashes[:-1] * np.uint32(31) + hashes[1:], _PAIR_WEIGHT)


def _add_characters(row: Floats, text: str) -> None:
    codes = np.frombuffer(text.lower().encode("utf-8", "replace"), np.uint8).astype(np.uint32)
    triples = (codes[:-2] << np.uint32(16)) | (codes[1:-1] << np.uint32(8)) | codes[2:]
    _add_counted(row, triples * _SPREAD, _CHARACTERS_WEIGHT)


def _add_counted(row: Floats, hashes: npt.NDArray[np.uint32], weight: float) -> None:
    if not len(hashes):
        return
    unique, counts = np.unique(hashes, return_counts=True)
    # the root: a word that stands there a hundred times is not a hundred times as telling
    _add(row, unique, np.sqrt(counts.astype(np.float32)) * np.float32(weight))


def _add(row: Floats, hashes: npt.NDArray[np.uint32], weights: Floats) -> None:
    """Each hash names a place and a sign; with signs two things in one place cancel out on average."""
    signs = np.where(hashes & 1, np.float32(1), np.float32(-1))
    places = (hashes >> np.uint32(8)) % np.uint32(DIMENSIONS)
    row += np.bincount(places, weights * signs, DIMENSIONS).astype(np.float32)

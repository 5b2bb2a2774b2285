"""What the server keeps between two calls: the interface that both ways of keeping have.

Covers: `Keeping` and the index in it, `Hit`, `Place`.
Leaves to others: keeping within bounds, by the kit (`with_kit`), keeping everything for ever (`without_kit`), what is
kept (`retrieval`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from examples.mcp_server.chunks import Chunk, Detail

Floats = npt.NDArray[np.float32]
Json = dict[str, Any]


class Embedder(Protocol):
    """Texts to vectors. Safe from any thread."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Floats:
        """float32 of shape (n, dimensions)."""
        ...

    def close(self) -> None:
        """Let go of what is held, a model process for example."""
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file has not changed since it was indexed."""

    modified_nanoseconds: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk of `path` (relative to the root) and its cosine to what was asked."""

    path: str
    chunk: Chunk
    score: float

    def as_json(self) -> Json:
        """What clients see of it."""
        return {
            "path": self.path,
            "symbol": self.chunk.symbol,
            "first_line": self.chunk.first_line,
            "last_line": self.chunk.last_line,
            "score": round(self.score, 4),
            "text": self.chunk.text,
        }


class Index(Protocol):
    """Chunks by their vectors. Safe from any thread."""

    @property
    def version(self) -> int:
        """Grows with every change: results of an older one are out of date."""
        ...

    def is_current(self, path: str, stamp: Stamp) -> bool:
        """Whether the file is indexed as it is."""
        ...

    def put(self, path: str, stamp: Stamp, chunks: Sequence[Chunk], vectors: Floats) -> None:
        """The file's chunks, in place of those that it had. `vectors` is of shape (len(chunks), dimensions)."""
        ...

    def nearest(self, vector: Floats, detail: Detail, count: int) -> list[Hit]:
        """The chunks of that level with the largest cosine, best first."""
        ...

    def counts(self) -> tuple[int, int]:
        """How many files and chunks there are."""
        ...


class Keeping(Protocol):
    """All that a server keeps. Blocking, and safe from any thread."""

    @property
    def index(self) -> Index:
        """The chunks of all files."""
        ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors of the texts, those that are known without computing them again."""
        ...

    def result(self, query: str, level: str) -> Json | None:
        """What was found for this query or one that means the same."""
        ...

    def add_result(self, query: str, level: str, result: Json) -> None:
        """Keep what was found."""
        ...

    def track_file(self, path: str, content: str, metadata: Mapping[str, Any]) -> None:
        """Remember for the session that a client read this."""
        ...

    def track_search(self, query: str, result: Json, search_type: str) -> None:
        """Remember for the session that a client found this."""
        ...

    def memory(self) -> Json:
        """Process and components, as `GET /memory` of the wire contract."""
        ...

    def health(self) -> Json:
        """Status and numbers; it computes no embedding and wakes no model."""
        ...

    def cleanup(self, level: str, reason: str, request_id: str | None, target_bytes: int | None) -> Json:
        """Clean now; the answer of `POST /memory/cleanup`. Raises `BusyError`, or ValueError for an unknown level."""
        ...

    def close(self) -> None:
        """The end of the server."""
        ...


class BusyError(Exception):
    """A cleanup is running already."""

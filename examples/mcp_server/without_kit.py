"""Keeping as the original server did: everything, for ever.

Covers: `KeepingWithoutKit`, for the comparison with the kit: its embeddings never expire, its tracker keeps whole files
and every search result, its timeline has no end, and its query cache is bounded by count alone.
Leaves to others: dropping some of it when asked (`plain_cleanup`).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.mcp_server.chunks import Chunk, Detail
from examples.mcp_server.keeping import Embedder, Floats, Hit, Json, Stamp
from examples.mcp_server.plain_cleanup import PlainCleanup

MAX_RESULTS = 100_000
"""The bound by count: far away, for a result may have any size."""


class KeepingWithoutKit:
    """Grows with every call that brings something new."""

    def __init__(self, embedder: Embedder) -> None:
        self.index = PlainIndex()
        self.lock = threading.RLock()
        self.results: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self.embeddings: OrderedDict[str, Floats] = OrderedDict()
        self.files: list[Json] = []
        self.searches: list[Json] = []
        self.timeline: list[Json] = []
        self._embedder = embedder
        self.cleaner = PlainCleanup(self)

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `Keeping`."""
        with self.lock:
            missing = [text for text in dict.fromkeys(texts) if text not in self.embeddings]
        computed = self._embedder.embed(missing)
        with self.lock:
            # a copy each: a row of the array that was computed together would keep all of it
            self.embeddings.update((text, row.copy()) for text, row in zip(missing, computed, strict=True))
            known = [self.embeddings[text] for text in texts]
        return np.stack(known) if known else np.empty((0, self._embedder.dimensions), np.float32)

    def result(self, query: str, level: str) -> Json | None:
        """See `Keeping`."""
        with self.lock:
            return self.results.get((query, level))

    def add_result(self, query: str, level: str, result: Json) -> None:
        """See `Keeping`."""
        with self.lock:
            self.results[query, level] = result
            if len(self.results) > MAX_RESULTS:
                self.results.popitem(last=False)

    def track_file(self, path: str, content: str, metadata: Mapping[str, Any]) -> None:
        """See `Keeping`."""
        with self.lock:
            self.files.append({"path": path, "content": content, "metadata": dict(metadata), "at": time.time()})
            self.timeline.append({"event": "file_read", "path": path, "at": time.time()})

    def track_search(self, query: str, result: Json, search_type: str) -> None:
        """See `Keeping`. What is tracked is a copy, as it was in the original."""
        found = [dict(hit) for hit in result["results"]]
        with self.lock:
            self.searches.append({"query": query, "results": found, "type": search_type, "at": time.time()})
            self.timeline.append({"event": "search", "query": query, "results": len(found), "at": time.time()})

    def memory(self) -> Json:
        """See `Keeping`."""
        return self.cleaner.memory()

    def health(self) -> Json:
        """See `Keeping`."""
        files, chunks = self.index.counts()
        return {"status": "ok", "kit": "off", "index": {"files": files, "chunks": chunks}}

    def cleanup(self, level: str, reason: str, request_id: str | None, target_bytes: int | None) -> Json:
        """See `Keeping`."""
        return self.cleaner.run(level, reason, request_id, target_bytes)

    def close(self) -> None:
        """See `Keeping`."""
        self._embedder.close()


class PlainIndex:
    """Chunks and vectors in dicts, compared by numpy."""

    def __init__(self) -> None:
        self.version = 0
        self._lock = threading.Lock()
        self._stamps: dict[str, Stamp] = {}
        self._held: dict[Detail, dict[tuple[str, int], tuple[Chunk, Floats]]] = {detail: {} for detail in Detail}
        self._stacked: dict[Detail, tuple[list[tuple[str, Chunk]], Floats]] = {}

    def is_current(self, path: str, stamp: Stamp) -> bool:
        """See `Index`."""
        with self._lock:
            return self._stamps.get(path) == stamp

    def put(self, path: str, stamp: Stamp, chunks: Sequence[Chunk], vectors: Floats) -> None:
        """See `Index`."""
        with self._lock:
            if path in self._stamps:
                for held in self._held.values():
                    for key in [key for key in held if key[0] == path]:
                        del held[key]
            for chunk, vector in zip(chunks, vectors, strict=True):
                self._held[chunk.detail][path, chunk.first_line] = (chunk, vector.copy())
            self._stamps[path] = stamp
            self._stacked.clear()
            self.version += 1

    def nearest(self, vector: Floats, detail: Detail, count: int) -> list[Hit]:
        """See `Index`."""
        with self._lock:
            if detail not in self._stacked:
                held = self._held[detail]
                rows = np.stack([row for _, row in held.values()]) if held else np.empty((0, len(vector)), np.float32)
                self._stacked[detail] = ([(path, chunk) for (path, _), (chunk, _) in held.items()], rows)
            chunks, rows = self._stacked[detail]
        scores = rows @ vector
        best = np.argsort(-scores, kind="stable")[:count]
        return [Hit(chunks[number][0], chunks[number][1], float(scores[number])) for number in best]

    def counts(self) -> tuple[int, int]:
        """See `Index`."""
        with self._lock:
            return len(self._stamps), sum(len(held) for held in self._held.values())

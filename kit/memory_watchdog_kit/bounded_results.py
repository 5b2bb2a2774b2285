"""Results and embeddings of a `SemanticCache` under one bound in bytes, with their expiry.

Covers: what is kept and for how long, who makes room for whom, what all of it occupies.
Leaves to others: keys, what a result means, statistics, the lock (`semantic_cache`).

Embeddings get at most half of the bytes, results what embeddings leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from memory_watchdog_kit.byte_store import ByteStore
from memory_watchdog_kit.query_embeddings import QueryEmbeddings, Vector
from memory_watchdog_kit.scopes import Scope
from memory_watchdog_kit.settings import SemanticCacheSettings

# Beside a result in the byte store: the object below 64 bytes, the number in it 32.
_RESULT_BYTES = 96
_EMBEDDINGS_SHARE = 2
# The first 3 MiB of 200 are quick and not packed: 500 results of 6 KB, where the default bound is 100.
_PACKED_SHARE = 64


@dataclass(slots=True, eq=False)
class _Result:
    expires_at: float
    row: int | None


class BoundedResults:
    """Not locked. `extra_bytes` is what the owner keeps beside, and sets; it takes room from the results too."""

    def __init__(self, settings: SemanticCacheSettings, max_embeddings: int) -> None:
        self.embeddings = QueryEmbeddings(max_embeddings)
        self.extra_bytes = 0
        self.expirations = 0
        self._max_embeddings = max_embeddings
        self._max_bytes = settings.max_bytes
        self._ttl_seconds = settings.ttl_seconds
        self._store = ByteStore(
            settings.max_bytes, settings.max_results, evicted=self._forget, entry_overhead_bytes=_RESULT_BYTES
        )
        self._results: dict[str | bytes, _Result] = {}  # in the order in which they expire
        self._empty_bytes = self._results.__sizeof__()
        self._bound_beside_bytes = 0  # what the store's bound leaves for all that is beside it

    def __len__(self) -> int:
        return len(self._store)

    @property
    def held_bytes(self) -> int:
        """All of it."""
        return self._store.held_bytes + self._beside_bytes()

    @property
    def live_bytes(self) -> int:
        """The same without the dead space between results."""
        return self._store.live_bytes + self._beside_bytes()

    @property
    def scarce(self) -> bool:
        """Whether so much is held that packing results is worth its time, 30 µs for 6 KB."""
        return self._store.held_bytes * _PACKED_SHARE > self._max_bytes

    @property
    def evictions(self) -> int:
        """How many results fell to a bound or a cleanup."""
        return self._store.statistics().evictions or 0

    def get(self, key: bytes, now: float) -> bytes | None:
        """The result, if it is there and not expired; that is a use of it and of its embedding."""
        result = self._current(key, now)
        if result is None:
            return None
        if result.row is not None:
            self.embeddings.use(result.row, now)
        return self._store.get(key)

    def peek(self, key: bytes, now: float) -> bytes | None:
        """As `get`, without being a use."""
        return None if self._current(key, now) is None else self._store.peek(key)

    def put(self, key: bytes, blob: bytes, scope: Scope, embedding: bytes | None, now: float) -> bool:
        """Keep a result, linked to its query's embedding if that is there; False if there is no room even for it alone.

        What was there under this key goes in either case.
        """
        self._remove(key)
        if not self._store.put(key, blob):
            return False
        row = None if embedding is None else self.embeddings.link(embedding, scope, key)
        self._results[key] = _Result(now + self._ttl_seconds, row)
        self.rebound()
        return key in self._results

    def add_embedding(self, key: bytes, model: str, vector: Vector, now: float) -> None:
        """Keep an embedding, if there is memory for it."""
        self.embeddings.add(key, model, vector, now)
        self.rebound()

    def sweep(self, now: float, most: int) -> int:
        """Let results that are expired and embeddings unused for as long go, at most so many of each; their number."""
        expired: list[str | bytes] = []
        for key, result in islice(self._results.items(), most):
            if result.expires_at > now:
                break
            expired.append(key)
        for key in expired:
            self._expire(key)
        unused = self.embeddings.drop_unused(now - self._ttl_seconds, most)
        self.rebound()
        return len(expired) + unused

    def drop_results(self, count: int) -> int:
        """Let the least recently used results go."""
        dropped = self._store.evict(count)
        self.rebound()
        return dropped

    def drop_embeddings(self, count: int) -> int:
        """Let the least recently used embeddings go."""
        count = min(count, len(self.embeddings))
        for _ in range(count):
            self.embeddings.drop_oldest()
        self.rebound()
        return count

    def compact(self) -> bool:
        """One step of moving results together; False when there is no more to do."""
        return self._store.compact()

    def clear(self) -> None:
        """Forget everything."""
        self._store.clear()
        self._results = {}
        self.embeddings = QueryEmbeddings(self._max_embeddings)
        self.rebound()

    def rebound(self) -> None:
        """Keep the bound: embeddings that are beyond their half go, then results."""
        embeddings = self.embeddings
        while len(embeddings) and embeddings.held_bytes * _EMBEDDINGS_SHARE > self._max_bytes:
            embeddings.drop_oldest()
        # What is beside the results gets smaller as they go, which leaves room again; the loop ends with that.
        while (beside_bytes := self._beside_bytes()) != self._bound_beside_bytes:
            self._bound_beside_bytes = beside_bytes
            self._store.resize(self._max_bytes - beside_bytes)

    def _current(self, key: bytes, now: float) -> _Result | None:
        result = self._results.get(key)
        if result is not None and result.expires_at <= now:
            self._expire(key)
            return None
        return result

    def _beside_bytes(self) -> int:
        return self.embeddings.held_bytes + self._results.__sizeof__() - self._empty_bytes + self.extra_bytes

    def _remove(self, key: bytes | str) -> None:
        if key in self._results:
            self._store.remove(key)
            self._forget(key)

    def _expire(self, key: bytes | str) -> None:
        self._remove(key)
        self.expirations += 1

    def _forget(self, key: bytes | str) -> None:
        result = self._results.pop(key, None)  # None: put, and then no room for it
        if result is not None and result.row is not None:
            self.embeddings.unlink(result.row)
        if not self._results:
            self._results = {}  # a dict does not shrink by itself

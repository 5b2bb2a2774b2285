"""`SemanticCache`: results of queries, found again by the same query or by one that is alike.

Covers: keys, exact and similar hits, cleanup, statistics, the lock.
Leaves to others: results as bytes (`codec`), what is kept within the bounds (`bounded_results`), where a vector comes
from (`embedding_source`), which alike queries mean the opposite (`guard`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from memory_watchdog_kit.bounded_results import BoundedResults
from memory_watchdog_kit.codec import Codec
from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.dropping import SHARES, STEP_ITEMS, Droppable, drop_in_steps
from memory_watchdog_kit.embedding_source import EmbeddingModel, EmbeddingSource, EmbeddingTier
from memory_watchdog_kit.forking import held_across_forks
from memory_watchdog_kit.guard import contradicts
from memory_watchdog_kit.query_embeddings import Vector
from memory_watchdog_kit.refill import RefillTime
from memory_watchdog_kit.scopes import Scope, embedding_key, result_key
from memory_watchdog_kit.settings import SemanticCacheSettings

SIMILARITY_THRESHOLD = 0.92
"""Cosine from which a query is alike, for models such as all-MiniLM-L6-v2."""

_PENDING_ITEMS = 256  # misses whose refill is timed
_CANDIDATES = 8  # alike queries that are looked at: the first that neither contradicts nor has gone is the hit

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SemanticCacheStatistics(Statistics):
    """`items` are results; `hits` is the sum of exact and similar ones.

    `guarded` counts alike queries that the guard refused, `refused` results that could not be kept, `model_failures`
    what the model and the tier below did wrong.
    """

    exact_hits: int = 0
    similar_hits: int = 0
    embeddings: int = 0
    guarded: int = 0
    refused: int = 0
    model_failures: int = 0


class SemanticCache:
    """A bounded cache of JSON-like results by tenant, model, index version, level and query. A `Component`.

    `config` is `SemanticCacheSettings` or the mapping of the server's JSON section; keywords win over it: `max_bytes`
    (default 200 MiB) for results, embeddings and all that is kept beside them, `max_results` (100), `ttl_seconds`
    (1,800, from `add`; a hit does not renew it), `cleanup_interval_operations` (50: after so many, what is expired
    goes, and embeddings that were not used for as long). `max_embeddings` counts queries whose embedding is kept; they
    take at most half of `max_bytes`.

    `embedding_model` turns a list of n texts into float32 of shape (n, d). It is called with one text, outside the
    lock, by several threads at once. Without it there are exact hits only. Queries with a cosine of at least
    `similarity_threshold` share results within one tenant, model, index version and level, unless
    `guard(query, the other query)` is true; None switches the guard off. `embedding_store` is asked for embeddings
    before the model is. `tenant`, `model` and `index_version` are what the methods take when they are not given.

    Safe from any thread. Raises SettingsError (a ValueError) for bounds that cannot be kept.
    """

    def __init__(  # noqa: PLR0913 - each bound is a keyword of its own, as the settings name them
        self,
        config: SemanticCacheSettings | Mapping[str, object] | None = None,
        embedding_model: EmbeddingModel | None = None,
        *,
        max_bytes: int | None = None,
        max_results: int | None = None,
        max_embeddings: int = 2_000,
        ttl_seconds: float | None = None,
        cleanup_interval_operations: int | None = None,
        similarity_threshold: float = SIMILARITY_THRESHOLD,
        tenant: str = "",
        model: str = "",
        index_version: str = "",
        guard: Callable[[str, str], bool] | None = contradicts,
        embedding_store: EmbeddingTier | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "semantic_cache",
    ) -> None:
        settings = SemanticCacheSettings.chosen(
            config,
            max_bytes=max_bytes,
            max_results=max_results,
            ttl_seconds=ttl_seconds,
            cleanup_interval_operations=cleanup_interval_operations,
        )
        if max_embeddings < 1 or not -1 <= similarity_threshold <= 1:
            raise ValueError("max_embeddings is at least 1, similarity_threshold a cosine from -1 to 1")
        self.name = name
        self._settings = settings
        self._threshold = similarity_threshold
        self._defaults = (tenant, model, index_version)
        self._guard = guard
        self._clock = clock
        self._codec = Codec()
        self._source = None if embedding_model is None else EmbeddingSource(embedding_model, embedding_store, clock)
        self._lock = held_across_forks(threading.Lock())
        self._held = BoundedResults(settings, max_embeddings)
        # The times of misses get at most a sixteenth of the bytes, as 256 B each.
        self._refill = RefillTime(min(_PENDING_ITEMS, settings.max_bytes // 4096))
        self._operations = 0
        self._exact_hits = self._similar_hits = self._misses = 0
        self._guarded = self._refused = 0

    def get_similar(
        self,
        query: str,
        level: str,
        *,
        tenant: str | None = None,
        model: str | None = None,
        index_version: str | None = None,
    ) -> Any | None:
        """The result that was added for this query, or for one that is alike; None if there is none.

        A failure of the model is a miss here, counted in the statistics and logged; nothing is raised for it.
        """
        scope = self._scope(level, tenant, model, index_version)
        key = result_key(scope, query)
        with self._lock:
            now = self._operation()
            blob = self._held.get(key, now)
            if blob is not None:
                self._exact_hits += 1
        if blob is None:
            return self._similar(scope, query, key)
        return self._codec.decode(blob)[1]

    def add(
        self,
        query: str,
        level: str,
        result: object,
        *,
        tenant: str | None = None,
        model: str | None = None,
        index_version: str | None = None,
    ) -> bool:
        """Keep a result. False if it cannot be kept, being larger than what the bound leaves beside the embeddings.

        Raises TypeError for a result that is not JSON-like, with the path to what is not.
        """
        scope = self._scope(level, tenant, model, index_version)
        key = result_key(scope, query)
        try:
            blob = self._codec.encode((query, result), pack=self._held.scarce)
        except TypeError:
            self._codec.encode(query, "query")
            self._codec.encode(result, "result")
            raise
        embedding = None
        if self._source is not None and len(blob) <= self._settings.max_bytes:
            embedding = embedding_key(scope.model, query)
            self._embedding(self._source, scope.model, query)  # it is kept, to be linked; without it: exact hits only
        with self._lock:
            now = self._operation()
            self._refill.added(key, now)
            self._held.extra_bytes = self._refill.held_bytes
            kept = self._held.put(key, blob, scope, embedding, now)
            self._refused += not kept
            return kept

    def expire(self) -> Iterator[Cleaned]:
        """Let go of what is expired, a step of 64 at a time, as it is iterated."""
        gone = STEP_ITEMS
        while gone >= STEP_ITEMS:
            with self._lock:
                before = self._held.held_bytes
                gone = self._held.sweep(self._clock(), STEP_ITEMS)
                step = Cleaned(gone, max(0, before - self._held.held_bytes))
            yield step

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """What is expired, then the oldest 20 % (normal) or 50 % (aggressive) of results and of embeddings.

        With `target_bytes` just enough of that to free so many. It runs as it is iterated, a step of about 1 ms at a
        time; `items_removed` counts results and embeddings.
        """
        share = SHARES[Level(level)]
        freed_bytes = 0
        for step in self.expire():
            freed_bytes += step.bytes_freed
            yield step
        for drop, items in (
            (self._held.drop_results, len(self)),
            (self._held.drop_embeddings, len(self._held.embeddings)),
        ):
            cache = Droppable(partial(self._locked, drop), self._compact, lambda: self.held_bytes, self._live_bytes)
            left_bytes = None if target_bytes is None else target_bytes - freed_bytes
            for step in drop_in_steps(cache, math.ceil(items * share), left_bytes):
                freed_bytes += step.bytes_freed
                yield step

    def clear(self) -> None:
        """Forget all results and embeddings; the statistics go on."""
        with self._lock:
            self._refill.clear()
            self._held.extra_bytes = 0
            self._held.clear()

    def __len__(self) -> int:
        """How many results there are."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """What results, embeddings and everything beside them occupy."""
        with self._lock:
            return self._held.held_bytes

    def statistics(self) -> SemanticCacheStatistics:
        """Its numbers."""
        with self._lock:
            return SemanticCacheStatistics(
                bytes=self._held.held_bytes,
                items=len(self._held),
                max_bytes=self._settings.max_bytes,
                max_items=self._settings.max_results,
                hits=self._exact_hits + self._similar_hits,
                misses=self._misses,
                evictions=self._held.evictions,
                expirations=self._held.expirations,
                refill_seconds=self._refill.mean_seconds,
                exact_hits=self._exact_hits,
                similar_hits=self._similar_hits,
                embeddings=len(self._held.embeddings),
                guarded=self._guarded,
                refused=self._refused,
                model_failures=0 if self._source is None else self._source.failures,
            )

    def _locked(self, drop: Callable[[int], int], count: int) -> int:
        with self._lock:
            return drop(count)

    def _compact(self) -> bool:
        with self._lock:
            return self._held.compact()

    def _live_bytes(self) -> int:
        with self._lock:
            return self._held.live_bytes

    def _scope(self, level: str, tenant: str | None, model: str | None, index_version: str | None) -> Scope:
        default_tenant, default_model, default_version = self._defaults
        return Scope(
            default_tenant if tenant is None else tenant,
            default_model if model is None else model,
            default_version if index_version is None else index_version,
            level,
        )

    def _operation(self) -> float:
        """Count one, and let what is expired go when it is time; the time now. Under the lock."""
        now = self._clock()
        self._operations += 1
        # If there is more than a step of it, the next operation goes on.
        due = self._operations >= self._settings.cleanup_interval_operations
        if due and self._held.sweep(now, STEP_ITEMS) < STEP_ITEMS:
            self._operations = 0
        return now

    def _similar(self, scope: Scope, query: str, key: bytes) -> Any | None:
        vector = None if self._source is None else self._embedding(self._source, scope.model, query)
        found = None
        if vector is not None:
            with self._lock:
                found = self._held.embeddings.place_of(scope, len(vector))
        if vector is not None and found is not None:
            table, group = found
            for row, cosine in table.nearest(vector, group=group.number, count=_CANDIDATES):
                if cosine < self._threshold:
                    break
                with self._lock:
                    other = self._held.embeddings.result_of(row, group)
                    blob = None if other is None else self._held.peek(other, self._clock())
                if other is None or blob is None:
                    continue
                other_query, result = self._codec.decode(blob)
                if not self._contradicts(query, other_query):
                    with self._lock:
                        self._held.get(other, self._clock())
                        self._similar_hits += 1
                    return result
        with self._lock:
            self._missed(key, self._clock())
        return None

    def _embedding(self, source: EmbeddingSource, model: str, query: str) -> Vector | None:
        """The query's embedding, which is kept; None if it cannot be had."""
        key = embedding_key(model, query)
        with self._lock:
            vector = self._held.embeddings.vector(key, self._clock())
            dimensions = self._held.embeddings.dimensions(model)
        if vector is None:
            vector = source.find(query, key.hex(), dimensions)
            if vector is not None:
                with self._lock:
                    self._held.add_embedding(key, model, vector, self._clock())
        return vector

    def _contradicts(self, query: str, other: str) -> bool:
        if self._guard is None:
            return False
        try:
            refused = self._guard(query, other)
        except Exception:  # noqa: BLE001 - a guard may raise anything; it is told with its traceback
            # Whoever cannot tell whether two queries mean the same must not mix up their answers.
            _log.exception("the guard failed on two queries, which counts as a refusal")
            refused = True
        if refused:
            with self._lock:
                self._guarded += 1
        return bool(refused)

    def _missed(self, key: bytes, now: float) -> None:
        self._misses += 1
        self._refill.missed(key, now)
        self._held.extra_bytes = self._refill.held_bytes
        self._held.rebound()

"""`SemanticCache` with results of ten hits: add, exact hit and similar hit, serialisation included.

With the default bounds, and with so many results that they are packed. CPU time of single calls, medians: the machine
may have other work. Each result is made right before it is added.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from memory_watchdog_kit import Codec, SemanticCache
from numpy.typing import NDArray

from benchmarks.kit._hits import results
from benchmarks.report import BenchmarkError, Row

_DIMENSIONS = 384


def rows(quick: bool) -> Sequence[Row]:
    """Half of the adds evict, half of the gets hit."""
    count = 1_000 if quick else 10_000
    add, hit, miss = _exact(SemanticCache(), count, 100)
    packed_add, packed_hit, _ = _exact(SemanticCache(max_bytes=64 << 20, max_results=count // 2), count, count // 2)
    return [
        Row("semantic cache: add", add, "µs", 40),
        Row("semantic cache: exact hit", hit, "µs", 40),
        Row("semantic cache: miss without a model", miss, "µs"),
        Row(f"semantic cache of {count // 2:,} results, packed: add", packed_add, "µs"),
        Row(f"semantic cache of {count // 2:,} results, packed: exact hit", packed_hit, "µs"),
        *_codec(min(count, 2_000)),
        *_similar(1_000),
    ]


def _exact(cache: SemanticCache, count: int, kept: int) -> tuple[float, float, float]:
    queries = [f"where is thing number {number} configured" for number in range(count)]
    adds = [
        _nanoseconds(partial(cache.add, query, "class", result))
        for query, result in zip(queries, results(count), strict=True)
    ]
    gets = [_nanoseconds(partial(cache.get_similar, query, "class")) for query in queries]
    return _median(adds[kept // 2 :]), _median(gets[-kept:]), _median(gets[:-kept])


def _codec(count: int) -> Sequence[Row]:
    codec = Codec()
    made = list(results(count))
    blobs = [codec.encode(result) for result in made]
    encodes = [_nanoseconds(partial(codec.encode, result)) for result in made]
    decodes = [_nanoseconds(partial(codec.decode, blob)) for blob in blobs]
    return [
        Row("result to packed bytes", _median(encodes), "µs"),
        Row("packed bytes to result", _median(decodes), "µs"),
        Row("a result, packed", statistics.mean(map(len, blobs)), "B"),
        Row("a result, not packed", statistics.mean(len(codec.encode(result, pack=False)) for result in made), "B"),
    ]


def _similar(count: int) -> Sequence[Row]:
    """A model that costs nothing, so that what is left is the cache's."""
    queries = [f"where is thing number {number} configured" for number in range(count)]
    vectors = np.random.default_rng(1).standard_normal((count, _DIMENSIONS), dtype=np.float32)
    known = dict(zip(queries, vectors, strict=True))

    def model(texts: list[str]) -> NDArray[np.float32]:
        return np.stack([known[text.removesuffix(" again")] for text in texts])

    cache = SemanticCache(None, model, max_results=count)
    adds = [
        _nanoseconds(partial(cache.add, query, "class", result))
        for query, result in zip(queries, results(count), strict=True)
    ]
    hits = [_nanoseconds(partial(cache.get_similar, query + " again", "class")) for query in queries]
    if cache.statistics().similar_hits != count:
        raise BenchmarkError(f"{cache.statistics().similar_hits} similar hits instead of {count}")
    return [
        Row("semantic cache: add with an embedding, without the model's time", _median(adds), "µs"),
        Row(f"semantic cache: similar hit among {count:,}, without the model's time", _median(hits), "µs"),
    ]


def _nanoseconds(call: Callable[[], object]) -> int:
    began = time.thread_time_ns()
    call()
    return time.thread_time_ns() - began


def _median(nanoseconds: Sequence[int]) -> float:
    return statistics.median(nanoseconds) / 1e3

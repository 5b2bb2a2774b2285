"""Similar lookup among 100,000 × 384: int8 with numkong beside float32 with numpy.

The vectors stand in clusters, as embeddings of real texts do; a query is a vector of the table, moved a little. Recall
is against the exact product in float32 of what was put in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
from memory_watchdog_kit import VectorTable

from benchmarks.report import Row

COUNT, DIMENSIONS, CLUSTERS = 100_000, 384, 2_000
QUICK_QUERIES, QUERIES = 60, 300
QUICK_FLOAT32_COUNT = 20_000


def rows(quick: bool) -> Sequence[Row]:
    """The rows; `quick` asks less often and scales float32 up from a fifth of the vectors, which are slow to put."""
    source = np.random.default_rng(7)
    centres = source.standard_normal((CLUSTERS, DIMENSIONS), np.float32)
    vectors = centres[source.integers(0, CLUSTERS, COUNT)]
    vectors += 0.35 * source.standard_normal(vectors.shape, np.float32)
    chosen = source.integers(0, COUNT, QUICK_QUERIES if quick else QUERIES)
    queries = vectors[chosen] + 0.15 * source.standard_normal((len(chosen), DIMENSIONS), np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    nearest = [int(np.argmax(vectors @ query / lengths)) for query in queries]
    int8 = _measured("int8", vectors, queries)
    float32_count = QUICK_FLOAT32_COUNT if quick else COUNT
    float32 = _measured("float32", vectors[:float32_count], queries)
    float32_ms = float32.lookup_ms * COUNT / float32_count
    return [
        Row("similar lookup, 100,000 × 384, int8", int8.lookup_ms, "ms", 3),
        Row("the same, CPU time, all of it in the caller's thread", int8.lookup_cpu_ms, "ms"),
        Row(f"similar lookup, 100,000 × 384, float32{', from 20,000' if quick else ''}", float32_ms, "ms"),
        Row("int8 / float32", int8.lookup_ms / float32_ms, "×"),
        Row("held for a vector, int8, keys and their index included", int8.vector_bytes, "B", 400),
        Row("held for a vector, float32, the same", float32.vector_bytes, "B"),
        Row("recall@1, int8", float(np.mean(np.equal(int8.found, nearest))), "", 0.99, at_least=True),
        Row("put, int8, CPU time", int8.put_us, "µs"),
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """One table: medians, and the nearest key of each query."""

    put_us: float
    lookup_ms: float
    lookup_cpu_ms: float
    vector_bytes: float
    found: list[int]


def _measured(precision: str, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]) -> Measured:
    table = VectorTable(DIMENSIONS, precision=precision)
    puts = [_seconds(time.thread_time, table.put, key, vector) for key, vector in enumerate(vectors)]
    found = [table.nearest(query)[0][0] for query in queries]
    lookups = [_seconds(time.perf_counter, table.nearest, query) for query in queries]
    lookups_cpu = [_seconds(time.thread_time, table.nearest, query) for query in queries]
    return Measured(
        1e6 * median(puts), 1e3 * median(lookups), 1e3 * median(lookups_cpu), table.bytes / len(vectors), found
    )


def _seconds(clock: Callable[[], float], work: Callable[..., object], *arguments: object) -> float:
    began = clock()
    work(*arguments)
    return clock() - began

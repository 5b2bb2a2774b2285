"""Similar lookup among 100,000 × 384: int8 with numkong beside float32 with numpy.

The vectors stand in clusters, as embeddings of real texts do; a query is a vector of the table, moved a little. Recall
is against the exact product in float32 of what was put in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import numpy.typing as npt
from memory_watchdog_kit import VectorTable

from benchmarks.report import Row

COUNT, DIMENSIONS, CLUSTERS = 100_000, 384, 2_000
QUICK_COUNT = 20_000


def rows(quick: bool) -> Sequence[Row]:
    """The rows; `quick` takes fewer vectors and scales the time up."""
    count = QUICK_COUNT if quick else COUNT
    source = np.random.default_rng(7)
    centres = source.normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
    vectors = centres[source.integers(0, CLUSTERS, count)]
    vectors += 0.35 * source.normal(size=vectors.shape).astype(np.float32)
    chosen = source.integers(0, count, 100 if quick else 300)
    queries = vectors[chosen] + 0.15 * source.normal(size=(len(chosen), DIMENSIONS)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.array([int(np.argmax(units @ query)) for query in queries])
    int8, held, found = _measured("int8", vectors, queries)
    float32, held_float, _ = _measured("float32", vectors, queries)
    scale, note = COUNT / count, f", from {count:,}" if quick else ""
    return [
        Row(f"similar lookup, 100,000 × 384, int8{note}", int8 * scale, "ms", 3),
        Row(f"similar lookup, 100,000 × 384, float32{note}", float32 * scale, "ms"),
        Row("int8 / float32", int8 / float32, "×"),
        Row("held for a vector, int8", held, "B", 400),
        Row("held for a vector, float32", held_float, "B"),
        Row("recall@1, int8", float(np.mean(found == nearest)), "", 0.99, at_least=True),
    ]


def _measured(
    precision: str, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> tuple[float, float, npt.NDArray[np.int64]]:
    """Median lookup in ms, bytes a vector, and the nearest key of each query."""
    table = VectorTable(DIMENSIONS, precision=precision)
    for key, vector in enumerate(vectors):
        table.put(key, vector)
    times, found = [], []
    for query in queries:
        started = time.perf_counter()
        ((key, _),) = table.nearest(query)
        times.append(1e3 * (time.perf_counter() - started))
        found.append(key)
    return median(times), table.bytes / len(vectors), np.array(found)

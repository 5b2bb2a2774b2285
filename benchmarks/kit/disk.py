"""The disk tier: a warm get and the memory it takes, with embeddings of 3 KB; diskcache beside it.

diskcache is given bytes, which it stores without pickle, and makes its arrays the same way. Its default policy notes no
use, the other one writes at each get.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import diskcache
import numpy as np
import psutil
from memory_watchdog_kit import EmbeddingStore
from numpy.typing import NDArray

from benchmarks.report import BenchmarkError, Row

_DIMENSIONS = 768  # × 4 B = 3 KB
_GETS = 5000
"""In each of three rounds that take turns."""


def rows(quick: bool) -> Sequence[Row]:
    """Both with the same keys and arrays, in turns, each in a folder of its own; memory before and after each."""
    count = 5_000 if quick else 100_000
    keys = [f"{number:064d}" for number in range(count)]
    wanted = random.Random(1).sample(keys, min(count, _GETS))
    arrays = np.random.default_rng(1).standard_normal((256, _DIMENSIONS), dtype=np.float32)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        before = _anonymous(process)
        with EmbeddingStore(Path(folder) / "kit") as store:
            kit_put = _puts(store.put, keys, arrays)
            store.flush()
            kit = [_gets(store.get, wanted)]
            kit_memory = _anonymous(process) - before
            said = store.statistics()
            before = _anonymous(process)
            # None: bounds are no part of the comparison.
            with diskcache.Cache(str(Path(folder) / "other"), eviction_policy="none", size_limit=1 << 40) as other:
                other_put = _puts(lambda key, array: other.set(key, array.tobytes()), keys, arrays)
                others = [_gets(lambda key: _array(other.get(key)), wanted)]
                other_memory = _anonymous(process) - before
                for _ in range(2):
                    kit.append(_gets(store.get, wanted))
                    others.append(_gets(lambda key: _array(other.get(key)), wanted))
                other.reset("eviction_policy", "least-recently-used")
                other_lru = _gets(lambda key: _array(other.get(key)), wanted[:1000])
    return [
        Row(f"disk tier, {count:,} × 3 KB: warm get", statistics.median(kit), "µs", 25),
        Row("disk tier: anonymous memory, as it grew", kit_memory / 1e6, "MB", 25),
        Row("disk tier: anonymous memory, as the store says", (said.bytes or 0) / 1e6, "MB"),
        Row("disk tier: put, written", kit_put, "µs"),
        Row("disk tier: bytes on disk of a byte stored", said.disk_bytes / (count * _DIMENSIONS * 4), "B"),
        Row("diskcache: warm get", statistics.median(others), "µs"),
        Row("diskcache: warm get with least-recently-used", other_lru, "µs"),
        Row("diskcache: anonymous memory, as it grew", other_memory / 1e6, "MB"),
        Row("diskcache: put", other_put, "µs"),
    ]


def _array(data: bytes | None) -> NDArray[np.float32] | None:
    return None if data is None else np.frombuffer(data, np.float32)


def _puts(put: Callable[[str, NDArray[np.float32]], object], keys: list[str], arrays: NDArray[np.float32]) -> float:
    begun = time.perf_counter()
    for number, key in enumerate(keys):
        put(key, arrays[number % len(arrays)])
    return (time.perf_counter() - begun) / len(keys) * 1e6


def _gets(get: Callable[[str], NDArray[np.float32] | None], keys: list[str]) -> float:
    """The median in µs."""
    taken = []
    for key in keys:
        begun = time.perf_counter_ns()
        array = get(key)
        taken.append(time.perf_counter_ns() - begun)
        if array is None or array.size != _DIMENSIONS:
            raise BenchmarkError(f"{key} did not come back")
    return statistics.median(taken) / 1e3


def _anonymous(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)

"""The byte store alone, with values of 200 B: put, get and evicting put beside cachetools with a lock, and cachebox.

cachetools is bounded in bytes as the kit is, by `getsizeof=len`, and once by number, which is less to do; cachebox,
which cannot be bounded in bytes, by number. A value is made new for each put, as a serialiser does. Gets are in random
order, so that what is evicted afterwards lies anywhere. CPU time is measured, in rounds that take turns, since the
machine may have other work.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import cachebox
import cachetools
from memory_watchdog_kit import ByteStore

from benchmarks.report import Row

_VALUE_BYTES = 200
_Put = Callable[[str, bytes], object]
_Get = Callable[[str], object]


class _Locked:
    """What a server writes around cachetools: without the lock, threads die of KeyError."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._lock = threading.Lock()

    def put(self, key: str, value: bytes) -> None:
        with self._lock:
            self._cache[key] = value

    def get(self, key: str) -> object:
        with self._lock:
            return self._cache.get(key)


def rows(quick: bool) -> Sequence[Row]:
    """Each structure in turn, fresh in every round."""
    count, rounds = 100_000, 2 if quick else 15
    keys = [f"key-{number:08d}" for number in range(2 * count)]
    noise = random.Random(1).randbytes(2 * count + _VALUE_BYTES)
    shuffled = random.Random(2).sample(keys[:count], count)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, put, get in _structures(count):
            seconds[name, "put"].append(_puts(put, keys[:count], noise))
            seconds[name, "get"].append(_gets(get, shuffled))
            seconds[name, "evicting put"].append(_puts(put, keys[count:], noise))
    middle = {of: statistics.median(took) / count for of, took in seconds.items()}
    found = []
    for what in ("put", "get", "evicting put"):
        ours = middle["kit", what]
        found += [
            Row(f"byte store, {what}: kit / cachetools with a lock", middle["cachetools", what] / ours, "x", 1, True),
            Row(f"byte store, {what}: kit", 1e-3 / ours, "kops/s"),
            Row(f"byte store, {what}: cachetools with a lock", 1e-3 / middle["cachetools", what], "kops/s"),
            Row(f"byte store, {what}: cachetools with a lock, by number", 1e-3 / middle["by number", what], "kops/s"),
            Row(f"byte store, {what}: cachebox", 1e-3 / middle["cachebox", what], "kops/s"),
        ]
    return [*found, Row("byte store, 8 threads: wrong answers", _threads(2_000 if quick else 20_000), "answers", 0)]


def _structures(count: int) -> Sequence[tuple[str, _Put, _Get]]:
    store = ByteStore(1 << 30, count)
    locked = _Locked(cachetools.LRUCache(count * _VALUE_BYTES, getsizeof=len))
    by_number = _Locked(cachetools.LRUCache(count))
    box: cachebox.LRUCache[str, bytes] = cachebox.LRUCache(count)
    return [
        ("kit", store.put, store.get),
        ("cachetools", locked.put, locked.get),
        ("by number", by_number.put, by_number.get),
        ("cachebox", box.insert, box.get),
    ]


def _puts(put: _Put, keys: Sequence[str], noise: bytes) -> float:
    began = time.process_time()
    for position, key in enumerate(keys):
        put(key, noise[position : position + _VALUE_BYTES])
    return time.process_time() - began


def _gets(get: _Get, keys: Sequence[str]) -> float:
    began = time.process_time()
    for key in keys:
        get(key)
    return time.process_time() - began


def _threads(operations: int) -> int:
    """How many gets answered with another key's value; eight threads put and get the same keys at a tight bound."""
    store = ByteStore(200_000, 500)
    wrong: list[str] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(operations):
            key = f"{choose.randrange(1000)}"
            store.put(key, key.encode().ljust(choose.randrange(100, 300)))
            key = f"{choose.randrange(1000)}"
            value = store.get(key)
            if value is not None and value.rstrip() != key.encode():
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)

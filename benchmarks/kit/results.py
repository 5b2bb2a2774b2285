"""20,000 results of ten hits: what `SemanticCache` says it holds, what memory really grew by, and what goes back.

Beside it live dicts in an `OrderedDict`, and what `sys.getsizeof` says of them. Each in a process of its own, since
memory that one gives back to the allocator the other would use.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import psutil
from memory_watchdog_kit import Level, SemanticCache

from benchmarks.kit._hits import results
from benchmarks.report import Row

_QUICK_SHARE = 4


def rows(quick: bool) -> Sequence[Row]:
    """With --quick a quarter of the results, given as for all of them."""
    count = 20_000 // (_QUICK_SHARE if quick else 1)
    scale = 20_000 / count / 1e6
    grown, said, left = _measured(_cache, count)
    dicts_grown, dicts_said, dicts_left = _measured(_dicts, count)
    return [
        Row("20,000 results: accounted bytes off the real growth", abs(said / grown - 1) * 100, "%", 10),
        Row("20,000 results: held at the peak", grown * scale, "MB", 70),
        Row("20,000 results: accounted at the peak", said * scale, "MB"),
        Row("20,000 results, a random half evicted: held / peak", left / grown * 100, "%", 60),
        Row("20,000 results as live dicts: held at the peak", dicts_grown * scale, "MB"),
        Row("20,000 results as live dicts: sys.getsizeof of the real growth", dicts_said / dicts_grown * 100, "%"),
        Row("20,000 results as live dicts, a random half evicted: held / peak", dicts_left / dicts_grown * 100, "%"),
    ]


def _measured(of: Callable[[int], tuple[int, int, int]], count: int) -> tuple[int, int, int]:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=fresh) as processes:
        return processes.submit(of, count).result()


def _cache(count: int) -> tuple[int, int, int]:
    """Growth at the peak, what the cache says of it, growth after a half; bytes."""
    _warm()
    cache = SemanticCache(max_results=count)
    before = _anonymous()
    for number, result in enumerate(results(count)):
        cache.add(f"query {number}", "class", result)
    grown, said = _anonymous() - before, cache.held_bytes
    for number in random.Random(2).sample(range(count), count // 2):
        cache.get_similar(f"query {number}", "class")  # so the half that goes lies anywhere
    for _ in cache.cleanup(Level.AGGRESSIVE, None):
        pass
    return grown, said, _anonymous() - before


def _dicts(count: int) -> tuple[int, int, int]:
    _warm()
    cache: OrderedDict[str, list[dict[str, object]]] = OrderedDict()
    before = _anonymous()
    for number, result in enumerate(results(count)):
        cache[f"query {number}"] = result
    grown, said = _anonymous() - before, sys.getsizeof(cache)
    for number in random.Random(2).sample(range(count), count // 2):
        del cache[f"query {number}"]
    gc.collect()
    return grown, said, _anonymous() - before


def _warm() -> None:
    """What is made once, contexts of zstandard and the like, is no growth."""
    cache = SemanticCache()
    for number, result in enumerate(results(10)):
        cache.add(f"query {number}", "class", result)
        cache.get_similar(f"query {number}", "class")


def _anonymous() -> int:
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)

"""The model host beside a process pool: round trip, crash, idle unload.

The pool is `concurrent.futures.ProcessPoolExecutor` with one worker and does the same: 32 texts go there, 32 × 384
float32 come back. Both take turns in short rounds, so that a loaded machine slows both.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import psutil
from memory_watchdog_kit import ModelCrashed, ModelHost, ModelSpec
from numpy.typing import NDArray

from benchmarks.report import BenchmarkError, Row

_TEXTS = [f"text number {number} of a search in a repository" for number in range(32)]
_VECTORS = np.random.default_rng(7).random((32, 384), np.float32)
_MEBIBYTES = 200
_UNTIL_IT_WORKS_SECONDS = 0.05


def ready_made(texts: list[str]) -> NDArray[np.float32]:
    """What costs nothing, so that only the way there and back is measured."""
    return _VECTORS[: len(texts)]


def echo() -> Callable[[list[str]], NDArray[np.float32]]:
    """A factory."""
    return ready_made


def pid() -> Callable[[list[str]], NDArray[np.float32]]:
    """A factory: says which process it is, or hangs."""

    def answer(texts: list[str]) -> NDArray[np.float32]:
        if texts == ["hang"]:
            signal.pause()
        return np.full((1, 1), os.getpid(), np.float32)

    return answer


def heavy() -> Callable[[list[str]], NDArray[np.float32]]:
    """A factory whose model has a size."""
    weights = np.ones(_MEBIBYTES * 2**20, np.uint8)
    return lambda texts: np.full((len(texts), 1), weights[0], np.float32)


def rows(quick: bool) -> Sequence[Row]:
    """All of them."""
    host, pool = _round_trips(rounds=10 if quick else 60)
    return [
        Row("model host: round trip of 32 × 384 float32", host, "µs", goal=150),
        Row("process pool: the same", pool, "µs"),
        Row("model host / process pool", host / pool, "", goal=1),
        Row(
            "model host: a worker's SIGKILL until its caller has the error",
            _crash_seen(5 if quick else 30),
            "ms",
            goal=50,
        ),
        Row("model host: start of a worker, its modules preloaded", _start(5 if quick else 20), "ms"),
        Row(
            f"model host: idle unload of a model of {_MEBIBYTES} MiB, given back",
            _given_back(),
            "%",
            99.9,
            at_least=True,
        ),
    ]


def _round_trips(rounds: int) -> tuple[float, float]:
    host_seconds: list[float] = []
    pool_seconds: list[float] = []
    forkserver = multiprocessing.get_context("forkserver")
    with ModelHost({"echo": _spec(echo)}) as models, ProcessPoolExecutor(1, mp_context=forkserver) as pool:
        for _ in range(rounds + 1):
            host_seconds += _timed(lambda: models.embed("echo", _TEXTS))
            pool_seconds += _timed(lambda: pool.submit(ready_made, _TEXTS).result())
    warm = len(host_seconds) // (rounds + 1)
    return (
        statistics.median(host_seconds[warm:]) * 1e6,
        statistics.median(pool_seconds[warm:]) * 1e6,
    )


def _timed(call: Callable[[], NDArray[np.float32]]) -> list[float]:
    seconds = []
    for _ in range(100):
        began = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - began)
        if answer.shape != _VECTORS.shape:
            raise BenchmarkError(f"shape {answer.shape}")
    return seconds


def _crash_seen(times: int) -> float:
    """Median milliseconds. The worker is killed while it works on a request."""
    seconds: list[float] = []
    killed_at: list[float] = []

    def kill(worker: int) -> None:
        killed_at.append(time.perf_counter())
        os.kill(worker, signal.SIGKILL)

    logging.getLogger("memory_watchdog_kit").setLevel(logging.CRITICAL)  # which tells of every crash
    with ModelHost({"pid": _spec(pid)}, backoff_seconds=0.001, max_backoff_seconds=0.001) as models:
        for _ in range(times):
            worker = int(models.embed("pid", ["who"])[0, 0])
            threading.Timer(_UNTIL_IT_WORKS_SECONDS, kill, [worker]).start()
            try:
                models.embed("pid", ["hang"])
            except ModelCrashed:
                seconds.append(time.perf_counter() - killed_at[-1])
    if len(seconds) != times:
        raise BenchmarkError("a worker that was killed was no error")
    return statistics.median(seconds) * 1e3


def _start(times: int) -> float:
    """Median milliseconds from asking an unloaded model until its first answer."""
    seconds = []
    with ModelHost({"echo": _spec(echo)}, preload=[__name__]) as models:
        for _ in range(times + 1):
            began = time.perf_counter()
            models.embed("echo", _TEXTS)
            seconds.append(time.perf_counter() - began)
            models.unload("echo")
    return statistics.median(seconds[1:]) * 1e3  # the first has started the forkserver


def _given_back() -> float:
    """Percent of what a model's process had, measured on the host's whole tree, after it was idle for long enough."""
    others = _tree()
    with ModelHost({"heavy": _spec(heavy), "echo": _spec(echo)}, max_loaded=1, idle_unload_seconds=0.3) as models:
        models.embed("echo", _TEXTS)
        before = _bytes_without_workers(others)
        models.embed("heavy", _TEXTS)
        loaded = _bytes(_tree() - others)
        if loaded - before < _MEBIBYTES * 2**20:
            raise BenchmarkError("the model takes no memory")
        return (loaded - _bytes_without_workers(others)) / (loaded - before) * 100


def _bytes_without_workers(others: set[psutil.Process]) -> int:
    deadline = time.monotonic() + 20
    while len(tree := _tree() - others) > 1:  # the forkserver stays
        if time.monotonic() > deadline:
            raise BenchmarkError("an idle model was not unloaded")
        time.sleep(0.01)
    return _bytes(tree)


def _tree() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _bytes(processes: set[psutil.Process]) -> int:
    """resident − shared."""
    memory = [process.memory_info() for process in processes]
    return sum(info.rss - info.shared for info in memory)


def _spec(factory: Callable[[], object]) -> ModelSpec:
    return ModelSpec(f"{__name__}:{factory.__name__}")

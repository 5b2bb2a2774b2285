"""The kit's structures that live in one process alone, as servers for `tests.kit.support.forking`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from memory_watchdog_kit import (
    Cleaned,
    ContextTracker,
    Level,
    MappedArrays,
    MemoryManager,
    SemanticCache,
    Statistics,
    save_array,
)
from memory_watchdog_kit.byte_store import ByteStore
from memory_watchdog_kit.vectors import VectorTable

from tests.kit.support.queries import Words

CHILD_SECONDS = 60


def exit_code(pid: int, seconds: float = CHILD_SECONDS) -> int:
    """Of a child, when it has ended; it is killed where it does not: an alarm of its own may come too late for it."""
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


@dataclass(frozen=True, slots=True)
class Server:
    """`work` is what the threads repeat, `in_child` and `in_parent` raise where something is not as it should be."""

    work: Callable[[int], object]
    in_child: Callable[[], None]
    in_parent: Callable[[], None]
    forks: int = 4


class Shelf:
    """A component that takes its time to answer."""

    name = "shelf"

    def statistics(self) -> Statistics:
        return Statistics(items=1)

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned:
        return Cleaned(items_removed=1)


def manager(_: Path) -> Server:
    """In a child the report and a cleanup work, also where one runs in the parent; the thread can be started."""
    memory = MemoryManager(0.01, aggressive_threshold_bytes=1)
    memory.register(Shelf())
    memory.start()

    def in_child() -> None:
        assert "memory-manager" not in [thread.name for thread in threading.enumerate()]
        assert memory.report().components[0].error is None
        assert memory.report().pid == os.getpid()
        assert memory.cleanup("normal").components[0].cleaned == Cleaned(items_removed=1)
        memory.start()
        assert "memory-manager" in [thread.name for thread in threading.enumerate()]
        memory.stop()

    return Server(lambda _: memory.report(), in_child, memory.stop)


def arrays(folder: Path) -> Server:
    """In a child they work as in the parent."""
    mapped = MappedArrays()
    save_array(folder / "array", np.arange(1000, dtype=np.float32))

    def use(_: int = 0) -> None:
        found = mapped.open(folder / "array")
        assert found[999] == 999
        assert mapped.statistics().items

    return Server(use, use, use)


def tracker(folder: Path) -> Server:
    """In a child it is a copy that can be used, saved and loaded."""
    tracked = ContextTracker()
    file = folder / "context"

    def use(number: int = 0) -> None:
        tracked.track_file_read(f"/{number % 70}", "x" * 100, session_id=f"{number % 5}")
        if number % 10 == 0:
            tracked.save(file)

    def check() -> None:
        use()
        assert tracked.load(file).refused is None
        assert tracked.get_context()["files"]

    return Server(use, check, check)


def byte_store(_: Path) -> Server:
    """In a child it is a copy; what is put into it there is not seen in the parent."""
    kept = ByteStore(2**20)
    kept.put("whose", b"parent")

    def use(number: int) -> None:
        kept.put(str(number), b"x" * (number % 500))
        kept.get("whose")

    def in_child() -> None:
        assert kept.get("whose") == b"parent"
        kept.remove("whose")
        for number in range(300):
            kept.put(str(number), b"child" * 20)
        assert kept.get("299") == b"child" * 20
        sum(kept.cleanup(Level.AGGRESSIVE, None), Cleaned())

    def in_parent() -> None:
        assert kept.get("whose") == b"parent"
        found = [kept.get(str(number)) for number in range(3000)]
        assert all(value is None or set(value) <= {ord("x")} for value in found)

    return Server(use, in_child, in_parent)


def semantic_cache(_: Path) -> Server:
    """In a child it is a copy, searches included; what is added to it there is not seen in the parent."""
    cache = SemanticCache(None, Words(), max_results=50, max_embeddings=60, similarity_threshold=0.7)
    cache.add("whose is it", "class", "parent")

    def use(number: int) -> None:
        cache.get_similar("whose is this", "class")
        cache.get_similar(f"what is {number % 70}", "class")
        cache.add(f"what is {number % 70}", "class", number)

    def check(whose: str) -> None:
        cache.add("whose is it", "class", whose)
        assert cache.get_similar("whose is it", "class") == cache.get_similar("is it whose", "class") == whose
        for number in range(100):
            use(number)
        sum(cache.cleanup(Level.AGGRESSIVE, None), Cleaned())
        assert len(cache) == 25

    return Server(use, partial(check, "child"), partial(check, "parent"))


def vectors(_: Path) -> Server:
    """In a child it is a copy; its lock, which many threads share, is free there."""
    table = VectorTable(8)
    for key in range(100):
        table.put(key, np.eye(8, dtype=np.float32)[key % 8])

    def use(number: int) -> None:
        if number % 3:
            assert len(table.nearest(np.ones(8, np.float32), count=2)) == 2
            assert 5 in table
        else:
            table.put(1000 + number % 50, np.ones(8, np.float32))

    def in_child() -> None:
        for number in range(6):
            use(number)
        assert table.remove(5)

    def in_parent() -> None:
        assert 5 in table
        use(0)
        use(1)

    return Server(use, in_child, in_parent)

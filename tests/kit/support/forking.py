"""Servers that fork while their threads are at work: `python -m tests.kit.support.forking STRUCTURE FOLDER`.

Each structure is used by threads, without a pause, while the main thread forks; each child uses it too and leaves as a
program does that ends. A child that hangs is ended by SIGALRM. At the end it is used in the parent once more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from memory_watchdog_kit import (
    Cleaned,
    ContextTracker,
    EmbeddingStore,
    Level,
    MappedArrays,
    MemoryManager,
    ModelHost,
    ModelSpec,
    SemanticCache,
    Statistics,
    StoreError,
    save_array,
)
from memory_watchdog_kit.byte_store import ByteStore

from tests.kit.support.processes import children
from tests.kit.support.queries import Words

CHILD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """`work` is what the threads repeat, `in_child` and `in_parent` raise where something is not as it should be."""

    work: Callable[[int], object]
    in_child: Callable[[], None]
    in_parent: Callable[[], None]
    forks: int = 6


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


def store(folder: Path) -> Server:
    """In a child it says that it belongs to the parent, and leaving does not touch the files."""
    embeddings = EmbeddingStore(folder / "store", batch_seconds=0.01)
    array = np.arange(100, dtype=np.float32)

    def in_child() -> None:
        for use in (
            lambda: embeddings.get("0"),
            lambda: embeddings.put("0", array),
            lambda: embeddings.delete("0"),
            embeddings.flush,
            embeddings.statistics,
            lambda: list(embeddings.cleanup(Level.NORMAL, None)),
        ):
            with pytest.raises(StoreError, match="open one after the fork"):
                use()
        embeddings.close()

    def in_parent() -> None:
        assert embeddings.put("last", array)
        assert embeddings.flush()
        embeddings.close()
        again = EmbeddingStore(folder / "store")
        found = again.get("last")
        assert found is not None
        assert np.array_equal(found, array)
        numbers = again.statistics()
        assert (numbers.files_set_aside, numbers.damaged_rows) == (0, 0)
        again.close()

    return Server(lambda n: embeddings.put(str(n % 1000), array) and embeddings.get(str(n % 1000)), in_child, in_parent)


def arrays(folder: Path) -> Server:
    """In a child they work as in the parent."""
    mapped = MappedArrays()
    save_array(folder / "array", np.arange(1000, dtype=np.float32))

    def use(_: int = 0) -> None:
        found = mapped.open(folder / "array")
        assert found[999] == 999
        assert mapped.statistics().items

    return Server(use, use, use)


def models(_: Path) -> Server:
    """In a child it has processes of its own; the parent's stay, and answer on."""
    before = _open_files()
    host = ModelHost({"who": ModelSpec("tests.kit.support.models:whose")}, idle_unload_seconds=600)
    parents = float(host.embed("who", ["x"])[0, 0])

    def in_child() -> None:
        assert _open_files() <= before, "a copy of the parent's sockets"
        assert host.loaded() == ()
        assert host.statistics().items == 0
        own = float(host.embed("who", ["x"])[0, 0])
        assert own != parents
        assert own in [child.pid for child in children()]
        assert sum(step.items_removed for step in host.cleanup(Level.AGGRESSIVE, None)) == 1

    def in_parent() -> None:
        assert host.embed("who", ["x"])[0, 0] == parents, "the parent's worker has ended"
        assert len(children()) == 2, "the children's processes are gone"
        host.close()
        assert children() == []

    # Each child starts a forkserver, which takes half a second.
    return Server(lambda _: host.embed("who", ["x"]), in_child, in_parent, forks=3)


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


def _open_files() -> set[str]:
    links = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            links.add(str(link.readlink()))
    return links


STRUCTURES = {build.__name__: build for build in (manager, store, arrays, models, tracker, byte_store, semantic_cache)}


def main(structure: str, folder: Path) -> None:
    server = STRUCTURES[structure](folder)
    over = threading.Event()
    threads = [threading.Thread(target=_work, args=(server, over, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(server.forks):
            pid = os.fork()
            if pid == 0:
                signal.alarm(CHILD_SECONDS)
                server.in_child()
                sys.exit(0)
            _, status = os.waitpid(pid, 0)
            if status != 0:
                sys.exit(f"a child ended with wait status {status}")
    finally:
        over.set()
    for thread in threads:
        thread.join()
    server.in_parent()
    print("as it should be")


def _work(server: Server, over: threading.Event, number: int) -> None:
    while not over.is_set():
        server.work(number)
        number += 3


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""Servers that fork while their threads are at work: `python -m tests.kit.support.forking STRUCTURE FOLDER`.

Each structure is used by threads, without a pause, while the main thread forks; each child uses it too and leaves as a
program does that ends. A child that hangs is killed. At the end it is used in the parent once more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_watchdog_kit import (
    EmbeddingStore,
    Level,
    MemoryManager,
    ModelHost,
    ModelSpec,
    StoreError,
)
from memory_watchdog_kit.web.listener import MemoryListener

from tests.kit.support.forkable import (
    CHILD_SECONDS,
    Server,
    Shelf,
    arrays,
    byte_store,
    exit_code,
    manager,
    semantic_cache,
    tracker,
    vectors,
)
from tests.kit.support.processes import children


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
    return Server(lambda _: host.embed("who", ["x"]), in_child, in_parent, forks=2)


def listener(folder: Path) -> Server:
    """In a child it does not listen, and can at another place; the parent's goes on at its own."""
    memory = MemoryManager()
    memory.register(Shelf())
    endpoint = MemoryListener(memory, folder / "memory.sock").start()

    def in_child() -> None:
        assert not _listening(), "whoever connects here is answered by nobody"
        endpoint.stop()
        with pytest.raises(OSError, match="listens"):
            endpoint.start()
        own = folder / f"{os.getpid()}.sock"
        with MemoryListener(memory, own):
            assert _ask(own)["process"]["pid"] == os.getpid()
        assert not own.exists()

    def in_parent() -> None:
        assert _ask(folder / "memory.sock")["process"]["pid"] == os.getpid()
        endpoint.stop()
        assert list(folder.iterdir()) == []

    return Server(lambda _: _ask(folder / "memory.sock"), in_child, in_parent)


def _ask(path: Path) -> dict[str, Any]:
    """The statistics that are served at a Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=CHILD_SECONDS)
    with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(path))
        connection.request("GET", "/memory")
        answer = connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        assert answer.status == HTTPStatus.OK, content
        return content


def _listening() -> list[str]:
    """The sockets of this process that take connections."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(link.name))) as one:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(str(link))
    return found


def _open_files() -> set[str]:
    links = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            links.add(str(link.readlink()))
    return links


STRUCTURES: dict[str, Callable[[Path], Server]] = {
    build.__name__: build
    for build in (manager, arrays, tracker, byte_store, semantic_cache, vectors, store, models, listener)
}


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
                server.in_child()
                sys.exit(0)
            status = exit_code(pid)
            if status != 0:
                sys.exit(f"a child ended with {status}")
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

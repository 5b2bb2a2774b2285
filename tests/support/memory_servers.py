"""Real servers with the kit's endpoints: every way in on TCP or on a Unix socket, and raw requests to them.

Covers: uvicorn in a thread of the test, one request written by hand, a component whose cleanup waits for the test.
Leaves to others: servers as processes of their own (`stdio_server`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from memory_watchdog_kit import Cleaned, Level, MemoryManager, Statistics
from memory_watchdog_kit.web.app import MemoryApp
from memory_watchdog_kit.web.fastapi import memory_router
from memory_watchdog_kit.web.listener import MemoryListener
from memory_watchdog_kit.web.starlette import memory_routes
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.support.wait import eventually


class Slow:
    """A component whose cleanup runs until the test lets it go."""

    name = "slow"

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()
        self.cleanups = 0

    def statistics(self) -> Statistics:
        return Statistics(items=1)

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned:
        self.cleanups += 1
        self.started.set()
        assert self.let_go.wait(60)
        return Cleaned(1, 0)


def _fastapi(manager: MemoryManager, **options: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(memory_router(manager, **options))
    return app


def _starlette(manager: MemoryManager, **options: Any) -> Starlette:
    return Starlette(routes=memory_routes(manager, **options))


def _mounted(manager: MemoryManager, **options: Any) -> Starlette:
    return Starlette(routes=[Mount("/", MemoryApp(manager, **options))])


APPS: dict[str, Callable[..., Any]] = {
    "app": MemoryApp,
    "fastapi": _fastapi,
    "starlette": _starlette,
    "mounted": _mounted,
}
"""Ways in over ASGI, by name."""

WAYS = [*(f"{name} over {socket_kind}" for name in APPS for socket_kind in ("tcp", "unix")), "listener over unix"]
"""Every way in."""


@dataclass
class Served:
    """Where a server of the test can be reached."""

    address: tuple[str, int] | str

    @property
    def url(self) -> str:
        """As a target's `url`."""
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        return f"http://{self.address[0]}:{self.address[1]}"

    def client(self) -> httpx.Client:
        """A client that reads no settings from outside."""
        if isinstance(self.address, str):
            transport = httpx.HTTPTransport(uds=self.address, verify=False)  # loading authorities takes 20 ms
            return httpx.Client(base_url="http://localhost", transport=transport, timeout=30, trust_env=False)
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=False)

    def connect(self) -> socket.socket:
        """A bare connection, for requests that no client would send."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(30)
        connection.connect(self.address)
        return connection

    def post(self, path: str, content: object) -> bytes:
        """One POST on a connection of its own, and the whole answer."""
        body = json.dumps(content).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.raw(head.encode() + body)

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes, until the server closes; what it resets ends there too."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return received(connection)


def received(connection: socket.socket) -> bytes:
    """What comes until the end."""
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    """The status of an answer as it came; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def content_of(answer: bytes) -> Any:
    """The JSON of an answer as it came."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@contextlib.contextmanager
def serving(app: Any, uds: Path | None = None, **options: Any) -> Iterator[Served]:
    """The application on uvicorn, in a thread; ended at the end."""
    listener = socket.socket(socket.AF_UNIX if uds is not None else socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(str(uds) if uds is not None else ("127.0.0.1", 0))
    listener.listen(512)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, what="uvicorn has started")
        yield Served(listener.getsockname())
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextlib.contextmanager
def way(name: str, manager: MemoryManager, folder: Path, **options: Any) -> Iterator[Served]:
    """One of `WAYS`, serving this manager."""
    kind, _, socket_kind = name.partition(" over ")
    path = folder / f"{kind}.sock"
    if kind == "listener":
        with MemoryListener(manager, path, **options):
            yield Served(str(path))
        return
    with serving(APPS[kind](manager, **options), path if socket_kind == "unix" else None) as served:
        yield served

"""What is asked of a request before it is read: over a real socket, with bodies that never come to an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from memory_watchdog.watcher import Watcher
from memory_watchdog.web.app import create_app
from memory_watchdog.web.limits import MAX_BODY_BYTES
from memory_watchdog.web.server import WebServer, listen
from prometheus_client import CollectorRegistry


@dataclass
class Program:
    """A program without targets, which counts its reloads."""

    allows: bool = True
    reloads: int = 0
    port: int = 0

    def ready(self) -> bool:
        return True

    def stalled(self) -> list[str]:
        return []

    def watchers(self) -> list[Watcher]:
        return []

    def watcher(self, name: str) -> Watcher | None:
        return None

    def allows_loopback_changes(self) -> bool:
        return self.allows

    async def reload(self) -> str | None:
        self.reloads += 1
        return None


@pytest.fixture(scope="module")
def served() -> Iterator[Program]:
    program = Program()
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        program.port = listener.getsockname()[1]
        started: list[tuple[WebServer, asyncio.AbstractEventLoop]] = []
        running = threading.Event()

        async def serve() -> None:
            server = WebServer(create_app(CollectorRegistry(), program), listener)
            started.append((server, asyncio.get_running_loop()))
            running.set()
            await server.run()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert running.wait(20)
        yield program
        server, loop = started[0]
        loop.call_soon_threadsafe(server.stop)
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def program(served: Program) -> Program:
    served.allows, served.reloads = True, 0
    return served


def answered(program: Program, head: str, body: bytes = b"", path: str = "/-/reload") -> tuple[int, str]:
    """Status and detail of a request of which no more than this is ever sent; the server must end the connection."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=20) as connection:
        host = f"Host: 127.0.0.1:{program.port}\r\n"
        connection.sendall(f"POST {path} HTTP/1.1\r\n{host}{head}\r\n".encode() + body)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    top, _, content = received.partition(b"\r\n\r\n")
    detail = json.loads(content)["detail"] if content.startswith(b"{") else content.decode()
    return int(top.split()[1]), detail


@pytest.mark.parametrize("length", ["Content-Length: 300000000\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("path", ["/-/reload", "/api/v1/targets/a/cleanup", "/api/v1/targets/a/pause"])
def test_who_may_not_is_refused_before_any_body(program: Program, path: str, length: str) -> None:
    status, detail = answered(program, f"{length}X-Forwarded-For: 1.2.3.4\r\n", path=path)
    assert (status, "through a proxy" in detail) == (403, True)
    program.allows = False
    status, detail = answered(program, length, path=path)
    assert (status, "allow_loopback_changes" in detail) == (403, True)
    assert program.reloads == 0


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 300_000_000, 10**30])
def test_an_announced_body_that_is_too_large_is_refused_at_once(program: Program, length: int) -> None:
    # a server may itself refuse a length beyond 64 bits
    status, detail = answered(program, f"Content-Length: {length}\r\n")
    assert (status, "64 KiB" in detail) == (413, True) or (status == 400 and length == 10**30)
    assert program.reloads == 0


def test_a_refusal_is_seen_by_a_client_that_sends_its_body_later(program: Program) -> None:
    program.allows = False
    with socket.create_connection(("127.0.0.1", program.port), timeout=20) as connection:
        connection.sendall(
            f"POST /-/reload HTTP/1.1\r\nHost: 127.0.0.1:{program.port}\r\nContent-Length: 2\r\n\r\n".encode()
        )
        for piece in (b"{", b"}"):
            time.sleep(0.1)
            connection.sendall(piece)  # after a reset it fails
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_a_body_without_a_length_is_counted(program: Program) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    status, detail = answered(program, "Transfer-Encoding: chunked\r\n", chunk * 17)
    assert (status, detail) == (413, "a body of more than 64 KiB")
    assert program.reloads == 0


def test_a_body_within_the_bound_is_passed_on_whole(program: Program) -> None:
    url = f"http://127.0.0.1:{program.port}"
    with httpx.Client(trust_env=False) as client:
        for content in (b"x" * MAX_BODY_BYTES, iter([b"x" * 0x1000] * 16), b""):
            assert client.post(f"{url}/-/reload", content=content).status_code == 200
        pieces = iter([b'{"seconds"', b": 5}"])
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"{url}/api/v1/targets/a/pause", content=pieces, headers=headers)
        assert (answer.status_code, "no target" in answer.text) == (404, True), "the body was read, and was right"
    assert program.reloads == 3


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("pause", b'{"seconds": 1e999}', ["body", "seconds"]),
        ("pause", b'{"seconds": NaN}', ["body", "seconds"]),
        ("cleanup", rb'{"reason": "\ud800"}', ["body", "reason"]),
        ("cleanup", rb'{"level": "\ud800"}', ["body", "level"]),
        ("cleanup", rb'{"\ud800": 1}', ["body"]),
        ("cleanup", b'{"a": ', ["body", 6]),
    ],
)
def test_what_cannot_be_repeated_is_refused_and_not_repeated(
    program: Program, path: str, body: bytes, where: list[str | int]
) -> None:
    url = f"http://127.0.0.1:{program.port}/api/v1/targets/a/{path}"
    with httpx.Client(trust_env=False) as client:
        answer = client.post(url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    (one,) = answer.json()["detail"]
    assert set(one) == {"loc", "msg", "type"}
    assert one["loc"] == where


def test_a_body_of_many_mistakes_is_answered_shortly(program: Program) -> None:
    url = f"http://127.0.0.1:{program.port}/api/v1/targets/a/cleanup"
    with httpx.Client(trust_env=False) as client:
        for body in ({f"k{index}": 1 for index in range(4000)}, {"x" * 60_000: 1}):
            answer = client.post(url, json=body)
            assert answer.status_code == 422
            assert len(answer.content) < 4096

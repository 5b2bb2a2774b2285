"""Both endpoints on real servers, by every way in: over TCP and over Unix sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from memory_watchdog_kit import Level, MemoryManager
from memory_watchdog_kit.web import endpoints, listener
from memory_watchdog_kit.web.app import MemoryApp
from memory_watchdog_kit.web.fastapi import MemoryAnswer, MemoryCleanupAnswer, memory_router
from memory_watchdog_kit.web.starlette import memory_routes
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

from tests.support.components import Shelf
from tests.support.memory_servers import APPS, WAYS, Served, Slow, content_of, received, serving, status_of, way
from tests.support.wait import eventually

NORMAL = {"level": "normal", "reason": "test"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf("shelf", items=50)


@pytest.fixture
def manager(shelf: Shelf) -> MemoryManager:
    manager = MemoryManager()
    manager.register(shelf)
    return manager


@pytest.fixture(params=WAYS)
def served(request: pytest.FixtureRequest, manager: MemoryManager, tmp_path: Path) -> Iterator[Served]:
    with way(request.param, manager, tmp_path) as served:
        yield served


def test_what_is_read_and_cleaned(served: Served, shelf: Shelf) -> None:
    with served.client() as client:
        answer = client.get("/memory")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        [component] = MemoryAnswer.model_validate(answer.json(), strict=True).components
        assert (component.name, component.bytes, component.items) == ("shelf", 50_000, 50)

        asked = NORMAL | {"request_id": "first", "target_bytes": 10_000}
        answer = client.post("/memory/cleanup", json=asked)
        assert answer.status_code == 200, answer.text
        cleaned = MemoryCleanupAnswer.model_validate(answer.json(), strict=True)
        assert (cleaned.request_id, cleaned.level) == ("first", "normal")
        assert [(one.name, one.items_removed, one.error) for one in cleaned.components] == [("shelf", 10, None)]
        assert shelf.asked == [(Level.NORMAL, 10_000)]

        assert client.post("/memory/cleanup", json=asked).json() == answer.json(), "a repeated id is not run again"
        assert len(shelf.asked) == 1


def test_what_else_is_asked_for(served: Served, shelf: Shelf) -> None:
    with served.client() as client:
        assert client.get("/memory/").status_code in (307, 404)
        assert client.get("/nothing").status_code == 404
        for method, path in (("POST", "/memory"), ("DELETE", "/memory"), ("GET", "/memory/cleanup")):
            answer = client.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["allow"]
        answer = client.post("/memory/cleanup", json={"level": "gently"})
        assert answer.status_code == 422
        assert answer.json() == {"detail": "level: found 'gently', allowed: normal or aggressive"}
        assert client.post("/memory/cleanup").status_code == 422
        answer = client.post("/memory/cleanup", content=b" " * 64 * 1024 + b"{}")
        assert answer.status_code == 413
    assert shelf.asked == []


def test_forged_heads_change_nothing(served: Served, shelf: Shelf) -> None:
    body = json.dumps(NORMAL).encode()
    for forged in (
        b"Host: evil.example",
        b"Host: localhost\r\nX-Forwarded-For: 127.0.0.1",
        b"Host: localhost\r\nForwarded: for=127.0.0.1",
        b"Host: localhost\r\nOrigin: http://evil.example",
    ):
        head = b"POST /memory/cleanup HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n" % (forged, len(body))
        answer = served.raw(head + body)
        assert status_of(answer) == 403
        assert "allowed from loopback only" in content_of(answer)["detail"]
        assert b"connection: close" in answer.lower()
        assert status_of(served.raw(b"GET /memory HTTP/1.1\r\n%s\r\n\r\n" % forged)) == 403
    assert shelf.asked == []


@pytest.mark.parametrize(
    "malformed",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET memory HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /memory HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /memory HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /memory HTTP/1.1\r\n\r\n",
        b"GET /memory HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n{}",
        b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n",
    ],
)
def test_malformed_requests_change_nothing_and_the_server_goes_on(
    manager: MemoryManager, shelf: Shelf, tmp_path: Path, malformed: bytes
) -> None:
    for name in ("app over tcp", "listener over unix"):
        with way(name, manager, tmp_path) as served:
            with served.connect() as connection:
                try:
                    connection.sendall(malformed)
                    connection.shutdown(1)
                    answer = received(connection)
                except ConnectionError:  # it closed before it had read everything
                    answer = b""
            assert status_of(answer) in (0, 400, 403, 404, 413, 431, 501)
            with served.client() as client:
                assert client.get("/memory").status_code == 200
    assert shelf.asked == []


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.let_go.set()


@pytest.fixture
def slow_manager(slow: Slow) -> MemoryManager:
    manager = MemoryManager(component_deadline_seconds=60)
    manager.register(slow)
    return manager


@pytest.mark.parametrize("name", ["app over tcp", "fastapi over unix", "listener over unix"])
def test_a_storm_of_cleanups_runs_one(name: str, slow: Slow, slow_manager: MemoryManager, tmp_path: Path) -> None:
    with way(name, slow_manager, tmp_path) as served, ThreadPoolExecutor(200) as pool:
        statuses: list[int] = []

        def ask(number: int) -> None:
            statuses.append(status_of(served.post("/memory/cleanup", NORMAL | {"request_id": f"{number}"})))

        try:
            asked = [pool.submit(ask, number) for number in range(200)]
            eventually(lambda: len(statuses) == 199, 60, "199 are busy")
            with served.client() as client:
                assert client.get("/memory").status_code == 200, "the statistics do not wait for a cleanup"
        finally:
            slow.let_go.set()
        for one in asked:
            one.result(30)
        assert sorted(statuses) == [200] + [409] * 199
        assert slow.cleanups == 1


@pytest.mark.parametrize("name", WAYS)
def test_a_client_that_leaves_does_not_stop_its_cleanup(
    name: str, slow: Slow, slow_manager: MemoryManager, tmp_path: Path
) -> None:
    asked = NORMAL | {"request_id": "mine"}
    body = json.dumps(asked).encode()
    request = b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with way(name, slow_manager, tmp_path) as served:
        with served.connect() as connection:
            connection.sendall(request)
            assert slow.started.wait(20)
        slow.let_go.set()
        eventually(lambda: status_of(served.post("/memory/cleanup", asked)) == 200, what="it is answered from memory")
        assert slow.cleanups == 1


def test_a_cancelled_handler_does_not_stop_its_cleanup(slow: Slow, slow_manager: MemoryManager) -> None:
    """A middleware that gives up: the caller gets an error, the cleanup runs on."""

    async def give_up(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        with anyio.move_on_after(0.2):
            return await call_next(request)
        return PlainTextResponse("gave up", 504)

    app = Starlette(routes=memory_routes(slow_manager), middleware=[Middleware(BaseHTTPMiddleware, dispatch=give_up)])
    with serving(app) as served, served.client() as client:
        asked = NORMAL | {"request_id": "mine"}
        assert client.post("/memory/cleanup", json=asked).status_code == 504
        slow.let_go.set()
        eventually(lambda: client.post("/memory/cleanup", json=asked).status_code == 200)
        assert slow.cleanups == 1


def test_slow_clients_have_a_deadline(
    manager: MemoryManager, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_watchdog_kit.web.asgi.BODY_SECONDS", 0.3)
    monkeypatch.setattr(listener, "CLIENT_SECONDS", 0.3)
    head = b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n"
    for name in ("app over tcp", "fastapi over tcp", "listener over unix"):
        with way(name, manager, tmp_path) as served, served.connect() as connection:
            connection.sendall(head + b'{"level"')
            answer = received(connection)
            assert status_of(answer) == 408
            assert b"connection: close" in answer.lower()
    assert shelf.asked == []


def test_a_broken_report_is_one_line_for_the_client(manager: MemoryManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(manager, "report", broken)
    with serving(MemoryApp(manager)) as served, served.client() as client:
        answer = client.get("/memory")
        assert answer.status_code == 500
        assert answer.json() == {"detail": "it failed; the server's log says how"}


def test_a_component_that_fails_does_not_hide_the_others(served: Served, manager: MemoryManager) -> None:
    class Broken(Shelf):
        def statistics(self) -> Any:
            raise OSError("disk gone")

    manager.register(Broken("broken"))
    with served.client() as client:
        components = client.get("/memory").json()["components"]
    assert [one["name"] for one in components] == ["shelf", "broken"]
    assert "disk gone" in components[1]["error"]


@pytest.mark.parametrize("name", WAYS)
def test_a_token_is_rotated_while_it_is_asked(name: str, manager: MemoryManager, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    with way(name, manager, tmp_path, token_file=token) as served, served.client() as client:

        def ask(credential: str | None) -> int:
            headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
            return client.post("/memory/cleanup", json=NORMAL, headers=headers).status_code

        assert [ask(None), ask("one"), ask("two")] == [401, 200, 401]
        token.write_text("two")
        assert [ask("one"), ask("two")] == [401, 200]
        token.unlink()
        assert [ask("one"), ask("two"), ask(None)] == [403, 403, 403]
        assert client.get("/memory").status_code == 200
        token.write_text("three")
        assert ask("three") == 200


def test_a_refusal_is_seen_by_a_client_that_sends_its_body_later(served: Served) -> None:
    """Closed with the body unread, the connection would be reset, and the answer thrown away unseen."""
    body = json.dumps(NORMAL).encode()
    for path, wanted in ((b"/memory/cleanup", 403), (b"/memory/nothing", 404)):
        with served.connect() as connection:
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: evil\r\nContent-Length: %d\r\n\r\n" % (path, len(body)))
            for piece in (body[:9], body[9:]):
                time.sleep(0.1)
                connection.sendall(piece)  # after a reset it fails
            assert status_of(connection.recv(65536)) == wanted


@pytest.mark.parametrize("name", WAYS)
def test_loopback_can_be_turned_off(name: str, manager: MemoryManager, tmp_path: Path) -> None:
    with way(name, manager, tmp_path, allow_loopback_changes=False) as served, served.client() as client:
        assert client.get("/memory").status_code == 200
        assert client.post("/memory/cleanup", json=NORMAL).status_code == 403


def test_a_prefix_stands_before_both(manager: MemoryManager) -> None:
    for make in APPS.values():
        with serving(make(manager, prefix="/internal")) as served, served.client() as client:
            assert client.get("/internal/memory").status_code == 200
            assert client.post("/internal/memory/cleanup", json=NORMAL).status_code == 200
            assert client.get("/memory").status_code == 404
    for make in (MemoryApp, memory_router, memory_routes):
        for prefix in ("internal", "/internal/"):
            with pytest.raises(ValueError, match="begins with a slash"):
                make(manager, prefix=prefix)


def test_a_mount_stands_before_both(manager: MemoryManager) -> None:
    with serving(Starlette(routes=[Mount("/deep", MemoryApp(manager))])) as served, served.client() as client:
        assert client.get("/deep/memory").status_code == 200
        assert client.get("/memory").status_code == 404


def test_the_event_loop_goes_on_during_a_cleanup(slow: Slow, slow_manager: MemoryManager) -> None:
    with serving(MemoryApp(slow_manager)) as served, served.client() as client:
        asking = threading.Thread(target=client.post, args=("/memory/cleanup",), kwargs={"json": NORMAL})
        asking.start()
        assert slow.started.wait(20)
        with served.client() as other:
            assert other.get("/nothing").status_code == 404
        slow.let_go.set()
        asking.join(20)


def test_openapi_describes_both(manager: MemoryManager) -> None:
    schema = APPS["fastapi"](manager).openapi()
    get, post = schema["paths"]["/memory"]["get"], schema["paths"]["/memory/cleanup"]["post"]
    assert get["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/MemoryAnswer"
    }
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["level"]
    assert body["properties"]["level"]["enum"] == ["normal", "aggressive"]
    assert {"200", "401", "403", "408", "409", "413", "422"} <= post["responses"].keys()
    assert {"name", "bytes", "items", "error"} <= schema["components"]["schemas"]["MemoryComponent"][
        "properties"
    ].keys()
    assert "$defs" not in json.dumps(body)
    assert endpoints.MAX_BODY_BYTES == 64 * 1024

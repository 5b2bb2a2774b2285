"""Each way in which a request to a target fails, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.http import CleanupRequest, clean_up
from memory_watchdog.http_client import MAX_BODY_BYTES, Answer, Failure, TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, ServerReport
from memory_watchdog.sources.stats import StatisticsReading, StatisticsSource

from tests.support.http import DEADLINE_SECONDS, HEAD, VALUES, failed, fetch, run
from tests.support.servers import (
    RawServer,
    Respond,
    answering,
    by_path,
    dripping,
    endless,
    full_backlog,
    gzip_bomb,
    gzipped,
    hang,
    hanging_after,
    message,
    resetting_after,
    sending,
)


@pytest.mark.parametrize(
    ("respond", "reason", "answered_anything", "detail"),
    [
        (hang, Reason.TIMEOUT, False, "no answer within 300ms"),
        (hanging_after(b"HTTP/1.1 200 OK\r\nX-A"), Reason.TIMEOUT, False, "no answer within 300ms"),
        (hanging_after(HEAD + b"[1"), Reason.TIMEOUT, True, "the answer did not end within 300ms"),
        (dripping(HEAD), Reason.TIMEOUT, True, "the answer did not end within 300ms"),
        (dripping(b"HTTP/1.1 200 OK\r\nX-Drip: "), Reason.TIMEOUT, False, "no answer within 300ms"),
        (sending(b""), Reason.CLOSED, False, "Server disconnected"),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1"), Reason.CLOSED, True, "peer closed"),
        (resetting_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1"), Reason.CLOSED, True, ""),
        (sending(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Reason.CLOSED, False, "illegal status line"),
        (endless(b"HTTP/1.1 200 OK\r\nX-Long: "), Reason.CLOSED, False, ""),
        (sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Reason.CLOSED, True, ""),
        (answering(b"?", 200, "Content-Encoding: br"), Reason.ENCODING, True, "Content-Encoding br was not asked for"),
        (answering(b"?", 200, "Content-Encoding: gzip, gzip"), Reason.ENCODING, True, "Content-Encoding gzip, gzip"),
        (answering(b"[1]", 200, "Content-Encoding: gzip"), Reason.INVALID, True, "the gzip data cannot be read"),
        (answering(b"\xff\xff", 200, "Content-Encoding: deflate"), Reason.INVALID, True, "the deflate data cannot"),
        (answering(gzipped(b"[1]")[:-3], 200, "Content-Encoding: gzip"), Reason.INVALID, True, "the gzip data are cut"),
        (answering(gzipped(b"[1]") + b"x", 200, "Content-Encoding: gzip"), Reason.INVALID, True, "something follows"),
        (answering(b"", 301, "Location: /other"), Reason.REDIRECT, True, "301 to /other"),
        (
            hanging_after(b"HTTP/1.1 302 Found\r\nLocation: http://u:p@h/x?s=1\r\n\r\n"),
            Reason.REDIRECT,
            True,
            "302 to h/x",
        ),
        (answering(b"who?\r\n\x1b[31m", 401), Reason.HTTP_STATUS, True, "401: who? [31m"),
        (answering(b"", 404), Reason.HTTP_STATUS, True, "404"),
        (answering(b"x" * 100_000, 422), Reason.HTTP_STATUS, True, "422: xxx"),
        (answering(gzipped(b"broken"), 500, "Content-Encoding: gzip"), Reason.HTTP_STATUS, True, "500: broken"),
        (dripping(b"HTTP/1.1 503 Busy\r\n\r\nbusy"), Reason.HTTP_STATUS, True, "503: busy"),
        (endless(b"HTTP/1.1 500 Oops\r\n\r\n"), Reason.HTTP_STATUS, True, "500: xxx"),
        (sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), Reason.CLOSED, False, ""),
    ],
)
def test_each_way_to_fail_has_its_reason(
    respond: Respond, reason: Reason, answered_anything: bool, detail: str
) -> None:
    started = time.monotonic()
    failure = failed(respond, now=lambda: 77.0)
    assert (failure.reason, failure.reached, failure.answered) == (reason, True, answered_anything)
    assert failure.detail.startswith(detail)
    assert failure.answered_at == (77.0 if answered_anything else None)
    assert time.monotonic() - started < 10 * DEADLINE_SECONDS


def test_a_redirect_is_not_followed() -> None:
    async def work() -> int:
        async with RawServer(answering(b"", 307, "Location: /memory")) as server:
            await fetch(server.url)
            return server.connections

    assert run(work()) == 1


@pytest.mark.parametrize("coding", ["", "Content-Encoding: gzip\r\n"])
def test_an_endless_body_ends_at_the_limit(coding: str) -> None:
    squeeze = zlib.compressobj(0, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    head = f"HTTP/1.1 200 OK\r\n{coding}\r\n".encode()
    failure = failed(endless(head + (squeeze.compress(b"x" * 100_000) if coding else b"")), 10)
    assert failure.reason in {Reason.TOO_LARGE} | ({Reason.INVALID} if coding else set())


def test_a_bomb_never_materialises() -> None:
    bomb = gzip_bomb(256 * 1024 * 1024)
    tracemalloc.start()
    try:
        failure = failed(answering(bomb, 200, "Content-Encoding: gzip"), 10)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failure.reason is Reason.TOO_LARGE
    assert peak_bytes < 8 * 1024 * 1024


def test_compressed_data_that_stand_for_nothing_end_at_the_limit() -> None:
    empty_blocks = gzipped(b"")[:10] + b"\x00\x00\x00\xff\xff" * (MAX_BODY_BYTES // 5 + 1)
    assert failed(answering(empty_blocks, 200, "Content-Encoding: gzip"), 10).reason is Reason.TOO_LARGE


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else takes the port
        refused = run(fetch(f"http://127.0.0.1:{bound.getsockname()[1]}"))
    missing = run(fetch(f"unix:{tmp_path}/none.sock"))
    unknown_host = run(fetch("http://no-such-host.invalid:80", 10))
    unfit_host = run(fetch(f"http://{'a' * 70}.example:80", 10))
    for failure in (refused, missing, unknown_host, unfit_host):
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.reached, failure.answered) == (Reason.CONNECTION, False, False)
        assert failure.detail
    assert isinstance(refused, Failure)
    assert "refused" in refused.detail.lower() or "connect" in refused.detail.lower()


def test_a_connect_that_never_ends() -> None:
    async def work() -> Answer | Failure:
        async with full_backlog() as url:
            return await fetch(url)

    assert run(work()) == Failure(Reason.CONNECTION, "no connection within 300ms", reached=False)


def test_an_answer_after_the_deadline_is_nobodys() -> None:
    async def work() -> tuple[Answer | Failure, Answer | Failure]:
        may_answer = asyncio.Event()

        async def late(connection: Any) -> None:
            if connection.request.path == "/late":
                await may_answer.wait()
            await connection.send(message(connection.request.path.encode()))

        async with RawServer(late) as server:
            client = TargetClient(server.url)
            first = await client.request("GET", "/late", timeout_seconds=DEADLINE_SECONDS)
            may_answer.set()
            second = await client.request("GET", "/next", timeout_seconds=5)
            await client.aclose()
            return first, second

    first, second = run(work())
    assert isinstance(first, Failure)
    assert first.reason is Reason.TIMEOUT
    assert isinstance(second, Answer)
    assert second.body == b"/next"


def test_a_hanging_cleanup_does_not_hold_up_the_statistics() -> None:
    async def work() -> tuple[StatisticsReading, Outcome]:
        async with RawServer(by_path(memory=answering(b'{"schema": 1}'), cleanup=hang)) as server:
            client = TargetClient(server.url)
            hanging = asyncio.create_task(clean_up(client, CleanupRequest("/cleanup", timeout_seconds=60), VALUES))
            await server.arrived.wait()
            reading = await StatisticsSource(client, timeout_seconds=5).read(lambda: 1.0)
            assert not hanging.done()
            await client.aclose()
            return reading, await hanging

    reading, outcome = run(work())
    assert reading.report == ServerReport(answered_at=1.0)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.CLOSED)  # aclose ended it


@pytest.mark.parametrize("respond", [hang, dripping(HEAD)])
def test_a_cancelled_request_closes_its_connection(respond: Respond) -> None:
    async def work() -> None:
        async with RawServer(respond) as server:
            client = TargetClient(server.url)
            task = asyncio.create_task(client.request("GET", "/", timeout_seconds=60))
            await server.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.peer_left.wait()
            await client.aclose()

    run(work())


def test_a_deadline_closes_the_connection() -> None:
    async def work() -> None:
        async with RawServer(hang) as server:
            client = TargetClient(server.url)
            await client.request("GET", "/", timeout_seconds=0.1)
            await server.peer_left.wait()  # before aclose
            await client.aclose()

    run(work())


def test_a_closed_client_sends_nothing() -> None:
    async def work() -> Answer | Failure:
        client = TargetClient("http://127.0.0.1:1")
        await client.aclose()
        return await client.request("GET", "/", timeout_seconds=1)

    assert run(work()) == Failure(Reason.NOT_SENT, "the client is closed", reached=False)

"""The HTTP client against a server that answers, in one form or another."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from memory_watchdog.http_client import MAX_BODY_BYTES, Answer, Failure, TargetClient
from memory_watchdog.observation import Reason

from tests.support.http import answered, failed, fetch, run
from tests.support.servers import (
    RawServer,
    answering,
    chunked,
    gzipped,
)


def test_an_answer_is_read_whole_and_the_request_is_what_it_should_be() -> None:
    async def work() -> tuple[Answer | Failure, TargetClient, RawServer]:
        async with RawServer(answering(b'{"a": 1}', 200, "Content-Type: application/json")) as server:
            client = TargetClient(server.url + "/base/")
            headers = {"X-Own": "1", "accept": "text/plain"}
            answer = await client.request(
                "POST", "memory?full=1", timeout_seconds=5, headers=headers, body=b"[1]", now=lambda: 77.0
            )
            await client.aclose()
            return answer, client, server

    answer, client, server = run(work())
    assert answer == Answer(200, b'{"a": 1}', "application/json", 77.0, ("1",))
    assert client.last_answered_at == 77.0
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/base/memory?full=1", b"[1]")
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "text/plain"
    assert request.headers["x-own"] == "1"
    assert request.headers["user-agent"].startswith("memory-watchdog/")


def test_chunks_are_joined() -> None:
    assert answered(chunked(b"[1,", b"2]")).body == b"[1,2]"


def test_a_unix_socket(tmp_path: Path) -> None:
    async def work() -> tuple[Answer | Failure, RawServer]:
        async with RawServer(answering(b"[]"), unix_path=tmp_path / "server.sock") as server:
            return await fetch(server.url), server

    answer, server = run(work())
    assert isinstance(answer, Answer)
    assert server.requests[0].headers["host"] == "localhost"


def test_a_server_that_closes_kept_connections_makes_no_failure() -> None:
    """It promises to keep the connection and closes it: the next request must not run into that."""

    async def work() -> list[Answer | Failure]:
        async with RawServer(answering(b"[]", 200, "Connection: keep-alive")) as server:
            client = TargetClient(server.url)
            answers = [await client.request("GET", "/", timeout_seconds=5) for _ in range(3)]
            await client.aclose()
            assert server.connections == 3
            return answers

    assert [type(answer) for answer in run(work())] == [Answer, Answer, Answer]


def test_no_cookie_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def work() -> RawServer:
        async with RawServer(answering(b"[]", 200, "Set-Cookie: session=1; Path=/")) as server:
            client = TargetClient(server.url)
            for _ in range(2):
                assert isinstance(await client.request("GET", "/", timeout_seconds=5), Answer)
            await client.aclose()
            return server

    assert [request.headers.get("cookie") for request in run(work()).requests] == [None, None]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
def test_gzip_that_nobody_asked_for_is_read(coding: str) -> None:
    assert answered(answering(gzipped(b"[1]"), 200, f"Content-Encoding: {coding}")).body == b"[1]"


def test_deflate_in_both_its_forms_is_read() -> None:
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    for data in (zlib.compress(b"[1]"), bare.compress(b"[1]") + bare.flush()):
        assert answered(answering(data, 200, "Content-Encoding: deflate")).body == b"[1]"


def test_a_mebibyte_is_read_and_one_byte_more_is_not() -> None:
    exact = b"x" * MAX_BODY_BYTES
    assert answered(answering(exact)).body == exact
    failure = failed(answering(exact + b"x"), 10)
    assert (failure.reason, failure.status, failure.detail) == (
        Reason.TOO_LARGE,
        200,
        "the answer is larger than 1.00 MiB",
    )

"""What goes out with a request, and what must not come back in a detail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Reason

from tests.support.http import SECRET, failed, fetch, run
from tests.support.servers import (
    RawServer,
    answering,
    sending,
)


def test_a_token_is_read_anew_when_it_is_rotated(tmp_path: Path) -> None:
    token_file = tmp_path / "token"

    async def work() -> RawServer:
        async with RawServer(answering()) as server:
            client = TargetClient(server.url)
            for token in ("first\n", "other\n"):  # the same size, perhaps within one tick of mtime
                token_file.write_text(token)
                headers = {"authorization": "Basic Zm9v"}
                await client.request("GET", "/", timeout_seconds=5, headers=headers, token_file=token_file)
            await client.aclose()
            return server

    assert [request.headers["authorization"] for request in run(work()).requests] == ["Bearer first", "Bearer other"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        ("", "empty"),
        (" \n\t", "empty"),
        (f"{SECRET}\n{SECRET}", "more than one token"),
        (f"{SECRET}\x00", "more than one token"),
        (f"{SECRET}ü", "more than one token"),
        ("x" * 70_000, "more than one token"),
    ],
)
def test_a_token_file_without_a_token_sends_nothing(tmp_path: Path, content: str | None, complaint: str) -> None:
    token_file = tmp_path / "token"
    if content is not None:
        token_file.write_text(content)
    failure = run(fetch("http://127.0.0.1:1", token_file=token_file))
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.reached) == (Reason.NOT_SENT, False)
    assert str(token_file) in failure.detail
    assert complaint in failure.detail
    assert SECRET not in failure.detail


def test_a_token_file_that_is_a_pipe_or_a_folder_stops_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        failure = run(fetch("http://127.0.0.1:1", token_file=path))
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.NOT_SENT


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": f"{SECRET}\r\nX-Injected: 1"},
        {"X-Key": f"{SECRET}\u20ac"},
        {"X Key": SECRET},
        {"": SECRET},
        {"X-Kéy": SECRET},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_headers_that_http_does_not_allow_are_not_sent(headers: dict[str, str]) -> None:
    failure = failed(answering(), headers=headers)
    assert (failure.reason, failure.reached) == (Reason.NOT_SENT, False)
    assert SECRET not in failure.detail


def test_a_method_and_a_path_that_http_does_not_allow_are_not_sent() -> None:
    async def work() -> list[Answer | Failure]:
        async with RawServer(answering()) as server:
            client = TargetClient(server.url)
            requests = [("GE T", "/"), ("GÉT", "/"), ("GET", "/\x00"), ("GET", "/" + "x" * 100_000)]
            answers = [await client.request(method, path, timeout_seconds=5) for method, path in requests]
            await client.aclose()
            assert server.requests == []
            return answers

    for failure in run(work()):
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.reached) == (Reason.NOT_SENT, False)


def test_what_went_out_in_secret_is_not_in_a_detail(tmp_path: Path) -> None:
    """Servers repeat what they refuse."""
    token_file = tmp_path / "token"
    token_file.write_text("tok-abc\n")
    headers = {"X-Api-Key": SECRET, "Cookie": "session=cafe1234; a=b", "Proxy-Authorization": "Basic dXNlcjpodW50ZXI="}
    secrets = ["tok-abc", SECRET, "cafe1234", "dXNlcjpodW50ZXI", "hunter"]
    told = "no: " + " ".join(secrets)
    for respond in (
        answering(told.encode(), 401),
        answering(b"", 302, f"Location: http://h/{'/'.join(secrets)}"),
        sending(f"HTTP/9 {told}\r\n\r\n".encode()),
    ):
        failure = failed(respond, headers=headers, token_file=token_file)
        assert not [secret for secret in secrets if secret in failure.detail], failure.detail


def test_addresses_that_are_none_are_refused_without_repeating_them() -> None:
    for address in (
        f"http://user:{SECRET}@h:1",
        f"ftp://{SECRET}",
        SECRET,
        "http://",
        "unix:relative",
        f"http://h?{SECRET}",
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is checked below
            TargetClient(address)
        assert SECRET not in str(caught.value)

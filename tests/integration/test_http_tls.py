"""The HTTP client and TLS, good and bad."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Reason

from tests.support.http import HEAD, fetch, run
from tests.support.servers import (
    RawServer,
    Respond,
    answering,
    hang,
    hanging_after,
    resetting_after,
    sending,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, crt = folder / "key.pem", folder / "crt.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return crt, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_a_certificate_that_nobody_signed_is_refused(server_tls: ssl.SSLContext) -> None:
    async def work() -> tuple[Answer | Failure, RawServer]:
        async with RawServer(answering(), tls=server_tls) as server:
            return await fetch(server.url, 10), server

    failure, server = run(work())
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.reached) == (Reason.TLS, False)
    assert failure.detail.startswith("certificate not accepted: self")
    assert server.requests == []


@pytest.fixture
def trusted_tls(
    server_tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    return server_tls


def test_a_trusted_certificate_is_accepted(trusted_tls: ssl.SSLContext) -> None:
    async def work() -> Answer | Failure:
        async with RawServer(answering(b"[1]"), tls=trusted_tls) as server:
            return await fetch(server.url, 10)

    answer = run(work())
    assert isinstance(answer, Answer), answer
    assert answer.body == b"[1]"


def test_https_to_a_server_without_tls() -> None:
    async def work(greeting: bytes) -> Answer | Failure:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(greeting)
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            return await fetch(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", 10)

    for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
        failure = run(work(greeting))
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.reached) == (Reason.TLS, False)


def test_a_handshake_that_never_ends() -> None:
    async def work() -> Answer | Failure:
        with socket.socket() as silent:  # the kernel accepts, nobody answers: a blocked event loop
            silent.bind(("127.0.0.1", 0))
            silent.listen(5)
            return await fetch(f"https://127.0.0.1:{silent.getsockname()[1]}")

    assert run(work()) == Failure(Reason.CONNECTION, "no TLS handshake within 300ms", reached=False)


@pytest.mark.parametrize("cancel", [True, False])
def test_a_handshake_that_is_given_up_closes_its_connection(cancel: bool) -> None:
    """httpcore leaves it open."""

    async def work() -> None:
        async with RawServer(hang) as server:  # without TLS: it waits for the rest of a request
            client = TargetClient(server.url.replace("http:", "https:"))
            task = asyncio.create_task(client.request("GET", "/", timeout_seconds=60 if cancel else 0.1))
            await server.connected.wait()
            if cancel:
                task.cancel()
            await asyncio.wait([task])
            await server.peer_left.wait()
            await client.aclose()

    run(work())


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (hang, Reason.TIMEOUT),
        (hanging_after(HEAD), Reason.TIMEOUT),
        (sending(b""), Reason.CLOSED),
        (resetting_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1"), Reason.CLOSED),
        (answering(b"", 503), Reason.HTTP_STATUS),
    ],
)
def test_after_the_handshake_the_reasons_are_those_of_http(
    trusted_tls: ssl.SSLContext, respond: Respond, reason: Reason
) -> None:
    async def work() -> Answer | Failure:
        async with RawServer(respond, tls=trusted_tls) as server:
            return await fetch(server.url, 1)

    failure = run(work())
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.reached) == (reason, True)


def test_a_server_that_wants_a_certificate_of_ours(trusted_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    trusted_tls.load_verify_locations(certificate[0])
    trusted_tls.verify_mode = ssl.CERT_REQUIRED

    async def work() -> Answer | Failure:
        async with RawServer(answering(), tls=trusted_tls) as server:
            return await fetch(server.url, 10)

    failure = run(work())
    assert isinstance(failure, Failure)
    assert failure.reason in {Reason.TLS, Reason.CLOSED}  # its alert races with its reset

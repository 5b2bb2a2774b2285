"""One place that speaks HTTP to a target, and makes it safe.

Covers: the total deadline from connecting to the last byte, the bound on what is read, every way in which a request
can fail as a value, bearer tokens from files, unix sockets, TLS.
Leaves to others: what is asked and what the answer means (`sources`, `actions`), the bound itself (`http_body`).

What this client does not do, by construction: it follows no redirect, keeps no cookie, reads no proxy or other
setting from the environment, and repeats no request. Every request has a connection of its own, closed at its end.
A kept connection saves 0.1 ms on loopback, and costs a wrong failure whenever the server closes it first; and so a
cleanup that hangs never stands in the way of the statistics.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from memory_watchdog.clock import Clock
from memory_watchdog.http_body import BoundedBody
from memory_watchdog.http_request import Address, NotSent, build_request, parse_address
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.outside_text import one_line, redact
from memory_watchdog.quantities import format_seconds

MAX_BODY_BYTES = 1024 * 1024
"""Of an answer, after decompression."""

_EXCERPT_BYTES = 4096
"""Of an answer that is not 2xx: enough for one line of a detail."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer, read to its end. `answered_at` is when its status came."""

    status: int
    body: bytes
    content_type: str
    answered_at: float
    secrets: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Names in lower case. Out of the repr: they may hold a session."""

    def detail(self, text: str) -> str:
        """`text` from this answer as a detail: one line, without the secrets that went out with the request."""
        return one_line(redact(text, self.secrets))


class Listener(Protocol):
    """Hears a 2xx answer while it comes: what is asked may be said before the answer ends, if that ends at all."""

    def begin(self, content_type: str) -> None:
        """It has begun."""

    def feed(self, piece: bytes) -> bool:
        """A piece of the body, decompressed; True when no more is needed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No 2xx answer, or one that could not be read.

    `reached` is False when the server certainly got nothing of the request. `answered_at` is when a status came, if
    one did; `status` is that.
    """

    reason: Reason
    detail: str
    reached: bool
    answered_at: float | None = None
    status: int | None = None

    @property
    def answered(self) -> bool:
        """Whether the server answered anything over HTTP."""
        return self.answered_at is not None


class TargetClient:
    """Requests to one target. It belongs to the event loop of its first request; close it with `aclose`.

    `base_url` is `http(s)://host[:port][/base]` or `unix:/path`; ValueError says why it is neither. Certificates are
    checked against the system's authorities (or SSL_CERT_FILE, SSL_CERT_DIR, which OpenSSL reads).
    """

    def __init__(self, base_url: str) -> None:
        self._address = parse_address(base_url)
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._closed = False
        self.last_answered_at: float | None = None
        """When the server last answered any request, with whatever status."""

    async def request(  # noqa: PLR0913 - each is a part of the request, and all but two are given by name
        self,
        method: str,
        path: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        token_file: Path | None = None,
        secrets: Iterable[str] = (),
        now: Callable[[], float] | None = None,
        listener: Listener | None = None,
    ) -> Answer | Failure:
        """One request. `path` is added to the base; `body` is JSON; `now` (CLOCK_BOOTTIME, if left out) tells when
        an answer came. With a `listener` the answer ends when that has heard enough.

        The token in `token_file` is read at every request (30 µs, and a rotated one is never missed). It, the values
        of `headers`, and `secrets` appear in no detail. Raises nothing but CancelledError, which ends the connection.
        """
        if self._closed:
            return Failure(Reason.NOT_SENT, "the client is closed", reached=False)
        exchange = _Exchange(timeout_seconds, now or Clock().boottime)
        built = build_request(self._address, method, path, headers or {}, body, token_file, secrets)
        if isinstance(built, NotSent):
            return Failure(Reason.NOT_SENT, built.detail, reached=False)
        request, exchange.secrets = built
        request.extensions = {"trace": exchange.trace}
        try:
            async with exchange.connection, asyncio.timeout(timeout_seconds):
                response = await self._open_transport().handle_async_request(request)
                try:
                    self.last_answered_at = exchange.take_status(response)
                    return await exchange.read(response, listener)
                finally:
                    await response.aclose()
        # StreamError and ValueError (a UnicodeError of a host name among them) come out of httpx unmapped
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            return exchange.failure(error)

    async def aclose(self) -> None:
        """Close every connection. A request that is under way ends as a Failure, later ones are not sent."""
        self._closed = True
        if self._transport is not None:
            await self._transport.aclose()

    def _open_transport(self) -> httpx.AsyncHTTPTransport:
        if self._transport is None:
            self._transport = _transport(self._address)
        return self._transport


def _transport(address: Address) -> httpx.AsyncHTTPTransport:
    """Unbounded, so that no request waits for another; nothing is kept alive."""
    return httpx.AsyncHTTPTransport(
        # without TLS a bare context, trusting nobody: loading the authorities costs 20 ms and some megabytes
        verify=ssl.create_default_context() if address.tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        uds=address.socket_path,
    )


class _Exchange:
    """One request under way: how far it came, which decides what a failure means."""

    def __init__(self, timeout_seconds: float, now: Callable[[], float]) -> None:
        self.secrets: tuple[str, ...] = ()
        self.connection = AsyncExitStack()
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._in_handshake = False
        self._sending = False
        self._answered_at: float | None = None
        self._status: int | None = None
        self._body = BoundedBody("", 0)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's account of what it does. It is the only one that tells a slow connect from a slow answer.

        The connection is closed here too: httpcore 1.0.9 leaves it open for ever if cancelled in a TLS handshake.
        """
        if event in {"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"}:
            self.connection.push_async_callback(info["return_value"].aclose)
        elif event == "connection.start_tls.started":
            self._in_handshake = True
        elif event == "http11.send_request_headers.started":
            self._sending = True

    def take_status(self, response: httpx.Response) -> float:
        """The status has come; returns when."""
        self._status = response.status_code
        self._answered_at = self._now()
        return self._answered_at

    async def read(self, response: httpx.Response, listener: Listener | None = None) -> Answer | Failure:
        """The body of `response`, or why it is a failure."""
        assert self._answered_at is not None
        if 300 <= response.status_code < 400:
            return self._fail(Reason.REDIRECT, f"{response.status_code}{_destination(response)}")
        limit_bytes = MAX_BODY_BYTES if response.is_success else _EXCERPT_BYTES
        self._body = BoundedBody(response.headers.get("content-encoding", ""), limit_bytes)
        content_type = response.headers.get("content-type", "")
        if listener is not None:
            listener.begin(content_type)
        problem: Unavailable | None = None
        heard_enough = False
        async for chunk in response.aiter_raw():
            known = len(self._body.bytes)
            if problem := self._body.feed(chunk):
                break
            if listener is not None and response.is_success:
                heard_enough = listener.feed(bytes(self._body.bytes[known:]))
                if heard_enough:
                    break
        if not response.is_success:
            return self._bad_status()
        if problem := problem or (None if heard_enough else self._body.finish()):
            return self._fail(problem.reason, problem.detail)
        headers = dict(response.headers)
        body = bytes(self._body.bytes)
        return Answer(response.status_code, body, content_type, self._answered_at, self.secrets, headers)

    def failure(self, error: Exception) -> Failure:
        """What `error` means at the point where the request is."""
        if self._status is not None and not 200 <= self._status < 300:
            return self._bad_status()  # the status says it all, whatever became of the body
        if isinstance(error, httpx.LocalProtocolError) and self._answered_at is None:
            # its text may repeat a header
            return self._fail(Reason.NOT_SENT, "the method or a header is not valid HTTP", reached=False)
        within = f"within {format_seconds(self._timeout_seconds)}"
        if not self._sending and isinstance(error, TimeoutError):
            step = "TLS handshake" if self._in_handshake else "connection"
            return self._fail(Reason.CONNECTION, f"no {step} {within}")
        if isinstance(error, TimeoutError):
            what = "the answer did not end" if self._status else "no answer"
            return self._fail(Reason.TIMEOUT, f"{what} {within}")
        origin = _origin(error)
        if isinstance(origin, ssl.SSLError):
            return self._fail(Reason.TLS, _ssl_detail(origin))
        if not self._sending and self._in_handshake:
            return self._fail(Reason.TLS, "the connection ended during the TLS handshake")
        if not self._sending:
            return self._fail(Reason.CONNECTION, _os_detail(origin))
        return self._fail(Reason.CLOSED, str(error) or _os_detail(origin))

    def _fail(self, reason: Reason, detail: str, *, reached: bool | None = None) -> Failure:
        sent = self._sending if reached is None else reached
        return Failure(reason, one_line(redact(detail, self.secrets)), sent, self._answered_at, self._status)

    def _bad_status(self) -> Failure:
        text = bytes(self._body.bytes).decode(errors="replace")
        excerpt = one_line(redact(text, self.secrets))
        detail = one_line(f"{self._status}: {excerpt}" if excerpt else str(self._status))
        return Failure(Reason.HTTP_STATUS, detail, True, self._answered_at, self._status)


def _destination(response: httpx.Response) -> str:
    """Where a redirect points, without its query, which may hold a session."""
    location = response.headers.get("location", "").partition("?")[0]
    _, at, host = location.partition("@")
    return f" to {host if at else location}" if location else ""


def _origin(error: BaseException) -> BaseException:
    """What lies at the bottom: httpx wraps httpcore, which wraps anyio, which wraps the system's error.

    httpcore raises some of its errors "from None", so the context is followed too; but not into what asyncio's TLS uses
    to say that it waits.
    """
    while not (isinstance(error, OSError) and error.errno):
        inner = error.__cause__ or error.__context__
        if isinstance(error, BaseExceptionGroup):
            inner = error.exceptions[0]  # one for each address of a host name
        if inner is None or isinstance(inner, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            break
        error = inner
    return error


def _ssl_detail(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    return f"TLS: {error.reason or error.strerror or type(error).__name__}"


def _os_detail(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__

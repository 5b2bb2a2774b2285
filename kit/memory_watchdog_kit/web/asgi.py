"""The endpoints on ASGI: who calls, a bounded body, the answer. Shared by `app`, `fastapi` and `starlette`.

Covers: reading the scope, the body with its bound and its deadline.
Leaves to others: the checks and their order (`endpoints`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from memory_watchdog_kit.web.access import Caller, is_loopback_name
from memory_watchdog_kit.web.endpoints import (
    BODY_SECONDS,
    MAX_BODY_BYTES,
    TOO_LARGE,
    TOO_SLOW,
    Answer,
    Endpoints,
    Route,
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_REFUSED_BODY_SECONDS = 1.0  # a small body is on its way already: clients send it right after the head


async def answer_to(endpoints: Endpoints, route: Route, scope: Scope, receive: Receive) -> Answer:
    """The answer to one request for `route`. Nothing of it is parsed that need not be."""
    refusal = endpoints.why_not(route, caller_of(scope), _announced_bytes(scope))
    if refusal is not None:
        await discard_body(scope, receive)
        return refusal
    body = b""
    if route is Route.CLEANUP:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                whole = await _body(receive)
        except TimeoutError:
            return TOO_SLOW
        if whole is None:
            return TOO_LARGE
        body = whole
    return await endpoints.run(route, body)


async def discard_body(scope: Scope, receive: Receive) -> None:
    """Let the small body of a refused request arrive before the connection ends.

    Closing with bytes unread resets the connection, and the client might never see why it was refused. One that waits
    for leave to send, or announces more than is ever taken, is not waited for.
    """
    waits = any(name.lower() == b"expect" for name, _ in scope["headers"])
    if waits or _announced_bytes(scope) > MAX_BODY_BYTES:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REFUSED_BODY_SECONDS):
            await _body(receive)


def caller_of(scope: Scope) -> Caller:
    """Who asks. A missing peer is local only where the server says that it listens on a Unix socket.

    A TCP peer that has reset its connection is missing too, and its request can still be read: from anywhere. A server
    that says nothing of its own socket either (uvicorn of 2024 on a Unix socket) leaves a caller that needs the token.
    """
    client, server = scope.get("client"), scope.get("server")
    local = is_loopback_name(str(client[0])) if client else server is not None and server[1] is None
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return Caller(local, headers)


def head_of(answer: Answer) -> dict[str, str]:
    """The headers of an answer, for whoever sends it."""
    closing = {"Connection": "close"} if answer.closes else {}
    return {"Content-Type": "application/json", **dict(answer.headers), **closing}


async def send_answer(answer: Answer, send: Send) -> None:
    """The answer as ASGI messages."""
    headers = {**head_of(answer), "Content-Length": str(len(answer.body))}
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.body})


def _announced_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where there is none. The server has refused one that is no number."""
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    return max((int(value) for value in lengths if value.isdigit() and len(value) < 20), default=0)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; what came of it from a client that left; None as soon as it is too much."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)

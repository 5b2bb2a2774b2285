"""What a request must be before it is read: allowed to change something, and small.

Covers: requests other than GET and HEAD, judged by their head, then counted while they arrive.
Leaves to others: the rule itself (`web.access`), what a body means (`web.schemas`).

Outside the framework, which reads a whole body before it asks whether the request is allowed: 300 MB of JSON that were
then refused took 1.5 GB.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_watchdog.web.access import why_scope_refused

MAX_BODY_BYTES = 64 * 1024
"""Our bodies are a level, a reason of 200 characters, a number: a kilobyte. The rest is room for what will come."""

_READ = ("GET", "HEAD")
_REFUSED_BODY_SECONDS = 1.0  # a small body is on its way already: clients send it right after the head


class Limits:
    """Pure ASGI. 403 for whoever may not change anything, 413 for a body that is too large; both close the connection,
    so that what is still on its way is read for a second at most."""

    def __init__(self, app: ASGIApp, allows_loopback: Callable[[], bool]) -> None:
        self._app = app
        self._allows_loopback = allows_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] in _READ:
            await self._app(scope, receive, send)
            return
        problem = why_scope_refused(scope, allow_loopback=self._allows_loopback())
        if problem is not None:
            await _discard_body(scope, receive)
            await _refusal(status.HTTP_403_FORBIDDEN, problem)(scope, receive, send)
            return
        messages = None if _announced_bytes(scope) > MAX_BODY_BYTES else await _whole(receive)
        if messages is None:
            refusal = _refusal(413, f"a body of more than {MAX_BODY_BYTES // 1024} KiB")
            await refusal(scope, receive, send)
            return
        waiting = iter(messages)

        async def replay() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, replay, send)


def _announced_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where there is none. The server has refused one that is no number."""
    return max(
        (int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()), default=0
    )


async def _discard_body(scope: Scope, receive: Receive) -> None:
    """Let the small body of a refused request arrive: closing with it unread resets the connection, and the client
    might never see why. One that waits for leave to send, or announces more than is ever taken, is not waited for."""
    if any(name == b"expect" for name, _ in scope["headers"]) or _announced_bytes(scope) > MAX_BODY_BYTES:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REFUSED_BODY_SECONDS):
            await _whole(receive)


async def _whole(receive: Receive) -> list[Message] | None:
    """Everything of the body, or the end of a client that left; None as soon as it is too much."""
    messages: list[Message] = []
    received = 0
    while True:
        message = await receive()
        messages.append(message)
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return messages


def _refusal(code: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers={"Connection": "close"})

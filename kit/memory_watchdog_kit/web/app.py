"""The endpoints as an ASGI application without dependencies: mount it, or serve it by itself.

Leaves to others: the checks (`endpoints`), ASGI itself (`asgi`).
"""

from __future__ import annotations

import os

from memory_watchdog_kit.web.asgi import Receive, Scope, Send, answer_to, discard_body, send_answer
from memory_watchdog_kit.web.endpoints import Endpoints, Manager, Route


class MemoryApp:
    """`GET /memory` and `POST /memory/cleanup`; anything else is 404 or 405. Runs on asyncio.

    `token_file` and `allow_loopback_changes` say who may clean up: see `web.access`. Served by itself or mounted
    anywhere, `prefix` (such as `/internal`) being what the mount has not taken off. ValueError for a prefix that does
    not begin with a slash, or ends with one.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        token_file: str | os.PathLike[str] | None = None,
        allow_loopback_changes: bool = True,
        prefix: str = "",
    ) -> None:
        self._endpoints = Endpoints(
            manager, token_file=token_file, allow_loopback_changes=allow_loopback_changes, prefix=prefix
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            route = self._endpoints.route(scope["method"], _path_in(scope))
            if isinstance(route, Route):
                answer = await answer_to(self._endpoints, route, scope, receive)
            else:
                answer = route
                await discard_body(scope, receive)
            await send_answer(answer, send)


def _path_in(scope: Scope) -> str:
    """The path below the mount: newer frameworks leave it whole beside `root_path`, older ones cut it."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing is to be started; whoever serves this by itself wants to be told so."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

"""The endpoints as Starlette routes, and on an MCP server.

Needs `starlette`, which FastAPI and the `mcp` package bring along. Leaves to others: the checks (`endpoints`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

try:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route as StarletteRoute
except ImportError as missing:
    raise ImportError(
        "memory_watchdog_kit.web.starlette needs starlette, which memory-watchdog-kit[fastapi] brings"
    ) from missing

from memory_watchdog_kit.web.asgi import answer_to, head_of
from memory_watchdog_kit.web.endpoints import Endpoints, Manager, Route

Handler = Callable[[Request], Awaitable[Response]]


class HasCustomRoute(Protocol):
    """An MCP server: `FastMCP` of `mcp` 1, `MCPServer` of `mcp` 2."""

    def custom_route(self, path: str, methods: list[str]) -> Callable[[Handler], Any]:
        """Registers a handler beside the MCP endpoint; no authentication and no host check is in front of it."""


def memory_routes(
    manager: Manager,
    *,
    token_file: str | os.PathLike[str] | None = None,
    allow_loopback_changes: bool = True,
    prefix: str = "",
) -> list[StarletteRoute]:
    """Routes for `GET /memory` and `POST /memory/cleanup`, to be added to an application's own.

    `token_file` and `allow_loopback_changes` say who may clean up: see `web.access`. ValueError for a prefix that does
    not begin with a slash, or ends with one.
    """
    endpoints = Endpoints(manager, token_file=token_file, allow_loopback_changes=allow_loopback_changes, prefix=prefix)
    return [StarletteRoute(path, handler, methods=methods) for path, methods, handler in _handlers(endpoints, prefix)]


def add_to_mcp(
    server: HasCustomRoute,
    manager: Manager,
    *,
    token_file: str | os.PathLike[str] | None = None,
    allow_loopback_changes: bool = True,
    prefix: str = "",
) -> None:
    """Put both endpoints on an MCP server that speaks HTTP, before its application is made.

    The MCP package puts neither authentication nor a host check in front of them: the rule in `web.access` is all there
    is. `server` is a `FastMCP` of `mcp` 1 or an `MCPServer` of `mcp` 2. TypeError for one without `custom_route`,
    ValueError for a prefix that does not begin with a slash, or ends with one.
    """
    if not callable(getattr(server, "custom_route", None)):
        raise TypeError(f"{type(server).__name__} has no custom_route: it is no MCP server that speaks HTTP")
    endpoints = Endpoints(manager, token_file=token_file, allow_loopback_changes=allow_loopback_changes, prefix=prefix)
    for path, methods, handler in _handlers(endpoints, prefix):
        server.custom_route(path, methods)(handler)


def _handlers(endpoints: Endpoints, prefix: str) -> Sequence[tuple[str, list[str], Handler]]:
    return [(prefix + route.path, [route.method], _handler(endpoints, route)) for route in Route]


def _handler(endpoints: Endpoints, route: Route) -> Handler:
    async def memory_endpoint(request: Request) -> Response:
        answer = await answer_to(endpoints, route, request.scope, request.receive)
        return Response(answer.body, answer.status, head_of(answer))

    return memory_endpoint

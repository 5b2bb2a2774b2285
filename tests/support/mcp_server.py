"""A real MCP server, made with the official package, in a process of its own.

`python -P mcp_server.py stateful|stateless json|events [SOCKET]` says its port, or `ready` on a unix socket. With
package 1.x it runs as well: class and module have other names there. What its tools were called with they write to
standard error, a line each.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

IS_1 = importlib.util.find_spec("mcp.server.mcpserver") is None
PACKAGE: Any = importlib.import_module("mcp.server.fastmcp" if IS_1 else "mcp.server.mcpserver")
if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
else:
    Context = PACKAGE.Context


def cleanup_memory(
    level: str, reason: str = "", request_id: str = "", target_bytes: int | None = None
) -> dict[str, Any]:
    """The wire contract's answer, as structured content."""
    call = {"level": level, "reason": reason, "request_id": request_id, "target_bytes": target_bytes}
    print(json.dumps({"tool": "cleanup_memory", **call}), file=sys.stderr, flush=True)
    if level not in ("normal", "aggressive"):
        raise ValueError(f"unknown level {level}")
    return {"schema": 1, "request_id": request_id, "reclaimed_bytes": 1234, "components": []}


def cleanup_as_text(level: str) -> str:
    """JSON in a text."""
    return json.dumps({"memory_freed_mb": 2.5, "error": None if level == "normal" else "the index is busy"})


def cleanup_in_words() -> str:
    """What a person reads."""
    return "Freed a lot."


def cleanup_with_an_error() -> dict[str, Any]:
    """A component that failed, inside a success."""
    return {"components": [{"name": "cache", "bytes_freed": 5, "error": "it is locked"}]}


def cleanup_that_raises() -> str:
    """An error of the tool itself."""
    raise RuntimeError("no memory manager\nis running")


async def cleanup_with_progress(ctx: Context[Any, Any]) -> dict[str, Any]:
    """Other events before the answer."""
    for step in range(3):
        await ctx.report_progress(step, 3)
        await asyncio.sleep(0)
    return {"reclaimed_bytes": 7}


async def cleanup_that_hangs() -> str:
    """Never ends."""
    await asyncio.sleep(3600)
    return ""


def app_of(**options: bool) -> Any:
    """The server's ASGI application."""
    server = PACKAGE.FastMCP("test", **options) if IS_1 else PACKAGE.MCPServer("test")

    async def memory(request: Request) -> Response:
        """The wire contract's statistics; the one component is the sessions that the server keeps."""
        sessions = len(server.session_manager._server_instances)
        return JSONResponse({"schema": 1, "process": {}, "components": [{"name": "sessions", "items": sessions}]})

    server.custom_route("/memory", methods=["GET"])(memory)
    for tool in (
        cleanup_memory,
        cleanup_as_text,
        cleanup_in_words,
        cleanup_with_an_error,
        cleanup_that_raises,
        cleanup_with_progress,
        cleanup_that_hangs,
    ):
        server.tool()(tool)
    return server.streamable_http_app(**({} if IS_1 else options))


def main(state: str, form: str, path: str = "") -> None:
    app = app_of(stateless_http=state == "stateless", json_response=form == "json")
    listening = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listening.bind(path or ("127.0.0.1", 0))
    listening.listen(100)  # from now on a client waits, and is not refused
    print("ready" if path else listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])

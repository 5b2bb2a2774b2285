"""The server as a program: its parts put together, its transports, its end.

Covers: `main`: both transports until SIGTERM, SIGINT or the end of standard input; logs go to standard error.
Leaves to others: tools (`tools`), what is kept (`with_kit`, `without_kit`), the memory endpoints (the kit's `web`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from typing import Literal

import uvicorn
from mcp.server.mcpserver import MCPServer
from memory_watchdog_kit import StoreError, return_large_blocks, settle_heap
from memory_watchdog_kit.web.listener import MemoryListener
from memory_watchdog_kit.web.starlette import add_to_mcp

from examples.mcp_server.confined import Root
from examples.mcp_server.embedders import find_embedder
from examples.mcp_server.options import Options, parse
from examples.mcp_server.plain_cleanup import add_plain_endpoints
from examples.mcp_server.retrieval import Retrieval
from examples.mcp_server.tools import add_tools
from examples.mcp_server.with_kit import KeepingWithKit
from examples.mcp_server.without_kit import KeepingWithoutKit

log = logging.getLogger(__name__)

INSTRUCTIONS = "Index a directory once, then search it by level: file, class, method. Paths are relative to the root."

_GRACE_SECONDS = 2
"""What a request that runs at the end is given."""

_IDLE_SECONDS = 60
"""How long an idle connection stays open. Clients close theirs after 5 s; with uvicorn's own 5 s both sides closed at
the same moment, and a call that was sent just then was lost, and the whole client with it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to end; the exit status: 0, or 2 where the options cannot be followed."""
    options = parse(arguments)
    try:
        root = Root(options.root)
        keeping = _keeping(options)
    except (OSError, ValueError, ImportError, StoreError) as error:
        sys.stderr.write(f"the server does not start: {error}\n")
        return 2
    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        server = MCPServer("source-retrieval", instructions=INSTRUCTIONS, log_level=_level(options.log_level))
        add_tools(server, Retrieval(root, keeping))
        log.info("root %s, kit %s", root.path, "on" if options.with_kit else "off")
        if options.with_kit:
            settle_heap()  # what is alive now stays: later collections need not look at it
        serve = _serve_stdio if options.transport == "stdio" else _serve_http
        asyncio.run(serve(server, keeping, options))
    except OSError as error:
        sys.stderr.write(f"the server cannot listen: {error}\n")
        return 2
    finally:
        keeping.close()
    return 0


def _keeping(options: Options) -> KeepingWithKit | KeepingWithoutKit:
    if not options.with_kit:
        return KeepingWithoutKit(find_embedder(options.embedder))
    return_large_blocks()  # answers of 300 KB come and go: their pages are not to stay with the allocator
    return KeepingWithKit(find_embedder(options.embedder), options)


def _add_endpoints(server: MCPServer, keeping: KeepingWithKit | KeepingWithoutKit, options: Options) -> None:
    """`GET /memory` and `POST /memory/cleanup` beside the MCP endpoint."""
    if isinstance(keeping, KeepingWithKit):
        add_to_mcp(server, keeping.manager, token_file=options.token_file)
    else:
        add_plain_endpoints(server, keeping.cleaner)


def _listener(
    keeping: KeepingWithKit | KeepingWithoutKit, options: Options
) -> contextlib.AbstractContextManager[MemoryListener | None]:
    """The same on a Unix socket, where one was asked for."""
    if options.unix_socket is None or not isinstance(keeping, KeepingWithKit):
        return contextlib.nullcontext()
    return MemoryListener(keeping.manager, options.unix_socket.absolute(), token_file=options.token_file)


async def _serve_http(server: MCPServer, keeping: KeepingWithKit | KeepingWithoutKit, options: Options) -> None:
    """Stateless: a session that a client leaves open would keep 41 to 66 KB until its timeout."""
    _add_endpoints(server, keeping, options)
    app = server.streamable_http_app(
        json_response=options.json_answers, stateless_http=True, host=options.host, max_sessions=None
    )
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.create_server((options.host, options.port), family=family)
    host = f"[{options.host}]" if family is socket.AF_INET6 else options.host
    print(f"http://{host}:{listening.getsockname()[1]}", flush=True)
    # no log line a request: at 50 a second they say nothing
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    with _listener(keeping, options):
        await _Uvicorn(config).serve([listening])


class _Uvicorn(uvicorn.Server):
    """uvicorn that ends with the program's own status, and not by the signal sent once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """End on the usual signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve_stdio(server: MCPServer, keeping: KeepingWithKit | KeepingWithoutKit, options: Options) -> None:
    """Until standard input ends, or a signal comes.

    A thread then still waits for the next line and cannot be woken, so that the program has to end without it.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with _listener(keeping, options):
        serving = asyncio.create_task(server.run_stdio_async())
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.is_set():
        await asyncio.to_thread(keeping.close)
        logging.shutdown()
        os._exit(0)
    waiting.cancel()
    await serving


def _level(name: str) -> Literal["DEBUG", "INFO", "WARNING", "ERROR"]:
    levels: dict[str, Literal["DEBUG", "INFO", "WARNING", "ERROR"]] = {
        "debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR",
    }  # fmt: skip
    return levels[name]

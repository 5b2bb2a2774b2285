"""The tools of the server, as MCP clients see them.

Covers: names, arguments, descriptions; work runs on threads, so that the event loop answers meanwhile: also while a
directory is being indexed, which kept the original server silent for minutes.
Leaves to others: what a tool does (`retrieval`), transports (`server`).

Each answer is one JSON text: a client of any version can read it, and 300 KB of results are not sent twice, once as
text and once as structured content.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Literal

import anyio
import anyio.to_thread
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from memory_watchdog_kit import ModelError

from examples.mcp_server.confined import RetrievalError
from examples.mcp_server.keeping import BusyError, Json
from examples.mcp_server.retrieval import Retrieval

WORK_THREADS = 4
"""The framework would take up to 40 threads; each costs the allocator an arena of its own, which gives little back."""

_CONTROL_THREADS = 2
"""Statistics and cleanups do not wait behind work."""

_EXPECTED = (RetrievalError, BusyError, ModelError)


def add_tools(server: MCPServer, retrieval: Retrieval) -> None:
    """Register all seven."""
    _add_retrieval_tools(server, retrieval)
    _add_memory_tools(server, retrieval)


def _add_retrieval_tools(server: MCPServer, retrieval: Retrieval) -> None:
    work = anyio.CapacityLimiter(WORK_THREADS)
    indexing = anyio.CapacityLimiter(1)  # it takes minutes: the others keep their threads

    @server.tool(structured_output=False)
    async def index_directory(path: str = ".") -> str:
        """Index every source file below a directory (relative to the server's root); unchanged files are skipped."""
        return await _off_loop(indexing, lambda: retrieval.index_directory(path))

    @server.tool(structured_output=False)
    async def search(query: str, level: Literal["file", "class", "method"] = "method", limit: int = 10) -> str:
        """Find code by what it is about. `level` is how much each result covers; `limit` is from 1 to 50."""
        return await _off_loop(work, lambda: retrieval.search(query, level, limit))

    @server.tool(structured_output=False)
    async def get_context(path: str, line: int, lines_around: int = 40) -> str:
        """The lines around one line of a file, the function or class that holds it, and similar code elsewhere."""
        return await _off_loop(work, lambda: retrieval.get_context(path, line, lines_around))

    @server.tool(structured_output=False)
    async def read_file(path: str, first_line: int = 1, max_lines: int = 400) -> str:
        """A page of a file; `next_line` in the answer is where the next page begins, null at the end."""
        return await _off_loop(work, lambda: retrieval.read_file(path, first_line, max_lines))


def _add_memory_tools(server: MCPServer, retrieval: Retrieval) -> None:
    control = anyio.CapacityLimiter(_CONTROL_THREADS)
    keeping = retrieval.keeping

    @server.tool(structured_output=False)
    async def health_check() -> str:
        """Whether the server is well; it computes no embedding and loads no model."""
        return await _off_loop(control, keeping.health)

    @server.tool(structured_output=False)
    async def memory_status() -> str:
        """The memory of the server and of each of its caches, in bytes."""
        return await _off_loop(control, keeping.memory)

    @server.tool(structured_output=False)
    async def cleanup_memory(
        level: Literal["normal", "aggressive"] = "normal",
        reason: str = "",
        request_id: str | None = None,
        target_bytes: int | None = None,
    ) -> str:
        """Drop the least valuable part of the caches and give the pages back to the system."""
        clean = functools.partial(keeping.cleanup, level, reason, request_id, target_bytes)
        return await _off_loop(control, clean)


async def _off_loop(limiter: anyio.CapacityLimiter, work: Callable[[], Json]) -> str:
    """The work's answer as text; what was to be expected becomes an error result with its reason."""

    def run() -> str:
        return json.dumps(work(), ensure_ascii=False)

    try:
        return await anyio.to_thread.run_sync(run, limiter=limiter)
    except _EXPECTED as error:
        raise ToolError(str(error)) from error

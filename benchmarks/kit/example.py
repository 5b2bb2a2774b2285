"""The example server under the same load for 20 minutes, with the kit and without: one stays flat, one grows.

Both run side by side, each with a real MCP client that asks the same questions at the same rate; their anonymous memory
is read every second from outside. With `--quick` it is 5 seconds, which show that it works and little more.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import sysconfig
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from mcp import Client

from benchmarks.report import BenchmarkError, Row
from examples.mcp_server.load import Load, leaves
from examples.mcp_server.load_mix import Mix, Shares

_REPOSITORY = Path(__file__).parents[2]
_SECONDS = 1200
_QUICK_SECONDS = 5
_CALLS_PER_SECOND = 8.0
_PACKAGES = ("json", "email", "http", "asyncio", "xml", "unittest")
_QUICK_PACKAGES = ("json",)
_SHARES = Shares(novel=0.6, file_level=0.5, limit=25)
_BOUNDS = ("--embeddings-max-bytes", str(8 * 2**20))
"""The kit's defaults, but for the embeddings in memory: 64 MiB of them would not be full within the 20 minutes."""

MB = 1e6


@dataclass
class _Run:
    """One server, and what was seen of it."""

    kit: str
    process: psutil.Process
    load: Load
    used_bytes: list[int] = field(default_factory=list)

    def look(self) -> None:
        memory = self.process.memory_info()
        self.used_bytes.append(memory.rss - memory.shared)

    @property
    def second_half(self) -> list[int]:
        return self.used_bytes[len(self.used_bytes) // 2 :]


def rows(quick: bool) -> Sequence[Row]:
    """Growth of `off`, spread of `on`, and that both did the same work."""
    try:
        off, on = asyncio.run(_measured(_QUICK_SECONDS if quick else _SECONDS, _QUICK_PACKAGES if quick else _PACKAGES))
    except (OSError, ExceptionGroup) as error:
        raise BenchmarkError("; ".join(repr(leaf) for leaf in leaves(error))) from error
    growth = (off.second_half[-1] - off.second_half[0]) / MB / ((len(off.second_half) - 1) / 60)
    spread = 100 * (max(on.second_half) - min(on.second_half)) / statistics.median(on.second_half)
    compared = [
        # some seconds are still the beginning, in which also this one grows
        Row("example server, kit off: growth over the second half", growth, "MB/min"),
        Row("example server, kit on: spread in the second half", spread, "%", None if quick else 10),
    ]
    for run in (off, on):
        name, report = f"example server, kit {run.kit}", run.load.report
        compared += [
            Row(f"{name}: at the end", run.used_bytes[-1] / MB, "MB"),
            Row(f"{name}: tool calls", report.calls.total(), "calls"),
            Row(f"{name}: half of the answers within", report.percentile_ms(0.5) or 0, "ms"),
        ]
    return compared


async def _measured(seconds: int, packages: Sequence[str]) -> tuple[_Run, _Run]:
    async with _running("off", packages) as off, _running("on", packages) as on:
        loads = [asyncio.create_task(run.load.run(seconds)) for run in (off, on)]
        for _ in range(seconds):
            await asyncio.wait(loads, timeout=1)
            off.look()
            on.look()
        await asyncio.gather(*loads)
        for run in (off, on):
            wrong = run.load.report.errors + run.load.report.failures
            if wrong:
                raise BenchmarkError(f"kit {run.kit}: {dict(wrong)}")
        return off, on


@contextlib.asynccontextmanager
async def _running(kit: str, packages: Sequence[str]) -> AsyncIterator[_Run]:
    """A server that has indexed, and a client of it."""
    root = sysconfig.get_path("stdlib")
    options = ("--kit", kit, "--port", "0", "--root", root, "--embedder", "hashing", "--log-level", "error", *_BOUNDS)
    command = (sys.executable, "-m", "examples.mcp_server", *options)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=_REPOSITORY)
    try:
        assert process.stdout is not None, "asked for"
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise BenchmarkError(f"the example server with --kit {kit} did not start")
        async with Client(f"{url}/mcp", read_timeout_seconds=120) as client:
            for package in packages:
                await client.call_tool("index_directory", {"path": package})
            yield _Run(kit, psutil.Process(process.pid), Load(client, Mix(7, _SHARES), _CALLS_PER_SECOND))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()

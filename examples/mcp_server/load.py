"""`python -m examples.mcp_server.load`: a real MCP client that keeps a server busy, and says how it answered.

Covers: `Load` (a steady rate, several calls at once), its report, the command.
Leaves to others: what is asked (`load_mix`), MCP (the official package).

The rate is kept whatever the server does, and a call's latency counts from when it was due: a server that stands still
for a second is seen in all the calls that it kept waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import TextContent

from examples.mcp_server.load_mix import Mix, Shares

CALLS_AT_ONCE = 8
_CALL_SECONDS = 60.0
_INDEX_SECONDS = 1_800.0


class LoadError(Exception):
    """The load cannot be run; the text says why."""


@dataclass
class Report:
    """What became of the calls. An error is an answer that says so, a failure none at all."""

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    answer_bytes: int = 0
    seconds: float = 0.0
    latencies_seconds: array[float] = field(default_factory=lambda: array("d"))

    def percentile_ms(self, share: float) -> float | None:
        """The latency below which that share of the calls lies; None without calls."""
        ordered = sorted(self.latencies_seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "calls": dict(self.calls),
            "errors": dict(self.errors),
            "failures": dict(self.failures),
            "answer_bytes": self.answer_bytes,
            "seconds": round(self.seconds, 3),
            "calls_per_second": round(self.calls.total() / self.seconds, 3) if self.seconds else None,
            "p50_ms": self.percentile_ms(0.5),
            "p99_ms": self.percentile_ms(0.99),
        }

    def as_text(self) -> str:
        """The same for people."""
        lines = [f"{self.calls.total()} calls in {self.seconds:.1f} s, {self.answer_bytes / 1e6:.1f} MB of answers"]
        lines += [f"  {tool}: {count}" for tool, count in sorted(self.calls.items())]
        lines += [f"  errors, {tool}: {count}" for tool, count in sorted(self.errors.items())]
        lines += [f"  failures, {kind}: {count}" for kind, count in sorted(self.failures.items())]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            value = self.percentile_ms(share)
            lines.append(f"{name} {'unknown' if value is None else f'{value:.1f} ms'}")
        return "\n".join(lines)


class Load:
    """Calls at `rate` a second, which may be changed while it runs."""

    def __init__(self, client: Client, mix: Mix, rate: float, *, calls_at_once: int = CALLS_AT_ONCE) -> None:
        self.rate = rate
        self.report = Report()
        self._client = client
        self._mix = mix
        self._due = 0.0
        self._calls_at_once = calls_at_once

    async def run(self, seconds: float = float("inf")) -> None:
        """Until the time is over. Calls that are under way are waited for."""
        started = self._due = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._calls_at_once):
                    group.create_task(self._caller(started + seconds))
        finally:
            self.report.seconds = time.monotonic() - started

    async def _caller(self, end: float) -> None:
        while self._due < end:
            due, self._due = self._due, self._due + 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() >= end:
                return
            await self._call(due)

    async def _call(self, due: float) -> None:
        tool, arguments = self._mix.next()
        report = self.report
        report.calls[tool] += 1
        try:
            result = await self._client.call_tool(tool, arguments, read_timeout_seconds=_CALL_SECONDS)
        except (MCPError, OSError, TimeoutError) as error:
            report.failures[type(error).__name__] += 1
            return
        report.latencies_seconds.append(time.monotonic() - due)
        text = "".join(part.text for part in result.content if isinstance(part, TextContent))
        report.answer_bytes += len(text)
        if result.is_error:
            report.errors[tool] += 1
        elif tool == "search":
            self._mix.learn(json.loads(text)["results"])


def leaves(error: BaseException) -> list[BaseException]:
    """What went wrong inside; the client of the package runs in task groups, and what ends one comes as a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


async def run(parsed: argparse.Namespace) -> Report:
    """Connect, index if asked to, keep busy."""
    server = parsed.url if parsed.url else StdioServerParameters(command=parsed.command[0], args=parsed.command[1:])
    async with Client(server) as client:
        if parsed.index is not None:
            indexed = await client.call_tool("index_directory", {"path": parsed.index}, _INDEX_SECONDS)
            if indexed.is_error:
                raise LoadError(f"indexing failed: {indexed.content}")
        load = Load(client, Mix(parsed.seed, Shares(novel=parsed.novel, limit=parsed.limit)), parsed.rate)
        await load.run(parsed.seconds)
        return load.report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; status 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m examples.mcp_server.load", allow_abbrev=False)
    parser.add_argument("--url", help="of a running server, with its path: http://127.0.0.1:8000/mcp")
    parser.add_argument("command", nargs="*", help="or, after --, the command of a server that speaks stdio")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second (default 20)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="the same seed asks the same")
    parser.add_argument("--index", metavar="PATH", help="index this directory first")
    parser.add_argument("--novel", type=float, default=0.4, help="share of the searches that are new (default 0.4)")
    parser.add_argument("--limit", type=int, default=10, help="results a search (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(arguments)
    if bool(parsed.url) == bool(parsed.command):
        parser.error("either --url or a command after --")
    if not (parsed.rate > 0 and parsed.seconds > 0 and 0 <= parsed.novel <= 1):
        parser.error("--rate and --seconds are above 0, --novel is from 0 to 1")
    try:
        report = asyncio.run(run(parsed))
    except (LoadError, MCPError, OSError, ExceptionGroup) as error:
        sys.stderr.write(f"the load has ended: {'; '.join(str(leaf) or repr(leaf) for leaf in leaves(error))}\n")
        return 1
    print(json.dumps(report.as_json()) if parsed.json else report.as_text())
    return 1 if report.errors or report.failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: the example server, a real MCP client as its load, and the watchdog beside it.

Covers: what is indexed, the load, limits that fit the machine, the end.
Leaves to others: the server (`server`), the load's calls (`load`), table and story (`memory_watchdog.demo.story`), the
processes (`memory_watchdog.demo.processes`).

The server's query cache is given a bound that is far away, as a wrong setting would: it really fills with results, and
the watchdog's cleanups really empty it. How fast it fills depends on the machine, so the thresholds are set by what the
first seconds of the load showed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from mcp import Client
from memory_watchdog.demo.processes import DemoError, Watching, child, first_line, watchdog_beside
from memory_watchdog.demo.story import Story, end_on_signals, follow, make_console, scrape, summarise
from memory_watchdog.quantities import format_bytes
from rich.console import Console

from examples.mcp_server.load import Load, leaves
from examples.mcp_server.load_mix import Mix, Shares

DEADLINE_SECONDS = 85.0
_START_SECONDS = 30.0
_INDEX_SECONDS = 8.0
_WARM_SECONDS = 3.0
_MEASURED_SECONDS = 5.0

CALM_CALLS_PER_SECOND = 12.0
RUSH_CALLS_PER_SECOND = 36.0

_PACKAGES = ("json", "email", "http", "urllib", "logging", "asyncio", "xml", "importlib", "unittest", "multiprocessing")
"""Of the standard library, which every machine with Python has. As many as fit into the time."""

_SHARES = Shares(search=0.85, read_file=0.1, novel=0.9, file_level=0.6, limit=25)
"""Mostly new questions, with whole files as answers: 200 KB each, of which the cache keeps a quarter, packed."""

MIB = 2**20

_CONFIG = """\
web: {{listen_address: "127.0.0.1:0"}}
log: {{format: json}}
state_file: {state_file}
targets:
  - name: demo
    url: {url}
    preset: native
    limit: {limit}
    interval: 250ms
    stats: {{interval: 1s}}
    settle: 2s
    forecast: {{within: 1s, above: {normal}}}
    levels:
      - {{name: normal, enter: {normal}, exit: {normal_exit}, sustain: 1s, cooldown: 20s, min_reclaim: {least},
         cleanup: {cleanup}}}
      - {{name: aggressive, enter: {aggressive}, exit: {aggressive_exit}, cooldown: 5s, min_reclaim: {least},
         cleanup: {cleanup}}}
"""
_CLEANUP = (
    '{path: /memory/cleanup, timeout: 20s, json: {level: "{level}", reason: "{reason}", request_id: "{request_id}", '
    'target_bytes: "{target_bytes}"}}'
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Sizes in bytes. So chosen that the calm load reaches `normal` in about 10 s, the rush `aggressive` in less."""

    normal: int
    normal_exit: int
    aggressive: int
    aggressive_exit: int
    limit: int
    least: int

    @classmethod
    def fitting(cls, used_bytes: int, growth_bytes_per_second: float) -> Thresholds:
        """For a server that uses so much now and grows so fast under the calm load."""
        step = int(min(max(growth_bytes_per_second, 0.25 * MIB), 8 * MIB))  # of a second
        normal = used_bytes + 10 * step
        aggressive = normal + 9 * step
        return cls(
            normal=normal,
            normal_exit=normal - 6 * step,
            aggressive=aggressive,
            aggressive_exit=aggressive - 8 * step,
            # Far away: near its limit the watchdog would send one normal cleanup after the other, as long as they work,
            # and with some luck the aggressive level would never be needed.
            limit=aggressive + 160 * step,
            least=step // 2,
        )


async def show(console: Console) -> None:
    """Run the demo. Raises DemoError when it does not come to its end in time."""
    end_on_signals()
    console.print("A retrieval server over MCP, a client that keeps it busy, the watchdog beside it. At most 90 s.")
    started = time.monotonic()
    story: Story | None = None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memory-watchdog-demo-")))
            server, url = await _start(stack, folder)
            client = await stack.enter_async_context(Client(f"{url}/mcp"))
            await _index(console, client)
            load = Load(client, Mix(int(time.time()), _SHARES), CALM_CALLS_PER_SECOND)
            loading = await stack.enter_async_context(_in_background(load))
            fitting = await _measured(console, psutil.Process(server.pid), loading)
            config = _config(fitting, url, folder)
            watching = await stack.enter_async_context(watchdog_beside(url, folder, config))
            story = Story("", started=started)
            await _follow(console, watching, story, load, loading)
    except TimeoutError:
        missing = "everything" if story is None else story.missing
        raise DemoError(f"no cleanup that worked was seen within {DEADLINE_SECONDS:g}s at: {missing}") from None
    except ExceptionGroup as group:  # what goes wrong while the client is connected comes out of its task groups
        first = leaves(group)[0]
        raise DemoError(str(first) if isinstance(first, DemoError) else f"the server has gone: {first!r}") from group


async def _start(stack: contextlib.AsyncExitStack, folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The server as a process of its own, and its address."""
    bounds = ("--cache-max-bytes", str(4 << 30), "--cache-max-results", "1000000")
    where = ("--port", "0", "--root", sysconfig.get_path("stdlib"), "--state-dir", str(folder / "server"))
    command = ("examples.mcp_server", *where, *bounds, "--log-level", "error")
    server = await stack.enter_async_context(child(*command, stdout=True))
    url = await first_line(server, _START_SECONDS)
    if not url.startswith("http://"):
        raise DemoError("the example server did not start")
    return server, url


async def _index(console: Console, client: Client) -> None:
    """Index packages of the standard library until the time for it is over."""
    started = time.monotonic()
    for package in _packages():
        result = await client.call_tool("index_directory", {"path": package}, read_timeout_seconds=DEADLINE_SECONDS)
        text = getattr(result.content[0], "text", "") if result.content else ""
        if result.is_error:
            raise DemoError(f"indexing {package} failed: {text}")
        index = json.loads(text)["index"]
        if time.monotonic() - started > _INDEX_SECONDS:
            break
    seconds = time.monotonic() - started
    console.print(
        f"Indexed in {seconds:.0f}s: {index['files']} files of Python's own library, {index['chunks']} chunks.",
        highlight=False,
    )


def _packages() -> list[str]:
    return [name for name in _PACKAGES if Path(sysconfig.get_path("stdlib"), name).is_dir()]


@contextlib.asynccontextmanager
async def _in_background(load: Load) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(load.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _measured(console: Console, server: psutil.Process, loading: asyncio.Task[None]) -> Thresholds:
    """What fits a server that grows like this one, after it has warmed up."""
    await asyncio.wait({loading}, timeout=_WARM_SECONDS)
    before = _anonymous_bytes(server)
    await asyncio.wait({loading}, timeout=_MEASURED_SECONDS)
    if loading.done():
        raise DemoError(f"the load ended: {loading.exception()}")
    used = _anonymous_bytes(server)
    growth = (used - before) / _MEASURED_SECONDS
    fitting = Thresholds.fitting(used, growth)
    console.print(
        f"Under load it uses {format_bytes(used)} and grows by {format_bytes(max(0.0, growth))}/s: "
        f"normal cleanup from {format_bytes(fitting.normal)}, aggressive from {format_bytes(fitting.aggressive)}.",
        highlight=False,
        soft_wrap=True,
    )
    return fitting


def _anonymous_bytes(server: psutil.Process) -> int:
    """Resident without files of the process tree: what the watchdog compares too."""
    sizes = [process.memory_info() for process in (server, *server.children(recursive=True))]
    return sum(size.rss - size.shared for size in sizes)


def _config(fitting: Thresholds, url: str, folder: Path) -> str:
    sizes = {name: f"{getattr(fitting, name)}B" for name in Thresholds.__dataclass_fields__}
    return _CONFIG.format(url=url, state_file=folder / "state.json", cleanup=_CLEANUP, **sizes)


async def _follow(console: Console, watching: Watching, story: Story, load: Load, loading: asyncio.Task[None]) -> None:
    """Show the watchdog at work until both levels have been cleaned up, and tell what came of it."""
    async with httpx.AsyncClient(trust_env=False) as http:
        telling = asyncio.create_task(_steer(story, load))
        try:
            await follow(console, http, watching, story, loading)
        finally:
            telling.cancel()
        await scrape(http, watching, story)
    summarise(console, story)
    report = load.report
    wrong = report.errors.total() + report.failures.total()
    answers = format_bytes(report.answer_bytes)
    console.print(
        f"The load meanwhile: {report.calls.total()} tool calls, {wrong} of them failed, {answers} of answers.",
        highlight=False,
    )


async def _steer(story: Story, load: Load) -> None:
    """More calls once the normal cleanup has worked; say how many there really are."""
    before = load.report.calls.total()
    while True:
        load.rate = RUSH_CALLS_PER_SECOND if story.is_rush else CALM_CALLS_PER_SECOND
        await asyncio.sleep(1.0)
        now = load.report.calls.total()
        story.load, before = f"{now - before} calls/s", now


def main(arguments: Sequence[str] = ()) -> int:
    """The command: status 0 at its end, 1 if it did not come to it."""
    if arguments:
        sys.stderr.write("the demo takes no options\n")
        return 2
    if not sys.platform.startswith("linux"):
        sys.stderr.write(f"the demo reads /proc and needs Linux; this is {sys.platform}\n")
        return 1
    try:
        asyncio.run(show(make_console()))
    except DemoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 1
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

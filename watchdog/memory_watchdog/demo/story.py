"""What both demos show: the watchdog at work, as a table or, where standard output is no terminal, as plain lines.

Covers: what has been seen (`Story`), the live table, the summary, the end on signals.
Leaves to others: servers and their load (`show`, `examples.mcp_server.demo`), the processes (`processes`).

Everything shown comes from the watchdog's own `/metrics` and log: what a user would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from memory_watchdog.demo.processes import DemoError, Watching
from memory_watchdog.quantities import format_bytes

REFRESH_SECONDS = 0.5
PLAIN_WIDTH = 160
"""Columns where standard output is no terminal: no line of ours is broken."""

LEVELS = ("normal", "aggressive")


@dataclass
class Story:
    """What has been seen so far. `worked` maps a level to the verdict that showed a cleanup there to be effective.

    `load` says in a few words what the load does at the moment.
    """

    load: str
    started: float = field(default_factory=time.monotonic)
    worked: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    done: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    samples: dict[tuple[str, ...], float] = field(default_factory=dict)

    @property
    def is_rush(self) -> bool:
        """Once the normal level has worked the load grows, so that the aggressive one is needed."""
        return "normal" in self.worked

    @property
    def is_over(self) -> bool:
        """Have both levels worked?"""
        return all(level in self.worked for level in LEVELS)

    @property
    def missing(self) -> str:
        """The levels at which nothing has worked yet."""
        return ", ".join(level for level in LEVELS if level not in self.worked)

    def value(self, name: str, *labels: str) -> float | None:
        """A sample of the last scrape."""
        return self.samples.get((f"memory_watchdog_{name}", *labels))

    def level(self) -> str:
        """The level that is held."""
        names = ("none", *LEVELS)
        return next((name for name in names if self.value("target_level", name) == 1), "?")


def make_console() -> Console:
    """Standard output, wide enough for our lines where it has no width."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def end_on_signals() -> None:
    """A demo that is ended takes its processes with it; Ctrl-C does so without our help."""
    demo = asyncio.current_task()
    assert demo is not None, "a demo is run by asyncio"
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, demo.cancel)


async def follow(
    console: Console, client: httpx.AsyncClient, watching: Watching, story: Story, load: asyncio.Task[None]
) -> None:
    """Show what happens until both levels have worked. Raises DemoError when the load or the watchdog ends before."""
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else _no_live() as live:
        while not story.is_over:
            if load.done():
                raise DemoError(f"the load ended: {load.exception()}")
            await scrape(client, watching, story)
            news = list(_news(watching, story))
            story.done.extend(news)
            if live is not None:
                live.update(_table(story), refresh=True)
            else:
                console.print(_line(story), highlight=False, soft_wrap=True)
                for text in news:
                    console.print(f"        {text}", highlight=False, markup=False, soft_wrap=True)
            await asyncio.sleep(REFRESH_SECONDS)


@contextlib.contextmanager
def _no_live() -> Iterator[None]:
    yield None


async def scrape(client: httpx.AsyncClient, watching: Watching, story: Story) -> None:
    """Read the watchdog's metrics. Raises DemoError when it does not answer."""
    try:
        answer = await client.get(f"{watching.watchdog_url}/metrics")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise DemoError(f"the watchdog does not answer: {error!r}") from error
    story.samples = {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if key != "target")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _news(watching: Watching, story: Story) -> Iterator[str]:
    """What the watchdog's log says that a viewer wants to know."""
    while not watching.events.empty():
        event = watching.events.get_nowait()
        match event.get("msg"):
            case "level":
                yield f"level {event['before']} -> {event['after']}: {event['reason']}"
            case "cleanup":
                yield f"cleanup at {event['target_level']}: {event['reason']}"
            case "cleanup failed":
                yield f"cleanup at {event['target_level']} failed: {event['reason']} {event.get('detail', '')}"
            case "verdict":
                yield f"verdict at {event['target_level']}: {event['verdict']}, {event['reason']}"
                if event["verdict"] == "effective":
                    story.worked.setdefault(event["target_level"], event)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else format_bytes(value)


def _line(story: Story) -> str:
    used, limit = story.value("target_used_bytes"), story.value("target_limit_bytes")
    seconds = time.monotonic() - story.started
    return f"{seconds:5.1f}s  used {_shown(used):>9}  limit {_shown(limit):>9}  level {story.level()}"


def _table(story: Story) -> Group:
    used, limit = story.value("target_used_bytes"), story.value("target_limit_bytes")
    table = Table()
    for heading in ("time", "used", "limit", "level", "load"):
        table.add_column(heading)
    share = f" ({100 * used / limit:.0f}%)" if used is not None and limit else ""
    seconds = time.monotonic() - story.started
    table.add_row(f"{seconds:.0f}s", _shown(used) + share, _shown(limit), story.level(), story.load)
    return Group(table, *(Text(f"  {text}", overflow="fold") for text in story.done))


def summarise(console: Console, story: Story) -> None:
    """Tell at the end what the watchdog did."""
    table = Table(title="What the watchdog did", title_justify="left")
    for heading in ("level", "cleanups", "reclaimed, measured", "claimed by the server", "first one that worked"):
        table.add_column(heading)
    for level in LEVELS:
        triggers = ("threshold", "forecast", "escalation", "manual")
        sent = sum(story.value("cleanups_total", level, trigger) or 0 for trigger in triggers)
        table.add_row(
            level,
            f"{sent:.0f}",
            _shown(story.value("cleanup_reclaimed_bytes_total", level)),
            _shown(story.value("cleanup_claimed_bytes_total", level)),
            str(story.worked[level]["reason"]),
        )
    console.print(table)
    console.print(
        "Where less is measured than claimed: the load goes on while a cleanup is measured (the settle time), and one "
        "that a higher level supersedes is not measured at all.",
        highlight=False,
    )
    console.print(f"Done in {time.monotonic() - story.started:.0f}s: both levels were reached, cleaned up, and left.")

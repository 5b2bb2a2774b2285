"""`memory-watchdog demo`: a load makes the server grow, the watchdog beside it cleans up, a table shows it.

Covers: load, the end.
Leaves to others: the processes (`processes`), what the server does (`server`), table and summary (`story`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import httpx

from memory_watchdog.demo.processes import DemoError, running
from memory_watchdog.demo.server import RESULT_BYTES
from memory_watchdog.demo.story import Story, end_on_signals, follow, make_console, scrape, summarise
from memory_watchdog.quantities import format_bytes

__all__ = ["DemoError", "show"]

DEADLINE_SECONDS = 55.0
CALM_BYTES_PER_SECOND = 16 * 2**20
RUSH_BYTES_PER_SECOND = 40 * 2**20


async def show(*, keep: bool) -> None:
    """Run the demo. Raises DemoError when it does not come to its end in time."""
    console = make_console()
    end_on_signals()
    console.print("A server whose cache has no bound, a load, and the watchdog beside it. At most a minute.")
    async with running() as pair, httpx.AsyncClient(trust_env=False) as client:
        story = Story(_told(CALM_BYTES_PER_SECOND))
        load = asyncio.create_task(_load(client, pair.server_url, story))
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await follow(console, client, pair, story, load)
        except TimeoutError:
            raise DemoError(
                f"no cleanup that worked was seen within {DEADLINE_SECONDS:g}s at: {story.missing}"
            ) from None
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        await scrape(client, pair, story)
        summarise(console, story)
        if keep:
            console.print(
                f"Still running: {pair.watchdog_url}/metrics, server {pair.server_url}/memory. Ctrl-C ends it."
            )
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


async def _load(client: httpx.AsyncClient, url: str, story: Story) -> None:
    """Queries at a steady rate; each leaves a result in the cache."""
    due = time.monotonic()
    while True:
        answer = await client.post(f"{url}/query")
        answer.raise_for_status()
        rate = RUSH_BYTES_PER_SECOND if story.is_rush else CALM_BYTES_PER_SECOND
        story.load = _told(rate)
        due += RESULT_BYTES / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _told(rate: int) -> str:
    return f"grows by {format_bytes(rate)}/s"

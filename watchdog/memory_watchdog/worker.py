"""Work beside the loop: in a thread, with a deadline, one piece at a time.

Leaves to others: what the work is. It must be pure: a thread cannot be ended, and one that is late works on alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.quantities import format_seconds

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Runs one piece of work at a time: while a late one still runs, the next is refused instead of piling up."""

    def __init__(self) -> None:
        self._running: asyncio.Future[Any] | None = None

    async def run(
        self, deadline_seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | Unavailable:
        """What `work` returns; Unavailable when it takes longer than the deadline, or an earlier one still runs."""
        if self._running is not None and not self._running.done():
            return Unavailable(Reason.TIMEOUT, "an earlier answer is still being worked on")
        running = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
        self._running = running
        done, _ = await asyncio.wait({running}, timeout=deadline_seconds)
        if not done:
            return Unavailable(Reason.TIMEOUT, f"more than {format_seconds(deadline_seconds)} of work on the answer")
        return running.result()

"""When a target is looked at: the loop of its ticks, and what asks for one earlier.

Covers: glances between looks, being woken, lateness, whether the ticks have stopped.
Leaves to others: how long to wait (`pace`), what a look does (`watcher`), which kernel events wake it (`triggers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.ledger import TargetLedger

LATE_SECONDS = 0.05
"""A tick that comes so much later than it was due is late, or by half of its target's interval, if that is more."""

STALLED_INTERVALS = 10
STALLED_AT_LEAST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What the loop calls.

    `glance` says at this time whether a look would decide nothing; `look` looks, and says whether that went well;
    `interval` gives the seconds from this time until the next tick; `target` is the config of now.
    """

    glance: Callable[[float], bool]
    look: Callable[[], Awaitable[bool]]
    interval: Callable[[float], float]
    target: Callable[[], TargetConfig]


class Ticking:
    """The ticks of one target. `ready` after the first look, whatever it saw."""

    def __init__(self, clock: Clock, ledger: TargetLedger) -> None:
        self.ready = False
        self._ledger = ledger
        self._clock = clock
        self._wake = asyncio.Event()
        self._due_at = clock.boottime()

    def wake(self) -> None:
        """Look now; during a look, look again after it."""
        self._wake.set()

    def stalled(self, target: TargetConfig) -> bool:
        """Have the ticks stopped, or does each of them fail? Counted from when the next one was due."""
        overdue = self._clock.boottime() - self._due_at
        waiting = 0.0 if target.stats is None else target.stats.timeout
        return overdue > max(STALLED_AT_LEAST_SECONDS, STALLED_INTERVALS * target.interval) + waiting

    async def run(self, tick: Tick) -> None:
        """Tick until cancelled."""
        due, asked = self._clock.boottime(), True
        while True:
            started = self._clock.boottime()
            late = started - due > max(LATE_SECONDS, tick.target().interval / 2)
            # what was asked for, or is late, is a look: a glance would not see what has changed besides the number
            is_calm = not asked and not late and tick.glance(started)
            went_well = is_calm or await tick.look()
            ended = self._clock.boottime()
            if not is_calm:
                self._ledger.tick_took(ended - started, late=late)
                self.ready = True
            due = max(started + tick.interval(ended), ended)
            if went_well:
                self._due_at = due
            asked = await self._wait(due - ended)
            if asked:
                due = self._clock.boottime()

    async def _wait(self, seconds: float) -> bool:
        """Let `seconds` pass; True when something asked for a tick before."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._wake.set)  # asyncio.timeout ends it by an exception: 80 µs more a tick
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()
        return loop.time() < timer.when()

"""The flight recorder of a running target, where there is a place for one.

Covers: events into it, its trouble said once, what the last one tells.
Leaves to others: the recorder (`recorder`), when a look is over (`watcher`).
"""

from __future__ import annotations

import asyncio

from memory_watchdog.flight.recorder import FlightRecorder
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import Observation
from memory_watchdog.reporting import Reporter


class Aboard:
    """One recorder in use, or none: then nothing is written."""

    def __init__(self, recorder: FlightRecorder | None, ledger: TargetLedger, reporter: Reporter) -> None:
        self._recorder = recorder
        self._reporter = reporter
        self._problem: str | None = None
        if recorder is not None:
            ledger.tell(recorder.event)

    async def tell_of_the_last(self) -> None:
        """What was the server doing before it, or this program, ended?"""
        if self._recorder is not None:
            told = await asyncio.to_thread(self._recorder.told)
            if told is not None:
                self._reporter.flown(told)

    def look(self, seen: Observation, wall: float, held: str) -> None:
        """One look, with the level that is held after it."""
        if self._recorder is None:
            return
        self._recorder.look(seen, wall, held)
        if self._recorder.problem != self._problem:
            self._problem = self._recorder.problem
            self._reporter.flight_failed(self._problem or "")

    def close(self) -> None:
        """Let go of the file, which stays for the next start."""
        if self._recorder is not None:
            self._recorder.close()

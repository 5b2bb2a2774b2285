"""The server's statistics as of now: read when they are too old, never twice at the same time.

Leaves to others: one reading (`stats`), when one is wanted (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from memory_watchdog.clock import Clock
from memory_watchdog.ledger import Statistics, TargetLedger
from memory_watchdog.observation import Reading, Reason, Scalar, ServerReport, Unavailable
from memory_watchdog.reporting import Reporter
from memory_watchdog.sources.stats import StatisticsSource

MIN_SECONDS = 1.0
"""Statistics are never read more often than once a second."""


class StatisticsPoller:
    """Keeps the last reading of one target's statistics. `source` is None where it has none."""

    def __init__(self, source: StatisticsSource | None, ledger: TargetLedger, reporter: Reporter, clock: Clock) -> None:
        self._source = source
        self._ledger = ledger
        self._reporter = reporter
        self._clock = clock
        self._reading = asyncio.Lock()
        self._asked_at = float("-inf")
        self._last_success_wall: float | None = None
        # For `{stats.NAME}`: of the last good reading, since a busy server is the one that needs a cleanup.
        self.values: Mapping[str, Scalar] = {}
        self.report: ServerReport | Unavailable = Unavailable(
            Reason.NOT_CONFIGURED if source is None else Reason.PENDING
        )

    async def values_with(self, names: Collection[str]) -> Mapping[str, Scalar]:
        """The values; read now where one of `names` is not known: the first reading may not have come yet."""
        if not self.values.keys() >= set(names):
            await self.refresh(max_age=MIN_SECONDS)
        return self.values

    def reported(self) -> Reading:
        """What the server says it uses."""
        if isinstance(self.report, Unavailable):
            return self.report
        if self.report.resident_bytes is None:
            return Unavailable(Reason.NOT_FOUND, "the statistics do not say process.resident_bytes")
        return self.report.resident_bytes

    def due_in(self, interval: float) -> float:
        """Seconds until the reading is `interval` old; counted from asking, so that a slow server is asked as often."""
        return max(0.0, self._asked_at + interval - self._clock.boottime())

    async def refresh(self, max_age: float) -> None:
        """Read unless the last reading was asked for less than `max_age` seconds ago."""
        if self._source is None:
            return
        async with self._reading:
            if self.due_in(max_age) > 0:
                return
            self._asked_at = self._clock.boottime()
            reading = await self._source.read(self._clock.boottime)
            self.report = reading.report
            failure = None
            if isinstance(reading.report, Unavailable):
                failure = reading.report.reason
                self._reporter.statistics_failed(reading.report)
            else:
                self._last_success_wall = self._clock.wall()
                self.values = reading.report.values
                for component in reading.report.components:
                    if component.error is not None:
                        self._reporter.component_failed(component.name, component.error)
            report = None if isinstance(reading.report, Unavailable) else reading.report
            self._ledger.statistics_read(
                Statistics(failure is None, reading.duration_seconds, report, self._last_success_wall), failure
            )

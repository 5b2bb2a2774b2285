"""How often a target is looked at, and what the ladder must allow for where that is seldom.

Covers: the growth between two looks, the interval by measure, settings stretched to the pace of Pss.
Leaves to others: the formula (`policy.interval`), the looks themselves (`watcher`, `observer`).
"""

from __future__ import annotations

import math
from dataclasses import replace

from memory_watchdog.config import TargetConfig
from memory_watchdog.observation import Limit, Measure, Observation
from memory_watchdog.observer import Observer
from memory_watchdog.parts import ladder_settings
from memory_watchdog.policy.interval import next_interval
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import NONE, LadderSettings
from memory_watchdog.poller import MIN_SECONDS


class Pace:
    """The pace of one target under one config; a reload begins with a new one."""

    def __init__(self, target: TargetConfig) -> None:
        self._target = target
        self._last_used: tuple[float, int] | None = None
        self._growth = 0.0
        self._pss_spacing = 0.0

    def follow(self, seen: Observation) -> None:
        """Take one look into account."""
        if not isinstance(seen.used, int):
            self._last_used = None
            return
        self.glanced(seen.used, seen.taken_at)

    def glanced(self, used: int, taken_at: float) -> None:
        """Take one number into account."""
        if self._last_used is not None and taken_at > self._last_used[0]:
            self._growth = (used - self._last_used[1]) / (taken_at - self._last_used[0])
        self._last_used = (taken_at, used)

    def begin_anew(self) -> None:
        """Another process: what the old one used says nothing of its growth."""
        self._last_used = None

    def reported_interval(self, ladder: Ladder) -> float:
        """Seconds between two readings of the statistics where they are what is compared."""
        stats, longest = self._target.stats, self._longest(ladder)
        return max(MIN_SECONDS, longest if stats is None else min(longest, stats.interval))

    def interval(self, ladder: Ladder, observer: Observer, now: float) -> float:
        """Seconds until the next look."""
        if observer.compared is Measure.REPORTED:
            return self.reported_interval(ladder)
        limit = observer.limit
        interval = next_interval(
            used=None if self._last_used is None else self._last_used[1],
            limit_bytes=limit.bytes if isinstance(limit, Limit) else None,
            thresholds=ladder.thresholds,
            growth_bytes_per_second=self._growth,
            min_interval_seconds=self._target.min_interval,
            interval_seconds=self._longest(ladder),
        )
        return max(interval, observer.pss_due_at - now) if observer.compared is Measure.PSS else interval

    def settings(self) -> LadderSettings:
        """What the ladder is told: the config's, and where Pss comes seldom, times that wait for it."""
        settings, spacing = ladder_settings(self._target), self._pss_spacing
        if not spacing:
            return settings
        return replace(
            settings,
            stale_after_seconds=max(settings.stale_after_seconds, 3 * spacing),
            settle_seconds=max(settings.settle_seconds, 4 * spacing),
        )

    def stretched(self, spacing: float, ladder: Ladder) -> bool:
        """Must the ladder be told other settings, since Pss of a large server is read as seldom as this?

        In powers of two and only upwards, so that not every reading is a reload.
        """
        if spacing * 3 <= ladder.settings.stale_after_seconds or spacing <= self._pss_spacing:
            return False
        self._pss_spacing = 2.0 ** math.ceil(math.log2(spacing))
        return True

    def _longest(self, ladder: Ladder) -> float:
        """The configured interval; shorter where the second half of a settle time needs readings for its verdict."""
        target = self._target
        if ladder.state.request is None and ladder.held == NONE:
            return target.interval
        return min(target.interval, max(target.settle / 4, target.min_interval))

"""What of a target only goes up, and from where it starts.

Leaves to others: when something is counted (`ledger`), the names of the metrics (`web.metrics`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from memory_watchdog.observation import Reason
from memory_watchdog.policy.events import RestartOutcome, Suppression, Trigger

DURATION_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds. Measured cleanups of real servers take 0.7 to 2.3 s; the default timeouts are 30 and 60 s."""

HTTP_REASONS = (
    Reason.CLOSED, Reason.CONNECTION, Reason.ENCODING, Reason.HTTP_STATUS, Reason.INVALID, Reason.NOT_SENT,
    Reason.REDIRECT, Reason.TIMEOUT, Reason.TLS, Reason.TOO_LARGE,
)  # fmt: skip
CLEANUP_REASONS = (
    *HTTP_REASONS, Reason.ERROR_IN_ANSWER, Reason.TARGET_GONE,
    Reason.GONE, Reason.PERMISSION, Reason.UNSUPPORTED, Reason.UNREADABLE,  # of memory.reclaim
)  # fmt: skip
_PROCESS_REASONS = (
    Reason.AMBIGUOUS, Reason.GONE, Reason.INVALID, Reason.NOT_CONFIGURED, Reason.NOT_FOUND, Reason.PERMISSION,
    Reason.TIMEOUT, Reason.UNREADABLE, Reason.UNSUPPORTED,
)  # fmt: skip
SOURCE_REASONS = {
    "process": _PROCESS_REASONS,
    "cgroup": (Reason.GONE, Reason.NOT_FOUND, Reason.PERMISSION, Reason.TIMEOUT, Reason.UNREADABLE),
    "limit": _PROCESS_REASONS,  # without the process its cgroup is unknown, for the same reason
    "tick": (Reason.INVALID,),
    "flight": (Reason.UNREADABLE,),
}  # fmt: skip
"""By source, what can go wrong with it, so that its counters start at 0."""

TRIGGERS = tuple(Trigger)


@dataclass(slots=True)
class Histogram:
    """Cleanup durations of one level, with the last request id of each bucket as exemplar."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS) + 1))
    sum_seconds: float = 0.0
    exemplars: list[tuple[str, float, float] | None] = field(
        default_factory=lambda: [None] * (len(DURATION_BUCKETS) + 1)
    )

    def observe(self, seconds: float, request_id: str, wall: float) -> None:
        """Count one duration."""
        index = bisect_left(DURATION_BUCKETS, seconds)
        self.counts[index] += 1
        self.sum_seconds += seconds
        self.exemplars[index] = (request_id, seconds, wall)

    def copy(self) -> Histogram:
        """An independent copy, for a reader in another thread."""
        return Histogram(list(self.counts), self.sum_seconds, list(self.exemplars))


@dataclass(slots=True)
class Counters:
    """Everything of a target that only goes up. Keys are the label values in the order of the metric's labels."""

    cleanups: Counter[tuple[str, str]] = field(default_factory=Counter)
    cleanup_failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    ineffective: Counter[str] = field(default_factory=Counter)
    reclaimed_bytes: Counter[str] = field(default_factory=Counter)
    claimed_bytes: Counter[str] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    stats_failures: Counter[str] = field(default_factory=Counter)
    source_failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    kernel_events: Counter[str] = field(default_factory=Counter)
    restart_actions: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    ticks_late: int = 0
    durations: dict[str, Histogram] = field(default_factory=dict)
    last_cleanup_wall: dict[str, float] = field(default_factory=dict)

    def know(self, levels: list[str], sending: list[str], *, statistics: bool, restarts: bool = False) -> None:
        """Let every counter that can count start at 0: `increase()` does not see a series' first value."""
        for level in levels:
            self.ineffective[level] += 0
        for level in sending:
            for counter in (self.ineffective, self.reclaimed_bytes, self.claimed_bytes):
                counter[level] += 0
            for trigger in TRIGGERS:
                self.cleanups[level, trigger] += 0
            for reason in CLEANUP_REASONS:
                self.cleanup_failures[level, reason] += 0
            self.durations.setdefault(level, Histogram())
        for suppression in Suppression:
            self.suppressed[suppression] += 0
        if restarts:
            for outcome in RestartOutcome:
                self.restart_actions[outcome] += 0
        for source, reasons in SOURCE_REASONS.items():
            for reason in reasons:
                self.source_failures[source, reason] += 0
        if statistics:
            for reason in HTTP_REASONS:
                self.stats_failures[reason] += 0

    def forget_levels_but(self, levels: Collection[str]) -> None:
        """A series ends when its subject ends: drop what was counted at levels that a reload removed."""
        for pairs in (self.cleanups, self.cleanup_failures):
            for key in [key for key in pairs if key[0] not in levels]:
                del pairs[key]
        by_level: tuple[MutableMapping[str, Any], ...] = (
            self.ineffective, self.reclaimed_bytes, self.claimed_bytes, self.durations, self.last_cleanup_wall,
        )  # fmt: skip
        for values in by_level:
            for level in [level for level in values if level not in levels]:
                del values[level]

    def copy(self) -> Counters:
        """An independent copy, for a reader in another thread."""
        return replace(
            self,
            cleanups=self.cleanups.copy(),
            cleanup_failures=self.cleanup_failures.copy(),
            ineffective=self.ineffective.copy(),
            reclaimed_bytes=self.reclaimed_bytes.copy(),
            claimed_bytes=self.claimed_bytes.copy(),
            suppressed=self.suppressed.copy(),
            stats_failures=self.stats_failures.copy(),
            source_failures=self.source_failures.copy(),
            kernel_events=self.kernel_events.copy(),
            restart_actions=self.restart_actions.copy(),
            durations={level: histogram.copy() for level, histogram in self.durations.items()},
            last_cleanup_wall=dict(self.last_cleanup_wall),
        )

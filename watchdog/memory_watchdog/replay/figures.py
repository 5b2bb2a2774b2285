"""What a run of a ladder comes to: actions, what was held back, time above each threshold, the nearest approach.

Covers: counting, and the points that a chart needs.
Leaves to others: where the looks come from (`tape`, `model`), how it is shown (`report`, `chart`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from memory_watchdog.observation import Limit, Reading, Unavailable
from memory_watchdog.policy.events import Decision, Note, RestartHeldBack, Suppressed
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.policy.thresholds import Edges, resolve

CHART_POINTS = 1200
"""Columns of a chart; each keeps the highest and the lowest of its time."""


@dataclass(slots=True)
class Column:
    """One column of a chart: from when on, and what memory did in it, in bytes."""

    at: float
    lowest: float
    highest: float
    limit: int | None


@dataclass(slots=True)
class Series:
    """Memory over time in a bounded number of columns: when there are too many, neighbours are put together."""

    columns: list[Column] = field(default_factory=list)
    width_seconds: float = 0.0

    def add(self, at: float, used: float, limit: int | None) -> None:
        """One reading."""
        last = self.columns[-1] if self.columns else None
        if last is not None and at - last.at < self.width_seconds:
            last.lowest, last.highest = min(last.lowest, used), max(last.highest, used)
            last.limit = limit if limit is not None else last.limit
            return
        self.columns.append(Column(at, used, used, limit))
        if len(self.columns) > 2 * CHART_POINTS:
            span = self.columns[-1].at - self.columns[0].at
            self.width_seconds = max(2 * self.width_seconds, span / CHART_POINTS)
            columns, self.columns = self.columns, []
            for column in columns:
                self.add(column.at, column.lowest, column.limit)
                self.add(column.at, column.highest, column.limit)


@dataclass(slots=True)
class Figures:
    """The figures of one run. `wall_offset` added to a time gives seconds since the epoch.

    `spread` are numbers added to each reading for the range of a model: figures are kept for each of them. The first
    is 0, the run itself.
    """

    settings: LadderSettings
    wall_offset: float = 0.0
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    looks: int = 0
    unknown: int = 0
    first_at: float | None = None
    last_at: float | None = None
    above_seconds: list[dict[str, float]] = field(default_factory=lambda: [{}])
    nearest: list[float] = field(default_factory=lambda: [0.0])
    nearest_at: float | None = None
    series: Series = field(default_factory=Series)
    cleanups: list[tuple[float, str]] = field(default_factory=list)
    edges: tuple[Edges | None, ...] | None = None  # of the last limit: working them out takes 16 µs
    edges_for: int | None = None

    @property
    def seconds(self) -> float:
        """How long the run is."""
        return 0.0 if self.first_at is None or self.last_at is None else self.last_at - self.first_at

    def look(self, now: float, used: Reading, limit: Limit | Unavailable, spread: Sequence[float] = (0.0,)) -> None:
        """One look. A gap longer than `stale_after` counts as `stale_after`."""
        before, self.last_at = self.last_at, now
        self.first_at = now if self.first_at is None else self.first_at
        self.looks += 1
        if not isinstance(used, int):
            self.unknown += 1
            return
        limit_bytes = limit.bytes if isinstance(limit, Limit) else None
        self.series.add(now, used, limit_bytes)
        seconds = 0.0 if before is None else min(now - before, self.settings.stale_after_seconds)
        if len(self.nearest) < len(spread):
            self.nearest += [0.0] * (len(spread) - len(self.nearest))
            self.above_seconds += [dict(self.above_seconds[0]) for _ in range(len(spread) - len(self.above_seconds))]
        if self.edges is None or self.edges_for != limit_bytes:
            self.edges, self.edges_for = resolve(self.settings.levels, limit_bytes).edges, limit_bytes
        edges = self.edges
        for index, more in enumerate(spread):
            for level, edge in zip(self.settings.levels, edges, strict=True):
                if edge is not None and used + more >= edge.enter:
                    above = self.above_seconds[index]
                    above[level.name] = above.get(level.name, 0.0) + seconds
            if limit_bytes:
                share = (used + more) / limit_bytes
                if share > self.nearest[index]:
                    self.nearest[index] = share
                    self.nearest_at = now if index == 0 else self.nearest_at

    def noted(self, notes: Sequence[Note]) -> None:
        """What the ladder said besides."""
        for note in notes:
            if isinstance(note, Suppressed):
                self.suppressed[str(note.reason)] += 1
            elif isinstance(note, RestartHeldBack):
                self.suppressed[f"restart, {note.outcome}"] += 1

    def restarted(self) -> None:
        """The process was to be ended."""
        self.restarts += 1

    def decided(self, now: float, decision: Decision) -> None:
        """One request."""
        self.actions[decision.level, str(decision.trigger)] += 1
        self.cleanups.append((now, decision.level))

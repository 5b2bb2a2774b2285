"""The bounded history of a target: last observation, samples, events, and the counters that `/metrics` shows.

Covers: what a scrape, the status page and the API read. They read it from other threads, so every access takes a lock.
Leaves to others: what the numbers mean (`policy`), how they are written out (`web`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from memory_watchdog.counters import Counters, Histogram
from memory_watchdog.observation import Measure, Observation, Outcome, OutcomeKind, Reason, ServerReport, Unavailable
from memory_watchdog.policy.causes import Picture
from memory_watchdog.policy.events import (
    Decision,
    LevelChanged,
    Note,
    RequestFailed,
    RestartDone,
    RestartHeldBack,
    Suppressed,
    ThresholdsChanged,
    Verdict,
    VerdictKind,
)
from memory_watchdog.policy.settings import NONE
from memory_watchdog.policy.thresholds import Edges

PEAK_SECONDS = 60.0
SAMPLE_SECONDS = 1.0
_SAMPLE_AFTER_SECONDS = 0.95 * SAMPLE_SECONDS  # a tick that comes a little early would else leave a gap of two seconds
MAX_SAMPLES = 3600  # an hour at one a second, 0.4 MB
MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the history. `taken_at` is CLOCK_BOOTTIME, `wall` seconds since the epoch."""

    taken_at: float
    wall: float
    used_bytes: int | None
    limit_bytes: int | None
    level: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the event list: a decision, an outcome, a note, or a word of the watcher itself."""

    wall: float
    kind: str
    text: str
    request_id: str | None = None
    level: str | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The last reading of the server's statistics. `report` is the last good one, kept to show how old it is."""

    up: bool
    duration_seconds: float
    report: ServerReport | None
    last_success_wall: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the ladder of a target stands after a tick."""

    level: str = NONE
    levels: tuple[str, ...] = ()
    edges: tuple[Edges | None, ...] = ()
    cooldown_seconds: Mapping[str, float] = field(default_factory=dict)
    budget_remaining: int = 0
    paused: bool = False
    dry_run: bool = False
    growth_bytes_per_second: float | None = None
    time_to_limit_seconds: float | None = None
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A target at one moment, for readers. `seen` is None before the first tick."""

    name: str
    measure: Measure
    process_view: str
    seen: Observation | None
    seen_wall: float | None
    start_time_seconds: float | None
    up: bool
    standing: Standing
    statistics: Statistics | None
    peak_bytes: int | None
    trough_bytes: int | None
    tick_duration_seconds: float | None
    counters: Counters
    preset: str | None = None
    kernel_events: Mapping[str, bool] = field(default_factory=dict)


class TargetLedger:
    """The history of one target. One thread writes, any number read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters = Counters()
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._events: deque[Happening] = deque(maxlen=MAX_EVENTS)
        self._peaks: deque[tuple[float, int]] = deque()  # descending: the first is the highest of the window
        # Put together at a scrape and not at each tick, of which there are a hundred times as many.
        self._seen: Observation | None = None
        self._seen_wall: float | None = None
        self._standing = Standing()
        self._process_view = "none"
        self._preset: str | None = None
        self._start_time_seconds: float | None = None
        self._statistics: Statistics | None = None
        self._trough_bytes: int | None = None
        self._tick_duration_seconds: float | None = None
        self._settling = False
        self._kernel_events: Mapping[str, bool] = {}
        self._listener: Callable[[Happening], None] | None = None

    def tell(self, listener: Callable[[Happening], None]) -> None:
        """Have every event told to `listener` as well, in the thread that writes."""
        self._listener = listener

    def _happened(self, happening: Happening) -> None:
        self._events.append(happening)
        if self._listener is not None:
            self._listener(happening)

    def know(
        self,
        levels: list[str],
        sending: list[str],
        *,
        statistics: bool,
        restarts: bool = False,
        preset: str | None = None,
    ) -> None:
        """Which levels there are, and which of them send: their counters exist, those of others do not."""
        with self._lock:
            self._preset = preset
            self.counters.forget_levels_but(levels)
            self.counters.know(levels, sending, statistics=statistics, restarts=restarts)

    # ---- what the watcher writes

    def observe(
        self,
        seen: Observation,
        wall: float,
        standing: Standing,
        *,
        process_view: str,
        start_time_seconds: float | None,
    ) -> None:
        """Take the result of one tick."""
        used = seen.used if isinstance(seen.used, int) else None
        limit = None if isinstance(seen.limit, Unavailable) else seen.limit.bytes
        with self._lock:
            self._reached(used, seen.taken_at)
            last = self._samples[-1] if self._samples else None
            if last is None or seen.taken_at - last.taken_at >= _SAMPLE_AFTER_SECONDS or last.level != standing.level:
                self._samples.append(Sample(seen.taken_at, wall, used, limit, standing.level))
            self._seen, self._seen_wall, self._standing = seen, wall, standing
            self._process_view, self._start_time_seconds = process_view, start_time_seconds

    def tick_took(self, seconds: float, *, late: bool) -> None:
        """How long a tick took, and whether it began too late."""
        with self._lock:
            self._tick_duration_seconds = seconds
            self.counters.ticks_late += late

    def decided(self, decision: Decision, wall: float) -> None:
        """A request is about to be sent."""
        with self._lock:
            self.counters.cleanups[decision.level, decision.trigger] += 1
            self.counters.last_cleanup_wall[decision.level] = wall
            self._happened(
                Happening(wall, "cleanup", decision.reason, decision.request_id, decision.level),
            )

    def answered(self, decision: Decision, outcome: Outcome, wall: float) -> None:
        """The request ended, one way or another."""
        with self._lock:
            histogram = self.counters.durations.setdefault(decision.level, Histogram())
            histogram.observe(outcome.duration_seconds, outcome.request_id, wall)
            if outcome.claimed_bytes is not None:
                self.counters.claimed_bytes[decision.level] += outcome.claimed_bytes
            text = outcome.detail if outcome.kind is not OutcomeKind.DONE else "the server says it is done"
            self._happened(Happening(wall, str(outcome.kind), text, outcome.request_id, decision.level))
            self._settling = True
            self._trough_bytes = None

    def noted(self, note: Note, wall: float) -> None:
        """Something changed in the ladder."""
        counters = self.counters
        with self._lock:
            match note:
                case LevelChanged():
                    text = f"{note.before} -> {note.after}: {note.reason}"
                    self._happened(Happening(wall, "level", text, level=note.after))
                case Suppressed():
                    counters.suppressed[note.reason] += 1
                    text = f"{note.reason}: {note.detail}"
                    self._happened(Happening(wall, "suppressed", text, level=note.level))
                case RequestFailed():
                    counters.cleanup_failures[note.level, note.reason] += 1
                    text = f"{note.reason}: {note.detail}"
                    self._happened(Happening(wall, "failure", text, note.request_id, note.level))
                case Verdict():
                    if note.kind is VerdictKind.INEFFECTIVE and note.outcome is OutcomeKind.DONE:
                        counters.ineffective[note.level] += 1
                    counters.reclaimed_bytes[note.level] += note.reclaimed_bytes or 0
                    text = f"{note.kind}: {note.reason}"
                    self._happened(Happening(wall, "verdict", text, note.request_id, note.level))
                case RestartHeldBack():
                    counters.restart_actions[note.outcome] += 1
                    self._happened(Happening(wall, "restart", f"{note.outcome}: {note.detail}"))
                case RestartDone():
                    counters.restart_actions[note.outcome] += 1
                    self._happened(Happening(wall, "restart", f"{note.outcome}: {note.detail}", note.request_id))
                case ThresholdsChanged():
                    crossed = f"; off, since they no longer ascend: {', '.join(note.crossed)}" if note.crossed else ""
                    self._happened(Happening(wall, "thresholds", f"limit {note.limit_bytes}{crossed}"))

    def happened(self, wall: float, kind: str, text: str) -> None:
        """A word of the watcher itself."""
        with self._lock:
            self._happened(Happening(wall, kind, text))

    def statistics_read(self, statistics: Statistics, failure: Reason | None) -> None:
        """The server's statistics were read, or were not."""
        with self._lock:
            self._statistics = statistics
            if failure is not None:
                self.counters.stats_failures[failure] += 1

    def forget_statistics(self) -> None:
        """Another source from now on: what the old one said says nothing."""
        with self._lock:
            self._statistics = None

    def source_failed(self, source: str, reason: Reason) -> None:
        """A source could not be read."""
        with self._lock:
            self.counters.source_failures[source, reason] += 1

    def glanced(self, used: int, taken_at: float) -> None:
        """Take what a glance saw: it may be a peak."""
        with self._lock:
            self._reached(used, taken_at)

    def _reached(self, used: int | None, taken_at: float) -> None:
        while self._peaks and self._peaks[0][0] < taken_at - PEAK_SECONDS:
            self._peaks.popleft()
        if used is None:
            return
        while self._peaks and self._peaks[-1][1] <= used:
            self._peaks.pop()
        self._peaks.append((taken_at, used))
        if self._trough_bytes is not None:
            self._trough_bytes = min(self._trough_bytes, used)
        elif self._settling:
            self._trough_bytes = used

    def kernel_event(self, source: str) -> None:
        """The kernel told of something."""
        with self._lock:
            self.counters.kernel_events[source] += 1

    def kernel_events(self, armed: Mapping[str, bool]) -> None:
        """Which sources of kernel events are armed now, of those that there are."""
        with self._lock:
            self._kernel_events = armed
            for source in armed:
                self.counters.kernel_events[source] += 0

    def restarted(self) -> None:
        """The target is another process than before."""
        with self._lock:
            self.counters.restarts += 1
            self._trough_bytes = None
            self._settling = False

    # ---- what others read

    def snapshot(self) -> Snapshot:
        """The target now; nothing in it changes afterwards."""
        with self._lock:
            seen = self._seen
            return Snapshot(
                name=self.name,
                measure=Measure.AUTO if seen is None else seen.measure,
                process_view=self._process_view,
                seen=seen,
                seen_wall=self._seen_wall,
                start_time_seconds=self._start_time_seconds,
                up=seen is not None and (isinstance(seen.used, int) or not isinstance(seen.memory, Unavailable)),
                standing=self._standing,
                statistics=self._statistics,
                peak_bytes=self._peaks[0][1] if self._peaks else None,
                trough_bytes=self._trough_bytes,
                tick_duration_seconds=self._tick_duration_seconds,
                counters=self.counters.copy(),
                preset=self._preset,
                kernel_events=self._kernel_events,
            )

    def samples(self) -> tuple[Sample, ...]:
        """The history, oldest first."""
        with self._lock:
            return tuple(self._samples)

    def events(self) -> tuple[Happening, ...]:
        """What happened, oldest first."""
        with self._lock:
            return tuple(self._events)

"""How fast a target grows, and when it will reach its limit: known only where the past speaks clearly.

Covers: the lower envelope of what was used at several time scales, the troughs that cleanups and collectors leave, and
which of them say something.
Leaves to others: the slope through either (`slopes`), whether anything is done because of it (`ladder`), showing it.

Pure: the same readings give the same forecast. Times are CLOCK_BOOTTIME in seconds, sizes bytes.

Slopes are taken through minima, of bins or of teeth, since what comes down again is no leak, and are believed where
they are steady (`slopes`). So a step, a warm-up in steps and the first tooth of a collector's sawtooth are not
extrapolated. Where memory has fallen by itself before, the way up to its old height is no news either.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from statistics import median

from memory_watchdog.policy.slopes import (
    LENGTHS,
    MIN_SPAN_SECONDS,
    MIN_TROUGHS,
    TROUGH_LENGTHS,
    Growth,
    Point,
    growth_of_suffix,
    no_higher_than,
    slope,
)

BIN_SECONDS = (2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)
"""Widths of the bins; 32 of each see from one minute to 18 hours."""

BINS = 32
WARM_UP_SECONDS = 300.0
"""A process that is new loads models and fills caches; growth in its first minutes is not extrapolated."""

YOUNG_SECONDS = 120.0
"""Growth that goes on since the process was as young as this has twice the time to end."""

_FALL = 0.10  # a fall by this share of the height above the last trough ends a tooth ...
_FALL_OF_LIMIT = 0.01  # ... if it is at least this share of the limit (of the peak where no limit is known)
_TOOTH = 1.5  # so many usual teeth above the last trough are no news
_ROUNDING = 1e-9  # two ways of reckoning the same differ by less than this share
_FOREVER_SECONDS = 1e18  # JSON has no infinity
_KNOWN_SECONDS = 7200.0  # for so long the way up to an old peak is no news


@dataclass(slots=True)
class Bins:
    """The lowest reading of each of the last bins of one width."""

    width_seconds: float
    minima: list[Point] = field(default_factory=list)
    index: int | None = None
    lowest: Point = (0.0, 0)
    believed: Growth | None = None
    is_stale: bool = False  # `believed` is of the bins before

    def fold(self, point: Point) -> bool:
        """Take one reading; True when a bin is full."""
        index = int(point[0] // self.width_seconds)
        if index == self.index:
            if point[1] < self.lowest[1]:
                self.lowest = point
            return False
        full = self.index is not None
        if full:
            self.minima = [*self.minima[1 - BINS :], self.lowest]
        self.index, self.lowest = index, point
        return full


@dataclass(slots=True)
class Teeth:
    """Peaks and troughs: a fall that is large enough ends a tooth."""

    troughs: list[Point] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    peaks: list[Point] = field(default_factory=list)
    peak: Point | None = None
    trough: Point | None = None  # while memory is down: the lowest so far
    base: int | None = None

    def fold(self, point: Point, limit_bytes: int | None) -> bool:
        """Take one reading; True when a trough has been left behind."""
        used = point[1]
        if self.peak is None or self.base is None:
            self.peak, self.base = point, used
            return False
        least = _FALL_OF_LIMIT * (limit_bytes or self.peak[1])
        if self.trough is None:
            if used >= self.peak[1]:
                self.peak = point
            elif self.peak[1] - used >= max(least, _FALL * (self.peak[1] - self.base)):
                self.trough = point
            self.base = min(self.base, used)
            return False
        if used < self.trough[1]:
            self.trough = point
            return False
        if used - self.trough[1] < least:
            return False
        self.troughs = [*self.troughs[1 - BINS :], self.trough]
        self.heights = [*self.heights[1 - BINS :], self.peak[1] - self.trough[1]]
        self.peaks = [*self.peaks[1 - BINS :], self.peak]
        self.base, self.peak, self.trough = self.trough[1], point, None
        return True

    def usual(self) -> tuple[float, float]:
        """How long a tooth lasts (seconds) and how high it is (bytes), as medians; 0 where there are none."""
        if len(self.troughs) < 2:
            return (_FOREVER_SECONDS if self.troughs else 0.0), 0.0
        return median(after[0] - before[0] for before, after in pairwise(self.troughs)), float(median(self.heights))

    def known_height(self, at: float) -> float:
        """How high memory goes and comes down again: its peaks of the last hours, or a tooth and a half from here."""
        peaks = max((peak for peaked_at, peak in self.peaks if at - peaked_at <= _KNOWN_SECONDS), default=0)
        if len(self.troughs) < MIN_TROUGHS:
            return peaks
        return max(peaks, self.troughs[-1][1] + _TOOTH * median(self.heights))


@dataclass(frozen=True, slots=True)
class Due:
    """What was seen when a bin was last full: all that is needed to work out later what was to be believed then."""

    at: float
    used: int
    is_news: bool  # memory is higher than it usually goes
    tooth_seconds: float
    tooth_bytes: float
    under_teeth: Growth | None


@dataclass(slots=True)
class Memory:
    """All that a forecast remembers: plain data, so that it can be recorded and read back."""

    scales: list[Bins] = field(default_factory=lambda: [Bins(width) for width in BIN_SECONDS])
    teeth: Teeth = field(default_factory=Teeth)
    under_teeth: Growth | None = None
    last: Point | None = None
    began_at: float | None = None
    believed: list[Growth] = field(default_factory=list)
    growth: float | None = None
    due: Due | None = None  # `believed` and `growth` are of before that


class Forecast:
    """The growth of one target. `fold` takes every known reading; what is asked changes no later answer.

    What is believed is that of when a bin was last full, every 2 s at the most, and is worked out when somebody asks:
    that is nearly all of the time of a tick far from the limit, and of a replay.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def begin_anew(self) -> None:
        """Another process, another measure, another limit: the past says nothing of them."""
        self.memory = Memory()

    def fold(self, used: int, at: float, limit_bytes: int | None) -> None:
        """Take one reading; one that is not later than the last is passed over."""
        before = at if self.memory.last is None else self.memory.last[0]
        if self.memory.last is not None and at <= before:
            return
        point = self.memory.last = (at, used)
        if self.memory.began_at is None:
            self.memory.began_at = at
        full = [scale for scale in self.memory.scales if scale.fold(point)]
        for scale, wider in zip_longest(full, full[1:]) if full else ():
            # Where readings are seldom, narrow bins hold one each: the same points again, a third of all the time.
            same = wider is not None and at - before >= wider.width_seconds
            scale.believed, scale.is_stale = None, not same
        if self.memory.teeth.fold(point, limit_bytes):
            self.memory.under_teeth = self._growth_under_teeth()
        if full:
            is_news = used > self.memory.teeth.known_height(at)
            self.memory.due = Due(at, used, is_news, *self.memory.teeth.usual(), self.memory.under_teeth)

    @property
    def growth_bytes_per_second(self) -> float | None:
        """The slope that a forecast goes by; without one that of the last minutes' lower envelope.

        May be negative. None until a minute has been seen.
        """
        return self._settled().growth

    def _settled(self) -> Memory:
        """What is remembered, with all that was due worked out."""
        memory = self.memory
        if memory.due is not None:
            for scale in memory.scales:
                if scale.is_stale:
                    scale.believed, scale.is_stale = growth_of_suffix(scale.minima), False
            memory.believed = self._believe(memory.due)
            memory.growth = self._slope_now()
            memory.due = None
        return memory

    def _slope_now(self) -> float | None:
        if self.memory.believed:
            return max(growth.bytes_per_second for growth in self.memory.believed)
        for scale in (self.memory.scales[1], self.memory.scales[0]):
            minima = list(scale.minima)[-LENGTHS[-2] :]
            if len(minima) >= LENGTHS[-1] and minima[-1][0] - minima[0][0] >= MIN_SPAN_SECONDS * 0.9:
                return slope(minima)
        return None

    def is_near(self, limit_bytes: int | None, within_seconds: float) -> bool:
        """Is the limit less than `within_seconds` away? Far from it this is known without any slope."""
        if limit_bytes is None or self._is_surely_later(limit_bytes, within_seconds):
            return False
        seconds = self.time_to_limit_seconds(limit_bytes)
        return seconds is not None and seconds < within_seconds

    def _is_surely_later(self, limit_bytes: int, within_seconds: float) -> bool:
        memory, due = self.memory, self.memory.due
        if memory.last is None or due is None:
            return False
        at = memory.last[0]
        lines = [] if due.under_teeth is None else [due.under_teeth]
        for scale in memory.scales:
            if scale.is_stale:
                height = due.tooth_bytes if scale.width_seconds >= due.tooth_seconds else 0.0
                if no_higher_than(scale.minima, at + within_seconds) + height > limit_bytes * (1 - _ROUNDING):
                    return False
            elif scale.believed is not None:
                lines.append(replace(scale.believed, height_bytes=due.tooth_bytes))
        times = [line.seconds_to(limit_bytes, at) for line in lines]
        return all(seconds is None or seconds >= within_seconds for seconds in times)

    def time_to_limit_seconds(self, limit_bytes: int | None) -> float | None:
        """Seconds from the last reading until the limit is reached; None where nothing says so with confidence."""
        if limit_bytes is None or self.memory.last is None:
            return None
        at = self.memory.last[0]
        times = [growth.seconds_to(limit_bytes, at) for growth in self._settled().believed]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _believe(self, due: Due) -> list[Growth]:
        at, used = due.at, due.used
        if self.memory.began_at is None or at - self.memory.began_at < WARM_UP_SECONDS:
            return []
        found: list[Growth] = []
        if due.under_teeth is not None and not due.under_teeth.is_left_by(used, at):
            found.append(due.under_teeth)
        for scale in self.memory.scales:
            if scale.believed is None or scale.believed.is_left_by(used, at):
                continue
            if scale.width_seconds >= due.tooth_seconds:
                found.append(replace(scale.believed, height_bytes=due.tooth_bytes))  # its minima are troughs
            elif due.is_news:
                found.append(scale.believed)
        return [growth for growth in found if not self._warms_up(growth, at)]

    def _warms_up(self, growth: Growth, at: float) -> bool:
        """Does this growth go back to when the process was new, and is that not long ago?"""
        assert self.memory.began_at is not None, "there are readings"
        begins = growth.at - growth.span_seconds - self.memory.began_at
        return begins < YOUNG_SECONDS and at - self.memory.began_at < 2 * WARM_UP_SECONDS

    def _growth_under_teeth(self) -> Growth | None:
        """The growth of what cleanups and collectors leave; memory reaches the limit with the tooth on top of it."""
        growth = growth_of_suffix(self.memory.teeth.troughs, TROUGH_LENGTHS)
        return None if growth is None else replace(growth, height_bytes=self.memory.teeth.usual()[1])

"""How fast a target grows, and when it will reach its limit: known only where the past speaks clearly.

Covers: the lower envelope of what was used at several time scales, the troughs that cleanups and collectors leave,
a robust slope through either, and the confidence below which there is no forecast.
Leaves to others: whether anything is done because of it (`ladder`), showing it (`web`).

Pure: the same readings give the same forecast. Times are CLOCK_BOOTTIME in seconds, sizes bytes.

The slope is that of Theil and Sen, the median of the slopes of all pairs (Sen, 1968, JASA 63:1379): up to 29 % of the
points may be anything. It is taken through minima, of bins or of teeth, since what comes down again is no leak. It is
believed where it is steady: each half of the points says the same, the points keep close to the line, and the limit is
no further away than what has been seen (`REACH`). So a step, a warm-up in steps and the first tooth of a collector's
sawtooth are not extrapolated. Where memory has fallen by itself before, the way up to its old height is no news either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from statistics import median

Point = tuple[float, int]
"""When (seconds), and how much (bytes)."""

BIN_SECONDS = (2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)
"""Widths of the bins; 32 of each see from one minute to 18 hours."""

BINS = 32
LENGTHS = (32, 24, 16, 12, 8)
"""How many of the last bins are looked at, the most first: growth that began late is seen in fewer."""

ALL_PAIRS = 12
MIN_TROUGHS = 4
TROUGH_LENGTHS = (*LENGTHS, 6, MIN_TROUGHS)
MIN_SPAN_SECONDS = 60.0
"""Shorter growth is a burst of work, which the thresholds meet."""

REACH = 1.25
"""How much further than it was watched growth is believed to go on. 1 would leave a steady leak without a forecast when
it is just half way, since noise makes the time that is left come out a little longer than the time seen."""

WARM_UP_SECONDS = 300.0
"""A process that is new loads models and fills caches; growth in its first minutes is not extrapolated."""

YOUNG_SECONDS = 120.0
"""Growth that goes on since the process was as young as this has twice the time to end."""

_STEADY = 0.6  # each half of the points grows at least by this share of the whole slope, and at most by its inverse
_SCATTER = 0.04  # the points lie this close to the line, as a share of the rise over the whole span (median)
_RISING = 0.7  # this share of the steps goes up: a stair mostly stands
_FALL = 0.10  # a fall by this share of the height above the last trough ends a tooth ...
_FALL_OF_LIMIT = 0.01  # ... if it is at least this share of the limit (of the peak where no limit is known)
_TOOTH = 1.5  # so many usual teeth above the last trough are no news
_KNOWN_SECONDS = 7200.0  # for so long the way up to an old peak is no news


@dataclass(frozen=True, slots=True)
class Growth:
    """A slope that is believed, and how long it has been seen. `height` is how far above the line the peaks go."""

    bytes_per_second: float
    at: float
    line_bytes: float
    span_seconds: float
    height_bytes: float = 0.0

    def is_left_by(self, used: int, at: float) -> bool:
        """Is memory below what the line says for now? Then the growth has ended, or was a stair."""
        line = self.line_bytes + self.bytes_per_second * (at - self.at)
        return used < line - _SCATTER * self.bytes_per_second * self.span_seconds

    def seconds_to(self, limit_bytes: int, at: float) -> float | None:
        """Seconds from `at` until the peaks reach the limit; None where that is further than the past reaches."""
        left = limit_bytes - self.height_bytes - self.line_bytes
        seconds = max(0.0, left / self.bytes_per_second - (at - self.at))
        return seconds if seconds <= REACH * self.span_seconds else None


@dataclass(slots=True)
class Bins:
    """The lowest reading of each of the last bins of one width."""

    width_seconds: float
    minima: list[Point] = field(default_factory=list)
    index: int | None = None
    lowest: Point = (0.0, 0)
    believed: Growth | None = None

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
            return (0.0 if not self.troughs else float("inf")), 0.0
        return median(after[0] - before[0] for before, after in pairwise(self.troughs)), float(median(self.heights))

    def known_height(self, at: float) -> float:
        """How high memory goes and comes down again: its peaks of the last hours, or a tooth and a half from here."""
        peaks = max((peak for peaked_at, peak in self.peaks if at - peaked_at <= _KNOWN_SECONDS), default=0)
        if len(self.troughs) < MIN_TROUGHS:
            return peaks
        return max(peaks, self.troughs[-1][1] + _TOOTH * median(self.heights))


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


class Forecast:
    """The growth of one target. `fold` takes every known reading; what is asked changes nothing.

    What is believed is worked out when a bin is full, every 2 s at the most: ticks are up to twenty times as frequent.
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
        for scale, wider in zip_longest(full, full[1:]):
            # Where readings are seldom, narrow bins hold one each: the same points again, a third of all the time.
            same = wider is not None and at - before >= wider.width_seconds
            scale.believed = None if same else _growth_of_suffix(scale.minima)
        if self.memory.teeth.fold(point, limit_bytes):
            self.memory.under_teeth = self._growth_under_teeth()
        if full:
            self.memory.believed = self._believe(at, used)
            self.memory.growth = self._slope_now()

    @property
    def growth_bytes_per_second(self) -> float | None:
        """The slope that a forecast goes by; without one that of the last minutes' lower envelope.

        May be negative. None until a minute has been seen.
        """
        return self.memory.growth

    def _slope_now(self) -> float | None:
        if self.memory.believed:
            return max(growth.bytes_per_second for growth in self.memory.believed)
        for scale in (self.memory.scales[1], self.memory.scales[0]):
            minima = list(scale.minima)[-LENGTHS[-2] :]
            if len(minima) >= LENGTHS[-1] and minima[-1][0] - minima[0][0] >= MIN_SPAN_SECONDS * 0.9:
                return slope(minima)
        return None

    def time_to_limit_seconds(self, limit_bytes: int | None) -> float | None:
        """Seconds from the last reading until the limit is reached; None where nothing says so with confidence."""
        if limit_bytes is None or self.memory.last is None:
            return None
        at = self.memory.last[0]
        times = [growth.seconds_to(limit_bytes, at) for growth in self.memory.believed]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _believe(self, at: float, used: int) -> list[Growth]:
        if self.memory.began_at is None or at - self.memory.began_at < WARM_UP_SECONDS:
            return []
        found: list[Growth] = []
        if self.memory.under_teeth is not None and not self.memory.under_teeth.is_left_by(used, at):
            found.append(self.memory.under_teeth)
        tooth_seconds, height = self.memory.teeth.usual()
        is_news = used > self.memory.teeth.known_height(at)
        for scale in self.memory.scales:
            if scale.believed is None or scale.believed.is_left_by(used, at):
                continue
            if scale.width_seconds >= tooth_seconds:
                found.append(replace(scale.believed, height_bytes=height))  # its minima are troughs
            elif is_news:
                found.append(scale.believed)
        return [growth for growth in found if not self._warms_up(growth, at)]

    def _warms_up(self, growth: Growth, at: float) -> bool:
        """Does this growth go back to when the process was new, and is that not long ago?"""
        assert self.memory.began_at is not None, "there are readings"
        begins = growth.at - growth.span_seconds - self.memory.began_at
        return begins < YOUNG_SECONDS and at - self.memory.began_at < 2 * WARM_UP_SECONDS

    def _growth_under_teeth(self) -> Growth | None:
        """The growth of what cleanups and collectors leave; memory reaches the limit with the tooth on top of it."""
        growth = _growth_of_suffix(self.memory.teeth.troughs, TROUGH_LENGTHS)
        return None if growth is None else replace(growth, height_bytes=self.memory.teeth.usual()[1])


def _growth_of_suffix(minima: Sequence[Point], lengths: Sequence[int] = LENGTHS) -> Growth | None:
    """The growth that the most of the last points agree on."""
    points = list(minima)
    for length in lengths:
        if length <= len(points):
            growth = steady_growth(points[-length:])
            if growth is not None:
                return growth
    return None


def steady_growth(points: Sequence[Point]) -> Growth | None:
    """The line through `points` if it rises steadily; None where they do not say so. Needs four points or more."""
    span = points[-1][0] - points[0][0]
    if len(points) < MIN_TROUGHS or span < MIN_SPAN_SECONDS * 0.9 or points[-1][1] <= points[0][1]:
        return None
    # The cheap questions first: on a calm target they answer nearly always, and the slopes of 496 pairs cost 0.1 ms.
    rises = sum([after[1] > before[1] for before, after in pairwise(points)])
    if rises < _RISING * (len(points) - 1):
        return None
    if _is_hopeless(points):
        return None
    middle = (len(points) + 1) // 2
    halves = (slope(points[:middle]), slope(points[-middle:]))
    if min(halves) <= 0 or min(halves) < _STEADY**2 * max(halves):
        return None  # no slope of the whole could be near enough to both
    whole = slope(points)
    if whole <= 0 or not all(_STEADY * whole <= half <= whole / _STEADY for half in halves):
        return None
    origin = points[0][0]
    heights = [value - whole * (at - origin) for at, value in points]
    offset = middle_of(heights)
    scatter = middle_of([abs(height - offset) for height in heights])
    if scatter > _SCATTER * whole * span:
        return None
    last = points[-1][0]
    return Growth(whole, last, offset + whole * (last - origin), span)


def _is_hopeless(points: Sequence[Point]) -> bool:
    """Do the points lie so far from the line through their ends that no other line can be near enough?

    Twice what is allowed, since the ends are only three points each. A tenth of the time that the slopes take.
    """
    ends = points[:3], points[-3:]
    (first, low), (last, high) = ((end[1][0], sorted(value for _, value in end)[1]) for end in ends)
    if high <= low:
        return True
    rise = (high - low) / (last - first)
    offsets = sorted([abs(value - low - rise * (at - first)) for at, value in points])
    return offsets[len(offsets) // 2] > 2 * _SCATTER * rise * (points[-1][0] - points[0][0])


def slope(points: Sequence[Point]) -> float:
    """The median of the slopes of pairs, bytes per second; 0 of a single point. Times must ascend.

    Of a few points all pairs; of more than a dozen those that lie half of the points apart or further, which say most
    (Theil's "incomplete" method): a quarter of them.
    """
    apart = 1 if len(points) <= ALL_PAIRS else len(points) // 2
    slopes = [
        (later - value) / (later_at - at)
        for index, (at, value) in enumerate(points)
        for later_at, later in points[index + apart :]
    ]
    return middle_of(slopes) if slopes else 0.0


def middle_of(values: list[float]) -> float:
    """The median; `statistics.median` takes three times as long, and this is most of a forecast's time."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2

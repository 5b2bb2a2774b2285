"""The slope of growth that is steady enough to be believed.

Covers: a line through points of time and memory, and the confidence below which there is none.
Leaves to others: which points (`forecast`, `causes`).

The slope is that of Theil and Sen, the median of the slopes of all pairs (Sen, 1968, JASA 63:1379): up to 29 % of the
points may be anything. It is believed where it is steady: each half of the points says the same, the points keep close
to the line, and the limit is no further away than what has been seen (`REACH`). Pure; times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, int]
"""When (seconds), and how much (bytes)."""

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

_STEADY = 0.6  # each half of the points grows at least by this share of the whole slope, and at most by its inverse
_SCATTER = 0.04  # the points lie this close to the line, as a share of the rise over the whole span (median)
_RISING = 0.7  # this share of the steps goes up: a stair mostly stands


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


def growth_of_suffix(minima: Sequence[Point], lengths: Sequence[int] = LENGTHS) -> Growth | None:
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


def no_higher_than(points: Sequence[Point], at: float) -> float:
    """A bound for every line of `growth_of_suffix` at a time that is not before the last point: -∞ if there is none.

    No median of slopes is above the steepest step, and no median of heights above the highest.
    """
    steps = [(later - value) / (later_at - at) for (at, value), (later_at, later) in pairwise(points)]
    steepest = max(steps, default=0.0)
    return max([value + steepest * (at - taken_at) for taken_at, value in points]) if steepest > 0 else float("-inf")


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

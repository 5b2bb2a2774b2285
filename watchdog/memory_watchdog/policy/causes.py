"""Where used memory goes, and what its growth looks like, in one sentence.

Covers: splitting used memory into what the components report, what the allocator keeps, what files back, and the rest;
the slopes of the parts; the sentence for log and API.
Leaves to others: reading any of it (`sources`), how fast the whole grows towards the limit (`forecast`).

Pure: the same looks give the same words. Sizes are bytes, times CLOCK_BOOTTIME in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from memory_watchdog.observation import Measure, Observation, ProcessMemory, ServerReport
from memory_watchdog.policy.slopes import slope
from memory_watchdog.quantities import format_bytes

SPACING_SECONDS = 1.0
POINTS = 120
BINS = 24
"""Slopes go through the minima of so many bins: a cache that breathes is no growth. 276 pairs cost 0.05 ms a part."""

LEAST_POINTS = 8
LEAST_SECONDS = 7.0
_NOTABLE = 0.01  # of used, over the time that was looked at: less is called no growth
_MAJORITY = 0.6  # this share of the growth is a cause; what is less is named beside the others

ALLOCATOR = "allocator"
FILES = "files"
UNEXPLAINED = "unexplained"
COMPONENT = "component "  # followed by its name: no component can be mistaken for one of the others


@dataclass(frozen=True, slots=True)
class Split:
    """Used memory in parts that add up to it. None is unknown, and then is part of `unexplained`.

    `files_bytes` is what files back, where the measure counts that: 0 where it does not. `unexplained_bytes` is
    negative where the parts overlap, as they do when a component counts memory that is swapped or shared.
    """

    used_bytes: int
    components: Mapping[str, int]
    allocator_bytes: int | None
    files_bytes: int | None
    has_components: bool

    @property
    def components_bytes(self) -> int:
        """What the components report together."""
        return sum(self.components.values())

    @property
    def unexplained_bytes(self) -> int:
        """What nothing explains."""
        return self.used_bytes - self.components_bytes - (self.allocator_bytes or 0) - (self.files_bytes or 0)


def split_of(seen: Observation) -> Split | None:
    """The parts of one look; None where used is unknown."""
    if not isinstance(seen.used, int):
        return None
    report = seen.report if isinstance(seen.report, ServerReport) else None
    components = {} if report is None else {one.name: one.bytes for one in report.components if one.bytes is not None}
    files: int | None = 0
    if seen.measure in (Measure.RSS, Measure.REPORTED):
        memory = seen.memory
        files = memory.file_bytes if isinstance(memory, ProcessMemory) and isinstance(memory.file_bytes, int) else None
    allocator = None if report is None else report.allocator_free_bytes
    return Split(seen.used, components, allocator, files, bool(components))


@dataclass(frozen=True, slots=True)
class Picture:
    """What the last minutes look like. Slopes are bytes per second, by part; `sentence` is for people."""

    split: Split
    span_seconds: float = 0.0
    slopes: Mapping[str, float] = field(default_factory=dict)
    growth_bytes_per_second: float | None = None
    unaccounted_growth_bytes_per_second: float | None = None
    sentence: str = "too little has been seen to say anything of its growth"


class Causes:
    """Remembers the splits of the last minutes. `look` takes every observation, `picture` says what they look like."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, Split]] = deque(maxlen=POINTS)
        self._measure: Measure | None = None
        self._answered_at: float | None = None

    def begin_anew(self) -> None:
        """Another process."""
        self._points.clear()

    def look(self, seen: Observation) -> bool:
        """Take one look; True when it says something new: an answer of the server, or a second later without one."""
        if seen.measure is not self._measure:
            self._points.clear()
            self._measure = seen.measure
        last = self._points[-1] if self._points else None
        if last is not None and seen.taken_at - last[0] < SPACING_SECONDS:
            return False
        answered_at = seen.report.answered_at if isinstance(seen.report, ServerReport) else None
        split = split_of(seen)
        if split is None:
            return False
        if answered_at is not None and answered_at == self._answered_at:
            return False  # used has moved on, the parts have not: their difference would say nothing
        if last is not None and last[1].components.keys() != split.components.keys():
            self._points.clear()  # parts that come or go cannot be compared
        self._answered_at = answered_at
        self._points.append((seen.taken_at, split))
        return True

    def picture(self) -> Picture | None:
        """What the last minutes look like; None before the first look."""
        if not self._points:
            return None
        split = self._points[-1][1]
        span = self._points[-1][0] - self._points[0][0]
        if len(self._points) < LEAST_POINTS or span < LEAST_SECONDS:
            return Picture(split, span)
        slopes = {
            COMPONENT + name: self._slope({at: one.components[name] for at, one in self._points})
            for name in split.components
        }
        if all(one.allocator_bytes is not None for _, one in self._points):
            slopes[ALLOCATOR] = self._slope({at: one.allocator_bytes or 0 for at, one in self._points})
        if any(one.files_bytes for _, one in self._points):
            slopes[FILES] = self._slope({at: one.files_bytes or 0 for at, one in self._points})
        slopes[UNEXPLAINED] = self._slope({at: one.unexplained_bytes for at, one in self._points})
        growth = self._slope({at: one.used_bytes for at, one in self._points})
        unaccounted = None
        if split.has_components:
            unaccounted = self._slope({at: one.used_bytes - one.components_bytes for at, one in self._points})
        return Picture(split, span, slopes, growth, unaccounted, sentence(split, span, slopes, growth))

    def _slope(self, series: Mapping[float, int]) -> float:
        """The slope through the lowest of each bin."""
        first, last = self._points[0][0], self._points[-1][0]
        width = (last - first) / BINS
        lowest: dict[int, tuple[float, int]] = {}
        for at, value in series.items():
            index = min(int((at - first) / width), BINS - 1)
            if index not in lowest or value < lowest[index][1]:
                lowest[index] = (at, value)
        return slope(list(lowest.values()))


def sentence(split: Split, span_seconds: float, slopes: Mapping[str, float], growth: float) -> str:
    """What the growth looks like."""
    notable = _NOTABLE * split.used_bytes / span_seconds
    fallen = sum(-by for part, by in slopes.items() if part.startswith(COMPONENT) and by < 0)
    kept = slopes.get(ALLOCATOR)
    if fallen >= notable and growth > -fallen / 2:
        # The components let go of it, and it is still used.
        if kept is not None and kept >= fallen / 2:
            return f"freed but not returned: the allocator keeps it ({format_bytes(split.allocator_bytes or 0)})"
        if kept is None and slopes[UNEXPLAINED] >= fallen / 2 and growth < notable:
            return "freed but not returned: the allocator, or something that still refers to it, keeps it"
    if growth < notable:
        return "it does not grow"
    rising = sorted(((by, part) for part, by in slopes.items() if by > 0.1 * growth), reverse=True)
    if not rising:
        return f"it grows by {_a_minute(growth)}, and its parts do not show where"
    by, part = rising[0]
    if by >= _MAJORITY * growth:
        return _of(part, by, split)
    return "several parts grow: " + ", ".join(f"{_words(part, split)} by {_a_minute(by)}" for by, part in rising[:3])


def _of(part: str, by: float, split: Split) -> str:
    if part == ALLOCATOR:
        return f"freed but not returned: the allocator keeps it, {_a_minute(by)} more"
    if part == FILES:
        return f"file-backed memory grows {_a_minute(by)}: memory maps, which the kernel can take back"
    if part == UNEXPLAINED:
        if not split.has_components:
            return f"it grows {_a_minute(by)}; the server reports no components that could explain it"
        return f"no component explains it: a leak or an uncounted cache grows {_a_minute(by)}"
    return f"{_words(part, split)} grows {_a_minute(by)}"


def _words(part: str, split: Split) -> str:
    if part == UNEXPLAINED:
        return "what no component explains" if split.has_components else "the process"
    return {ALLOCATOR: "what the allocator keeps", FILES: "file-backed memory"}.get(part, part)


def _a_minute(bytes_per_second: float) -> str:
    return f"{format_bytes(60 * bytes_per_second)}/min"

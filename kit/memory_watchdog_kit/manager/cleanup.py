"""One cleanup: the cheapest components first, as far as the target asks, then the pages.

Covers: the order, passing on what is left of the target, giving pages back, measuring what that did.
Leaves to others: that one runs at a time and is remembered (`manager`), a component that misbehaves (`guarded`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memory_watchdog_kit.allocator import Allocator
from memory_watchdog_kit.component import Cleaned, ComponentCleanup, Level
from memory_watchdog_kit.manager.guarded import Guarded
from memory_watchdog_kit.manager.price import cheapest_first
from memory_watchdog_kit.own_memory import OwnMemory

TRIM_FIRST_BYTES = 2**20
"""What is already free costs nothing to give back, so it goes first, if the target and it are worth a trim."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cleanup works with; `deadline_seconds` is for each component's cleanup, or each step of it."""

    allocator: Allocator
    own_memory: Callable[[], OwnMemory]
    deadline_seconds: float
    statistics_deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one cleanup did. `reclaimed_bytes` is the fall of `OwnMemory.private_bytes`, 0 where that rose."""

    components: tuple[ComponentCleanup, ...]
    reclaimed_bytes: int
    not_given_back: str | None


class TrimBetween:
    """Gives pages back between the steps of a cleanup too, every 100 ms while that takes less than 10 ms.

    glibc holds its lock as long as a trim takes, which a loop that allocates waits for: 72 ms for 1.4 GB in one go,
    6 ms at most every 100 ms on the way there. Where one takes longer (many small holes) only the last is left.
    """

    def __init__(self, allocator: Allocator, clock: Callable[[], float] = time.monotonic) -> None:
        self._allocator = allocator
        self._clock = clock
        self._due_at = clock() + 0.1

    def __call__(self) -> None:
        """A step has ended."""
        started = self._clock()
        if started >= self._due_at:
            self._allocator.give_back()
            ended = self._clock()
            self._due_at = ended + (0.1 if ended - started < 0.01 else float("inf"))


def clean(components: Sequence[Guarded], level: Level, target_bytes: int | None, by: Surroundings) -> Result:
    """Clean the components, cheapest first, and give the pages back.

    With a target, what the allocator holds free goes first, and counts as measured; then each component is asked for
    what is still to go, and the rest are left alone (and reported with nothing removed) once what they say they freed
    adds up to it. What they say is not believed further than that: the answer is measured.
    """
    before = by.own_memory().private_bytes
    left = target_bytes
    if left is not None and min(left, by.allocator.free_bytes() or 0) >= TRIM_FIRST_BYTES:
        by.allocator.give_back()
        left -= max(0, before - by.own_memory().private_bytes)
    between = TrimBetween(by.allocator)
    cleaned: list[ComponentCleanup] = []
    for guarded in _ordered(components, by.statistics_deadline_seconds):
        if left is not None and left <= 0:
            cleaned.append(ComponentCleanup(guarded.name, Cleaned()))
            continue
        one = guarded.clean(level, left, by.deadline_seconds, between)
        cleaned.append(one)
        if left is not None:
            left -= one.cleaned.bytes_freed
    not_given_back = by.allocator.give_back()
    by.allocator.free_bytes()  # what is free now is what is not resident: the sooner that is read the truer
    return Result(tuple(cleaned), max(0, before - by.own_memory().private_bytes), not_given_back)


def _ordered(components: Sequence[Guarded], deadline_seconds: float) -> list[Guarded]:
    statistics = [guarded.report(deadline_seconds).statistics for guarded in components]
    return [components[at] for at in cheapest_first(statistics)]

"""Thresholds in bytes at the limit of the moment, and whether they still make sense there.

Leaves to others: the checks that need no limit (`config`), what crossing a threshold leads to (`ladder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memory_watchdog.policy.settings import LevelSettings


@dataclass(frozen=True, slots=True)
class Edges:
    """Where a level is entered and left, in bytes."""

    enter: int
    exit: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """One entry a level, None where the level is off; `crossed` names those that are off because of their order."""

    edges: tuple[Edges | None, ...]
    crossed: tuple[str, ...] = ()

    def next_enter(self, used: int) -> int | None:
        """The lowest `enter` above `used`; None above the last one."""
        return min((edge.enter for edge in self.edges if edge is not None and edge.enter > used), default=None)

    def highest_not_undercut(self, used: int, below: int) -> int | None:
        """The highest level under index `below` whose exit `used` has not undercut."""
        for index in range(below - 1, -1, -1):
            edge = self.edges[index]
            if edge is not None and used >= edge.exit:
                return index
        return None


def resolve(levels: Sequence[LevelSettings], limit_bytes: int | None) -> Thresholds:
    """The thresholds of `levels` under a limit.

    A percentage without a limit is off. Rounding under a tiny limit can cross what the config has in order: `enter`
    must ascend, `exit` lie below its own `enter` and not below the exit beneath. A level that breaks this is off.
    """
    edges: list[Edges | None] = []
    crossed: list[str] = []
    beneath: Edges | None = None
    for level in levels:
        enter, leave = level.enter.of(limit_bytes), level.exit.of(limit_bytes)
        if enter is None or leave is None:
            edges.append(None)
            continue
        in_order = leave < enter and (beneath is None or (enter > beneath.enter and leave >= beneath.exit))
        if in_order:
            beneath = Edges(enter, leave)
            edges.append(beneath)
        else:
            edges.append(None)
            crossed.append(level.name)
    return Thresholds(tuple(edges), tuple(crossed))

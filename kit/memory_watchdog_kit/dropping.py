"""Let a share of a store's entries go, in steps, until enough memory is back.

Covers: the order of dropping and moving together, when it is enough.
Leaves to others: what an entry is, and the lock (`byte_store`, `semantic_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from memory_watchdog_kit.component import Cleaned, Level

SHARES = {Level.NORMAL: 0.2, Level.AGGRESSIVE: 0.5}
"""How much of it a cleanup takes at most."""

STEP_ITEMS = 64  # at most 1 ms
_STRIDE_ITEMS = 4  # towards a target, so that it is not passed by much


@dataclass(frozen=True, slots=True)
class Droppable:
    """What entries can be dropped from; each function takes the lock by itself.

    `drop(count)` lets the oldest go and tells how many there were; `compact()` moves some of the rest together and is
    False when there is no more to do; `held_bytes()` is what is held, `live_bytes()` that without the dead space.
    """

    drop: Callable[[int], int]
    compact: Callable[[], bool]
    held_bytes: Callable[[], int]
    live_bytes: Callable[[], int]


def drop_in_steps(of: Droppable, count: int, target_bytes: int | None) -> Iterator[Cleaned]:
    """Drop `count` entries, or fewer if that gives `target_bytes` back, and move the rest together."""
    freed = _Freed()
    while count > 0 and (target_bytes is None or freed.bytes < target_bytes):
        # What a dropped entry gives back is seen only after moving; so first as much as must come free, then moving.
        wanted_bytes = None if target_bytes is None else target_bytes - freed.bytes
        live_bytes = of.live_bytes()
        while count > 0 and (wanted_bytes is None or live_bytes - of.live_bytes() < wanted_bytes):
            before_bytes = of.held_bytes()
            dropped = of.drop(min(count, STEP_ITEMS if wanted_bytes is None else _STRIDE_ITEMS))
            count = count - dropped if dropped else 0
            yield freed.step(dropped, before_bytes - of.held_bytes())
        more = True
        while more:
            before_bytes = of.held_bytes()
            more = of.compact()
            yield freed.step(0, before_bytes - of.held_bytes())


class _Freed:
    """Adds steps up. A step of moving may take a little before the next ones give: that is no freeing twice."""

    def __init__(self) -> None:
        self.bytes = 0
        self._owed_bytes = 0

    def step(self, items: int, bytes_fewer: int) -> Cleaned:
        paid_bytes = max(0, bytes_fewer - self._owed_bytes)
        self._owed_bytes = max(0, self._owed_bytes - bytes_fewer)
        self.bytes += paid_bytes
        return Cleaned(items, paid_bytes)

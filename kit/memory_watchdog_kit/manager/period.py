"""What is due in a period: whether to clean by the clock, and how hard. Pure: no clock, no I/O.

Covers: thresholds, backing off from what does not help.
Leaves to others: measuring, cleaning, the thread (`manager`).

Bounded caches need no cleaning by the clock: cleaning a fifth of them every three minutes would cost hits and help
nobody. So below the thresholds only expired things go; above them a cleanup runs each period while it helps. (The
server that this kit was made for ran its periodic cleanup six times in a row for nothing.)
"""

from __future__ import annotations

from dataclasses import dataclass

from memory_watchdog_kit.component import Level

NORMAL_SHARE = 6 / 7
"""Where the normal threshold lies below the aggressive one, as the watchdog's 75 % below its 87.5 %."""

MIN_RECLAIM_SHARE = 0.01
"""A cleanup that takes less than this share of what the process held did not help; the watchdog's `min_reclaim`."""

_MOST_PERIODS = 16
"""The longest back-off: 48 minutes of the default period."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Bytes of the process's private memory; None where none is set."""

    normal_bytes: int | None = None
    aggressive_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("normal", self.normal_bytes), ("aggressive", self.aggressive_bytes)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value <= 0):
                raise ValueError(f"{name}_threshold_bytes is {value!r}: it must be a positive number of bytes")
        if self.normal_bytes is not None and self.aggressive_bytes is not None:
            _ascending(self.normal_bytes, self.aggressive_bytes)

    @classmethod
    def below(cls, aggressive_bytes: int | None, normal_bytes: int | None) -> Thresholds:
        """Both, the normal one at 6/7 of the aggressive one where it is not given."""
        if normal_bytes is None and aggressive_bytes is not None:
            normal_bytes = max(1, int(aggressive_bytes * NORMAL_SHARE))
        return cls(normal_bytes, aggressive_bytes)

    def level(self, private_bytes: int) -> Level | None:
        """The level that so many bytes ask for."""
        if self.aggressive_bytes is not None and private_bytes >= self.aggressive_bytes:
            return Level.AGGRESSIVE
        if self.normal_bytes is not None and private_bytes >= self.normal_bytes:
            return Level.NORMAL
        return None


class BackOff:
    """After n cleanups in a row that did not help, a level is due only every 2^n-th period, at most every 16th."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Memory was below every threshold: what did not help then may help the next time."""
        self._failures = dict.fromkeys(Level, 0)
        self._waiting = dict.fromkeys(Level, 0)

    def due(self, level: Level) -> bool:
        """Whether it is this level's turn; to be asked once each period."""
        if self._waiting[level] > 0:
            self._waiting[level] -= 1
            return False
        return True

    def ended(self, level: Level, *, held_bytes: int, reclaimed_bytes: int | None) -> None:
        """A periodic cleanup ended: it helped if it took 1 % of what was held. What was not measured did not help."""
        helped = reclaimed_bytes is not None and reclaimed_bytes >= MIN_RECLAIM_SHARE * held_bytes
        self._failures[level] = 0 if helped else self._failures[level] + 1
        self._waiting[level] = 0 if helped else min(2 ** self._failures[level], _MOST_PERIODS) - 1


def worth_a_trim(allocator_free_bytes: int | None, private_bytes: int) -> bool:
    """Whether the allocator holds enough free to give back by the clock: 64 MiB, and a tenth of what the process has.

    It costs no cache anything; but with glibc a loop that allocates may wait for it (see `allocator`), so not for less.
    """
    return allocator_free_bytes is not None and allocator_free_bytes >= max(64 * 2**20, private_bytes / 10)


def _ascending(normal_bytes: int, aggressive_bytes: int) -> None:
    if normal_bytes > aggressive_bytes:
        raise ValueError(f"normal_threshold_bytes, {normal_bytes}, is above the aggressive one, {aggressive_bytes}")

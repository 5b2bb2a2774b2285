"""How long it takes to get a result again: from a miss to the result of the same key being added.

Covers: the misses that wait for it, bounded, and the running mean.
Leaves to others: keys, clock, lock (`semantic_cache`).
"""

from __future__ import annotations

from collections import OrderedDict

_PENDING_BYTES = 256  # key, time, node and the table of the ordered dict, at most
_WEIGHT = 1 / 32  # of the newest one in the mean


class RefillTime:
    """Times the newest `max_pending` misses. Not locked."""

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._pending: OrderedDict[bytes, float] = OrderedDict()
        self.mean_seconds: float | None = None

    @property
    def held_bytes(self) -> int:
        """What the waiting ones occupy."""
        return len(self._pending) * _PENDING_BYTES

    def missed(self, key: bytes, now: float) -> None:
        """Nothing was found under this key."""
        self._pending.pop(key, None)
        self._pending[key] = now
        while len(self._pending) > self._max_pending:
            self._pending.popitem(last=False)

    def added(self, key: bytes, now: float) -> None:
        """A result was: if there was a miss before, that is a refill."""
        began = self._pending.pop(key, None)
        if began is not None:
            seconds, mean = now - began, self.mean_seconds
            self.mean_seconds = seconds if mean is None else mean + (seconds - mean) * _WEIGHT

    def clear(self) -> None:
        """Wait for nothing; the mean stays."""
        self._pending = OrderedDict()

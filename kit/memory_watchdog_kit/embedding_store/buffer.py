"""What waits in memory before it goes to disk: rows, deletions, the order of use; and what the disk refused.

Covers: one batch under way and one that waits, their bounds. Leaves to others: locks, threads and time (`store`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from memory_watchdog_kit.embedding_store.rows import Row

MAX_USED = 8192
"""How many rows' last use is held (1 MB) before it is written. One by one each would change three pages of the log; so
many together change most pages of two small trees once. Eviction looks here first."""

MAX_LOST = 16384
"""How many rows whose overwriting failed are held (1 MB); with more the file answers nothing until one succeeds."""

ON_DISK = Row(b"", b"", b"", 0, b"")
"""Says that nothing waits for this hash."""

_ROW_OVERHEAD_BYTES = 350
_USE_OVERHEAD_BYTES = 130
_LOST_OVERHEAD_BYTES = 70
"""What each takes beside its data, measured: the objects and their places in dictionaries and sets."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be written: rows (None: deleted) in the order of their arrival, used at `clock` and after."""

    rows: Mapping[int, Row | None]
    clock: int
    used: Mapping[int, int]


class Buffer:
    """Everything by hash; its user holds a lock, except for `last_use`."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.clock = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._waiting: dict[int, Row | None] = {}
        self._under_way: Mapping[int, Row | None] = {}
        self._waiting_bytes = self._under_way_bytes = 0
        self._used: dict[int, int] = {}
        self._lost: set[int] = set()

    def find(self, hash_: int) -> Row | None:
        """The row that waits, None if it is deleted or the file's is out of date, `ON_DISK` if the file knows."""
        row = self._waiting.get(hash_, ON_DISK)
        if row is ON_DISK:
            row = self._under_way.get(hash_, ON_DISK)
        if row is ON_DISK and (hash_ in self._lost or len(self._lost) >= MAX_LOST):
            return None
        return row

    def add(self, hash_: int, row: Row | None) -> None:
        """Put it into the next batch."""
        before = self._waiting.pop(hash_, None)
        self._waiting_bytes += (0 if row is None else row.size) - (0 if before is None else before.size)
        self._waiting[hash_] = row

    def use(self, hash_: int) -> bool:
        """Note that it was used now; True when that fills the notes. Twice full, since the disk is slow, they stop."""
        self.clock += 1
        if len(self._used) < 2 * MAX_USED or hash_ in self._used:
            self._used[hash_] = self.clock
        return len(self._used) == MAX_USED

    def last_use(self, hash_: int) -> int:
        """When it was used, 0 if that is not known here."""
        return self._used.get(hash_, 0)

    def has_room(self, size: int) -> bool:
        """Whether a row of that size may come: one that alone is larger than a batch may if nothing else is there."""
        rows = len(self._waiting) + len(self._under_way)
        held = self._waiting_bytes + self._under_way_bytes
        return rows == 0 or (rows < self._max_items and held + size <= self._max_bytes)

    @property
    def waiting(self) -> int:
        """How many rows the next batch has."""
        return len(self._waiting)

    @property
    def due(self) -> bool:
        """Whether it is time to write: half a batch is there, so that callers seldom wait, or the notes are full."""
        rows = len(self._waiting) * 2 >= self._max_items or self._waiting_bytes * 2 >= self._max_bytes
        return rows or len(self._used) >= MAX_USED

    def take(self, *, all_uses: bool) -> Batch | None:
        """The next batch, from now on under way; with it, one batch at a time, what the disk refused, to be deleted."""
        waiting = self._waiting
        lost = [hash_ for hash_ in itertools.islice(self._lost, self._max_items) if hash_ not in waiting]
        used = self._used.copy() if all_uses or len(self._used) >= MAX_USED else {}
        if not (waiting or lost or used):
            return None
        batch = Batch(dict.fromkeys(lost) | waiting, self.clock + 1, used)
        self.clock += len(batch.rows)
        self._under_way, self._under_way_bytes = waiting, self._waiting_bytes
        self._waiting, self._waiting_bytes = {}, 0
        return batch

    def done(self, batch: Batch, *, out_of_date: Collection[int]) -> None:
        """It is written, except that the file has still the old rows of `out_of_date`."""
        self._under_way, self._under_way_bytes = {}, 0
        self._lost.difference_update(batch.rows)
        self._lost.update(itertools.islice(out_of_date, MAX_LOST - len(self._lost)))
        for hash_, when in batch.used.items():
            if self._used.get(hash_) == when:
                del self._used[hash_]

    @property
    def memory_bytes(self) -> int:
        """What all of it takes."""
        rows = len(self._waiting) + len(self._under_way)
        data = self._waiting_bytes + self._under_way_bytes + rows * _ROW_OVERHEAD_BYTES
        return data + len(self._used) * _USE_OVERHEAD_BYTES + len(self._lost) * _LOST_OVERHEAD_BYTES

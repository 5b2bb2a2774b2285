"""Records as bytes in containers that know their exact size, oldest first.

Covers: the size of records and of the containers' own memory, dropping the oldest or a session's, giving memory back.
Leaves to others: what a record says (`records`), how many there may be (`store`).

A record is one `bytes`: its size is a fact, it holds no reference to anything of the server's, and the collector does
not walk it. What the containers take beside it is asked of them (`sys.getsizeof` of deque and OrderedDict counts their
blocks and nodes), so that the sum is what the process grew by.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from memory_watchdog_kit.context_tracker.records import session_of


def allocated(data: bytes) -> int:
    """What the allocator takes for it: Python's own up to 512 bytes in steps of 16, above that malloc, 8 more."""
    size = sys.getsizeof(data)
    return (size + 15) & ~15 if size <= 512 else (size + 23) & ~15


class Shelf(Protocol):
    """Records of one kind, oldest first."""

    @property
    def held_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def oldest(self) -> bytes: ...
    def drop_oldest(self) -> None: ...
    def drop_session(self, number: int) -> int: ...


class Queue:
    """Records that are only ever added."""

    _EMPTY_BYTES = sys.getsizeof(deque())

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._records_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Of the records and of what the queue takes for them."""
        return self._records_bytes + sys.getsizeof(self._records) - self._EMPTY_BYTES

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def oldest(self) -> bytes:
        return self._records[0]

    def add(self, record: bytes) -> None:
        self._records.append(record)
        self._records_bytes += allocated(record)

    def drop_oldest(self) -> None:
        self._records_bytes -= allocated(self._records.popleft())

    def drop_session(self, number: int) -> int:
        """Drops what belongs to a session; how many that were."""
        before = len(self._records)
        kept = deque(record for record in self._records if session_of(record) != number)
        if len(kept) < before:
            self._records, self._records_bytes = kept, sum(map(allocated, kept))
        return before - len(self._records)


class Table:
    """Records by key, in the order in which they were last put."""

    _EMPTY_BYTES = sys.getsizeof(OrderedDict())

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, bytes] = OrderedDict()
        self._records_bytes = 0
        self._most = 0  # how many there have been since the table was built

    @property
    def held_bytes(self) -> int:
        """Of keys and records and of what the table takes for them."""
        return self._records_bytes + sys.getsizeof(self._records) - self._EMPTY_BYTES

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records.values())

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return self._records.items()

    def get(self, key: bytes) -> bytes | None:
        return self._records.get(key)

    def oldest(self) -> bytes:
        return next(iter(self._records.values()))

    def oldest_key(self) -> bytes:
        return next(iter(self._records))

    def put(self, key: bytes, record: bytes) -> None:
        """The record is the newest from now on."""
        before = self._records.get(key)
        self._records[key] = record
        self._records_bytes += allocated(record)
        if before is None:
            self._records_bytes += allocated(key)
            self._most = max(self._most, len(self._records))
        else:
            self._records_bytes -= allocated(before)
            self._records.move_to_end(key)

    def replace(self, key: bytes, record: bytes) -> None:
        """A record of the same length takes its place in the order too."""
        self._records[key] = record

    def drop(self, key: bytes) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self._records_bytes -= allocated(key) + allocated(record)
            self._shrink()

    def drop_oldest(self) -> None:
        self.drop(self.oldest_key())

    def drop_session(self, number: int) -> int:
        """Drops what belongs to a session; how many that were."""
        keys = [key for key, record in self._records.items() if session_of(record) == number]
        for key in keys:
            self.drop(key)
        return len(keys)

    def _shrink(self) -> None:
        """A dict never gives back the place of what is deleted: it is built again when it is half empty."""
        if len(self._records) <= self._most // 2:
            self._records = OrderedDict(self._records)
            self._most = len(self._records)

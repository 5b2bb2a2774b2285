"""How the bytes that a store may have on disk are shared out between the database and its write-ahead log.

Covers: arithmetic only. Leaves to others: keeping to it (`database`).

The log holds every page that a transaction changes until a checkpoint copies it into the database, so its bound is
the checkpoint's threshold plus one transaction; transactions are cut to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memory_watchdog_kit.embedding_store.rows import Row

PAGE_BYTES = 4096
"""A row of 3 KB has one to itself. Pages of 16 KB hold more as long as rows come and go in order, but half-empty ones
when single rows go: 71 % data against 68, 85 against 64 with rows of 4 KB, and the log grows by four times as much.
"""

FRAME_BYTES = PAGE_BYTES + 24
"""A page in the log."""

MIN_BYTES = 4 << 20
"""Below that the log would leave no room."""

MAX_ROW_BYTES = 2 << 20
"""The longest row of all; a store of less than 128 MiB takes less."""

_INDEX_BYTES = 192 << 10
"""The log's index in shared memory: 32 KiB for each 4,096 pages."""

_PAGES_A_TRANSACTION = 16
"""Changed by any transaction: the first page, the free list, the pointer map, the trees' upper pages."""

RESERVE_PAGES = 16
"""Left free where room is made, for what needs a page although it adds no row: the order of use, eviction itself."""

_BYTES_A_ROW = 96
"""Header, hash, order of use and place of one row, with the slack of their trees."""

BYTES_A_USE = 25
"""What one row takes in the order of use."""

_ROWS_A_PAGE_OF_TREES = PAGE_BYTES // 80
"""Hashes and order of use take 40 bytes a row, in pages that are half full at worst."""


@dataclass(frozen=True, slots=True)
class Space:
    """The bounds that follow from `max_bytes`."""

    max_bytes: int

    @property
    def log_bytes(self) -> int:
        """The most that the log may take."""
        return min(64 << 20, max(self.max_bytes // 8, min(4 << 20, self.max_bytes // 4)))

    @property
    def checkpoint_bytes(self) -> int:
        """A log of that size is copied into the database."""
        return self.log_bytes // 2

    @property
    def database_pages(self) -> int:
        """The most pages that the database may have."""
        return (self.max_bytes - self.log_bytes - _INDEX_BYTES) // PAGE_BYTES

    @property
    def transaction_pages(self) -> int:
        """The most pages that one transaction may change, beside those that every one changes."""
        return (self.log_bytes - self.checkpoint_bytes) // FRAME_BYTES - _PAGES_A_TRANSACTION

    @property
    def row_bytes(self) -> int:
        """The longest row, key included, that is taken."""
        return min(MAX_ROW_BYTES, self.log_bytes // 8)

    def deletions(self, items: int) -> int:
        """How many rows one transaction may delete, in a file of so many: each changes a leaf of three trees."""
        return max(1, self.transaction_pages // 3, self.transaction_pages - trees(items))

    @property
    def moves(self) -> int:
        """How many pages one transaction may move: each changes the page that points to it as well."""
        return max(1, self.transaction_pages // 2)

    def notes(self, items: int) -> int:
        """Of how many rows one transaction may change the order of use, in a file of so many rows."""
        return 1 << 20 if trees(items) <= self.transaction_pages else self.transaction_pages // 3


def trees(items: int) -> int:
    """How many pages the hashes and the order of use of so many rows take."""
    return items // _ROWS_A_PAGE_OF_TREES + 4


def log_path(database: Path) -> Path:
    """Where SQLite keeps the log of that database."""
    return database.with_name(f"{database.name}-wal")


def pages_of(row: Row) -> float:
    """How many pages the row takes, appended to others; a little too many."""
    size = row.size + _BYTES_A_ROW
    if size > PAGE_BYTES // 2:
        return size // PAGE_BYTES + 1
    return size * 1.25 / PAGE_BYTES  # a page ends where the next row does not fit: near half at worst, here a fifth

"""The writing connection: transactions that fit into the log, checkpoints, free pages given back.

Covers: keeping database and log within their bounds. Leaves to others: what is written (`database`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from memory_watchdog_kit.embedding_store.schema import WRITE_CACHE_BYTES, connect, number
from memory_watchdog_kit.embedding_store.space import Space, log_path


class Writer:
    """One connection; its user holds a lock over it. Raises `sqlite3.Error` for what the disk refuses."""

    def __init__(self, path: Path, space: Space, reading: threading.Lock, end_reading: Callable[[], None]) -> None:
        """`reading` is held by whoever reads, and `end_reading` lets go of what they saw last: it holds the log."""
        self.connection = connect(path, WRITE_CACHE_BYTES)
        self.execute = self.connection.execute
        self.executemany = self.connection.executemany
        self.commits = 0
        self._log = log_path(path)
        self._space = space
        self._reading = reading
        self._end_reading = end_reading

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside or nothing; it must not change more than `Space.transaction_pages`."""
        self.checkpoint(self._space.checkpoint_bytes)
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
            self.commits += 1
        except BaseException:
            # Some errors (a full disk) have rolled back already.
            if self.connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def checkpoint(self, threshold: int = 1) -> None:
        """Copy the log into the database and empty it, if it has reached so many bytes."""
        try:
            if self._log.stat().st_size < threshold:
                return
        except FileNotFoundError:
            return
        # The copying and the waiting for the disk go beside the reads; then there is nothing left to copy.
        with self._reading:
            self._end_reading()
        self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with self._reading:
            self._end_reading()
            (busy, _, _) = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the log cannot be emptied: another program is reading the database")

    def bound(self) -> None:
        """Let SQLite itself refuse to make the database larger than it may be."""
        self.execute(f"PRAGMA max_page_count = {self._space.database_pages}").fetchall()

    def vacuum(self, leave: int = 0, *, most: int | None = None) -> None:
        """Give free pages back, down to `leave` and at most that many; the file shrinks with the next checkpoint."""
        left = max(0, self.number("freelist_count") - leave)
        left = left if most is None else min(left, most)
        while left > 0:
            step = min(left, self._space.moves)
            self.checkpoint(self._space.checkpoint_bytes)
            # Each step of the statement frees one page, and `execute` takes only the first. It is a transaction.
            self.connection.executescript(f"PRAGMA incremental_vacuum({step})")
            self.commits += 1
            left -= step

    @property
    def pages(self) -> int:
        """Pages of the database."""
        return self.number("page_count")

    @property
    def pages_used(self) -> int:
        """Pages of the database that are not free."""
        return self.number("page_count") - self.number("freelist_count")

    def number(self, pragma: str) -> int:
        """The value of a numeric pragma."""
        return number(self.connection, pragma)

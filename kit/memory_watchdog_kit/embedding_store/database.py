"""The rows of the file: one read, writing, eviction of those that were used least recently.

Covers: SQL on rows, the order of use.
Leaves to others: tables (`schema`), the bounds of a transaction (`writer`, `space`), batching (`buffer`, `store`), what
a row means (`rows`).

Two connections, each under a lock of its own: while one writes, the other one reads on. That one stays in its read
transaction until something was committed, which saves two locks of a file at each read: 2 of 13 µs.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog_kit.embedding_store.rows import Row
from memory_watchdog_kit.embedding_store.schema import (
    READ_CACHE_BYTES,
    WRITE_CACHE_BYTES,
    DamagedFileError,
    code,
    connect,
    damage_told,
    prepare,
)
from memory_watchdog_kit.embedding_store.space import (
    BYTES_A_USE,
    MAX_ROW_BYTES,
    PAGE_BYTES,
    RESERVE_PAGES,
    Space,
    pages_of,
    trees,
)
from memory_watchdog_kit.embedding_store.writer import Writer

_READ = "SELECT key, dtype, shape, checksum, data FROM entry JOIN embedding USING (place) WHERE hash = ?"
_LARGEST_CLOCK = 1 << 62


class OversizeRowError(Exception):
    """A row is longer than any that was ever written."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What an eviction took out of the file."""

    items: int = 0
    bytes: int = 0


class Database:
    """An open file. Raises DamagedFileError wherever it finds it so, and `sqlite3.Error` for what the disk refuses."""

    def __init__(self, path: Path, space: Space, last_use: Callable[[int], int]) -> None:
        """Open or create it; the file must be there, it may be empty. Also raises UnknownSchemaError.

        `last_use` tells of a hash when it was used last, 0 if that is not known beside the file.
        """
        self.items = 0
        self.evictions = 0
        self.clock = 0
        self._space = space
        self._last_use = last_use
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._reads = self._commits_before = 0
        self._seen = -1  # the commits that the reader's transaction sees; -1 where it is in none
        self._reader: sqlite3.Connection | None = None
        self._closed = False
        with damage_told():
            self._writer = Writer(path, space, self._reading, self._end_reading)
            try:
                prepare(self._writer.connection)
                self._take_stock()
                reader = connect(path, READ_CACHE_BYTES)
            except BaseException:
                self._writer.connection.close()
                raise
        # Longer than this is no row of ours: it is refused before it is read into memory.
        reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES + 4096)
        self._fetch = reader.cursor().execute  # a cursor for each read costs 0.6 µs
        self._reader = reader

    def _take_stock(self) -> None:
        (self.items,) = self._writer.execute("SELECT count(*) FROM entry").fetchone()
        (clock,) = self._writer.execute("SELECT max(used) FROM entry").fetchone()
        if clock is not None and not (isinstance(clock, int) and abs(clock) < _LARGEST_CLOCK):
            raise DamagedFileError("the order of use is no number")
        self.clock = clock or 0
        self._writer.bound()
        if self._writer.pages > self._space.database_pages:  # it was opened with more before
            while self._writer.pages > self._space.database_pages:
                self._make_room(self._space.moves)
                self._writer.vacuum()
            self._writer.checkpoint()

    def close(self) -> None:
        """Put the log into the database and close both connections. Raises nothing."""
        with self._writing, self._reading:
            self._closed = True
            for connection in (self._reader, self._writer.connection):
                try:
                    if connection is not None:
                        connection.close()
                except sqlite3.Error:  # the log stays where it is, and the next one to open reads it
                    continue

    def read(self, hash_: int) -> tuple[object, ...] | None:
        """The columns of that row, for `decode`. Raises OversizeRowError as well."""
        row: tuple[object, ...] | None
        try:
            with self._reading:
                if self._closed:
                    return None
                self._reads += 1
                if self._seen != self._writer.commits:
                    self._begin_reading()
                row = self._fetch(_READ, (hash_,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.Error) and code(error) == sqlite3.SQLITE_TOOBIG:
                raise OversizeRowError from error
            with damage_told():  # here and not around it all: that costs 1 µs a read
                raise
        return row

    def known(self, hashes: Iterable[int]) -> set[int]:
        """Those of them that are in the file."""
        with damage_told(), self._reading:
            if self._closed:
                return set()
            self._begin_reading()
            found = (self._fetch("SELECT hash FROM entry WHERE hash = ?", (hash_,)).fetchone() for hash_ in hashes)
            return {row[0] for row in found if row is not None}

    def _begin_reading(self) -> None:
        """See what has been committed by now; under the reader's lock."""
        commits = self._writer.commits
        self._end_reading()
        self._fetch("BEGIN")
        self._seen = commits

    def _end_reading(self) -> None:
        self._seen = -1
        if self._reader is not None and self._reader.in_transaction:
            self._fetch("COMMIT")

    def write(self, rows: Mapping[int, Row | None], clock: int) -> None:
        """Store the rows by hash as used at `clock` and after, delete where there is none; room is made by eviction.

        What went before an error stays written.
        """
        with damage_told(), self._writing:
            self._check_open()
            batch: list[tuple[int, int, Row | None]] = []
            pages = 0.0
            for used, (hash_, row) in enumerate(rows.items(), clock):
                # Its own pages and the leaf where its old row may be; the leaves of the two trees beside.
                pages += 1 + (0 if row is None else pages_of(row))
                if batch and pages + min(3 * len(batch) + 3, trees(self.items)) > self._space.transaction_pages:
                    self._store(batch)
                    batch, pages = [], 1 + (0 if row is None else pages_of(row))
                batch.append((hash_, used, row))
            if batch:
                self._store(batch)
            # At the bound there is next to nothing free; this is for deleted rows, some after each batch.
            self._writer.vacuum(max(64, self._writer.pages // 8), most=self._space.moves)

    def note_use(self, used: Mapping[int, int]) -> None:
        """Write down when rows were used last, where the file does not know better."""
        pairs = sorted((hash_, when) for hash_, when in used.items())
        step = self._space.notes(self.items)
        for start in range(0, len(pairs), step):
            with damage_told(), self._writing:
                self._check_open()
                chunk = pairs[start : start + step]
                # At the end of the order of use new pages are begun before the old ones are empty.
                self._make_room(math.ceil(len(chunk) * BYTES_A_USE / PAGE_BYTES))
                with self._writer.transaction():
                    self._note(chunk)

    def _note(self, pairs: list[tuple[int, int]]) -> None:
        self._writer.executemany("UPDATE entry SET used = ?2 WHERE hash = ?1 AND used < ?2", pairs)

    def _store(self, batch: list[tuple[int, int, Row | None]]) -> None:
        needed = math.ceil(sum(pages_of(row) for _, _, row in batch if row is not None)) + 2
        self._make_room(needed)
        try:
            self._store_now(batch)
        except sqlite3.OperationalError as error:
            # The estimate was too low (trees that split), or the disk is full: the second try tells.
            if code(error) != sqlite3.SQLITE_FULL:
                raise
            self._make_room(2 * needed)
            self._store_now(batch)

    def _store_now(self, batch: list[tuple[int, int, Row | None]]) -> None:
        items = self.items
        execute = self._writer.execute
        with self._writer.transaction():
            for hash_, used, row in batch:
                found = execute("SELECT place FROM entry WHERE hash = ?", (hash_,)).fetchone()
                if found is not None:
                    self._delete([(hash_, found[0])])
                    items -= 1
                if row is not None:
                    columns = (row.key, row.dtype.decode(), row.shape.decode(), row.checksum, row.data)
                    place = execute("INSERT INTO embedding VALUES (NULL, ?, ?, ?, ?, ?)", columns).lastrowid
                    execute("INSERT INTO entry VALUES (?, ?, ?)", (hash_, used, place))
                    items += 1
        self.items = items

    def _make_room(self, needed: int) -> None:
        """Evict until so many pages are free or not yet there, and a reserve."""
        room = self._space.database_pages - RESERVE_PAGES - needed
        while (short := (used := self._writer.pages_used) - room) > 0:
            if not self.items:
                # Rows that no entry points to: nothing would ever free them.
                raise DamagedFileError("it holds nothing and is full")
            # As many as probably hold that many pages: more would cost hits, many transactions some pages of log each.
            self._evict(short * self.items // used + 1)

    def _evict(self, most: int) -> Removed:
        """Remove the oldest rows, or, those that were used since the file was told of it, put where they belong."""
        oldest = self._writer.execute(
            "SELECT hash, place, used FROM entry ORDER BY used LIMIT ?", (min(most, self._space.deletions(self.items)),)
        ).fetchall()
        if not oldest:
            self.items = 0
            return Removed()
        before = self._writer.pages_used
        used = [
            (hash_, last)
            for hash_, _, when in oldest
            if isinstance(when, int) and (last := self._last_use(hash_)) > when
        ]
        kept = {hash_ for hash_, _ in used}
        gone = [(hash_, place) for hash_, place, _ in oldest if hash_ not in kept]
        with self._writer.transaction():
            self._note(used)
            self._delete(gone)
        self.items -= len(gone)
        self.evictions += len(gone)
        return Removed(len(gone), max(0, before - self._writer.pages_used) * PAGE_BYTES)

    def _delete(self, found: list[tuple[int, object]]) -> None:
        self._writer.executemany("DELETE FROM embedding WHERE place = ?", [(place,) for _, place in found])
        self._writer.executemany("DELETE FROM entry WHERE hash = ?", [(hash_,) for hash_, _ in found])

    def drop_oldest(self, items: int) -> Iterator[Removed]:
        """Take so many rows out, least recently used first, and give their pages back, in steps."""
        while items > 0:
            with damage_told(), self._writing:
                self._check_open()
                if not self.items:
                    break
                removed = self._evict(min(items, 64))
                self._writer.vacuum()
            items -= removed.items
            yield removed
        with damage_told(), self._writing:
            self._check_open()
            self._writer.checkpoint()

    def shrink_memory(self) -> int:
        """Let go of both page caches; how many bytes they held at most."""
        held = self.memory_bytes
        with damage_told(), self._writing, self._reading:
            if not self._closed:
                self._end_reading()
                for execute in (self._fetch, self._writer.execute):
                    execute("PRAGMA shrink_memory").fetchall()
            self._reads, self._commits_before = 0, self._writer.commits
        return held

    @property
    def memory_bytes(self) -> int:
        """What the page caches hold at most: few reads or no write since they were emptied make it less."""
        written = WRITE_CACHE_BYTES if self._writer.commits > self._commits_before else 0
        return written + min(READ_CACHE_BYTES, self._reads * 2 * PAGE_BYTES)

    def _check_open(self) -> None:
        if self._closed:
            raise sqlite3.OperationalError("the database has been closed or set aside meanwhile")

"""Keeps a usable database in the folder: opens it, sets a damaged or unknown one aside, begins a new one.

Covers: the folder's lock, which file is the present one, failures of the disk as counted values.
Leaves to others: batching (`store`), SQL (`database`), modes and renaming (`files`).
"""

from __future__ import annotations

import errno
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from memory_watchdog_kit.embedding_store import files
from memory_watchdog_kit.embedding_store.database import Database, Removed
from memory_watchdog_kit.embedding_store.rows import Row
from memory_watchdog_kit.embedding_store.schema import DamagedFileError, UnknownSchemaError, check_header, code
from memory_watchdog_kit.embedding_store.space import Space

_WARN_SECONDS = 60.0
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY})
_log = logging.getLogger("memory_watchdog_kit.embedding_store")


class Keeper:
    """The database of one folder, whatever happens to it; safe from any thread.

    Nothing that the disk does is an exception: it is `failures` plus a log line, one a minute. Without a file, because
    the disk is full, everything is a miss until one can be opened.
    """

    def __init__(self, folder: Path, space: Space, last_use: Callable[[int], int], keep_aside: int) -> None:
        """Raises StoreError where the folder can never be used. `last_use` is that of `Database`."""
        self.failures = 0
        self.files_set_aside = 0
        self._path = folder / files.DATABASE_NAME
        self._space = space
        self._last_use = last_use
        self._keep_aside = keep_aside
        self._replacing = threading.Lock()
        self._closed = False
        self._warned_at = -math.inf
        self._past_evictions = 0
        self._database: Database | None = None
        files.prepare_folder(folder)
        self._lock = files.FolderLock(folder)
        try:
            self._database = self._open()
        except (OSError, sqlite3.Error) as error:
            if not _may_pass(error):
                self._lock.release()
                raise files.StoreError(f"{self._path}: {error}") from error
            self._failed("opening", error)
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> Database:
        """The file as it is, or a new one in its place. Raises OSError and `sqlite3.Error`."""
        begin = files.prepare_file(self._path)
        try:
            check_header(begin)
            return Database(self._path, self._space, self._last_use)
        except DamagedFileError as error:
            self._set_aside("damaged", str(error))
        except UnknownSchemaError as error:
            self._set_aside("schema", str(error))
        files.prepare_file(self._path)
        try:
            return Database(self._path, self._space, self._last_use)
        except (DamagedFileError, UnknownSchemaError) as error:
            raise sqlite3.DatabaseError(f"a new file is damaged at once: {error}") from error

    def _set_aside(self, reason: str, detail: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        target = files.set_aside(self._path, reason, stamp, self._keep_aside)
        self.files_set_aside += 1
        kept = f"set aside as {target.name}" if target.exists() else "removed"
        _log.warning("%s cannot be used (%s): it is %s and a new one begun", self._path, detail, kept)

    def read(self, hash_: int) -> tuple[object, ...] | None:
        """The columns of a row; None where it is not there or cannot be read. Raises OversizeRowError."""
        database = self._database
        if database is None:
            return None
        try:
            row = database.read(hash_)
        except DamagedFileError as error:
            self._replace(database, error)
        except sqlite3.Error as error:
            self._failed("reading", error)
        else:
            return row
        return None

    def known(self, hashes: Collection[int]) -> Collection[int]:
        """Those of them that are in the file, all where that cannot be read."""
        database = self._database
        if database is None:
            return hashes
        try:
            return database.known(hashes)
        except (DamagedFileError, sqlite3.Error):  # what reads or writes next counts it
            return hashes

    def write(self, rows: Mapping[int, Row | None], clock: int, used: Mapping[int, int]) -> bool:
        """As `Database.write` and `note_use`; False if at least some of it is lost."""
        for _ in range(2):  # a file that turns out to be damaged is replaced, and the new one takes the rows
            database = self._database or self._reopened()
            if database is None:
                return False
            try:
                database.write(rows, clock)
                database.note_use(used)
            except DamagedFileError as error:
                self._replace(database, error)
            except (OSError, sqlite3.Error) as error:
                self._failed("writing", error)
                return False
            else:
                return True
        return False

    def drop_oldest(self, items: int) -> Iterator[Removed]:
        """As `Database.drop_oldest`; it ends early where the disk fails."""
        database = self._database
        if database is None:
            return
        try:
            yield from database.drop_oldest(items)
        except DamagedFileError as error:
            self._replace(database, error)
        except (OSError, sqlite3.Error) as error:
            self._failed("dropping rows", error)

    def shrink_memory(self) -> int:
        """Empty the page caches; how many bytes they held at most."""
        database = self._database
        try:
            return 0 if database is None else database.shrink_memory()
        except (DamagedFileError, sqlite3.Error) as error:
            self._failed("emptying the caches", error)
            return 0

    def _replace(self, database: Database, reason: DamagedFileError) -> None:
        with self._replacing:
            if self._database is not database:  # another thread was first
                return
            self._database = None
            self._past_evictions += database.evictions
            database.close()
            try:
                self._set_aside("damaged", str(reason))
                self._database = self._open()
            except (OSError, sqlite3.Error) as error:
                self._failed("beginning anew", error)

    def _reopened(self) -> Database | None:
        with self._replacing:
            if self._database is None and not self._closed:
                try:
                    self._database = self._open()
                except (OSError, sqlite3.Error) as error:
                    self._failed("opening", error)
            return self._database

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        now = time.monotonic()
        if now - self._warned_at >= _WARN_SECONDS:
            self._warned_at = now
            _log.warning("%s: %s failed, what it was about is lost: %s", self._path, what, error)

    def close(self) -> None:
        """Close the database and let the next one in."""
        with self._replacing:
            self._closed = True
            database, self._database = self._database, None
            if database is not None:
                self._past_evictions += database.evictions
                database.close()
            self._lock.release()

    @property
    def items(self) -> int:
        """Rows in the file."""
        return 0 if self._database is None else self._database.items

    @property
    def evictions(self) -> int:
        """Rows that made room since the start."""
        return self._past_evictions + (0 if self._database is None else self._database.evictions)

    @property
    def clock(self) -> int:
        """The latest use that the file knows of."""
        return 0 if self._database is None else self._database.clock

    @property
    def memory_bytes(self) -> int:
        """What the page caches hold at most."""
        return 0 if self._database is None else self._database.memory_bytes

    @property
    def disk_bytes(self) -> int:
        """Size of the present files; what was set aside is not in it."""
        return files.bytes_on_disk(self._path)


def _may_pass(error: OSError | sqlite3.Error) -> bool:
    """Whether it is a state of the disk, such as a full one, and not a mistake about the folder."""
    if isinstance(error, sqlite3.Error):
        return code(error) in _PASSING
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

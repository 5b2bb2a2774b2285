"""The SQLite file as such: tables, version, the settings of a connection, which error means damage.

Covers: creating and recognising our own file. Leaves to others: rows (`database`), transactions (`writer`).

Rows lie in the order of their arrival, so that writing appends and evicting frees whole pages; what is looked up and
in which order it was used is kept beside them in 40 bytes a row. There is no memory map of the database: its pages
would be resident memory of the process, and an I/O error a SIGBUS.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory_watchdog_kit.embedding_store.space import PAGE_BYTES

VERSION = 1
WRITE_CACHE_BYTES = 2 << 20
READ_CACHE_BYTES = 8 << 20
"""SQLite's page caches. Most of what finds 100,000 rows fits into 8 MiB: a get takes 2 µs less than with 2."""

_APPLICATION = 0x4D574553  # "MWES"
_TABLES = (
    "CREATE TABLE embedding (place INTEGER PRIMARY KEY, key BLOB, dtype TEXT, shape TEXT, checksum INTEGER, data BLOB)",
    "CREATE TABLE entry (hash INTEGER PRIMARY KEY, used INTEGER, place INTEGER)",
    "CREATE INDEX entry_used ON entry (used)",
)
_SETTINGS = (
    "trusted_schema = OFF",  # nothing in a schema is run; `check` compares it as well
    "cell_size_check = ON",
    "mmap_size = 0",
    "temp_store = MEMORY",
    "synchronous = NORMAL",  # kill −9 loses nothing committed, a power cut the last transactions, neither the file
    "wal_autocheckpoint = 0",
    "secure_delete = OFF",  # Debian's default writes every freed page
)


_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        # Our statements are always the same and right for our tables, so these speak of the file: "unsupported file
        # format", a table that is gone, a row that is there twice.
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_CONSTRAINT,
    }
)


_WRITE_VERSION = 18
"""Where in the header of a file its write version is: 1 or 2, with any other it is read-only."""


class DamagedFileError(Exception):
    """The file is no database, or its structure is broken."""


class UnknownSchemaError(Exception):
    """The file is a database, but not one of this version."""


def connect(path: Path, cache_bytes: int) -> sqlite3.Connection:
    """A connection without transactions of its own, for any thread that holds its lock."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.text_factory = bytes  # text that is no UTF-8 would raise before `decode` sees it
    for setting in (*_SETTINGS, f"cache_size = -{cache_bytes >> 10}"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file, else see that they are ours. Raises UnknownSchemaError, `sqlite3.Error`."""
    if number(connection, "page_count") == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    schema = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema")}
    found = tuple(number(connection, name) for name in ("application_id", "user_version", "auto_vacuum", "page_size"))
    if found != (_APPLICATION, VERSION, 2, PAGE_BYTES) or schema != {table.encode() for table in _TABLES}:
        raise UnknownSchemaError(f"schema version {found[1]}, not {VERSION}, or other tables")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != b"wal":
        raise sqlite3.OperationalError("this file system takes no write-ahead log")


def number(connection: sqlite3.Connection, pragma: str) -> int:
    """The value of a numeric pragma."""
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


@contextmanager
def damage_told() -> Iterator[None]:
    """Turn the errors that mean a broken file into DamagedFileError."""
    try:
        yield
    except sqlite3.Error as error:
        if code(error) in _DAMAGE:
            raise DamagedFileError(str(error)) from error
        raise
    except UnicodeDecodeError as error:  # of an error message that repeats the file
        raise DamagedFileError("its tables are no text") from error


def check_header(begin: bytes) -> None:
    """Raises DamagedFileError for a file that SQLite would read and never write, and say so only at the first batch."""
    if len(begin) > _WRITE_VERSION and begin[_WRITE_VERSION] > 2:
        raise DamagedFileError("its header says that it may not be written")


def code(error: sqlite3.Error) -> int:
    """The primary code; 255 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF

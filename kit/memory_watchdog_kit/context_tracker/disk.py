"""A tracker's records in a file: written whole or not at all, read line by line within the bounds of today.

Covers: the format, its version and checksum, what is refused, replacing the file at once with one of mode 0600.
Leaves to others: what a record says (`records`), keeping to the bounds (`store`), locks (`tracker`).

One JSON object a line: a header, sessions from the one idle longest to the newest, records from oldest to newest, and
an end with the number of lines before it and a BLAKE2b digest of them. No more than one line is in memory at a time.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeVar

from memory_watchdog_kit.context_tracker import records
from memory_watchdog_kit.context_tracker.plain import (
    content_text,
    cut,
    cut_name,
    plain_metadata,
    read,
    search_hits,
    written,
)
from memory_watchdog_kit.context_tracker.store import Snapshot, Store

VERSION = 1
MIB = 2**20

_FORMAT = "memory-watchdog-kit context"
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
)  # what reading damaged JSON and its parts raises
_T = TypeVar("_T")


class Refused(Exception):
    """The file is not one that can be read, and why."""


class Missing(Refused):
    """There is no such file, as before the first save."""


def write_file(path: Path, snapshot: Snapshot) -> None:
    """The file is the old one or the new one at any moment, and its owner's alone. Raises OSError."""
    # one name a process: what a killed one leaves is overwritten by its successor where pids are the same (containers)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            _write(file, snapshot)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: BinaryIO, snapshot: Snapshot) -> None:
    digest = hashlib.blake2b(digest_size=32)
    count = 0
    header = {"format": _FORMAT, "version": VERSION}
    for told in chain([header], _told(snapshot)):
        line = written(told) + b"\n"
        digest.update(line)
        file.write(line)
        count += 1
    file.write(written({"end": count, "blake2b": digest.hexdigest()}) + b"\n")


def _told(snapshot: Snapshot) -> Iterator[Mapping[str, object]]:
    names = snapshot.names()
    for key, packed in snapshot.sessions:
        yield {"session": records.Session.unpacked(packed).summary(records.key_name(key))}
    sequences = (
        ((records.sequence_of(record), "file", key, record) for key, record in snapshot.files),
        ((records.sequence_of(record), "search", b"", record) for record in snapshot.searches),
        ((records.sequence_of(record), "event", b"", record) for record in snapshot.events),
    )
    for _, kind, key, record in heapq.merge(*sequences):
        if kind == "file":
            yield {kind: records.read_file(key, record, names)}
        elif kind == "search":
            yield {kind: records.read_search(record, names)}
        else:
            yield {kind: records.read_event(record, names)}


def read_file(path: Path, store: Store, now: float) -> None:
    """Puts into an empty store what the file holds, the oldest first, so that the newest stay.

    Raises Refused, also for a file that cannot be opened; what the store then holds is to be thrown away.
    """
    try:
        with _regular_file(path, max(64 * MIB, 4 * store.limits.max_bytes)) as file:
            _read(file, store, now)
    except FileNotFoundError as error:
        raise Missing("there is none") from error
    except OSError as error:
        raise Refused(error.strerror or str(error)) from error


def _regular_file(path: Path, most: int) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # not waiting for a pipe's other end
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused("it is no regular file")
        if found.st_size > most:
            raise Refused(f"it has {found.st_size} bytes, more than the {most} that are read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _read(file: BinaryIO, store: Store, now: float) -> None:
    digest = hashlib.blake2b(digest_size=32)
    reader = _Reader(store, now)
    most = max(MIB, 2 * store.limits.max_bytes)  # a longer line cannot be held
    count = 0
    while line := file.readline(most):
        if line.startswith(b'{"end":'):
            if _parsed(line, count) != {"end": count, "blake2b": digest.hexdigest()} or file.read(1):
                raise Refused("it is damaged: its checksum is wrong")
            return
        digest.update(line)
        count += 1
        if count == 1:
            _check_header(line)
        elif line.endswith(b"\n"):
            reader.take(_parsed(line, count), count)
        else:
            reader.leave_out(line, count)
            while (line := file.readline(most)) and not line.endswith(b"\n"):
                digest.update(line)
            digest.update(line)
    raise Refused("it is damaged: its end is missing" if count else "it is empty")


def _parsed(line: bytes, number: int) -> Mapping[str, object]:
    try:
        told = read(line)
    except _DAMAGED as error:
        raise Refused(f"line {number} is damaged ({error})") from error
    if not isinstance(told, Mapping):
        raise Refused(f"line {number} is damaged")
    return told


def _check_header(line: bytes) -> None:
    try:
        header = read(line)
    except _DAMAGED:
        header = None
    if not isinstance(header, Mapping) or header.get("format") != _FORMAT:
        raise Refused("it is no file of a context tracker")
    if header.get("version") != VERSION:
        raise Refused(f"it has version {str(header.get('version'))[:20]!r}, {VERSION} is read")


class _Reader:
    """Puts records into a store as if they were tracked now, in the order of the file."""

    def __init__(self, store: Store, now: float) -> None:
        self._store = store
        self._now = now
        self._used_at = -math.inf
        self._take: Mapping[str, Callable[[Mapping[str, object]], None]] = {
            "session": self._session, "file": self._file, "search": self._search, "event": self._event,
        }  # fmt: skip

    def take(self, told: Mapping[str, object], number: int) -> None:
        try:
            ((kind, what),) = told.items()
            self._take[kind](_of(dict, what))
        except _DAMAGED as error:
            raise Refused(f"line {number} is damaged ({error})") from error

    def leave_out(self, line: bytes, number: int) -> None:
        """Counts a record that is longer than what could be held of it."""
        kind = line[2:10].split(b'"')[0].decode("ascii", "replace")
        if kind not in records.KINDS:
            raise Refused(f"line {number} is damaged")
        self._store.count_dropped(kind)

    def _session(self, told: Mapping[str, object]) -> None:
        used_at = _finite(told["used_at_seconds"])
        if used_at < self._used_at:
            raise ValueError("sessions are not in order")
        self._used_at = used_at
        session = records.Session(
            self._store.next_session_number(),
            _finite(told["started_at_seconds"]),
            min(used_at, self._now),
            _count(told["files"]),
            _count(told["searches"]),
        )
        self._store.put_session(self._name(told["session_id"]), session)

    def _file(self, told: Mapping[str, object]) -> None:
        limits, dropped = self._store.limits, self._store.dropped
        path = self._name(told["path"])
        content, _ = content_text(_of(str, told["content"]), limits.max_content_characters, dropped)
        metadata = plain_metadata(told["metadata"], limits.max_metadata_bytes, dropped)
        body = records.file_body(content, _count(told["characters"]), metadata)
        at, reads = _finite(told["at_seconds"]), _count(told["reads"])
        session = self._number(told, "file")
        if session is not None:
            self._store.put_file(session, path, at, reads, body)

    def _search(self, told: Mapping[str, object]) -> None:
        limits, dropped = self._store.limits, self._store.dropped
        most = limits.max_text_characters
        query = cut(_of(str, told["query"]), most, dropped)
        search_type = cut(_of(str, told["search_type"]), most, dropped)
        found = _count(told["found"])
        hits, _ = search_hits(_of(list, told["results"]), limits.max_results_per_search, most, dropped)
        session = self._number(told, "search")
        if session is not None:
            body = records.search_body(query, search_type, hits)
            self._store.add_search(session, _finite(told["at_seconds"]), found, body)

    def _event(self, told: Mapping[str, object]) -> None:
        kind = _of(str, told["kind"])
        if kind not in records.EVENT_KINDS:
            raise ValueError("an unknown event")
        subject = _of(str, told["subject"])
        session = self._number(told, "event")
        if session is not None:
            self._store.add_event(session, _finite(told["at_seconds"]), kind, subject)

    def _number(self, told: Mapping[str, object], kind: str) -> int | None:
        """The session of a record; None, and the record is counted, where that went because of today's bounds."""
        if told["session_id"] is None:
            return 0
        session = self._store.session(self._name(told["session_id"]))
        if session is None:
            self._store.count_dropped(kind)
            return None
        return session.number

    def _name(self, text: object) -> str:
        return cut_name(_of(str, text), self._store.limits.max_text_characters, self._store.dropped)


def _of(kind: type[_T], value: object) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} for {kind.__name__}")
    return value


def _finite(value: object) -> float:
    number = float(_of(float, value)) if not isinstance(value, int) else float(value)
    if not math.isfinite(number):
        raise ValueError("a time that is none")
    return number


def _count(value: object) -> int:
    number = _of(int, value)
    if (
        not 0 <= number < 2**53
    ):  # what every JSON reader holds; far from the 64 bits of a record, to which more is added
        raise ValueError("a count that is none")
    return number

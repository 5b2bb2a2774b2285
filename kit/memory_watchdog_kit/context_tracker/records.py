"""What one record says, and how it lies in memory: a header of numbers, then compact JSON.

Covers: files read, searches, events, sessions; from values to bytes and back to plain data.
Leaves to others: making values small and plain (`plain`), holding records in bounds (`store`), the file (`disk`).
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, replace
from typing import TypedDict, cast

from memory_watchdog_kit.context_tracker.plain import SearchHit, read, written

KINDS = ("file", "search", "event", "session")
EVENT_KINDS = ("file_read", "search", "session_start", "session_end")
EVENT_SUBJECT_CHARACTERS = 200  # enough to recognise a path or a query; whole it stands with the file or search

_NUMBER = struct.Struct("<Q")
_HEADER = struct.Struct("<QQdQ")  # session, sequence, at, count
_SESSION = struct.Struct("<QddQQ")  # the fields of Session


class FileRead(TypedDict):
    """A file that was read: `content` is its start, `characters` the length of the whole."""

    path: str
    content: str
    characters: int
    metadata: object
    reads: int
    at_seconds: float
    session_id: str | None


class Search(TypedDict):
    """A search; `results` are the first ones of the `found` that there were."""

    query: str
    search_type: str
    results: list[SearchHit]
    found: int
    at_seconds: float
    session_id: str | None


class TimelineEvent(TypedDict):
    """What happened: `file_read`, `search`, `session_start` or `session_end`, and to what."""

    kind: str
    subject: str
    at_seconds: float
    session_id: str | None


class SessionSummary(TypedDict):
    """A session: when it started and was last used, how many files and searches were tracked in it."""

    session_id: str
    started_at_seconds: float
    used_at_seconds: float
    files: int
    searches: int


class Context(TypedDict):
    """All that a tracker holds, or what it holds of one session."""

    files: list[FileRead]
    searches: list[Search]
    timeline: list[TimelineEvent]
    sessions: list[SessionSummary]


@dataclass(frozen=True, slots=True)
class Session:
    """A session's numbers; `number` stands for it in records."""

    number: int
    started_at: float
    used_at: float
    files: int
    searches: int

    def packed(self) -> bytes:
        return _SESSION.pack(*astuple(self))

    @classmethod
    def unpacked(cls, packed: bytes) -> Session:
        return cls(*_SESSION.unpack(packed))

    def used(self, at: float, files: int = 0, searches: int = 0) -> Session:
        return replace(self, used_at=at, files=self.files + files, searches=self.searches + searches)

    def summary(self, session_id: str) -> SessionSummary:
        return {
            "session_id": session_id,
            "started_at_seconds": self.started_at,
            "used_at_seconds": self.used_at,
            "files": self.files,
            "searches": self.searches,
        }


def session_of(record: bytes) -> int:
    """The number of the session that a record belongs to; 0 is none."""
    return cast(int, _NUMBER.unpack_from(record)[0])


def sequence_of(record: bytes) -> int:
    """Grows from record to record, whatever their kind."""
    return cast(int, _NUMBER.unpack_from(record, _NUMBER.size)[0])


def count_of(record: bytes) -> int:
    """How often a file was read, how many results a search found."""
    return cast(int, _HEADER.unpack_from(record)[3])


def pack(session: int, sequence: int, at: float, count: int, body: bytes) -> bytes:
    """A record: numbers and what it says."""
    return _HEADER.pack(session, sequence, at, count) + body


def name_key(name: str) -> bytes:
    """A path or an id as the key that it has; lone surrogates, which file names may have, are kept."""
    return name.encode("utf-8", "surrogatepass")


def key_name(key: bytes) -> str:
    """The opposite of `name_key`."""
    return key.decode("utf-8", "surrogatepass")


def file_key(session: int, path: str) -> bytes:
    """A file is one record in each session."""
    return _NUMBER.pack(session) + name_key(path)


def file_body(content: str, characters: int, metadata: object) -> bytes:
    """What is kept of a file that was read."""
    return written([content, characters, metadata])


def search_body(query: str, search_type: str, hits: list[SearchHit]) -> bytes:
    """What is kept of a search."""
    return written([query, search_type, [[hit["path"], hit["score"], hit["type"]] for hit in hits]])


def event_body(kind: str, subject: str) -> bytes:
    """What is kept of an event."""
    return written([kind, subject])


def read_file(key: bytes, record: bytes, names: dict[int, str]) -> FileRead:
    """`names` has the ids of the sessions by their numbers."""
    session, _, at, reads = _HEADER.unpack_from(record)
    content, characters, metadata = cast(tuple[str, int, object], read(record[_HEADER.size :]))
    return {
        "path": key_name(key[_NUMBER.size :]),
        "content": content,
        "characters": characters,
        "metadata": metadata,
        "reads": reads,
        "at_seconds": at,
        "session_id": names.get(session),
    }


def read_search(record: bytes, names: dict[int, str]) -> Search:
    """`names` has the ids of the sessions by their numbers."""
    session, _, at, found = _HEADER.unpack_from(record)
    query, search_type, hits = cast(
        tuple[str, str, list[tuple[str | None, float | None, str | None]]], read(record[_HEADER.size :])
    )
    return {
        "query": query,
        "search_type": search_type,
        "results": [{"path": path, "score": score, "type": kind} for path, score, kind in hits],
        "found": found,
        "at_seconds": at,
        "session_id": names.get(session),
    }


def read_event(record: bytes, names: dict[int, str]) -> TimelineEvent:
    """`names` has the ids of the sessions by their numbers."""
    session, _, at, _ = _HEADER.unpack_from(record)
    kind, subject = cast(tuple[str, str], read(record[_HEADER.size :]))
    return {"kind": kind, "subject": subject, "at_seconds": at, "session_id": names.get(session)}

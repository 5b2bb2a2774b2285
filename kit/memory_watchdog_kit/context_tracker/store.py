"""Files, searches, events and sessions within their limits: the memory of a `ContextTracker`.

Covers: what goes first when there is too much, ending sessions, cleanups, counting what went.
Leaves to others: what a record says (`records`), its size (`shelves`), locks and the public face (`tracker`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from memory_watchdog_kit.component import Level
from memory_watchdog_kit.context_tracker import records
from memory_watchdog_kit.context_tracker.limits import ContextDropped, Limits
from memory_watchdog_kit.context_tracker.shelves import Queue, Shelf, Table

_SHARES = {Level.NORMAL: 0.2, Level.AGGRESSIVE: 0.5}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store held at one moment: keys and records, each kind oldest first."""

    sessions: tuple[tuple[bytes, bytes], ...]
    files: tuple[tuple[bytes, bytes], ...]
    searches: tuple[bytes, ...]
    events: tuple[bytes, ...]

    def names(self) -> dict[int, str]:
        """The ids of the sessions by their numbers."""
        return {records.Session.unpacked(packed).number: records.key_name(key) for key, packed in self.sessions}


class Store:
    """Files, searches, events and sessions within `limits`; what goes is counted in `dropped`. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.dropped = ContextDropped()
        self.files = Table()
        self.searches = Queue()
        self.events = Queue()
        self._shelves: tuple[Shelf, ...] = (self.files, self.searches, self.events)
        self.sessions = Table()
        self.evictions = 0  # records that a bound or a cleanup drove out
        self.expirations = 0  # records that went because nobody used their session
        self._sequence = 0  # of the last record
        self._session_number = 0  # of the last session; 0 is none
        self._now = 0.0

    @property
    def held_bytes(self) -> int:
        """What everything takes beyond the empty store."""
        return sum(shelf.held_bytes for shelf in (*self._shelves, self.sessions))

    @property
    def items(self) -> int:
        return len(self.files) + len(self.searches) + len(self.events) + len(self.sessions)

    def snapshot(self) -> Snapshot:
        """Everything, at this moment: records never change, so that only references are copied."""
        return Snapshot(
            tuple(self.sessions.items()), tuple(self.files.items()), tuple(self.searches), tuple(self.events)
        )

    def count_dropped(self, kind: str) -> None:
        """Counts a record of this kind (`records.KINDS`) that is not kept."""
        name = {"file": "files", "search": "searches", "event": "events", "session": "sessions"}[kind]
        setattr(self.dropped, name, getattr(self.dropped, name) + 1)

    def put_file(self, session: int, path: str, at: float, reads: int, body: bytes) -> None:
        """`reads` are added to those of the record that the path has in this session, which goes."""
        key = records.file_key(session, path)
        before = self.files.get(key)
        if before is not None:
            reads += records.count_of(before)
        self.files.put(key, self._record(session, at, reads, body))
        self._keep_in_bounds()

    def add_search(self, session: int, at: float, found: int, body: bytes) -> None:
        self.searches.add(self._record(session, at, found, body))
        self._keep_in_bounds()

    def add_event(self, session: int, at: float, kind: str, subject: str) -> None:
        subject = subject[: records.EVENT_SUBJECT_CHARACTERS]
        self.events.add(self._record(session, at, 0, records.event_body(kind, subject)))
        self._keep_in_bounds()

    def _record(self, session: int, at: float, count: int, body: bytes) -> bytes:
        self._sequence += 1
        return records.pack(session, self._sequence, at, count, body)

    def session(self, session_id: str) -> records.Session | None:
        packed = self.sessions.get(records.name_key(session_id))
        return None if packed is None else records.Session.unpacked(packed)

    def next_session_number(self) -> int:
        self._session_number += 1
        return self._session_number

    def put_session(self, session_id: str, session: records.Session) -> None:
        """The session is the one that was used last; the one that is idle longest ends where there are too many."""
        self.sessions.put(records.name_key(session_id), session.packed())
        self._keep_in_bounds()

    def end_session(self, session_id: str) -> records.Session | None:
        """Drops a session with all that belongs to it; None where there is none."""
        session = self.session(session_id)
        if session is None:
            return None
        self.sessions.drop(records.name_key(session_id))
        self.dropped.files += self.files.drop_session(session.number)
        self.dropped.searches += self.searches.drop_session(session.number)
        self.dropped.events += self.events.drop_session(session.number)
        return session

    def tick(self, now: float) -> list[str]:
        """Ends and names the sessions that nobody used. If the clock was set back, what lies ahead counts from now."""
        ended: list[str] = []
        if now < self._now:
            for key, packed in list(self.sessions.items()):
                session = records.Session.unpacked(packed)
                if session.used_at > now:
                    self.sessions.replace(key, session.used(now).packed())
        self._now = now
        while len(self.sessions):
            oldest = records.Session.unpacked(self.sessions.oldest())
            if now - oldest.used_at < self.limits.session_idle_seconds:
                break
            ended.append(records.key_name(self.sessions.oldest_key()))
            before = self.items
            self._drop_oldest_session()
            self.dropped.idle_sessions += 1
            self.expirations += before - self.items - 1  # without the session itself, which is no record
        return ended

    def cleanup(self, level: Level, target_bytes: int | None) -> None:
        """Drops the oldest fifth or half of files, searches and events; with `target_bytes` no more than asked for."""
        enough = 0 if target_bytes is None else self.held_bytes - target_bytes
        left = {shelf: math.ceil(len(shelf) * _SHARES[level]) for shelf in self._shelves}
        while self.held_bytes > enough and (shelf := self._oldest_shelf(shelf for shelf, most in left.items() if most)):
            left[shelf] -= 1
            self._drop_oldest(shelf)

    def clear(self) -> None:
        """Drops everything."""
        while len(self.sessions):
            self._drop_oldest_session()
        while shelf := self._oldest_shelf(self._shelves):
            self._drop_oldest(shelf)

    def _keep_in_bounds(self) -> None:
        limits = self.limits
        most_of_each = (limits.max_files, limits.max_searches, limits.max_events)
        for shelf, most in zip(self._shelves, most_of_each, strict=True):
            while len(shelf) > most:
                self._drop_oldest(shelf)
        while len(self.sessions) > limits.max_sessions:
            self._evict_oldest_session()
        while self.held_bytes > limits.max_bytes:
            if oldest := self._oldest_shelf(self._shelves):
                self._drop_oldest(oldest)
            else:
                self._evict_oldest_session()

    def _oldest_shelf(self, shelves: Iterable[Shelf]) -> Shelf | None:
        """The one with the oldest record; None where all are empty."""
        filled = (shelf for shelf in shelves if len(shelf))
        return min(filled, key=lambda shelf: records.sequence_of(shelf.oldest()), default=None)

    def _drop_oldest(self, shelf: Shelf) -> None:
        shelf.drop_oldest()
        self.evictions += 1
        self.count_dropped("file" if shelf is self.files else "search" if shelf is self.searches else "event")

    def _evict_oldest_session(self) -> None:
        before = self.items
        self._drop_oldest_session()
        self.evictions += before - self.items - 1  # without the session itself, which is no record

    def _drop_oldest_session(self) -> None:
        self.end_session(records.key_name(self.sessions.oldest_key()))
        self.dropped.sessions += 1

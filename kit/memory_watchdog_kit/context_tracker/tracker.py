"""What a server's clients have read and searched, bounded in number and bytes: `ContextTracker`.

Covers: the public methods, their lock, the clock; reading the context back as plain data.
Leaves to others: making what comes in small (`plain`), bounds and sizes (`store`), the file (`disk`), when it is
cleaned (the manager).
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.context_tracker import disk, records
from memory_watchdog_kit.context_tracker.limits import ContextDropped, Limits
from memory_watchdog_kit.context_tracker.plain import (
    content_text,
    cut,
    cut_name,
    path_text,
    plain_metadata,
    search_hits,
)
from memory_watchdog_kit.context_tracker.records import Context, Session, SessionSummary
from memory_watchdog_kit.context_tracker.store import Snapshot, Store
from memory_watchdog_kit.forking import held_across_forks, renewed_in_child
from memory_watchdog_kit.settings import ContextTrackerSettings

_log = logging.getLogger("memory_watchdog_kit.context_tracker")


@dataclass(frozen=True, slots=True)
class ContextLoaded:
    """What `ContextTracker.load` did: how many items there are now, and why the file was refused."""

    items: int
    refused: str | None = None


class ContextTracker:
    """What clients have read and searched, each bounded in number, all of it in bytes; the oldest goes first.

    `config` is a `ContextTrackerSettings` or the section `context_tracking` as a mapping; a keyword that is given wins.
    Defaults: `max_files` 50, `max_content_characters` 500, `max_events` 200. Of a search path, score and type of
    `max_results_per_search` results are kept, never the results. `max_metadata_bytes` of JSON are kept of a file's
    metadata, `max_text_characters` of a path, query, type or session id. `max_bytes` is real memory: records with
    what the allocator rounds them up to, and their containers.

    A session that nobody used for `session_idle_seconds` ends with the next operation; with a session goes all that
    was tracked in it. What is tracked without `session_id` belongs to none.

    Thread-safe; no method keeps a reference to what it was given. In a forked process it is a copy that goes on by
    itself. `clock` gives seconds since the epoch. Raises SettingsError, a ValueError, for limits that are no numbers
    above 0.
    """

    def __init__(  # noqa: PLR0913 - every limit is a keyword argument
        self,
        config: ContextTrackerSettings | Mapping[str, object] | None = None,
        *,
        max_files: int | None = None,
        max_content_characters: int | None = None,
        max_searches: int = 100,
        max_results_per_search: int = 10,
        max_events: int | None = None,
        max_sessions: int = 20,
        session_idle_seconds: float = 3600.0,
        max_metadata_bytes: int = 2048,
        max_text_characters: int = 1000,
        max_bytes: int = 4 * 2**20,
        clock: Callable[[], float] = time.time,
        name: str = "context_tracking",
    ) -> None:
        settings = ContextTrackerSettings.chosen(
            config, max_files=max_files, max_events=max_events, max_content_characters=max_content_characters
        )
        self._limits = Limits(
            max_files=settings.max_files,
            max_content_characters=settings.max_content_characters,
            max_searches=max_searches,
            max_results_per_search=max_results_per_search,
            max_events=settings.max_events,
            max_sessions=max_sessions,
            session_idle_seconds=session_idle_seconds,
            max_metadata_bytes=max_metadata_bytes,
            max_text_characters=max_text_characters,
            max_bytes=max_bytes,
        )
        self._name = name
        self._clock = clock
        # held for microseconds; while a file is loaded, as long as that takes
        self._lock = held_across_forks(threading.Lock())
        self._saving = threading.Lock()  # one at a time writes the file beside the one that is saved
        self._store = Store(self._limits)
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child, where nobody saves."""
        self._saving = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    def track_file_read(
        self,
        file_path: str | bytes | os.PathLike[str],
        content: str | bytes,
        metadata: object = None,
        *,
        session_id: str | None = None,
    ) -> None:
        """Remembers that a file was read: the start of its content, its length, what of its metadata is plain data.

        Metadata that cannot be JSON, or is too large, is left out in part or whole and counted; it never raises.
        Raises TypeError for a path or content that is none.
        """
        limits, dropped = self._limits, ContextDropped()
        path = cut_name(path_text(file_path), limits.max_text_characters, dropped)
        start, characters = content_text(content, limits.max_content_characters, dropped)
        kept = plain_metadata(metadata, limits.max_metadata_bytes, dropped)
        body = records.file_body(start, characters, kept)
        session_name = self._session_name(session_id, dropped)
        with self._lock:
            store, now = self._now()
            store.dropped.add(dropped)
            session = self._use(store, session_name, now, files=1)
            store.put_file(session, path, now, 1, body)
            store.add_event(session, now, "file_read", path)

    def track_search(
        self, query: str, results: object, search_type: str = "hybrid", *, session_id: str | None = None
    ) -> None:
        """Remembers a search: of the first results path, score and type, and how many there were.

        `results` is an iterable of mappings, of objects or of paths, or a mapping with one under `results`; the names
        looked for are `file_path`, `path`, `score`, `type`, `chunk_type`, there or in its `payload` or `metadata`.
        Results that have none of them, or raise, are counted and never raise here. Of an iterator only what is kept
        is consumed. Raises TypeError for a query or type that is no text.
        """
        limits, dropped = self._limits, ContextDropped()
        most = limits.max_text_characters
        query, search_type = cut(_text(query), most, dropped), cut(_text(search_type), most, dropped)
        hits, found = search_hits(results, limits.max_results_per_search, most, dropped)
        body = records.search_body(query, search_type, hits)
        session_name = self._session_name(session_id, dropped)
        with self._lock:
            store, now = self._now()
            store.dropped.add(dropped)
            session = self._use(store, session_name, now, searches=1)
            store.add_search(session, now, found, body)
            store.add_event(session, now, "search", query)

    def start_session(self, session_id: str | None = None) -> str:
        """Starts a session, or uses one that is there; its id, a new one where none is given.

        Where there are `max_sessions` already, the one that is idle longest ends. Tracking with a `session_id` that is
        not there starts it too.
        """
        dropped = ContextDropped()
        name = self._session_name(session_id or uuid.uuid4().hex, dropped)
        assert name is not None
        with self._lock:
            store, now = self._now()
            store.dropped.add(dropped)
            self._use(store, name, now)
        return name

    def end_session(self, session_id: str) -> SessionSummary | None:
        """Ends a session and drops all that was tracked in it; what it was, None where there is none."""
        name = cut_name(session_id, self._limits.max_text_characters, ContextDropped())
        with self._lock:
            store, now = self._now()
            session = store.end_session(name)
            if session is None:
                return None
            store.add_event(0, now, "session_end", name)
        return session.summary(name)

    def get_context(self, session_id: str | None = None) -> Context:
        """All that is held, or what is held of one session: plain data that is the caller's own.

        Files and searches newest first, the timeline from oldest to newest, sessions by last use, newest first.
        """
        snapshot = self._snapshot()
        names = snapshot.names()
        name = None if session_id is None else cut_name(session_id, self._limits.max_text_characters, ContextDropped())
        number = next((number for number, known in names.items() if known == name), -1)

        def wanted(record: bytes) -> bool:
            return name is None or records.session_of(record) == number

        sessions = [
            Session.unpacked(packed).summary(records.key_name(key)) for key, packed in reversed(snapshot.sessions)
        ]
        return {
            "files": [records.read_file(key, one, names) for key, one in reversed(snapshot.files) if wanted(one)],
            "searches": [records.read_search(one, names) for one in reversed(snapshot.searches) if wanted(one)],
            "timeline": [records.read_event(one, names) for one in snapshot.events if wanted(one)],
            "sessions": [session for session in sessions if name is None or session["session_id"] == name],
        }

    def dropped(self) -> ContextDropped:
        """What was not kept, by kind, since the tracker was made."""
        with self._lock:
            store, _ = self._now()
            return changed(store.dropped)

    def statistics(self) -> Statistics:
        """Evictions are records that a bound or a cleanup drove out, expirations those of idle sessions."""
        limits = self._limits
        with self._lock:
            store, _ = self._now()
            return Statistics(
                bytes=store.held_bytes,
                items=store.items,
                max_bytes=limits.max_bytes,
                max_items=limits.max_files + limits.max_searches + limits.max_events + limits.max_sessions,
                evictions=store.evictions,
                expirations=store.expirations,
            )

    def cleanup(self, level: Level, target_bytes: int | None = None) -> Cleaned:
        """Drops the oldest fifth (normal) or half (aggressive) of files, searches and events, and idle sessions.

        With `target_bytes` it stops when so many bytes are gone.
        """
        level = Level(level)
        with self._lock:
            items, held = self._store.items, self._store.held_bytes
            store, _ = self._now()
            gone = held - store.held_bytes
            store.cleanup(level, None if target_bytes is None else target_bytes - gone)
            return Cleaned(items - store.items, max(0, held - store.held_bytes))

    def expire(self) -> Cleaned:
        """Ends idle sessions and drops nothing else; the manager asks for it every period."""
        with self._lock:
            items, held = self._store.items, self._store.held_bytes
            store, _ = self._now()
            return Cleaned(max(0, items - store.items), max(0, held - store.held_bytes))  # its end is an event too

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that is held to a file of mode 0600, which is the old or the new one at any moment.

        Raises OSError where it cannot be written.
        """
        with self._saving:
            disk.write_file(Path(path), self._snapshot())

    def load(self, path: str | os.PathLike[str]) -> ContextLoaded:
        """Puts what a file holds in the place of what is held: its newest within the bounds of this tracker.

        A file that is missing, damaged, of another version or far larger than the bounds is refused: the answer and the
        log say why, and the tracker is empty. To be called before the server serves: other calls wait meanwhile.
        """
        refused, level = None, logging.WARNING
        with self._lock:
            store, now = self._now()
            store.clear()
            try:
                disk.read_file(Path(path), store, now)
                store.tick(now)
            except disk.Refused as error:
                refused, level = str(error), logging.INFO if isinstance(error, disk.Missing) else logging.WARNING
                store.clear()
            items = store.items
        if refused is not None:
            _log.log(level, "%s is not read as a context: %s; the tracker starts empty", os.fspath(path), refused)
        return ContextLoaded(items, refused)

    def _now(self) -> tuple[Store, float]:
        """The store at this moment, with idle sessions ended; only with the lock."""
        now = self._clock()
        for name in self._store.tick(now):
            self._store.add_event(0, now, "session_end", name)
        return self._store, now

    def _snapshot(self) -> Snapshot:
        with self._lock:
            store, _ = self._now()
            return store.snapshot()

    def _session_name(self, session_id: str | None, dropped: ContextDropped) -> str | None:
        return None if session_id is None else cut_name(_text(session_id), self._limits.max_text_characters, dropped)

    @staticmethod
    def _use(store: Store, name: str | None, now: float, files: int = 0, searches: int = 0) -> int:
        """The number of the session, which is started where it is not there; 0 without one. Only with the lock."""
        if name is None:
            return 0
        session = store.session(name)
        if session is None:
            started = Session(store.next_session_number(), now, now, files, searches)
            store.put_session(name, started)
            if store.session(name) is None:  # not even that fits in max_bytes
                return 0
            store.add_event(started.number, now, "session_start", name)
        else:
            store.put_session(name, session.used(now, files, searches))
        kept = store.session(name)  # it may have gone for the bytes of its own event
        return 0 if kept is None else kept.number


def _text(text: str) -> str:
    """The text itself, not an object that pretends to be one. Raises TypeError for anything else."""
    return str.__str__(text)

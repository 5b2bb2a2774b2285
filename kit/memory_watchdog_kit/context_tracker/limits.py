"""How much a `ContextTracker` holds at most, and what it tells of what it had to drop.

Covers: the limits and their check, the counts of what was dropped.
Leaves to others: keeping to them (`store`, `records`), the three of them that a settings file may give (`settings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from memory_watchdog_kit.settings_json import BYTES, COUNT, SECONDS, Key, SettingsError, field_mistakes


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of a tracker; each is above 0. Raises SettingsError (a ValueError) with every mistake."""

    max_files: int
    max_content_characters: int
    max_searches: int
    max_results_per_search: int
    max_events: int
    max_sessions: int
    session_idle_seconds: float
    max_metadata_bytes: int
    max_text_characters: int
    max_bytes: int

    KEYS: ClassVar[Mapping[str, Key]] = {
        name: Key(name, kind, kind)
        for name, kind in {
            "max_files": COUNT,
            "max_content_characters": COUNT,
            "max_searches": COUNT,
            "max_results_per_search": COUNT,
            "max_events": COUNT,
            "max_sessions": COUNT,
            "session_idle_seconds": SECONDS,
            "max_metadata_bytes": BYTES,
            "max_text_characters": COUNT,
            "max_bytes": BYTES,
        }.items()
    }

    def __post_init__(self) -> None:
        if mistakes := field_mistakes(self, self.KEYS):
            raise SettingsError(mistakes)


@dataclass(slots=True)
class ContextDropped:
    """What a tracker did not keep, by kind, since it was made.

    `files`, `searches`, `events`: records that went, by a bound, a cleanup, with their session or for a `load`; a file
    that is read again replaces its record, which is not counted. `sessions`: sessions that went for any reason but
    `end_session`; `idle_sessions` is the part of them that nobody had used for `session_idle_seconds`.

    `cut_contents`, `cut_metadata`, `cut_texts` (paths, queries, types, session names): what was kept in part.
    `results`: search results past the first ones. `refused_metadata`, `refused_results`: parts that were no plain
    data, or raised when they were read.
    """

    files: int = 0
    searches: int = 0
    events: int = 0
    sessions: int = 0
    idle_sessions: int = 0
    cut_contents: int = 0
    cut_metadata: int = 0
    cut_texts: int = 0
    results: int = 0
    refused_metadata: int = 0
    refused_results: int = 0

    def add(self, other: ContextDropped) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

"""The settings of the kit: frozen values from code, from a mapping or from the server's own JSON file.

Covers: the sections `progressive_context.semantic_cache`, `context_tracking` and `memory_management`, their defaults,
telling every mistake at once with file, key, what was found and what is allowed.
Leaves to others: reading and checking JSON (`settings_json`), what a setting does (the structures that take it).

Sections and keys that are not the kit's belong to the server and are left alone; an unknown key *inside* one of the
three is a mistake, since a misspelt bound would be no bound. A size ending in `_mb` is in MiB (2²⁰ bytes).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from memory_watchdog_kit.settings_json import (
    BYTES,
    COUNT,
    MEBIBYTES,
    OPTIONAL_BYTES,
    OPTIONAL_MEBIBYTES,
    SECONDS,
    Key,
    SettingsError,
    SettingsMistake,
    field_mistakes,
    read_object,
    section_fields,
    sections_of,
)

__all__ = [
    "ContextTrackerSettings",
    "KitSettings",
    "MemoryManagerSettings",
    "SemanticCacheSettings",
    "SettingsError",
    "SettingsMistake",
]

MIB = 2**20


class _Section:
    """What the three sections share: checked when made, read from a mapping, taken over where both were given."""

    __slots__ = ()

    PATH: ClassVar[tuple[str, ...]]
    KEYS: ClassVar[Mapping[str, Key]]

    def __post_init__(self) -> None:
        if mistakes := field_mistakes(self, self.KEYS):
            raise SettingsError(mistakes)

    @classmethod
    def from_mapping(cls, section: Mapping[str, object], where: str = "settings") -> Self:
        """The settings of one section, by the names that the JSON file uses; `where` names the source in mistakes.

        Raises SettingsError (a ValueError) with every mistake.
        """
        mistakes: list[SettingsMistake] = []
        settings = cls._read(section, where, mistakes)
        if mistakes:
            raise SettingsError(mistakes)
        return settings

    @classmethod
    def chosen(cls, config: Self | Mapping[str, object] | None, **given: float | None) -> Self:
        """The settings of a structure: `config` as settings or as a section, under the keywords that are not None.

        Raises SettingsError for what is wrong in either.
        """
        base = cls() if config is None else config if isinstance(config, cls) else cls.from_mapping(_section(config))
        values = {key.field: getattr(base, key.field) for key in cls.KEYS.values()}
        return cls(**values | {name: value for name, value in given.items() if value is not None})

    @classmethod
    def _read(cls, section: object, where: str, mistakes: list[SettingsMistake]) -> Self:
        """Adds what is wrong to `mistakes`; what is right is in the answer."""
        fields, found = section_fields(section, cls.KEYS, where, cls.PATH)
        mistakes += found
        return cls(**fields)


def _section(config: object) -> Mapping[str, object]:
    if isinstance(config, Mapping):
        return config
    raise TypeError(f"config is a {type(config).__name__}: settings or a mapping are taken")


@dataclass(frozen=True, slots=True)
class SemanticCacheSettings(_Section):
    """Bounds of a `SemanticCache`: section `progressive_context.semantic_cache`.

    `max_results` (`max_cache_size`), `max_bytes` (`max_memory_mb`), `cleanup_interval_operations` (`cleanup_interval`):
    after so many operations what is expired goes; `ttl_seconds`.
    """

    max_results: int = 100
    max_bytes: int = 200 * MIB
    cleanup_interval_operations: int = 50
    ttl_seconds: float = 1800.0

    PATH: ClassVar[tuple[str, ...]] = ("progressive_context", "semantic_cache")
    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_cache_size": Key("max_results", COUNT, COUNT),
        "max_memory_mb": Key("max_bytes", MEBIBYTES, BYTES),
        "cleanup_interval": Key("cleanup_interval_operations", COUNT, COUNT),
        "ttl_seconds": Key("ttl_seconds", SECONDS, SECONDS),
    }


@dataclass(frozen=True, slots=True)
class ContextTrackerSettings(_Section):
    """Bounds of a `ContextTracker`: section `context_tracking`.

    `max_files` (`max_files_tracked`), `max_events` (`max_timeline_events`), `max_content_characters`
    (`max_content_length`): how much of a file's content is kept.
    """

    max_files: int = 50
    max_events: int = 200
    max_content_characters: int = 500

    PATH: ClassVar[tuple[str, ...]] = ("context_tracking",)
    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_files_tracked": Key("max_files", COUNT, COUNT),
        "max_timeline_events": Key("max_events", COUNT, COUNT),
        "max_content_length": Key("max_content_characters", COUNT, COUNT),
    }


@dataclass(frozen=True, slots=True)
class MemoryManagerSettings(_Section):
    """How often a `MemoryManager` cleans, and above what at once and harder: section `memory_management`.

    `interval_seconds` (`cleanup_interval_seconds`), `aggressive_threshold_bytes` (`aggressive_cleanup_threshold_mb`);
    None (`null`) means no such threshold.
    """

    interval_seconds: float = 180.0
    aggressive_threshold_bytes: int | None = None

    PATH: ClassVar[tuple[str, ...]] = ("memory_management",)
    KEYS: ClassVar[Mapping[str, Key]] = {
        "cleanup_interval_seconds": Key("interval_seconds", SECONDS, SECONDS),
        "aggressive_cleanup_threshold_mb": Key("aggressive_threshold_bytes", OPTIONAL_MEBIBYTES, OPTIONAL_BYTES),
    }


@dataclass(frozen=True, slots=True)
class KitSettings:
    """All that the kit reads from the server's settings; a section that is not there has its defaults."""

    semantic_cache: SemanticCacheSettings = field(default_factory=SemanticCacheSettings)
    context_tracker: ContextTrackerSettings = field(default_factory=ContextTrackerSettings)
    memory_manager: MemoryManagerSettings = field(default_factory=MemoryManagerSettings)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """The settings in a JSON file of at most 16 MiB.

        Raises SettingsError with every mistake, also when the file cannot be read or is no JSON object.
        """
        return cls.from_mapping(read_object(path), where=os.fspath(path))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object], where: str = "settings") -> Self:
        """The settings in the whole of the server's settings; `where` names the source in mistakes.

        Raises SettingsError with every mistake.
        """
        mistakes: list[SettingsMistake] = []
        paths = (SemanticCacheSettings.PATH, ContextTrackerSettings.PATH, MemoryManagerSettings.PATH)
        found = sections_of(settings, paths, where, mistakes)
        made = cls(
            SemanticCacheSettings._read(found.get(SemanticCacheSettings.PATH, {}), where, mistakes),
            ContextTrackerSettings._read(found.get(ContextTrackerSettings.PATH, {}), where, mistakes),
            MemoryManagerSettings._read(found.get(MemoryManagerSettings.PATH, {}), where, mistakes),
        )
        if mistakes:
            raise SettingsError(mistakes)
        return made

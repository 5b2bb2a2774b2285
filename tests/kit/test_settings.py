"""The settings of the kit: from code, from mappings, from the server's JSON file."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit import (
    ContextTrackerSettings,
    KitSettings,
    MemoryManagerSettings,
    SemanticCacheSettings,
    SettingsError,
)

MIB = 2**20


def mistakes(act: Callable[[], object]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        act()
    assert isinstance(refused.value, ValueError)
    told = [str(mistake) for mistake in refused.value.mistakes]
    assert str(refused.value) == "\n".join(told)
    return told


def test_the_defaults() -> None:
    settings = KitSettings()
    assert settings.semantic_cache == SemanticCacheSettings(100, 200 * MIB, 50, 1800.0)
    assert settings.context_tracker == ContextTrackerSettings(50, 200, 500)
    assert settings.memory_manager == MemoryManagerSettings(180.0, None)
    assert KitSettings.from_mapping({}) == settings


WHOLE = {
    "server": {"port": 8081, "port_": math.nan},
    "progressive_context": {
        "enabled": True,
        "semantic_cache": {"max_cache_size": 7, "max_memory_mb": 1.5, "cleanup_interval": 3, "ttl_seconds": 0.5},
        "levels": {"file": {"max_memory_mb": -1}},
    },
    "context_tracking": {"max_files_tracked": 8, "max_timeline_events": 9, "max_content_length": 10},
    "memory_management": {"cleanup_interval_seconds": 60, "aggressive_cleanup_threshold_mb": 1024},
}


def test_every_key_is_read_and_what_is_the_servers_own_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "server_config.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(WHOLE).encode())  # with the byte order mark of some editors
    settings = KitSettings.from_file(file)
    assert settings.semantic_cache == SemanticCacheSettings(7, 3 * MIB // 2, 3, 0.5)
    assert settings.context_tracker == ContextTrackerSettings(8, 9, 10)
    assert settings.memory_manager == MemoryManagerSettings(60.0, 1024 * MIB)
    assert KitSettings.from_mapping(WHOLE) == settings
    assert isinstance(settings.memory_manager.interval_seconds, float)
    assert KitSettings.from_mapping({"memory_management": {"aggressive_cleanup_threshold_mb": None}}) == KitSettings()


def test_one_section_by_itself() -> None:
    assert SemanticCacheSettings.from_mapping({"max_cache_size": 7}) == SemanticCacheSettings(max_results=7)
    assert mistakes(lambda: ContextTrackerSettings.from_mapping({"max_files": 7})) == [
        "settings: context_tracking.max_files: found an unknown key (did you mean max_files_tracked?), "
        "allowed: max_files_tracked, max_timeline_events, max_content_length"
    ]


def test_a_structure_takes_settings_or_a_section_and_keywords_win() -> None:
    chosen = ContextTrackerSettings.chosen
    assert chosen(None) == ContextTrackerSettings()
    assert chosen({"max_files_tracked": 7}, max_files=None, max_events=3) == ContextTrackerSettings(7, 3)
    assert chosen(ContextTrackerSettings(7, 8), max_files=1) == ContextTrackerSettings(1, 8)
    assert mistakes(lambda: chosen(None, max_files=0)) == [
        "ContextTrackerSettings: max_files: found 0, allowed: a whole number above 0"
    ]
    with pytest.raises(TypeError, match="a SemanticCacheSettings: settings or a mapping"):
        chosen(SemanticCacheSettings())  # type: ignore[arg-type]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(
        """{"context_tracking": {"max_files_tracked": true, "max_files_tracked": "5", "max_timeline_events": 2.5},
            "progressive_context": {"semantic_cache": {"max_memory": 3, "ttl_seconds": NaN, "max_memory_mb": 1e-9,
                                                       "max_cache_size": null, "cleanup_interval": {}}},
            "memory_management": [], "memory_management": []}"""
    )
    assert mistakes(lambda: KitSettings.from_file(file)) == [
        f"{file}: memory_management: found the key more than once, allowed: once",
        f"{file}: progressive_context.semantic_cache.max_memory: found an unknown key (did you mean max_memory_mb?), "
        "allowed: max_cache_size, max_memory_mb, cleanup_interval, ttl_seconds",
        f"{file}: progressive_context.semantic_cache.ttl_seconds: found nan, allowed: a number of seconds above 0",
        f"{file}: progressive_context.semantic_cache.max_memory_mb: found 1e-09, allowed: a number of MiB above 0",
        f"{file}: progressive_context.semantic_cache.max_cache_size: found null, allowed: a whole number above 0",
        f"{file}: progressive_context.semantic_cache.cleanup_interval: found an object, "
        "allowed: a whole number above 0",
        f"{file}: context_tracking.max_files_tracked: found the key more than once, allowed: once",
        f"{file}: context_tracking.max_files_tracked: found '5', allowed: a whole number above 0",
        f"{file}: context_tracking.max_timeline_events: found 2.5, allowed: a whole number above 0",
        f"{file}: memory_management: found a list, allowed: an object",
    ]


@pytest.mark.parametrize("number", ["true", "0", "-1", "NaN", "Infinity", "-Infinity", "1e999", '"5"', "1" + 400 * "0"])
@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, key)
        for section in (SemanticCacheSettings, ContextTrackerSettings, MemoryManagerSettings)
        for key in section.KEYS
    ],
)
def test_no_number_is_no_number(section: type[SemanticCacheSettings], key: str, number: str) -> None:
    (told,) = mistakes(lambda: section.from_mapping(json.loads(f'{{"{key}": {number}}}')))
    assert f".{key}: found " in told
    assert len(told) < 250
    name = section.KEYS[key].field
    (told,) = mistakes(lambda: section(**{name: json.loads(number)}))
    assert told.startswith(f"{section.__name__}: {name}: found ")


def test_all_that_code_got_wrong_is_told() -> None:
    assert mistakes(lambda: SemanticCacheSettings(max_results=-1, max_bytes=1.5, ttl_seconds=10**5000)) == [  # type: ignore[arg-type]
        "SemanticCacheSettings: max_results: found -1, allowed: a whole number above 0",
        "SemanticCacheSettings: max_bytes: found 1.5, allowed: a whole number of bytes above 0",
        "SemanticCacheSettings: ttl_seconds: found a number of thousands of digits, "
        "allowed: a number of seconds above 0",
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"{", ":1:2: found no JSON (Expecting property name enclosed in double quotes), allowed: "),
        (b"", ":1:1: found no JSON (Expecting value), allowed: a file with a JSON object"),
        (b"[1]", ": found a list, allowed: a file with a JSON object"),
        (b"\xff{}", ": found no JSON ('utf-8' codec can't decode"),
        (b'{"a":' + b"[" * 200_000, ": found no JSON (maximum recursion"),
        (b"1" * 5000, ": found no JSON (Exceeds the limit"),
        (b" " * (16 * MIB + 1), ": found more than 16 MiB, allowed: a file with a JSON object"),
        (b'{"progressive_context": 5}', ": progressive_context: found 5, allowed: an object"),
        (
            b'{"progressive_context": {"semantic_cache": {}, "semantic_cache": {}}}',
            ": progressive_context.semantic_cache: found the key more than once, allowed: once",
        ),
        (b'{"context_tracking": {"\\n\\ud800": 1}}', ": context_tracking.\\n\\ud800: found an unknown key, allowed: "),
    ],
)
def test_a_file_that_is_no_settings(tmp_path: Path, written: bytes, told: str) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(written)
    (line,) = mistakes(lambda: KitSettings.from_file(str(file)))
    assert line.startswith(f"{file}{told}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert mistakes(lambda: KitSettings.from_file(tmp_path / "none")) == [
        f"{tmp_path}/none: found No such file or directory, allowed: a file with a JSON object"
    ]
    assert mistakes(lambda: KitSettings.from_file(tmp_path)) == [
        f"{tmp_path}: found Is a directory, allowed: a file with a JSON object"
    ]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*SemanticCacheSettings.KEYS, *ContextTrackerSettings.KEYS, *MemoryManagerSettings.KEYS])
SECTION = ANY | st.dictionaries(NAMES | st.text(), ANY)


CACHE = st.fixed_dictionaries({"semantic_cache": SECTION})


@given(
    st.dictionaries(st.text(), ANY),
    st.dictionaries(st.sampled_from(["context_tracking", "memory_management"]), SECTION),
    st.fixed_dictionaries({}, optional={"progressive_context": ANY | CACHE}),
)
def test_any_mapping_gives_settings_or_mistakes(
    others: dict[str, object], sections: dict[str, object], cache: dict[str, object]
) -> None:
    with contextlib.suppress(SettingsError):  # and nothing else
        settings = KitSettings.from_mapping(others | sections | cache)
        assert settings.semantic_cache.max_bytes >= 1
        assert 0 < settings.memory_manager.interval_seconds < math.inf

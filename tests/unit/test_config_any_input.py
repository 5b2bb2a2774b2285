"""Whatever stands in the file: a config comes out, or a ConfigError in our own words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.config import ConfigError, load

KEYS = [
    *("web", "log", "state_file", "targets", "listen_address", "level", "format"),
    *("url", "name", "process", "measure", "limit", "interval", "min_interval", "stale_after", "stats", "levels"),
    *("settle", "escalate_after", "max_cooldown", "budget", "dry_run"),
    *("path", "method", "timeout", "headers", "bearer_token_file", "json", "enter", "exit", "sustain", "cooldown"),
    *("preset", "map", "resident", "allocator_free", "values", "components", "each", "at", "unit", "times", "sum"),
    *("bytes", "items", "error", "claimed"),
    *("min_reclaim", "cleanup", "port", "pid", "pid_file", "command", "cgroup", "actions", "per", "A"),
]
SCALARS = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "75%",
            "70%",
            "5s",
            "0s",
            "1GB",
            "http://h",
            "unix:/x",
            "auto",
            "none",
            "GET",
            "/x",
            "[[a",
            "${X}",
            "etcd",
            "a.b",
            "@key",
            "MiB",
            "prometheus",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=12,
)


def assert_only_config_errors(text: str, directory: Path) -> None:
    (directory / "memory-watchdog.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    failure: ConfigError | None = None
    try:
        load({}, {}, directory, directory / "none")
    except ConfigError as error:
        failure = error
    if failure is not None:
        lines = str(failure).splitlines()
        assert len(lines) == len(failure.mistakes) > 0
        # without what was found: hypothesis likes to try the words that stand here
        ours = [re.sub(r"'.*'", "", line) for line in lines]
        assert not [line for line in ours if re.search(r"pydantic|Input should|UNREAD", line)], lines


@given(settings=st.dictionaries(st.sampled_from(KEYS), VALUES), levels=st.lists(VALUES, max_size=3), junk=VALUES)
def test_any_values_are_taken_or_told(
    settings: dict[str, Any], levels: list[Any], junk: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    targets = [{"url": "http://h", **settings}, {"url": "http://i", "levels": levels}, junk]
    for data in ({"targets": targets}, {"targets": junk}, {"targets": targets[:1], "web": junk, "log": junk}, junk):
        assert_only_config_errors(yaml.safe_dump(data, allow_unicode=True), directory)


@given(text=st.text(max_size=80))
def test_any_text_is_taken_or_told(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.getbasetemp()
    for file in (text, f"targets: {text}", f"targets:\n  - url: http://h\n    name: {text}\n"):
        assert_only_config_errors(file, directory)

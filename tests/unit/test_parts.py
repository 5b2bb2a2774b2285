"""From a config to the parts that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.http_client import TargetClient
from memory_watchdog.parts import cleanup_requests, finder_of, is_loopback, ladder_settings, statistics_source
from memory_watchdog.policy.settings import LadderSettings, LevelSettings, RestartSettings
from memory_watchdog.quantities import Percent, Size
from memory_watchdog.sources.discovery import ByCgroup, ByCommand, ByPid, ByPidFile, ByPort, BySocket, ByUrl, Finder

from tests.support.watchdog import written


def target_of(folder: Path, **keys: Any) -> TargetConfig:
    return load({"config.file": str(written(folder, {"targets": [keys]}))}, {}, folder).targets[0]


@pytest.mark.parametrize(
    ("url", "finder"),
    [
        ("http://127.0.0.1:8081", ByUrl(ByPort(8081))),
        ("http://localhost:8081/base", ByUrl(ByPort(8081))),
        ("http://app.localhost", ByUrl(ByPort(80))),
        ("https://[::1]", ByUrl(ByPort(443))),
        ("https://127.9.9.9:1", ByUrl(ByPort(1))),
        ("unix:/run/a.sock", ByUrl(BySocket("/run/a.sock"))),
        ("http://example.org:8081", None),
        ("http://10.0.0.1:8081", None),
        ("http://localhost.example.org", None),
        ("http://[2001:db8::1]:1", None),
    ],
)
def test_without_process_the_url_says_where_the_process_is(tmp_path: Path, url: str, finder: Finder | None) -> None:
    assert finder_of(target_of(tmp_path, url=url)) == finder


@pytest.mark.parametrize(
    ("process", "finder"),
    [
        ({"port": 1}, ByPort(1)),
        ({"pid": 2}, ByPid(2)),
        ({"command": "a b$"}, ByCommand("a b$")),
        ({"cgroup": "/a"}, ByCgroup("/a")),
        ({"pid_file": "/run/a.pid"}, ByPidFile(Path("/run/a.pid"))),
    ],
)
def test_process_goes_before_the_url(tmp_path: Path, process: dict[str, Any], finder: Finder) -> None:
    for url in ("http://127.0.0.1:8081", "http://example.org"):
        assert finder_of(target_of(tmp_path, url=url, process=process)) == finder


def test_a_relative_pid_file_is_beside_the_config(tmp_path: Path) -> None:
    assert finder_of(target_of(tmp_path, url="http://h", process={"pid_file": "a.pid"})) == ByPidFile(
        tmp_path / "a.pid"
    )


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.255.0.1", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "128.0.0.1", "::", "xlocalhost", "127.0.0.1.example.org"])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_the_defaults_of_the_ladder_are_those_of_the_design(tmp_path: Path) -> None:
    assert ladder_settings(target_of(tmp_path, url="http://h")) == LadderSettings(
        levels=(
            LevelSettings("normal", Percent(75), Percent(70), 10.0, 60.0, Percent(1), 30.0),
            LevelSettings("aggressive", Percent(87.5), Percent(80), 0.0, 30.0, Percent(1), 60.0),
        ),
        stale_after_seconds=15.0, settle_seconds=10.0, escalate_after=2, max_cooldown_seconds=600.0, budget_actions=30,
        budget_per_seconds=3600.0, statistics_configured=True, dry_run=False,
    )  # fmt: skip


def test_every_setting_of_the_ladder_can_be_set(tmp_path: Path) -> None:
    level = {"name": "a", "enter": "2GiB", "exit": "1GiB", "sustain": "1s", "cooldown": "2s", "min_reclaim": "3MiB"}
    settings = ladder_settings(
        target_of(
            tmp_path, name="x", process={"pid": 1}, levels=[level], stale_after="20s", settle="4s", escalate_after=5,
            max_cooldown="6s", budget={"actions": 7, "per": "8s"}, dry_run=True,
            forecast={"within": "9s", "above": "10MiB"},
            restart={"after": 3, "min_age": "11s", "term": "12s", "budget": {"actions": 4, "per": "13s"}},
        )
    )  # fmt: skip
    assert settings == LadderSettings(
        (LevelSettings("a", Size(2 * 2**30), Size(2**30), 1.0, 2.0, Size(3 * 2**20), None),),
        20.0, 4.0, 5, 6.0, 7, 8.0, statistics_configured=False, dry_run=True, forecast_within_seconds=9.0,
        forecast_above=Size(10 * 2**20), restart=RestartSettings(3, 11.0, 4, 13.0, steps_seconds=ANY),
    )  # fmt: skip
    default = ladder_settings(target_of(tmp_path, url="http://h"))
    for name in LadderSettings.__dataclass_fields__:
        assert getattr(settings, name) != getattr(default, name), name


def test_requests_are_by_level_and_only_where_there_is_a_cleanup(tmp_path: Path) -> None:
    levels = [
        {"name": "a", "enter": "50%", "exit": "40%", "cleanup": {"path": "/a", "json": None}},
        {"name": "b", "enter": "60%", "exit": "50%"},
        {"name": "c", "enter": "70%", "exit": "60%", "cleanup": {"path": "/c", "method": "PUT", "timeout": "7s"}},
    ]
    requests = cleanup_requests(target_of(tmp_path, url="http://h", levels=levels))
    assert list(requests) == ["a", "c"]
    (first,), (second,) = requests.values()
    assert isinstance(first, CleanupRequest)
    assert isinstance(second, CleanupRequest)
    assert (first.path, first.has_body, first.body) == ("/a", True, None)
    assert (second.method, second.has_body, second.timeout_seconds) == ("PUT", False, 7.0)


def test_statistics_need_an_address_and_may_be_turned_off(tmp_path: Path) -> None:
    client = TargetClient("http://h")
    assert statistics_source(target_of(tmp_path, url="http://h"), client) is not None
    assert statistics_source(target_of(tmp_path, url="http://h", stats=None), client) is None
    assert statistics_source(target_of(tmp_path, name="x", process={"pid": 1}), None) is None
    assert ladder_settings(target_of(tmp_path, url="http://h", stats=None)).statistics_configured is False

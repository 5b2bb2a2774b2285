"""What a right config becomes: defaults, one spelling for each form, which file is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.config import (
    ABSENT,
    BudgetConfig,
    CleanupConfig,
    Config,
    ConfigError,
    LevelConfig,
    ListenAddress,
    ProcessConfig,
    TargetConfig,
    load,
)
from memory_watchdog.observation import Measure
from memory_watchdog.quantities import Percent, Size
from pydantic import ValidationError

# The sample of the design without `url` and `name`, which have no default, and without what is not built yet.
SAMPLE = """\
web:
  listen_address: 127.0.0.1:9847
log: {level: info, format: logfmt}
targets:
  - name: 127.0.0.1:8081
    url: http://127.0.0.1:8081
    measure: auto
    limit: auto
    interval: 5s
    min_interval: 100ms
    stale_after: 15s
    stats:
      path: /memory
      method: GET
      interval: 15s
      timeout: 2s
      format: json
    levels:
      - {name: normal,     enter: 75%,   exit: 70%, sustain: 10s, cooldown: 60s, min_reclaim: 1%,
         cleanup: {path: /memory/cleanup, method: POST, timeout: 30s, json: {level: "{level}", reason: "{reason}",
                   request_id: "{request_id}", target_bytes: "{target_bytes}"}}}
      - {name: aggressive, enter: 87.5%, exit: 80%, sustain: 0s,  cooldown: 30s, min_reclaim: 1%,
         cleanup: {path: /memory/cleanup, method: POST, timeout: 60s, json: {level: "{level}", reason: "{reason}",
                   request_id: "{request_id}", target_bytes: "{target_bytes}"}}}
    settle: 10s
    escalate_after: 2
    max_cooldown: 10m
    budget: {actions: 30, per: 1h}
    dry_run: false
"""
WITHOUT_URL = "targets:\n  - name: x\n    process: {pid: 5}\n"


def loaded(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    (directory / "memory-watchdog.yaml").write_text(text)
    return load({}, environ or {}, directory)


def target(directory: Path, settings: str) -> TargetConfig:
    """The target of a file with a url and the settings, each line a key."""
    lines = "".join(f"    {line}\n" for line in settings.splitlines())
    return loaded(directory, f"targets:\n  - url: http://h:80\n{lines}").targets[0]


def test_defaults_are_the_sample(tmp_path: Path) -> None:
    sample = loaded(tmp_path, SAMPLE)
    shortest = loaded(tmp_path, "targets: [{url: 'http://127.0.0.1:8081'}]\n")
    assert sample == shortest
    assert sample.targets[0].levels[0].cleanup is not None
    assert sample.targets[0].levels[0].cleanup[0].headers == {}


def test_defaults_in_numbers(tmp_path: Path) -> None:
    config = loaded(tmp_path, "targets: [{url: 'http://127.0.0.1:8081'}]\n")
    (only,) = config.targets
    assert config.web.listen_address == ListenAddress("127.0.0.1", 9847)
    assert (config.log.level, config.log.format, config.state_file) == ("info", "logfmt", None)
    assert (only.name, only.url, only.process) == ("127.0.0.1:8081", "http://127.0.0.1:8081", None)
    assert (only.measure, only.limit, only.dry_run) == (Measure.AUTO, "auto", False)
    assert (only.interval, only.min_interval, only.stale_after) == (5.0, 0.1, 15.0)
    assert (only.settle, only.escalate_after, only.max_cooldown) == (10.0, 2, 600.0)
    assert only.budget == BudgetConfig(actions=30, per="1h")  # type: ignore[arg-type]
    assert only.stats is not None
    assert (only.stats.path, only.stats.method, only.stats.interval, only.stats.timeout) == ("/memory", "GET", 15, 2)
    assert (only.stats.headers, only.stats.bearer_token_file) == ({}, None)
    normal, aggressive = only.levels
    assert (normal.enter, normal.exit, normal.sustain, normal.cooldown) == (Percent(75), Percent(70), 10, 60)
    assert (aggressive.enter, aggressive.exit, aggressive.sustain) == (Percent(87.5), Percent(80), 0)
    assert (aggressive.cooldown, aggressive.min_reclaim) == (30, Percent(1))
    assert aggressive.cleanup is not None
    (request,) = aggressive.cleanup
    assert (request.path, request.method, request.timeout) == (
        "/memory/cleanup",
        "POST",
        60,
    )
    assert request.body["target_bytes"] == "{target_bytes}"


def test_defaults_without_a_url(tmp_path: Path) -> None:
    (only,) = loaded(tmp_path, WITHOUT_URL).targets
    assert (only.url, only.stats, only.process) == (None, None, ProcessConfig(pid=5))
    assert [(level.name, level.cleanup) for level in only.levels] == [("normal", None), ("aggressive", None)]
    assert [level.sustain for level in only.levels] == [10, 0]


def test_defaults_of_a_level_that_is_written(tmp_path: Path) -> None:
    (level,) = target(tmp_path, "levels: [{name: a, enter: 6GB, exit: 5GB}]").levels
    assert level == LevelConfig.model_validate({"name": "a", "enter": "6GB", "exit": "5GB"})
    assert (level.enter, level.exit) == (Size(6 * 10**9), Size(5 * 10**9))
    assert (level.sustain, level.cooldown, level.min_reclaim, level.cleanup) == (0, 60, Percent(1), None)


def test_defaults_of_a_cleanup_that_is_written(tmp_path: Path) -> None:
    (level,) = target(tmp_path, "levels: [{name: a, enter: 6%, exit: 5%, cleanup: {path: '/x?y=1'}}]").levels
    assert level.cleanup == (CleanupConfig(path="/x?y=1"),)
    (request,) = level.cleanup
    assert (request.method, request.timeout, request.body) == ("POST", 30, ABSENT)
    assert (request.error, request.claimed, level.cleanup_timeout) == (None, None, 30)


@pytest.mark.parametrize(
    ("json", "body"),
    [
        ("null", None),
        ("{}", {}),
        ("[1, {a: 2.5}]", [1, {"a": 2.5}]),
        ("false", False),
        ("'5'", "5"),
        ("{a: '{level} {other} {'}", {"a": "{level} {other} {"}),
        ("{at: 2020-01-02, on: yes}", {"at": "2020-01-02", "on": True}),
    ],
)
def test_body_of_a_cleanup(tmp_path: Path, json: str, body: Any) -> None:
    (level,) = target(
        tmp_path, f"levels: [{{name: a, enter: 6%, exit: 5%, cleanup: {{path: /x, json: {json}}}}}]"
    ).levels
    assert level.cleanup is not None
    assert level.cleanup[0].body == body
    assert type(level.cleanup[0].body) is type(body)


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ("name: a b", "name", "a b"),
        ("measure: rss", "measure", Measure.RSS),
        ("measure: anon", "measure", Measure.ANON),
        ("measure: pss", "measure", Measure.PSS),
        ("measure: unreclaimable", "measure", Measure.UNRECLAIMABLE),
        ("measure: reported", "measure", Measure.REPORTED),
        ("limit: machine", "limit", "machine"),
        ("limit: 8GiB", "limit", Size(8 * 2**30)),
        ("interval: 1m", "interval", 60.0),
        ("interval: 1m", "stale_after", 180.0),
        ("interval: 500ms", "stale_after", 2.0),
        ("interval: 1m\nstale_after: 60s", "stale_after", 60.0),
        ("min_interval: 10ms", "min_interval", 0.01),
        ("min_interval: 5s", "min_interval", 5.0),
        ("settle: 1ms", "settle", 0.001),
        ("escalate_after: 1", "escalate_after", 1),
        ("max_cooldown: 1s", "max_cooldown", 1.0),
        ("budget: {actions: 1}", "budget", BudgetConfig(actions=1)),
        ("dry_run: true", "dry_run", True),
        ("preset: null", "preset", None),
        ("preset: native", "preset", "native"),
        ("stats: null", "stats", None),
        ("stats:", "stats", None),
        ("process: null", "process", None),
        ("process: {port: 1}", "process", ProcessConfig(port=1)),
        ("process: {port: '65535'}", "process", ProcessConfig(port=65535)),
        ("process: {command: '^python .*server[.]py$'}", "process", ProcessConfig(command="^python .*server[.]py$")),
        ("process: {command: '[[a]b]'}", "process", ProcessConfig(command="[[a]b]")),  # Python warns of such sets
        ("process: {cgroup: /system.slice/x.service}", "process", ProcessConfig(cgroup="/system.slice/x.service")),
    ],
)
def test_values_of_a_target(tmp_path: Path, settings: str, key: str, value: Any) -> None:
    found = getattr(target(tmp_path, settings), key)
    assert found == value
    assert type(found) is type(value)


def test_values_of_statistics_and_levels(tmp_path: Path) -> None:
    only = target(
        tmp_path,
        """\
stats: {path: /s, method: POST, interval: 1s, timeout: 3s, headers: {X-A: 'b  c', x-e: ''}}
levels:
  - {name: low, enter: 50%, exit: 40%, sustain: 0s, cooldown: 0s, min_reclaim: 64MiB}
  - {name: high, enter: 100%, exit: 40%,
     cleanup: {path: /c, method: DELETE, timeout: 1h, headers: {Authorization: x}}}""",
    )
    assert only.stats is not None
    assert (only.stats.path, only.stats.method, only.stats.interval, only.stats.timeout) == ("/s", "POST", 1, 3)
    assert only.stats.headers == {"X-A": "b  c", "x-e": ""}
    low, high = only.levels
    assert (low.sustain, low.cooldown, low.min_reclaim) == (0, 0, Size(64 * 2**20))
    assert high.cleanup is not None
    assert (high.cleanup[0].method, high.cleanup[0].timeout) == ("DELETE", 3600)
    assert high.cleanup[0].headers == {"Authorization": "x"}


def test_paths_in_a_file_start_at_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "c.yaml").write_text(
        """\
state_file: state/s.json
targets:
  - url: http://h
    process: {pid_file: ../x.pid}
    stats: {bearer_token_file: token}
    levels: [{name: a, enter: 2%, exit: 1%, cleanup: {path: /, bearer_token_file: /run/token}}]
"""
    )
    config = load({"config.file": "conf/c.yaml"}, {}, tmp_path)
    (only,) = config.targets
    assert config.file == folder / "c.yaml"
    assert config.state_file == folder / "state/s.json"
    assert only.process == ProcessConfig.model_validate({"pid_file": str(folder / "../x.pid")})
    assert only.stats is not None
    assert only.stats.bearer_token_file == folder / "token"
    assert only.levels[0].cleanup is not None
    assert only.levels[0].cleanup[0].bearer_token_file == Path("/run/token")


def test_variables_are_typed_and_files_share_with_aliases(tmp_path: Path) -> None:
    text = """\
targets:
  - &first
    url: http://h:${PORT}
    process: {port: "${PORT}"}
    dry_run: ${DRY}
    escalate_after: ${MISSING:-3}
  - <<: *first
    name: second
    process: {port: 8082}
"""
    one, two = loaded(tmp_path, text, {"PORT": "8081", "DRY": "true"}).targets
    assert (one.url, one.process, one.dry_run, one.escalate_after) == (
        "http://h:8081",
        ProcessConfig(port=8081),
        True,
        3,
    )
    assert two == one.model_copy(update={"name": "second", "process": ProcessConfig(port=8082)})


def test_which_file_is_read(tmp_path: Path) -> None:
    here, system, other = tmp_path / "memory-watchdog.yaml", tmp_path / "etc.yaml", tmp_path / "other.yaml"

    def file(options: dict[str, str], environ: dict[str, str]) -> Path | None:
        return load(options, environ, tmp_path, system).file

    with pytest.raises(ConfigError) as error:
        file({}, {})
    allowed = f"{here}, {system}, --config.file or --target.url"
    assert str(error.value) == f"memory-watchdog.yaml: found no config, allowed: {allowed}"
    assert file({"target.url": "http://h"}, {}) is None
    for path in (system, here, other):
        path.write_text(WITHOUT_URL)
        if path != other:
            assert file({}, {}) == path
    assert file({"config.file": "other.yaml"}, {}) == other
    assert file({"config.file": str(other)}, {}) == other
    assert file({}, {"MEMORY_WATCHDOG_CONFIG_FILE": "other.yaml"}) == other
    assert file({"config.file": "etc.yaml"}, {"MEMORY_WATCHDOG_CONFIG_FILE": "other.yaml"}) == system
    assert file({}, {"MEMORY_WATCHDOG_TARGET_URL": "http://h"}) is None
    assert file({}, {"MEMORY_WATCHDOG_TARGET_URL": ""}) == here
    with pytest.raises(ConfigError) as error:
        file({"config.file": "conf/none.yaml"}, {})
    assert str(error.value) == "conf/none.yaml: found no such file, allowed: a YAML file"


def test_config_is_frozen_and_hides_headers(tmp_path: Path) -> None:
    config = loaded(tmp_path, "targets: [{url: 'http://h', stats: {headers: {A: s3cr3t}}}]\n")
    with pytest.raises(ValidationError):
        config.targets[0].name = "other"
    assert "s3cr3t" not in repr(config)
    assert copy.deepcopy(config) == config
    assert load({"target.url": "http://h"}, {}, tmp_path) == load({"target.url": "http://h/"}, {}, tmp_path)

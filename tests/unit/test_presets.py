"""The presets: what each says of itself, how one lies under a target's own keys, the commands that show them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.check import check
from memory_watchdog.cli import main
from memory_watchdog.config import Config, ConfigError, TargetConfig, load
from memory_watchdog.config_mapping import SizeConfig
from memory_watchdog.preset_files import (
    HEADINGS,
    UnknownPreset,
    preset_document,
    preset_header,
    preset_list,
    preset_names,
    starting_config,
)
from memory_watchdog.quantities import Percent

NAMES = ("comfyui", "etcd", "influxdb-1", "jupyter", "litellm", "mcp", "native", "prometheus-process", "qdrant-rag-mcp")
ROOT = Path(__file__).parents[2]


def loaded(directory: Path, text: str, options: dict[str, str] | None = None) -> Config:
    (directory / "c.yaml").write_text(text)
    return load({"config.file": "c.yaml"} | (options or {}), {}, directory)


def target(directory: Path, preset: str, settings: str = "") -> TargetConfig:
    lines = "".join(f"    {line}\n" for line in settings.splitlines())
    return loaded(directory, f"targets:\n  - url: http://h\n    preset: {preset}\n{lines}").targets[0]


def told(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(directory, text)
    return str(error.value).splitlines()


def test_which_there_are() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_was_seen_with_what_it_costs_and_what_it_cannot(name: str) -> None:
    header = preset_header(name)
    assert tuple(header) == HEADINGS
    assert all(len(text) > 20 for text in header.values())
    document = preset_document(name)
    assert not document.mistakes
    assert document.data.keys() <= {"stats", "levels", "settle", "dry_run"}
    assert not {"process", "url", "name", "limit"} & document.data.keys()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_whole_target_and_keeps_the_default_thresholds(name: str, tmp_path: Path) -> None:
    found = load({"target.url": "http://h", "target.preset": name}, {}, tmp_path).targets[0]
    default = load({"target.url": "http://h"}, {}, tmp_path).targets[0]
    assert found.preset == name

    def edges(one: TargetConfig) -> list[Any]:
        return [(level.name, level.enter, level.exit, level.sustain, level.min_reclaim) for level in one.levels]

    assert edges(found) == edges(default)
    assert found.settle == (30 if name == "comfyui" else default.settle)


def test_native_is_what_a_target_without_a_preset_is(tmp_path: Path) -> None:
    found = load({"target.url": "http://h", "target.preset": "native"}, {}, tmp_path).targets[0]
    assert found == load({"target.url": "http://h"}, {}, tmp_path).targets[0].model_copy(update={"preset": "native"})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_valid_and_means_the_same(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["presets", "show", name]) == 0
    text = capsys.readouterr().out
    assert f"# Seen with: {preset_header(name)['Seen with']}"[:60] in text
    (tmp_path / "memory-watchdog.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 0
    shown = loaded(tmp_path, text)
    options = {"target.url": preset_header(name)["Address"], "target.preset": name}
    assert shown.targets[0].model_copy(update={"preset": name}) == load(options, {}, tmp_path).targets[0]
    assert next(check(shown)).endswith(f"valid; targets: {shown.targets[0].name}")


def test_comments_of_a_preset_are_shown() -> None:
    assert "# a failure is a 200 with this key" in starting_config("qdrant-rag-mcp")
    assert "      # bearer_token_file: jupyter-token" in starting_config("jupyter")


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == list(preset_list())
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(preset_header(name)["Seen with"] in line for name, line in zip(NAMES, lines, strict=True))


def test_an_unknown_preset_is_told_with_a_suggestion(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["presets", "show", "etdc"]) == 2
    known = ", ".join(NAMES)
    error = capsys.readouterr().err
    assert error == f"memory-watchdog: no preset 'etdc'; there are {known} (did you mean etcd?)\n"
    with pytest.raises(UnknownPreset, match="there are comfyui"):
        preset_document("../presets/etcd")
    with pytest.raises(ConfigError) as wrong:
        load({"target.url": "http://h"}, {"MEMORY_WATCHDOG_TARGET_PRESET": "litelm"}, tmp_path)
    found = f"MEMORY_WATCHDOG_TARGET_PRESET: found 'litelm', allowed: {known} (did you mean litellm?)"
    assert str(wrong.value) == found


# ---- under a target's own keys


def test_mappings_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    preset = target(tmp_path, "qdrant-rag-mcp")
    found = target(
        tmp_path,
        "qdrant-rag-mcp",
        """\
stats: {interval: 30s, map: {allocator_free: {at: free}}}
levels: [{name: a, enter: 50%, exit: 40%}]""",
    )
    assert found.stats is not None
    assert preset.stats is not None
    assert (found.stats.path, found.stats.interval) == ("/memory_status", 30)
    assert preset.stats.map is not None
    free = {"allocator_free": SizeConfig(at="free")}
    assert found.stats.map == preset.stats.map.model_copy(update=free)
    assert [(level.name, level.enter, level.cleanup) for level in found.levels] == [("a", Percent(50), None)]


@pytest.mark.parametrize(
    ("preset", "settings", "path", "value"),
    [
        ("comfyui", "settle: 5s", "settle", 5),
        ("comfyui", "interval: 5s", "settle", 30),
        ("comfyui", "stats: {map: {resident: {at: x, unit: MiB}}}", "stats.map.resident.at", "x"),
        ("qdrant-rag-mcp", "stats: {map: {resident: {at: x}}}", "stats.map.resident.unit", 1),
        ("qdrant-rag-mcp", "stats: {map: {resident: {sum: [{at: x}]}}}", "stats.map.resident.at", None),
        ("qdrant-rag-mcp", "stats: {map: {components: []}}", "stats.map.components", ()),
        ("etcd", "stats: {json: {a: 1}}", "stats.body", {"a": 1}),
        ("jupyter", "stats: null", "stats", None),
        ("jupyter", "stats: {headers: {A: b}}", "stats.headers", {"A": "b"}),
    ],
)
def test_own_keys_go_first(preset: str, settings: str, path: str, value: object, tmp_path: Path) -> None:
    found: Any = target(tmp_path, preset, settings)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_values_of_a_map_are_kept_beside_own_ones(tmp_path: Path) -> None:
    found = target(tmp_path, "etcd", "stats: {map: {values: {leader: {at: leader}}}}").stats
    assert found is not None
    assert found.map is not None
    assert {name: value.at for name, value in found.map.values.items()} == {
        "leader": "leader",
        "revision": "header.revision",
    }


def test_option_before_environment_before_file_before_preset_before_default(tmp_path: Path) -> None:
    def interval(options: dict[str, str], environ: dict[str, str]) -> float:
        given = {"target.url": "http://h", "target.preset": "comfyui"} | options
        return load(given, environ, tmp_path).targets[0].interval

    assert interval({"target.interval": "1s"}, {"MEMORY_WATCHDOG_TARGET_INTERVAL": "2s"}) == 1
    assert interval({}, {"MEMORY_WATCHDOG_TARGET_INTERVAL": "2s"}) == 2
    assert interval({}, {}) == 5
    assert target(tmp_path, "comfyui", "settle: 7s").settle == 7
    assert target(tmp_path, "comfyui").settle == 30
    assert target(tmp_path, "etcd").settle == 10
    environ = {"MEMORY_WATCHDOG_TARGET_PRESET": "etcd"}
    assert (
        load({"target.url": "http://h", "target.preset": "jupyter"}, environ, tmp_path).targets[0].preset == "jupyter"
    )
    assert load({"target.url": "http://h"}, environ, tmp_path).targets[0].preset == "etcd"


def test_targets_that_share_an_alias_do_not_share_what_a_preset_adds(tmp_path: Path) -> None:
    text = """\
targets:
  - {url: http://a, preset: etcd, stats: &stats {timeout: 3s}}
  - {url: http://b, preset: jupyter, stats: *stats}
  - {url: http://c, stats: *stats}
"""
    found = loaded(tmp_path, text).targets
    assert [one.stats.path for one in found if one.stats] == ["/v3/maintenance/status", "/api/metrics/v1", "/memory"]
    assert [one.stats.timeout for one in found if one.stats] == [3, 3, 3]


# ---- mistakes in what comes of both


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("preset: etcd\n    stats: {timeout: 5}",
         "c.yaml:4: targets[0].stats.timeout: found '5', allowed: a duration such as 100ms, 5s, 1h30m, above 0s and at "
         "most 365d"),
        ("preset: etcd\n    stats: null",
         "preset etcd: targets[0].levels[0].cleanup[0].json.revision: found {stats.revision}, allowed: {stats.NAME} "
         "with a name from stats.map.values: there are none"),
        ("preset: comfyui\n    stats:\n      format: prometheus",
         "preset comfyui: targets[0].stats.map.resident.sum[0].at: found 'system.ram_total', allowed: the name of a "
         'metric, with labels or without, such as cache_bytes{cache="a"}'),
        ("preset: jupyter\n    measure: reported\n    stats: {map: {resident: null}}",
         "c.yaml:4: targets[0].measure: found 'reported', allowed: a measure other than reported where stats.map has "
         "no resident"),
        ("preset: nope",
         f"c.yaml:3: targets[0].preset: found 'nope', allowed: {', '.join(NAMES)}"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_line_or_the_preset(settings: str, mistake: str, tmp_path: Path) -> None:
    found = told(tmp_path, f"targets:\n  - url: http://h\n    {settings}\n")
    assert mistake in found
    assert all(line.startswith(("c.yaml:", "preset ")) for line in found)


def test_a_preset_without_a_url_names_the_target(tmp_path: Path) -> None:
    found = told(tmp_path, "targets:\n  - preset: jupyter\n    name: a\n    process: {pid: 5}\n")
    assert found == ["preset jupyter: targets[0].stats: found a mapping, allowed: nothing where the target has no url"]
    with pytest.raises(ConfigError) as error:
        load({"target.preset": "jupyter"}, {}, tmp_path)
    assert str(error.value).startswith("--target.url: found nothing, allowed: http://HOST:PORT")


# ---- the package


def test_the_wheel_takes_everything_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["watchdog/memory_watchdog"]}
    ignored = (ROOT / ".gitignore").read_text()  # hatchling leaves out what git does; the wheel itself: test_wheel
    assert not [line for line in ignored.splitlines() if "yaml" in line or "presets" in line]

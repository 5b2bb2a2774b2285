"""Options, environment and file: who speaks first, and how mistakes in options and variables are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.config import Config, ConfigError, ListenAddress, ProcessConfig, TargetConfig, load
from memory_watchdog.observation import Measure
from memory_watchdog.options import OPTIONS, Option, given_options
from memory_watchdog.quantities import Size

TARGETS = "targets: [{url: 'http://file'}]\n"


def load_with(directory: Path, options: dict[str, str], environ: dict[str, str], text: str = "") -> Config:
    if text:
        (directory / "c.yaml").write_text(text)
        options = {"config.file": "c.yaml"} | options
    return load(options, environ, directory)


def told(directory: Path, options: dict[str, str], environ: dict[str, str], text: str = "") -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_with(directory, options, environ, text)
    return str(error.value).splitlines()


def _first(read: Callable[[TargetConfig], Any]) -> Callable[[Config], Any]:
    return lambda config: read(config.targets[0])


def _process(key: str) -> Callable[[Config], Any]:
    return _first(lambda target: getattr(target.process or ProcessConfig(), key))


# name of the option, how to read it, then (text, value) of option, environment and file, and the default
READERS: dict[str, tuple[Callable[[Config], Any], list[tuple[str, Any]], Any]] = {
    "target.name": (_first(lambda t: t.name), [("a", "a"), ("b", "b")], "h:80"),
    "target.url": (_first(lambda t: t.url), [("http://a", "http://a"), ("http://b", "http://b")], None),
    "target.preset": (_first(lambda t: t.preset), [("etcd", "etcd"), ("native", "native")], None),
    "target.port": (_process("port"), [("81", 81), ("82", 82)], None),
    "target.pid": (_process("pid"), [("81", 81), ("82", 82)], None),
    "target.pid-file": (_process("pid_file"), [("a", Path("/work/dir/a")), ("/b", Path("/b"))], None),
    "target.command": (_process("command"), [("a", "a"), ("b", "b")], None),
    "target.cgroup": (_process("cgroup"), [("/a", "/a"), ("/b", "/b")], None),
    "target.measure": (_first(lambda t: t.measure), [("rss", Measure.RSS), ("pss", Measure.PSS)], Measure.AUTO),
    "target.limit": (_first(lambda t: t.limit), [("1GB", Size(10**9)), ("machine", "machine")], "auto"),
    "target.interval": (_first(lambda t: t.interval), [("1s", 1.0), ("2s", 2.0)], 5.0),
    "web.listen-address": (
        lambda config: config.web.listen_address,
        [(":1", ListenAddress("", 1)), (":2", ListenAddress("", 2)), (":3", ListenAddress("", 3))],
        ListenAddress("127.0.0.1", 9847),
    ),
    "log.level": (lambda config: config.log.level, [(word, word) for word in ("debug", "error", "warning")], "info"),
    "log.format": (lambda config: config.log.format, [(word, word) for word in ("logfmt", "json", "json")], "logfmt"),
    "state-file": (
        lambda config: config.state_file,
        [("a", Path("/work/dir/a")), ("/b", Path("/b")), ("/c", Path("/c"))],
        None,
    ),
    "record": (
        lambda config: config.record,
        [("a", Path("/work/dir/a")), ("/b", Path("/b")), ("/c", Path("/c"))],
        None,
    ),
    "dry-run": (
        lambda config: [target.dry_run for target in config.targets],
        [("true", [True]), ("0", [False]), ("true", [True])],
        [False],
    ),
}  # fmt: skip
FILES = {
    "web.listen-address": "web: {{listen_address: '{}'}}\n",
    "log.level": "log: {{level: {}}}\n",
    "log.format": "log: {{format: {}}}\n",
    "state-file": "state_file: {}\n",
    "record": "record: {}\n",
    "dry-run": "targets: [{{url: 'http://file', dry_run: {}}}]\n",
}
BY_NAME = {option.name: option for option in OPTIONS}


def test_every_option_is_tested() -> None:
    assert READERS.keys() == BY_NAME.keys() - {"config.file"}  # which file is read: test_config


@pytest.mark.parametrize("name", READERS)
def test_option_before_environment_before_file_before_default(name: str, tmp_path: Path) -> None:
    read, (first, second, *third), default = READERS[name]
    option = BY_NAME[name]
    # A target of options needs a url, or else a name and one way to find the process.
    others = {"target.url": "http://h"} if option.is_target and name != "target.url" else {}

    def value(options: dict[str, str], environ: dict[str, str], text: str = "") -> Any:
        config = load_with(tmp_path, others | options, environ, text)
        found = read(config)
        return Path("/work/dir") / found.name if isinstance(found, Path) and tmp_path in found.parents else found

    text = FILES[name].format(third[0][0]) if third else ""
    text += TARGETS if third and name != "dry-run" else ""
    assert value({name: first[0]}, {option.variable: second[0]}, text) == first[1]
    assert value({name: second[0]}, {option.variable: first[0]}, text) == second[1]
    assert value({}, {option.variable: second[0]}, text) == second[1]
    if third:
        assert value({}, {}, text) == third[0][1]
        assert value({}, {option.variable: ""}, text) == third[0][1]  # empty is unset
        assert value({}, {}, TARGETS) == default
    elif name != "target.url":
        assert value({}, {option.variable: ""}) == default


@pytest.mark.parametrize(
    ("name", "flag", "variable"),
    [
        ("target.pid-file", "--target.pid-file", "MEMORY_WATCHDOG_TARGET_PID_FILE"),
        ("web.listen-address", "--web.listen-address", "MEMORY_WATCHDOG_WEB_LISTEN_ADDRESS"),
        ("state-file", "--state-file", "MEMORY_WATCHDOG_STATE_FILE"),
        ("record", "--record", "MEMORY_WATCHDOG_RECORD"),
        ("dry-run", "--dry-run", "MEMORY_WATCHDOG_DRY_RUN"),
    ],
)
def test_names_of_an_option(name: str, flag: str, variable: str) -> None:
    option = BY_NAME[name]
    assert (option.flag, option.variable, option.is_flag) == (flag, variable, name == "dry-run")
    assert option.help


def test_an_option_that_does_not_exist_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"no such options: target\.x"):
        given_options({"target.x": "1"}, {})


def test_paths_of_options_start_at_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/c.yaml").write_text(TARGETS)
    config = load({"config.file": "conf/c.yaml", "state-file": "s.json"}, {}, tmp_path)
    assert config.state_file == tmp_path / "s.json"


def test_variables_of_others_are_ignored(tmp_path: Path) -> None:
    environ = {"MEMORY_WATCHDOG_PORT": "tcp://10.0.0.1:9847", "MEMORY_WATCHDOG_SERVICE_HOST": "x", "HOME": "/"}
    assert load_with(tmp_path, {"target.url": "http://h"}, environ).targets[0].url == "http://h"


def test_a_target_of_options_beside_a_file_without_targets(tmp_path: Path) -> None:
    config = load_with(tmp_path, {"target.url": "http://h"}, {}, "log: {level: debug}\n")
    assert (config.log.level, config.targets[0].url, config.file) == ("debug", "http://h", tmp_path / "c.yaml")


def test_dry_run_is_set_on_every_target(tmp_path: Path) -> None:
    text = "targets: [{url: 'http://a'}, {url: 'http://b', dry_run: true}]\n"

    def flags(options: dict[str, str], environ: dict[str, str]) -> list[bool]:
        return [target.dry_run for target in load_with(tmp_path, options, environ, text).targets]

    assert flags({}, {}) == [False, True]
    assert flags({"dry-run": "true"}, {}) == [True, True]
    assert flags({}, {"MEMORY_WATCHDOG_DRY_RUN": "1"}) == [True, True]
    assert flags({}, {"MEMORY_WATCHDOG_DRY_RUN": "false"}) == [False, False]


URL_FORM = "http://HOST:PORT, https://HOST:PORT or unix:/PATH"
BESIDE = "allowed: nothing beside a file with targets (c.yaml:1)"
WAYS = "exactly one of port, pid, pid_file, command, cgroup"


@pytest.mark.parametrize(
    ("options", "environ", "text", "mistakes"),
    [
        (
            {"target.url": "http://h", "target.limit": "8"},
            {},
            "",
            ["--target.limit: found '8', allowed: auto, machine, or a size such as 512MiB, 8GiB (powers of 1024) "
             "or 8GB (powers of 1000), above 0 and never a percentage"],
        ),
        (
            {"target.url": "http://h"},
            {"MEMORY_WATCHDOG_TARGET_MEASURE": "x"},
            "",
            ["MEMORY_WATCHDOG_TARGET_MEASURE: found 'x', allowed: auto, rss, anon, pss, unreclaimable or reported"],
        ),
        (
            {"target.url": "http://user:pass@h"},
            {},
            "",
            ["--target.url: found 'http://<hidden>@h', "
             "allowed: a url without user and password; use bearer_token_file or headers"],
        ),
        (
            {"target.port": "80"},
            {},
            "",
            [f"--target.url: found nothing, allowed: {URL_FORM}; without a url name must be given"],
        ),
        (
            {},
            {"MEMORY_WATCHDOG_TARGET_LIMIT": "8GB"},
            "",
            [f"--target.url: found nothing, allowed: {URL_FORM}; without a url name and process must be given"],
        ),
        (
            {"target.url": "http://h", "target.port": "80"},
            {"MEMORY_WATCHDOG_TARGET_PID": "5"},
            "",
            [f"MEMORY_WATCHDOG_TARGET_PID: found port and pid, allowed: {WAYS}"],
        ),
        (
            {"target.url": "http://h", "target.pid-file": ""},
            {},
            "",
            ["--target.pid-file: found '', allowed: the path of a file"],
        ),
        (
            {"target.url": "http://h", "target.interval": "50ms"},
            {},
            "",
            ["--target.interval: found '50ms', allowed: at least min_interval (100ms)"],
        ),
        (
            {"target.url": "http://h", "dry-run": "yes"},
            {},
            "",
            ["--dry-run: found 'yes', allowed: true, false, 1 or 0"],
        ),
        (
            {"target.url": "http://h"},
            {"MEMORY_WATCHDOG_DRY_RUN": "TRUE"},
            "",
            ["MEMORY_WATCHDOG_DRY_RUN: found 'TRUE', allowed: true, false, 1 or 0"],
        ),
        (
            {"target.url": "http://a:b@h"},
            {"MEMORY_WATCHDOG_TARGET_LIMIT": "8GB"},
            TARGETS,
            [f"--target.url: found 'http://<hidden>@h', {BESIDE}",
             f"MEMORY_WATCHDOG_TARGET_LIMIT: found '8GB', {BESIDE}"],
        ),
        (
            {"log.level": "x"},
            {"MEMORY_WATCHDOG_LOG_FORMAT": "y"},
            "targets: [{url: 5}]\nlog: {level: debug}\n",
            ["--log.level: found 'x', allowed: debug, info, warning or error",
             "MEMORY_WATCHDOG_LOG_FORMAT: found 'y', allowed: logfmt or json",
             f"c.yaml:1: targets[0].url: found '5', allowed: {URL_FORM}"],
        ),
        (
            {"web.listen-address": ":80"},
            {},
            TARGETS + "web: 5\n",
            ["c.yaml:2: web: found '5', allowed: a mapping with the keys listen_address, allow_loopback_changes"],
        ),
        (
            {"log.level": "info"},
            {},
            TARGETS + "log: []\n",
            ["c.yaml:2: log: found an empty list, allowed: a mapping with the keys level, format"],
        ),
        (
            {"target.url": "http://h", "target.name": "\udcff\n"},
            {},
            "",
            ["--target.name: found '\\udcff\\n', "
             "allowed: text of 1 to 200 printable characters (a number or yes/no needs quotes)"],
        ),
    ],
)  # fmt: skip
def test_mistakes_name_the_option_or_variable(
    options: dict[str, str], environ: dict[str, str], text: str, mistakes: list[str], tmp_path: Path
) -> None:
    assert told(tmp_path, options, environ, text) == mistakes


def test_one_load_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    load_with(tmp_path, {"target.url": "http://h", "log.level": "debug"}, {})
    assert load_with(tmp_path, {"target.url": "http://h"}, {}).log.level == "info"
    assert told(tmp_path, {"target.pid": "5"}, {})


def test_a_path_option_is_told_apart() -> None:
    assert [option.name for option in OPTIONS if option.is_path] == [
        "config.file",
        "target.pid-file",
        "state-file",
        "record",
    ]
    assert isinstance(BY_NAME["target.pid-file"], Option)
    assert BY_NAME["target.pid-file"].path == ("targets", 0, "process", "pid_file")

"""Every option does something, and every key of the config: a test each shows that changing it changes behaviour.

Covers: that no key and no option lacks such a test, options as another way to write a key, what belongs to the whole
program. Leaves to others: keys of ladder (`test_options_ladder`), requests (`test_options_requests`), foreign servers
(`test_options_mapping`), the last step (`test_options_restart`) and looking (`test_options_watching`).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest
from memory_watchdog.config import Config, load
from memory_watchdog.config_errors import KeyPath
from memory_watchdog.options import OPTIONS
from memory_watchdog.recording.reader import read
from memory_watchdog.recording.verify import Again, Replayed
from pydantic import BaseModel

from tests.support.target import free_port, running_target
from tests.support.wait import eventually
from tests.support.watchdog import config, running_watchdog, written

SHOWN: dict[str, str] = {}
"""By key (`targets.levels.enter`), the test that shows what it does."""

Test = TypeVar("Test", bound=Callable[..., None])


def shows(*keys: str) -> Callable[[Test], Test]:
    """Says of a test that it shows what these keys do."""

    def register(test: Test) -> Test:
        for key in keys:
            SHOWN[key] = test.__name__
        return test

    return register


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that holds a value, as a file spells it, without the indices of lists."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        beneath = list(models_in(field.annotation))
        for inner in beneath:
            yield from keys_of(inner, f"{key}.")
        if not beneath:
            yield key


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def key_of(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def test_every_key_of_the_config_is_shown_to_do_something() -> None:
    for module in ("ladder", "mapping", "requests", "restart", "watching"):
        importlib.import_module(f"tests.integration.test_options_{module}")
    assert sorted(SHOWN) == sorted(keys_of(Config))
    assert len(SHOWN) >= 40


# ---- options are another way to write a key

TEXTS = {
    "target.name": "a", "target.preset": "comfyui",
    "target.url": "http://127.0.0.1:1", "target.port": "81", "target.pid": "82",
    "target.pid-file": "/p", "target.command": "x$", "target.cgroup": "/c", "target.measure": "pss",
    "target.limit": "3GiB", "target.interval": "7s", "web.listen-address": "[::1]:7", "log.level": "error",
    "log.format": "json", "state-file": "/s.json", "record": "/r.jsonl",
}  # fmt: skip


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.path is not None], ids=lambda one: one.name)
def test_an_option_and_its_variable_are_the_key_in_a_file(tmp_path: Path, option: Any) -> None:
    """What the key does is shown elsewhere; `option.path` has to be one of those keys."""
    key, text = key_of(option.path), TEXTS[option.name]
    assert key in set(keys_of(Config))
    base = {"target.name": "b", "target.url": "http://127.0.0.1:2"}
    by_option = load(base | {option.name: text}, {}, tmp_path)
    by_variable = load(
        {name: value for name, value in base.items() if name != option.name}, {option.variable: text}, tmp_path
    )
    target: dict[str, Any] = {"name": "b", "url": "http://127.0.0.1:2"}
    content: dict[str, Any] = {"targets": [target]}
    value = int(text) if text.isdigit() else text
    node = target if option.is_target else content
    *way, last = [part for part in option.path if isinstance(part, str) and part != "targets"]
    for part in way:
        node = node.setdefault(part, {})
    node[last] = value
    by_file = load({"config.file": str(written(tmp_path, content))}, {}, tmp_path)
    # as dictionaries, for the three come from different files
    assert dict(by_option) == dict(by_variable) == dict(by_file)
    assert dict(by_option) != dict(load(base, {}, tmp_path))


def test_the_options_that_are_no_single_key(tmp_path: Path) -> None:
    assert {option.name for option in OPTIONS if option.path is None} == {"config.file", "dry-run"}
    path = written(tmp_path, {"targets": [{"url": "http://a"}, {"url": "http://b"}]}, "other.yaml")
    for options, environ in ({"config.file": "other.yaml"}, {}), ({}, {"MEMORY_WATCHDOG_CONFIG_FILE": "other.yaml"}):
        loaded = load(options, environ, tmp_path)
        assert loaded.file == path
        assert [target.dry_run for target in loaded.targets] == [False, False]
        loaded = load(options | {"dry-run": "true"}, environ, tmp_path)
        assert [target.dry_run for target in loaded.targets] == [True, True]


# ---- what belongs to the whole program


@shows("web.listen_address", "log.level", "log.format", "state_file")
def test_where_it_listens_what_it_says_and_what_it_keeps(tmp_path: Path) -> None:
    port = free_port()
    options = (f"--web.listen-address=127.0.0.1:{port}", "--log.format=logfmt", f"--state-file={tmp_path / 's.json'}")
    with (
        running_target() as target,
        running_watchdog(tmp_path, config(target.url), *options, wait=False) as loud,
        running_watchdog(
            tmp_path, config(target.url), f"--web.listen-address=[::1]:{port}", "--log.level=warning", wait=False
        ) as quiet,
    ):
        loud.address, quiet.address = f"127.0.0.1:{port}", f"[::1]:{port}"
        for watchdog in (loud, quiet):
            eventually(lambda watchdog=watchdog: ready(watchdog), what=watchdog.text)  # type: ignore[misc]
        target.control(grow=120)
        eventually(lambda: "msg=cleanup" in loud.text, what="the cleanup in logfmt")
        cleanup = quiet.wait_for("cleanup")
        assert cleanup["level"] == "warning"
        assert {line["level"] for line in quiet.lines} <= {"warning", "error"}
        assert " level=info msg=" in loud.text
        assert all(re.match(r"ts=\S+ level=\w+ msg=", line) for line in loud.text.splitlines())
    assert json.loads((tmp_path / "s.json").read_bytes())["version"] == 1
    assert len(list(tmp_path.glob("*.json"))) == 1, "without state_file nothing is written"


@shows("record")
def test_a_recording_is_written_where_it_is_asked_for_and_gives_the_decisions_again(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    with running_target() as target, running_watchdog(tmp_path, config(target.url), f"--record={tape}") as watchdog:
        target.control(grow=120)
        watchdog.wait_for("verdict")
        sent = len(watchdog.said("cleanup"))
        assert watchdog.stop() == 0
    steps = [step for step in Again().run(read(tape)) if isinstance(step, Replayed)]
    assert sum(step.decided is not None for step in steps) >= sent >= 1
    assert not any(step.differs for step in steps)
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        watchdog.ticks()
    assert [path.name for path in tmp_path.glob("tape*")] == ["tape.jsonl"], "none without the option"


def test_a_recording_that_cannot_be_written_is_an_error_at_start(tmp_path: Path) -> None:
    with running_watchdog(tmp_path, config("http://127.0.0.1:1"), "--record=/proc/no/tape", wait=False) as watchdog:
        assert watchdog.process.wait(20) == 2
    assert "the recording cannot be written: /proc/no/tape: " in watchdog.text
    assert "Traceback" not in watchdog.text


def ready(watchdog: Any) -> bool:
    try:
        return bool(watchdog.get("/-/ready").status == 200)
    except OSError:
        assert watchdog.process.poll() is None, watchdog.text
        return False


def test_debug_tells_every_look_and_info_does_not(tmp_path: Path) -> None:
    with (
        running_target() as target,
        running_watchdog(tmp_path, config(target.url), "--log.level=debug") as watchdog,
    ):
        watchdog.wait_for("look", count=5)
        look = watchdog.said("look")[-1]
        assert type(look["used_bytes"]) is int
        assert look["target_level"] == "none"


@shows("web.allow_loopback_changes")
def test_changes_over_loopback_can_be_turned_off(tmp_path: Path) -> None:
    with running_target() as target:
        content = config(target.url)
        for allowed, status in ((True, 200), (False, 403)):
            content["web"]["allow_loopback_changes"] = allowed
            with running_watchdog(tmp_path, content) as watchdog:
                assert watchdog.get("/-/reload", method="POST").status == status

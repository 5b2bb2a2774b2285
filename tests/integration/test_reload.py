"""Reload of a running watchdog: all follows, what did not change is not touched, a bad config changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.target import running_target
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, config, level, running_watchdog, written

Way = Callable[[Watchdog], None]


def by_signal(watchdog: Watchdog) -> None:
    before = len(watchdog.said("config reloaded")) + len(watchdog.said("the config was not reloaded"))
    os.kill(watchdog.process.pid, signal.SIGHUP)
    eventually(
        lambda: len(watchdog.said("config reloaded")) + len(watchdog.said("the config was not reloaded")) > before
    )


def by_request(watchdog: Watchdog) -> None:
    watchdog.get("/-/reload", method="POST")


WAYS = pytest.mark.parametrize("reload", [by_signal, by_request])


@WAYS
def test_thresholds_move_and_state_stays(tmp_path: Path, reload: Way) -> None:
    with running_target() as target:
        content = config(target.url, levels=[level("normal", "25%", "20%", cooldown="300s")])
        with running_watchdog(tmp_path, content) as watchdog:
            target.control(grow=120, cleanup={"free": 60})
            watchdog.wait_for("verdict", verdict="effective")
            changed = config(target.url, levels=[level("normal", "10%", "5%", cooldown="300s")])
            written(tmp_path, changed)
            reload(watchdog)
            watchdog.wait_for("level", after="normal", count=2)
            watchdog.wait_for("cleanup suppressed", reason="cooldown")
            seen = watchdog.metrics()
            assert seen.value("target_threshold_bytes", level="normal", edge="enter") == 40 << 20
            assert seen.value("cleanups_total", level="normal", trigger="threshold") == 1
            assert seen.value("config_last_reload_successful") == 1
            assert len(target.requests) == 1


@WAYS
def test_a_bad_config_leaves_the_old_one_running(tmp_path: Path, reload: Way) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        good_at = watchdog.metrics().value("config_last_reload_success_timestamp_seconds")
        written(tmp_path, config(target.url, interval="5 bananas"))
        reload(watchdog)
        told = watchdog.wait_for("the config was not reloaded")["detail"]
        assert "targets[0].interval" in told
        assert "bananas" in told
        seen = watchdog.metrics()
        assert seen.value("config_last_reload_successful") == 0
        assert seen.value("config_last_reload_success_timestamp_seconds") == good_at
        watchdog.ticks(2)
        written(tmp_path, config(target.url))
        reload(watchdog)
        watchdog.until(config_last_reload_successful=1)


def test_the_request_says_what_is_wrong(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        assert watchdog.get("/-/reload", method="POST").status == 200
        written(tmp_path, "targets: [")
        answer = watchdog.get("/-/reload", method="POST")
        assert answer.status == 500
        assert "memory-watchdog.yaml:1" in answer.text
        assert watchdog.get("/-/reload").status == 405


def test_targets_come_and_go(tmp_path: Path) -> None:
    with running_target() as first, running_target("second") as second:
        one = config(first.url, budget={"actions": 1, "per": "1h"}, levels=[level("normal", "25%", "20%")])
        other = config(second.url, name="other")["targets"][0]
        both = one | {"targets": [*one["targets"], other]}
        with running_watchdog(tmp_path, both | {"state_file": str(tmp_path / "state.json")}) as watchdog:
            first.control(grow=150)
            watchdog.wait_for("verdict", verdict="ineffective")
            written(tmp_path, both | {"targets": [other]})
            by_request(watchdog)
            assert [one["name"] for one in Api(watchdog).get("targets")] == ["other"]
            assert 'target="demo"' not in watchdog.get("/metrics").text
            written(tmp_path, both)
            by_request(watchdog)
            # Back again, and its budget of one is still spent.
            watchdog.wait_for("cleanup suppressed", reason="budget", target="demo")
            assert len(first.requests) == 1


def test_what_did_not_change_does_not_notice(tmp_path: Path) -> None:
    with running_target() as first, running_target("second") as second:
        one = config(first.url)
        both = one | {"targets": [*one["targets"], config(second.url, name="other")["targets"][0]]}
        with running_watchdog(tmp_path, both) as watchdog:
            changed = config(second.url, name="other", interval="200ms")["targets"][0]
            written(tmp_path, both | {"targets": [one["targets"][0], changed]})
            by_request(watchdog)
            assert [line["target"] for line in watchdog.said("reloaded")] == ["other"]
            assert len(watchdog.said("the target was found", target="demo")) == 1


def test_a_request_in_flight_ends_under_the_old_settings(tmp_path: Path) -> None:
    with (
        running_target() as target,
        running_target("moved") as moved,
        running_watchdog(tmp_path, config(target.url)) as watchdog,
    ):
        target.control(grow=120, cleanup={"free": 120, "hang": True})
        eventually(lambda: target.requests)
        written(tmp_path, config(moved.url))
        by_request(watchdog)
        target.control(cleanup={"free": 120}, release=True)
        watchdog.wait_for("cleanup answered", request_id=watchdog.said("cleanup")[0]["request_id"])
        watchdog.wait_for("the target is a new process", pid=moved.pid)
        assert watchdog.metrics().value("target_restarts_total") == 1
        assert moved.requests == []


def test_the_address_and_the_log_follow(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        content = config(target.url)
        content["web"]["listen_address"] = "127.0.0.2:0"
        content["log"]["level"] = "debug"
        written(tmp_path, content)
        os.kill(watchdog.process.pid, signal.SIGHUP)
        watchdog.address = watchdog.wait_for("listening", count=2)["address"]
        assert watchdog.address.startswith("127.0.0.2:")
        assert watchdog.get("/-/healthy").status == 200
        assert watchdog.stop() == 0


def test_an_address_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        content: dict[str, Any] = config(target.url, limit="300MiB")
        content["web"]["listen_address"] = f"127.0.0.1:{target.port}"
        written(tmp_path, content)
        answer = watchdog.get("/-/reload", method="POST")
        assert (answer.status, "cannot listen" in answer.text) == (500, True)
        assert watchdog.metrics().value("target_limit_bytes") == 400 << 20


def test_a_level_that_is_held_and_removed(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        target.control(grow=120)
        watchdog.wait_for("level", after="normal")
        written(tmp_path, config(target.url, levels=[level("early", "15%", "10%"), level("late", "80%", "70%")]))
        by_request(watchdog)
        watchdog.wait_for("level", before="normal", after="early")
        labels = {label["level"] for label in watchdog.metrics().labels("cleanups_total")}
        assert labels == {"early", "late"}

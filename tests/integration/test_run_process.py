"""The watched process: forked workers, an end, a second life under the same command line and port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.target import MIB, Target, running_target
from tests.support.wait import eventually
from tests.support.watchdog import config, levels, running_watchdog


def test_forked_workers_count_with_their_memory(tmp_path: Path) -> None:
    """They hold the listening socket too, as prefork servers do: it is one server, not four."""
    with running_target() as target:
        assert len(target.fork(3, each=30)) == 3
        with running_watchdog(tmp_path, config(target.url)) as watchdog:
            seen = watchdog.metrics()
            assert seen.value("target_processes") == 4
            assert 90 * MIB < (seen.value("target_used_bytes") or 0) < 200 * MIB
            assert watchdog.said("the target was found", pid=target.pid)
            watchdog.wait_for("cleanup", target_level="normal")  # none of them alone would have reached 100 MiB

            target.fork(2, each=60)  # noticed within a second above a threshold
            seen = watchdog.until(target_processes=6)
            assert (seen.value("target_used_bytes") or 0) > 210 * MIB


def by_command(target: Target) -> dict[str, Any]:
    return {"process": {"command": rf"target\.py {target.port} {target.marker}$"}}


@pytest.mark.parametrize("find", [lambda target: {}, by_command], ids=["by the port of url", "by command line"])
def test_a_server_that_dies_and_comes_back_is_watched_on(tmp_path: Path, find: Any) -> None:
    with (
        running_target("life") as target,
        running_target("bystander") as bystander,
        running_watchdog(tmp_path, config(target.url, **find(target), levels=levels(cooldown="200ms"))) as watchdog,
    ):
        before = watchdog.metrics()
        first = before.value("target_start_time_seconds")
        assert first is not None
        assert before.value("target_restarts_total") == 0

        bystander.control(grow=300)
        target.kill()
        seen = watchdog.until(target_up=0, target_used_bytes=None)
        assert watchdog.get("/-/healthy").status == 200
        for name in ("resident", "anonymous", "used"):
            assert seen.labels(f"target_{name}_bytes") == [], "unknown is absent, and not 0"
        assert seen.value("target_processes") is None
        assert seen.value("target_start_time_seconds") is None
        assert seen.value("target_limit_bytes") is not None
        assert seen.total("source_failures_total", source="process") >= 1
        assert seen.value("target_restarts_total") == 0, "counted when there is a new one"
        assert len(watchdog.said("the process cannot be read")) <= 2, "repeated lines are held back"

        target.start()
        seen = watchdog.until(target_up=1, target_restarts_total=1)
        assert watchdog.wait_for("the target is a new process")["pid"] == target.pid
        assert (seen.value("target_start_time_seconds") or 0) > first
        assert (seen.value("target_used_bytes") or 0) < 100 * MIB
        assert target.requests == bystander.requests == []
        assert seen.total("cleanups_total") == 0

        target.control(grow=120, cleanup={"free": 100})
        assert watchdog.wait_for("verdict")["verdict"] == "effective"
        assert watchdog.metrics().value("target_restarts_total") == 1


def test_a_request_whose_server_is_killed_fails_and_memory_that_went_with_it_is_no_success(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        target.control(grow=120, cleanup={"hang": True})
        eventually(lambda: target.requests, what="the request")
        target.kill()
        assert watchdog.wait_for("cleanup failed")["reason"] in {"closed", "target_gone"}
        target.start()
        watchdog.wait_for("the target is a new process")
        assert watchdog.wait_for("verdict")["verdict"] == "inconclusive"
        assert watchdog.metrics().total("cleanup_reclaimed_bytes_total") == 0


def test_a_pid_that_ended_is_not_replaced_by_another_process(tmp_path: Path) -> None:
    with (
        running_target() as target,
        running_watchdog(tmp_path, config(target.url, process={"pid": target.pid})) as watchdog,
    ):
        target.kill()
        target.start()
        watchdog.until(target_up=0, target_used_bytes=None)
        target.control(grow=300)
        watchdog.ticks(5)
        assert target.requests == []
        assert watchdog.metrics().value("target_restarts_total") == 0

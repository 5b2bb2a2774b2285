"""The end of `run`, by request and by force, and what the next start remembers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.target import Target, running_target
from tests.support.wait import eventually
from tests.support.watchdog import (
    ENVIRONMENT,
    PROGRAM,
    Watchdog,
    cleanup,
    command,
    config,
    levels,
    running_watchdog,
    written,
)

END_SECONDS = 6.0
"""The program allows itself 2 s; this is beside another worker on 2 cores."""


def remembering(target: Target, folder: Path, **keys: Any) -> dict[str, Any]:
    """A config with a state file and a cooldown that outlasts the test."""
    ladder = levels(cooldown="5m", cleanup=cleanup("30s"))
    return config(target.url, levels=ladder, **keys) | {"state_file": str(folder / "state.json")}


@contextlib.contextmanager
def half_a_request(watchdog: Watchdog) -> Iterator[None]:
    """A client that has begun to ask and does not go on."""
    host, _, port = watchdog.address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        yield


def stopped_at_once(watchdog: Watchdog, number: signal.Signals) -> None:
    with half_a_request(watchdog):
        started = time.monotonic()
        assert watchdog.stop(number) == 0
        assert time.monotonic() - started < END_SECONDS
    assert watchdog.said("stopped")
    assert "Traceback" not in watchdog.text


def test_a_signal_ends_it_at_once_and_the_next_start_sends_nothing_within_the_cooldown(tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    with running_target() as target:
        content = remembering(target, tmp_path, stats={"interval": "1s", "timeout": "60s"})
        with running_watchdog(tmp_path, content) as watchdog:
            target.control(grow=120, cleanup={"hang": True}, statistics={"hang": True})
            eventually(lambda: target.requests, what="the request")
            stopped_at_once(watchdog, signal.SIGTERM)
        saved = json.loads(state_file.read_bytes())["targets"]["demo"]["ladder"]
        assert saved["request"]["request_id"] == watchdog.said("cleanup")[0]["request_id"]
        assert [path.name for path in tmp_path.iterdir() if "state" in path.name] == ["state.json"]

        target.control(statistics={})
        with running_watchdog(tmp_path, content) as again:
            again.ticks(8)
            # once: a look between the request and the end has said it already, and that is remembered
            assert again.said("cleanup suppressed") or saved["suppressed"] == ["in_flight"]
            assert len(target.requests) == 1
            seen = again.metrics()
            assert seen.value("budget_remaining") == 29
            assert seen.total("cleanups_total") == 0
            assert seen.value("target_restarts_total") == 0, "it is the same process as before"
            stopped_at_once(again, signal.SIGINT)


def test_cooldown_budget_and_back_off_are_remembered_after_a_verdict(tmp_path: Path) -> None:
    with running_target() as target:
        content = remembering(target, tmp_path)
        with running_watchdog(tmp_path, content) as watchdog:
            target.control(grow=120, cleanup={})
            watchdog.wait_for("verdict", verdict="ineffective")
            eventually(lambda: watchdog.metrics().value("cooldown_seconds", level="normal") == 600, what="back-off")
            assert watchdog.stop() == 0
        with running_watchdog(tmp_path, content) as again:
            again.ticks(8)
            seen = again.metrics()
            assert seen.value("cooldown_seconds", level="normal") == 600
            assert seen.value("budget_remaining") == 29
            assert seen.value("target_level", level="normal") == 1
            assert len(target.requests) == 1


def test_killed_right_after_a_request_was_sent_it_sends_no_second_one(tmp_path: Path) -> None:
    with running_target() as target:
        content = remembering(target, tmp_path)
        with running_watchdog(tmp_path, content) as watchdog:
            target.control(grow=120, cleanup={"hang": True})
            eventually(lambda: target.requests, what="the request")
            watchdog.process.kill()
            watchdog.process.wait()
        with running_watchdog(tmp_path, content) as again:
            again.wait_for("cleanup suppressed")
            again.ticks(8)
            assert len(target.requests) == 1
            assert again.metrics().value("budget_remaining") == 29


def test_a_target_that_was_replaced_meanwhile_is_a_new_process(tmp_path: Path) -> None:
    with running_target() as target:
        content = remembering(target, tmp_path)
        with running_watchdog(tmp_path, content) as watchdog:
            watchdog.wait_for("the target was found")
            assert watchdog.stop() == 0
        target.kill()
        target.start()
        with running_watchdog(tmp_path, content) as again:
            assert again.wait_for("the target is a new process")["pid"] == target.pid
            assert again.metrics().value("target_restarts_total") == 1


@pytest.mark.parametrize("damage", [b"", b'{"version": 99}'])
def test_a_damaged_state_file_is_set_aside_with_a_warning(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "state.json").write_bytes(damage)
    with running_target() as target, running_watchdog(tmp_path, remembering(target, tmp_path)) as watchdog:
        (said,) = watchdog.said("the state file is damaged and was set aside")
        assert said["level"] == "warning"
        assert said["path"] == str(tmp_path / "state.json.damaged")
        assert (tmp_path / "state.json.damaged").read_bytes() == damage
        assert json.loads((tmp_path / "state.json").read_bytes())["version"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/state.json", "No such file or directory"), ("folder", "Is a directory"), ("pipe", "not a regular file")],
)
def test_a_state_file_that_cannot_be_kept_is_one_line_and_status_2(tmp_path: Path, name: str, reason: str) -> None:
    """Where no state can be kept, a restart could send what was just sent: better told at start.

    A pipe stands for everything that is no file: a device must not be renamed as if it were a damaged state.
    """
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    content = config(None, name="demo", process={"pid": os.getpid()}, levels=None)
    content |= {"state_file": name, "log": {"level": "error"}}
    done = command("run", f"--config.file={written(tmp_path, content)}", cwd=tmp_path, seconds=20)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("memory-watchdog: the state file cannot be ")
    assert f"{tmp_path / name}: {reason}" in line
    assert (tmp_path / "pipe").is_fifo()


def test_a_state_that_can_no_longer_be_saved_is_told_and_counted_and_the_watching_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with running_target() as target:
        content = remembering(target, tmp_path) | {"state_file": str(folder / "state.json")}
        with running_watchdog(tmp_path, content) as watchdog:
            folder.rename(tmp_path / "moved")
            target.control(grow=120, cleanup={"free": 80})
            assert watchdog.wait_for("the state cannot be saved")["level"] == "error"
            assert watchdog.wait_for("verdict")["verdict"] == "effective"
            assert (watchdog.metrics().value("state_save_failures_total") or 0) >= 1
            assert watchdog.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_still_imports_ends_it_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    """Sent as soon as it has a handler of its own for it, which is long before it listens."""
    path = written(tmp_path, config("http://127.0.0.1:1"))
    process = subprocess.Popen([*PROGRAM, "run", f"--config.file={path}"], env=ENVIRONMENT, stderr=subprocess.PIPE)
    try:
        eventually(lambda: catches_sigterm(process.pid))
        process.send_signal(number)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.communicate()


def catches_sigterm(pid: int) -> bool:
    """By SigCgt of /proc/PID/status; SIGINT says nothing, since Python catches that one itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)

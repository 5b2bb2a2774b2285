"""Whose memory it is: a target that restarts again and again, and one whose pid another process gets.

The kernel gives pids as it likes, so that a reused one has to be forced: as root, on a real kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.target import Target, free_port
from tests.support.wait import PATIENCE, eventually
from tests.support.watchdog import Watchdog, config, level, running_watchdog

ROOT = Path(__file__).parents[2]
SERVER = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
sys.stdin.read()
"""
INTERVAL_SECONDS = 0.1
LEVELS = [level("normal", "50%", "40%", cleanup={"path": "/cleanup", "timeout": "1s"})]


@contextmanager
def server(port: int) -> Iterator[subprocess.Popen[str]]:
    """Something that listens, and answers nobody."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SERVER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def impostor(pid: int, mib: int) -> Iterator[None]:
    """Another process that has this pid, and uses so much."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.impostor", str(pid), str(mib)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said == "ready\n", process.stderr and process.stderr.read()
            yield
        finally:
            process.communicate()


def watched(tmp_path: Path, port: int, **keys: Any) -> dict[str, Any]:
    keys = {"levels": LEVELS, "stats": None, "limit": "200MiB"} | keys
    return config(f"http://127.0.0.1:{port}", **keys)


def attached(watchdog: Watchdog, pid: int) -> bool:
    return any(line.get("pid") == pid for line in watchdog.lines if line["msg"].startswith("the target "))


def restarts(tmp_path: Path, count: int) -> None:
    """Every new process is found within an interval of its first look, and none of them is cleaned up."""
    port, waits = free_port(), []
    with running_watchdog(tmp_path, watched(tmp_path, port), "--log.level=info") as watchdog:
        for _ in range(count):
            with server(port) as process:
                since = time.monotonic()
                eventually(lambda process=process: attached(watchdog, process.pid), what=f"pid {process.pid}")  # type: ignore[misc]
                waits.append(time.monotonic() - since)
        seen = watchdog.metrics()
        assert seen.value("target_restarts_total") == count - 1
        assert seen.total("cleanups_total") == 0
        assert not watchdog.said("a tick failed; this is a fault of memory-watchdog")
    # the median, because this machine may be busy: an interval, and what the process table and the log's reader take
    assert sorted(waits)[count // 2] <= PATIENCE * (INTERVAL_SECONDS + 0.4)


def test_a_target_that_restarts_25_times(tmp_path: Path) -> None:
    restarts(tmp_path, 25)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_target_that_restarts_1000_times(tmp_path: Path) -> None:
    restarts(tmp_path, 1000)


@pytest.mark.parametrize("way", ["port", "pid", "pid_file"])
def test_a_process_that_gets_the_pid_is_not_the_target(tmp_path: Path, way: str) -> None:
    """It uses more than any threshold; it is not looked at, and nothing is sent."""
    assert os.geteuid() == 0, "forcing a pid needs root"
    port = free_port()
    with server(port) as process:
        pid = process.pid
        pid_file = tmp_path / "pid"
        pid_file.write_text(str(pid))
        ways: dict[str, Any] = {"port": {"port": port}, "pid": {"pid": pid}, "pid_file": {"pid_file": str(pid_file)}}
        content = watched(tmp_path, port, process=ways[way])
        with running_watchdog(tmp_path, content) as watchdog:
            eventually(lambda: attached(watchdog, pid), what="the target")
            # Start times have 10 ms, and a pid file 2 s of slack: what takes the pid that late can be told apart.
            time.sleep(2.5 if way == "pid_file" else 0.05)
            process.kill()
            process.wait()
            with impostor(pid, 150):
                watchdog.ticks(10)
                seen = watchdog.metrics()
                assert seen.value("target_up") == 0
                assert seen.value("target_used_bytes") is None
                assert seen.total("cleanups_total") == 0
                assert seen.value("target_restarts_total") == 0


def test_a_process_that_dies_while_it_settles(tmp_path: Path) -> None:
    """The verdict is inconclusive, and the new process begins without a level. (In a cleanup: `test_run_process`.)"""
    target = Target()
    levels = [level("normal", "25%", "20%", cooldown="0s")]
    with running_watchdog(tmp_path, config(target.url, levels=levels, settle="5s")) as watchdog:
        try:
            target.start()
            target.control(grow=150)
            watchdog.wait_for("cleanup answered")
            target.kill()
            target.start()
            verdict = watchdog.wait_for("verdict")
            assert verdict["verdict"] == "inconclusive"
            assert verdict.get("reclaimed_bytes") is None
            watchdog.wait_for("level", after="none")
            assert not watchdog.said("a tick failed; this is a fault of memory-watchdog")
        finally:
            target.kill()


OF_ANOTHER_USER = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(os.getpid(), listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_what_hidepid_hides_is_said_to_be_hidden_and_not_to_be_gone() -> None:
    """A /proc that shows each user his own processes, and a watchdog that may not look into others'."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", OF_ANOTHER_USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server_process:
        assert server_process.stdout is not None
        pid, port = server_process.stdout.readline().split()
        for option, told in (
            (f"--target.pid={pid}", f"process {pid} is there, and /proc hides it (hidepid)"),
            (f"--target.url=http://127.0.0.1:{port}", f"port {port} is held where we cannot look"),
        ):
            weak = "setpriv --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all"
            probe = f"{sys.executable} -m memory_watchdog probe --target.name=x {option}"
            inside = ["sh", "-c", f"mount -t proc -o hidepid=2 proc /proc && exec {weak} {probe}"]
            command = ["unshare", "--mount", "--propagation=private", *inside]
            seen = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
            assert f"unknown: permission: {told}" in seen.stdout, seen
            assert "mount /proc without hidepid" in seen.stdout
        server_process.communicate()

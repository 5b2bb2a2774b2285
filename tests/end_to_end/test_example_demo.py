"""`make demo`'s command as a newcomer runs it: without a terminal, to its end, and ended early."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from examples.mcp_server.demo import MIB, Thresholds, main
from tests.support.example_server import REPOSITORY
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT

AT_MOST_SECONDS = 90
FOREIGN = {"MEMORY_WATCHDOG_DRY_RUN": "1", "MEMORY_WATCHDOG_WEB_LISTEN_ADDRESS": "127.0.0.1:1"}


@contextmanager
def running_demo(output: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """The demo, and its children once there are any; all are ended, whatever happens."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.mcp_server.demo"],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=ENVIRONMENT | FOREIGN, cwd=REPOSITORY,
        )  # fmt: skip
    seen: list[psutil.Process] = []
    try:
        yield process, seen
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for child in seen:
            if child.is_running():
                child.kill()


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.timeout(180)
def test_the_demo_shows_both_cleanups_of_the_example_server_and_ends(tmp_path: Path) -> None:
    output = tmp_path / "demo"
    with running_demo(output) as (process, seen):
        seen.extend(
            eventually(lambda: found if len(found := children(process)) == 2 else [], 60, "server and watchdog")
        )
        assert process.wait(AT_MOST_SECONDS + 30) == 0, output.read_text()
        assert gone(seen)
    text = output.read_text()
    assert "Traceback" not in text
    assert "\x1b" not in text, "plain lines where there is no terminal"
    for said in ("level none -> normal", "-> aggressive", "verdict at normal: effective", "0 of them failed"):
        assert said in text, text
    assert re.search(r"Indexed in \d+s: \d+ files of Python's own library, \d{3,} chunks\.", text)
    for level in ("normal", "aggressive"):
        (row,) = re.findall(rf"^│ {level} +│ +(\d+) +│ \S+ [KM]iB +│ \S+ [KM]iB +│ (.+) │$", text, re.MULTILINE)
        assert int(row[0]) >= 1
        assert "reclaimed" in row[1]
    lasted = float(re.findall(r"Done in (\d+)s: both levels were reached, cleaned up, and left\.", text)[0])
    print(f"the demo took {lasted:g} s")
    assert lasted <= AT_MOST_SECONDS


@pytest.mark.parametrize(("number", "line"), [(signal.SIGTERM, "At most 90 s"), (signal.SIGINT, "level none")])
def test_a_demo_that_is_ended_takes_its_processes_with_it(tmp_path: Path, number: signal.Signals, line: str) -> None:
    """Ended while it sets up, and while it shows."""
    output = tmp_path / "demo"
    with running_demo(output) as (process, seen):
        eventually(lambda: line in output.read_text() and children(process), 80, "its line and its processes")
        seen.extend(children(process))
        process.send_signal(number)
        assert process.wait(20) == 1, "it has not shown what it was to show"
        assert gone(seen)
    assert "Traceback" not in output.read_text()


def test_thresholds_fit_slow_and_fast_machines() -> None:
    for growth in (-1.0, 0.0, 0.1 * MIB, 2.0 * MIB, 500.0 * MIB):
        fitting = Thresholds.fitting(120 * MIB, growth)
        assert 120 * MIB < fitting.normal_exit < fitting.normal < fitting.aggressive < fitting.limit
        assert fitting.normal_exit < fitting.aggressive_exit < fitting.aggressive
        assert fitting.normal - 120 * MIB >= 2 * MIB, "there must be something to clean up"


def test_a_demo_on_another_system_or_with_options_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--fast"]) == 2
    monkeypatch.setattr("sys.platform", "darwin")
    assert main() == 1
    assert "darwin" in capsys.readouterr().err

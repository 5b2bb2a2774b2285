"""What is kept of a process before it is ended: what is in it, its bounds, and disks and processes that do not help."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from memory_watchdog.actions import evidence
from memory_watchdog.actions.evidence import Subject, keep, largest_mappings, tree
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.policy.events import Restart, RestartOutcome
from memory_watchdog.sources.discovery import ByPort

from tests.integration.test_restart import end, identity_of, stubborn
from tests.support.target import MIB, free_port
from tests.support.wait import eventually


def subject(pid: int) -> Subject:
    decision = Restart("r-1", identity_of(pid), "it grew", 95 * MIB, 100 * MIB)
    return Subject("demo", time.time(), decision, Unavailable(Reason.NOT_CONFIGURED), [{"time": 1.0}] * 2000, [])


def kept(folder: Path | None, pid: int) -> str:
    return asyncio.run(keep(folder, "demo-x", subject(pid)))


def test_it_is_bounded_private_and_says_where_memory_is(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    with stubborn(free_port()) as process:
        for number in range(evidence.MAX_FILES + 3):
            one = replace(subject(process.pid), wall=1e9 + number)
            assert asyncio.run(keep(folder, "demo-x", one)).startswith("evidence in ")
    files = sorted(folder.iterdir())
    assert len(files) == evidence.MAX_FILES
    assert files[-1].name == f"demo-x-{round(1e9 + evidence.MAX_FILES + 2) * 1000}.json"
    assert (files[0].stat().st_mode & 0o777, files[0].parent.stat().st_mode & 0o777) == (0o600, 0o700)
    content = json.loads(files[-1].read_text())
    assert content["reason"] == "it grew"
    assert content["mappings_missing"] is None
    assert content["mappings"][0]["anonymous_bytes"] >= 40 * MIB
    [process_seen] = content["processes"]
    assert process_seen["anonymous_bytes"] >= 40 * MIB
    assert len(content["last_minutes"]) == evidence.MAX_SAMPLES
    assert "stubborn" not in files[-1].read_text(), "a command line may hold secrets"


def test_the_mappings_are_those_of_the_worker_that_holds_the_memory(tmp_path: Path) -> None:
    with stubborn(free_port(), "fork", "heavy") as process:
        worker = process.worker  # type: ignore[attr-defined]
        eventually(lambda: tree(process.pid)[0]["resident_bytes"] > 80 * MIB, what="the worker's memory")
        kept(tmp_path, process.pid)
        content = json.loads(next(tmp_path.iterdir()).read_text())
        assert [one["pid"] for one in content["processes"]] == [worker, process.pid]
        assert content["mappings_of_pid"] == worker
        assert content["mappings"][0]["anonymous_bytes"] >= 80 * MIB


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = kept(tmp_path / "file", os.getpid())
    assert told == f"no evidence: {tmp_path / 'file'}: File exists"
    assert "Not a directory" in kept(tmp_path / "file" / "below", os.getpid())
    assert kept(None, os.getpid()) == "no evidence: there is no state_file"


FULL = """
import asyncio, pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
try:
    (folder / "filler").write_bytes(b"x" * 2**20)
except OSError as error:
    assert error.errno == 28, error
from tests.integration.test_restart import end, identity_of
from tests.integration.test_restart_evidence import subject
from memory_watchdog.actions.evidence import keep
from memory_watchdog.sources.discovery import ByPort
pid = int(sys.argv[2])
ended = end(identity_of(pid), ByPort(int(sys.argv[3])), kept=lambda: keep(folder / "evidence", "x", subject(pid)))
print(ended.outcome, ended.detail, *[one.name for one in (folder / "evidence").iterdir()], sep="|")
"""


def test_a_full_disk_keeps_no_half_file_and_no_process(tmp_path: Path) -> None:
    """A real one of 64 KiB, in a mount namespace of its own."""
    port = free_port()
    with stubborn(port) as process:
        command = [sys.executable, "-c", FULL, str(tmp_path), str(process.pid), str(port)]
        told = subprocess.run(
            ["unshare", "--mount", *command],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        outcome, detail, *left = told.stdout.strip().split("|")
        assert (outcome, left) == ("ended", []), told
        assert "no evidence" in detail
        assert "No space left on device" in detail


@pytest.mark.parametrize("fault", [RuntimeError("a fault of ours"), OSError(5, "Input/output error")])
def test_whatever_is_wrong_with_it_the_process_is_ended(fault: Exception) -> None:
    port = free_port()

    async def fails() -> str:
        raise fault

    with stubborn(port) as process:
        ended = end(identity_of(process.pid), ByPort(port), kept=fails)
        assert ended.outcome is RestartOutcome.ENDED
        assert "no evidence" in ended.detail


def kept_while_it_hangs(folder: Path, hangs: threading.Event) -> tuple[str, list[str]]:
    """What is said and kept while a thread still waits for the disk; the thread is let go afterwards."""

    async def run() -> tuple[str, list[str]]:
        try:
            told = await keep(folder, "x", subject(os.getpid()))
            return told, [path.read_text() for path in folder.iterdir()]  # noqa: ASYNC240 - a test
        finally:
            hangs.set()

    return asyncio.run(run())


def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(evidence, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(evidence, "_begin", lambda *_: hangs.wait(30))
    told, files = kept_while_it_hangs(tmp_path, hangs)
    assert told.startswith("no evidence: more than 200ms")
    assert files == []


def test_mappings_that_take_too_long_leave_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()

    def slow(*_: object) -> tuple[list[dict[str, object]], str]:
        hangs.wait(30)
        return [], "they came too late"

    monkeypatch.setattr(evidence, "largest_mappings", slow)
    told, [text] = kept_while_it_hangs(tmp_path, hangs)
    assert ", without mappings: more than " in told
    content = json.loads(text)
    assert (content["reason"], content["mappings_missing"]) == ("it grew", "they were not read in time")


def test_mappings_that_cannot_be_read_to_the_end_say_so() -> None:
    assert largest_mappings(os.getpid(), time.monotonic() - 1)[1] is not None
    assert largest_mappings(2**22 + 1, time.monotonic() + 9) == ([], "smaps: No such file or directory")
    shown, missing = largest_mappings(os.getpid(), time.monotonic() + 9)
    assert (len(shown), missing) == (evidence.MAX_MAPPINGS, None)

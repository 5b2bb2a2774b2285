"""The last step on real processes: who is ended, how, in which time, and who never is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions import evidence
from memory_watchdog.actions.evidence import Subject, keep, largest_mappings
from memory_watchdog.actions.restart import PID_1_ADVICE, Plan, restart, why_never
from memory_watchdog.observation import Outcome, OutcomeKind, ProcessIdentity, Reason, Unavailable
from memory_watchdog.policy.events import Restart, RestartEnded, RestartOutcome
from memory_watchdog.sources.discovery import ByCommand, ByPid, ByPidFile, ByPort, Finder
from memory_watchdog.sources.procfs import read_stat

from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, config, level, running_watchdog

ROOT = Path(__file__).parents[2]
MIB = 2**20


@contextmanager
def stubborn(port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """One of `tests.support.stubborn`, which has said that it listens."""
    command = [sys.executable, "-m", "tests.support.stubborn", str(port), *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _, worker = map(int, process.stdout.readline().split())
        process.worker = worker  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.kill()
            if worker and lives(worker):
                os.kill(worker, signal.SIGKILL)
            process.wait()


def identity_of(pid: int) -> ProcessIdentity:
    stat = read_stat("/proc", pid)
    assert not isinstance(stat, Unavailable)
    return stat.identity


def lives(pid: int) -> bool:
    stat = read_stat("/proc", pid)
    return not isinstance(stat, Unavailable) and not stat.is_dead


async def nothing_kept() -> str:
    return ""


def end(
    identity: ProcessIdentity,
    finder: Finder,
    *,
    term_seconds: float = 10.0,
    drain: Callable[[], Awaitable[Outcome]] | None = None,
    kept: Callable[[], Awaitable[str]] = nothing_kept,
) -> RestartEnded:
    """The whole step; no descriptor is left behind."""
    before = len([*Path("/proc/self/fd").iterdir()])
    ended = asyncio.run(restart("r-1", identity, Plan(finder, term_seconds, drain), kept))
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert ended.request_id == "r-1"
    return ended


# ---- the steps


def test_sigterm_is_enough() -> None:
    port = free_port()
    with stubborn(port) as process:
        ended = end(identity_of(process.pid), ByPort(port))
        assert (ended.outcome, ended.detail) == (RestartOutcome.ENDED, "on SIGTERM")
        assert process.wait(5) == -signal.SIGTERM


def test_who_ignores_it_is_killed_and_its_workers_too() -> None:
    port = free_port()
    with stubborn(port, "ignore", "fork") as process:
        worker = process.worker  # type: ignore[attr-defined]
        ended = end(identity_of(process.pid), ByPort(port), term_seconds=0.3)
        assert (ended.outcome, ended.detail) == (RestartOutcome.KILLED, "not within 300ms on SIGTERM, so by SIGKILL")
        assert process.wait(5) == -signal.SIGKILL
        eventually(lambda: not lives(worker))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OutcomeKind.DONE, "drained"),
        (OutcomeKind.TIMEOUT, "drain: timeout too slow"),
        (OutcomeKind.UNREACHED, "drain: timeout too slow"),
    ],
)
def test_a_drain_that_fails_keeps_nobody(kind: OutcomeKind, told: str) -> None:
    port = free_port()

    async def drain() -> Outcome:
        failed = kind is not OutcomeKind.DONE
        return Outcome("r-1", kind, 0.1, Reason.TIMEOUT if failed else None, "too slow" if failed else "")

    with stubborn(port) as process:
        ended = end(identity_of(process.pid), ByPort(port), drain=drain)
        assert (ended.outcome, ended.detail) == (RestartOutcome.ENDED, f"on SIGTERM; {told}")


@pytest.mark.parametrize("during", ["evidence", "drain"])
def test_who_ends_in_the_middle_has_ended(during: str) -> None:
    port = free_port()
    with stubborn(port, "ignore") as process:

        def dies() -> None:
            process.kill()
            process.wait()

        async def kept() -> str:
            if during == "evidence":
                dies()
            return "kept"

        async def drain() -> Outcome:
            if during == "drain":
                dies()
            return Outcome("r-1", OutcomeKind.FAILED, 0.1, Reason.CLOSED)

        ended = end(identity_of(process.pid), ByPort(port), drain=drain, kept=kept)
        assert (ended.outcome, ended.detail) == (
            RestartOutcome.ENDED,
            "it ended while it was drained; drained; kept",
        )


def test_who_has_ended_before_is_gone() -> None:
    port = free_port()
    with stubborn(port) as process:
        identity = identity_of(process.pid)
        process.kill()
        process.wait()
        assert end(identity, ByPort(port)).outcome is RestartOutcome.GONE


# ---- who never is


def refused(pid: int, finder: Finder, *, start_ticks: int | None = None) -> str:
    """Why; and the process lives on."""
    known = identity_of(pid)
    ended = end(ProcessIdentity(pid, known.start_ticks if start_ticks is None else start_ticks), finder)
    assert lives(pid)
    assert ended.outcome in (RestartOutcome.REFUSED, RestartOutcome.GONE)
    return ended.detail


def test_neither_the_watchdog_nor_what_it_runs_in() -> None:
    for pid in (os.getpid(), os.getppid()):
        assert "the watchdog itself, or what it runs in" in refused(pid, ByPid(pid))


def test_pid_1_of_the_machine_never() -> None:
    assert why_never(identity_of(1), ByPid(1)) is not None
    refused(1, ByPid(1))


def test_one_known_by_its_command_line_alone_never() -> None:
    port = free_port()
    with stubborn(port) as process:
        assert "command line alone" in refused(process.pid, ByCommand(f"stubborn {port}"))


def test_one_that_no_longer_matches_never(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    with stubborn(port) as process, stubborn(other) as second:
        assert f"the target is pid {second.pid} by now" in refused(process.pid, ByPort(other))
        pid_file = tmp_path / "pid"
        pid_file.write_text("999999\n")
        assert "cannot be shown" in refused(process.pid, ByPidFile(pid_file))
        identity = identity_of(process.pid)
        told = refused(process.pid, ByPort(port), start_ticks=identity.start_ticks - 1)
        assert f"pid {process.pid} is another process now" in told


def test_a_pid_that_another_process_got_never() -> None:
    port = free_port()
    with stubborn(port) as process:
        identity = identity_of(process.pid)
        process.kill()
        process.wait()
        impostor = [sys.executable, "-m", "tests.support.impostor", str(identity.pid), "10"]
        with subprocess.Popen(impostor, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            ended = end(identity, ByPort(port))
            assert ended.outcome is RestartOutcome.GONE
            assert lives(identity.pid)
            other.communicate()


INSIDE = """
import asyncio, os
from memory_watchdog.actions.restart import Plan, ignores_kill, restart
from memory_watchdog.sources.discovery import ByPid
from memory_watchdog.sources.procfs import read_stat
async def kept(): return ""
one = read_stat("/proc", 1).identity
ended = asyncio.run(restart("r", one, Plan(ByPid(1), 0.3), kept))
print(ignores_kill(one), ended.outcome, ended.detail, sep="|")
"""


def test_pid_1_of_a_shared_namespace_ignores_sigkill_and_this_is_said() -> None:
    """The watchdog's container joins the namespace: its first process has no parent there."""
    port = free_port()
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command = [*unshare, sys.executable, "-m", "tests.support.stubborn", str(port), "ignore"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().split() == ["1", "0"]
            [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            nsenter = ["nsenter", f"--target={first}", "--pid", "--mount", sys.executable, "-c", INSIDE]
            told = subprocess.run(nsenter, capture_output=True, text=True, timeout=60, check=False)
            ignores, outcome, detail = told.stdout.strip().split("|", 2)
            assert (ignores, outcome) == ("True", "failed"), told
            assert PID_1_ADVICE in detail
            assert process.poll() is None
        finally:
            process.kill()


# ---- evidence


def subject(pid: int) -> Subject:
    decision = Restart("r-1", identity_of(pid), "it grew", 95 * MIB, 100 * MIB)
    return Subject("demo", time.time(), decision, Unavailable(Reason.NOT_CONFIGURED), [{"time": 1.0}] * 2000, [])


def test_evidence_is_bounded_private_and_says_where_memory_is(tmp_path: Path) -> None:
    port = free_port()
    with stubborn(port) as process:
        for number in range(evidence.MAX_FILES + 3):
            one = subject(process.pid)
            told = asyncio.run(keep(tmp_path / "evidence", "demo-x", Subject(**{
                name: getattr(one, name) for name in ("target", "decision", "report", "samples", "events")
            } | {"wall": 1e9 + number})))  # fmt: skip
            assert told.startswith("evidence in ")
    files = sorted((tmp_path / "evidence").iterdir())
    assert len(files) == evidence.MAX_FILES
    assert files[-1].name == f"demo-x-{round(1e9 + evidence.MAX_FILES + 2) * 1000}.json"
    assert (files[0].stat().st_mode & 0o777, files[0].parent.stat().st_mode & 0o777) == (0o600, 0o700)
    content = json.loads(files[-1].read_text())
    assert content["reason"] == "it grew"
    assert content["mappings_are_whole"] is True
    assert content["mappings"][0]["anonymous_bytes"] >= 40 * MIB
    assert len(content["last_minutes"]) == evidence.MAX_SAMPLES
    assert "stubborn" not in files[-1].read_text(), "a command line may hold secrets"


def test_evidence_that_cannot_be_kept_is_said_and_takes_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert "no evidence" in asyncio.run(keep(tmp_path / "file", "x", subject(os.getpid())))
    assert asyncio.run(keep(None, "x", subject(os.getpid()))) == "no evidence: there is no state_file"
    monkeypatch.setattr(evidence, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(evidence, "_written", lambda *_: time.sleep(3))

    async def hangs() -> tuple[str, float]:
        began = time.monotonic()
        return await keep(tmp_path, "x", subject(os.getpid())), time.monotonic() - began

    told, took = asyncio.run(hangs())
    assert told.startswith("no evidence: more than 200ms")
    assert took < 2.5
    shown, whole = largest_mappings(os.getpid(), time.monotonic() - 1)
    assert (len(shown), whole) == (1, False)
    assert largest_mappings(2**22 + 1, time.monotonic() + 9) == ([], False)


# ---- all of it


def settings(port: int, tmp_path: Path, **keys: Any) -> dict[str, Any]:
    cleanup = {"path": "/memory/cleanup", "timeout": "2s"}
    rules = {"after": 1, "min_age": "100ms", "term": "1s", "budget": {"actions": 2, "per": "1h"}} | keys
    levels = [level("high", "20%", "10%", cooldown="0s", cleanup=cleanup)]
    watched = config(
        f"http://127.0.0.1:{port}", levels=levels, stats=None, restart=rules, max_cooldown="1s", limit="200MiB"
    )
    return watched | {"state_file": str(tmp_path / "state.json")}


def outcomes(watchdog: Watchdog) -> dict[str, float]:
    names = [str(one) for one in RestartOutcome]
    seen = watchdog.metrics()
    return {name: value for name in names if (value := seen.value("restart_actions_total", outcome=name))}


def test_a_server_that_no_cleanup_helps_is_ended_started_again_and_at_last_left_alone(tmp_path: Path) -> None:
    port = free_port()
    with running_watchdog(tmp_path, settings(port, tmp_path, drain={"path": "/drain", "timeout": "2s"})) as watchdog:
        for words in (("drain",), ("ignore",)):
            with stubborn(port, *words) as process:
                process.wait(40)
        assert eventually(lambda: outcomes(watchdog)) == {"ended": 1, "killed": 1}
        with stubborn(port, "ignore") as process:
            watchdog.wait_for("restart held back", reason="no_budget")
            watchdog.ticks(5)
            assert process.poll() is None
            assert outcomes(watchdog)["no_budget"] >= 1
        assert watchdog.said("ending the process")
        kept = [*(tmp_path / "evidence").iterdir()]
        assert len(kept) == 2
        events = json.loads(kept[-1].read_text())["events"]
        assert any(event["kind"] == "verdict" for event in events)


def test_a_watchdog_that_is_started_again_does_not_act_more_often(tmp_path: Path) -> None:
    port = free_port()
    content = settings(port, tmp_path, budget={"actions": 1, "per": "1h"})
    with running_watchdog(tmp_path, content), stubborn(port) as process:
        process.wait(40)
        time.sleep(0.5)
    for _ in range(2):
        with stubborn(port) as process, running_watchdog(tmp_path, content) as watchdog:
            watchdog.wait_for("restart held back", reason="no_budget")
            assert process.poll() is None

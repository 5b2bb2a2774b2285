"""Who is never ended, on real processes: each guard with its own reason, and what is said of it beforehand."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory_watchdog.actions import guards, restart
from memory_watchdog.actions.guards import NO_TERM_EITHER, PID_1_ADVICE, Held, checked, hindrance, why_never
from memory_watchdog.observation import ProcessIdentity
from memory_watchdog.policy.events import RestartEnded, RestartOutcome
from memory_watchdog.sources.discovery import ByCommand, ByPid, ByPidFile, ByPort, Finder

from tests.integration.test_restart import ROOT, end, identity_of, lives, stubborn
from tests.support.target import free_port
from tests.support.trees import machine, process
from tests.support.wait import eventually
from tests.support.watchdog import PROGRAM, Watchdog, command, config, running_watchdog, written


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
from memory_watchdog.actions.guards import hindrance
from memory_watchdog.actions.restart import Plan, restart
from memory_watchdog.sources.discovery import ByPid
from memory_watchdog.sources.procfs import read_stat
async def kept(): return ""
one = read_stat("/proc", 1).identity
known = hindrance(one, ByPid(1))
ended = asyncio.run(restart("r", one, Plan(ByPid(1), 0.3), kept))
print(known.is_refused, known.detail, ended.outcome, ended.detail, sep="|")
"""


@contextmanager
def namespace(*words: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """A PID namespace whose pid 1 is a stubborn server; what runs a command in it, as a second container does.

    The watchdog's container joins the namespace: its first process has no parent there.
    """
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    words = (sys.executable, "-m", "tests.support.stubborn", str(free_port()), *words)
    with subprocess.Popen([*unshare, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as outer:
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline().split() == ["1", "0"]
            [first] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            yield ["nsenter", f"--target={first}", "--pid", "--mount"], outer
        finally:
            outer.kill()


@pytest.mark.parametrize("words", [("ignore",), ()], ids=["ignores SIGTERM", "has no handler"])
def test_pid_1_of_a_shared_namespace_ignores_both_signals_and_this_is_said(words: tuple[str, ...]) -> None:
    with namespace(*words) as (inside, outer):
        told = command(program=(*inside, sys.executable, "-c", INSIDE))
        refused, known, outcome, detail = told.stdout.strip().split("|", 3)
        assert (refused, known, outcome) == ("False", PID_1_ADVICE + NO_TERM_EITHER, "failed"), told
        assert PID_1_ADVICE in detail
        assert outer.poll() is None


def test_that_it_does_is_noticed_at_start_and_by_probe(tmp_path: Path) -> None:
    content = config(None, name="demo", process={"pid": 1}, stats=None, levels=None, restart={})
    with namespace() as (inside, _):
        path = written(tmp_path, content)
        table = command("probe", f"--config.file={path}", program=(*inside, *PROGRAM)).stdout
        assert "may be ended as the last step" in table
        assert "pid 1 of a PID namespace ignores SIGKILL" in table, "folded into a column"
        log_file = tmp_path / "log.0"
        with log_file.open("wb") as log:
            process = subprocess.Popen([*inside, *PROGRAM, "run", f"--config.file={path}"], stdout=log, stderr=log)
        try:
            said = Watchdog(process, log_file).wait_for("the process can be asked to end, not be killed")
            assert PID_1_ADVICE in said["detail"]
        finally:
            process.kill()
            process.wait()


# ---- whom we may not signal


AS_NOBODY = """
import asyncio, concurrent.futures.thread, os, sys
from memory_watchdog.actions.restart import Plan, restart
from memory_watchdog.sources.discovery import ByPid
from memory_watchdog.sources.procfs import read_stat
async def kept(): print("evidence"); return ""
async def drain(): print("drain")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
pid = int(sys.argv[1])
ended = asyncio.run(restart("r", read_stat("/proc", pid).identity, Plan(ByPid(pid), 0.3, drain), kept))
print(ended.outcome, ended.detail, sep="|")
"""


def test_one_that_may_not_be_signalled_is_not_drained_for_nothing() -> None:
    with stubborn(free_port()) as other:
        told = command(str(other.pid), program=(sys.executable, "-c", AS_NOBODY))
        assert told.stdout == (
            f"refused|pid {other.pid} may not be signalled (Operation not permitted): "
            "run the watchdog as the same user, or with CAP_KILL\n"
        ), told
        assert lives(other.pid)


def test_that_it_would_be_refused_is_noticed_at_start_and_by_probe(tmp_path: Path) -> None:
    """Found by its pid file, which names what the watchdog itself runs in: us."""
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{os.getpid()}\n")
    content = config(None, name="demo", process={"pid_file": str(pid_file)}, stats=None, levels=None, restart={})
    why = f"pid {os.getpid()} is the watchdog itself, or what it runs in"
    for _ in range(2):  # it is said again by one that remembers the process from its state file
        with running_watchdog(tmp_path, content | {"state_file": str(tmp_path / "state.json")}) as watchdog:
            assert watchdog.wait_for("the process would not be ended")["detail"] == why
            assert watchdog.stop() == 0
    assert f"would be refused: {why}" in command("probe", f"--config.file={tmp_path}/memory-watchdog.yaml").stdout


def test_one_that_only_the_server_tells_of_never() -> None:
    found = checked(ProcessIdentity(0, 5), ByPort(1))
    assert isinstance(found, RestartEnded)
    assert (found.outcome, found.detail) == (RestartOutcome.REFUSED, "only the server itself tells of its process")


# ---- what we run in, where some of it cannot be seen


def never(proc: Path, pid: int) -> str | None:
    return why_never(ProcessIdentity(pid, 1000), ByPid(pid), proc)


def test_the_watchdog_may_run_in_what_is_above_a_hidden_process(tmp_path: Path) -> None:
    proc = machine(tmp_path)
    process(proc, os.getpid(), 4_000_002)
    process(proc, 4_000_001, 1)  # started 4,000,002, which is another user's and hidden, which started us
    assert "pid 4000002 above us cannot be seen" in (never(proc, 4_000_001) or "")
    process(proc, 4_000_002, 4_000_001, state="Z")  # its first thread has ended, others live
    assert "the watchdog itself, or what it runs in" in (never(proc, 4_000_001) or "")


def test_a_hidden_pid_1_hides_nobody(tmp_path: Path) -> None:
    proc = machine(tmp_path)
    process(proc, os.getpid(), 1)
    process(proc, 4_000_001, 1)
    assert never(proc, 4_000_001) is None


# ---- bounds


def test_a_check_that_hangs_ends_nobody_and_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[Held] = []

    def slow(identity: ProcessIdentity, finder: Finder) -> tuple[Held]:
        late.append(Held(identity.pid, os.pidfd_open(identity.pid)))
        time.sleep(1)
        return (late[0],)

    monkeypatch.setattr(restart, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(restart, "checked", slow)

    async def kept() -> str:
        raise AssertionError("nobody is ended")

    async def work() -> RestartEnded:
        ended = await restart.restart("r-1", identity_of(other.pid), restart.Plan(ByPort(port), 1.0), kept)
        while os.path.exists(f"/proc/self/fd/{late[0].descriptor}"):  # noqa: ASYNC110, PTH110, ASYNC240 - let go late
            await asyncio.sleep(0.01)
        return ended

    port = free_port()
    with stubborn(port) as other:
        ended = asyncio.run(asyncio.wait_for(work(), 20))
        assert ended.outcome is RestartOutcome.REFUSED
        assert lives(other.pid)


def test_a_descriptor_above_1023_is_one_too() -> None:
    with stubborn(free_port()) as other:
        low = os.pidfd_open(other.pid)
        held = Held(other.pid, fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1500))
        os.close(low)
        try:
            assert not held.has_ended()
            other.kill()
            eventually(held.has_ended)
        finally:
            held.close()


def test_nothing_is_in_the_way_of_an_ordinary_server() -> None:
    port = free_port()
    with stubborn(port) as other:
        before = len([*Path("/proc/self/fd").iterdir()])
        assert hindrance(identity_of(other.pid), ByPort(port)) is None
        assert len([*Path("/proc/self/fd").iterdir()]) == before
        assert guards.ignores_kill(identity_of(other.pid)) is False

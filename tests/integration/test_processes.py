"""Finding and reading real processes: what no tree of files can show.

Sizes are compared with psutil's and with what the programs were told to take; a Python process has some 10 MB itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    ProcessIdentity,
    ProcessMemory,
    Reason,
    Unavailable,
)
from memory_watchdog.sources.cgroup import machine_memory
from memory_watchdog.sources.discovery import (
    ByCgroup,
    ByCommand,
    ByPid,
    ByPidFile,
    ByPort,
    BySocket,
    Finder,
    find,
    start_time_seconds,
)
from memory_watchdog.sources.process import ProcessTree, measured
from memory_watchdog.sources.process_psutil import PsutilTree, identify
from memory_watchdog.sources.procfs import read_cgroup_paths

from tests.support.targets import (
    GROWS,
    PREFORK,
    PRELUDE,
    REUSEPORT,
    UNIX_SOCKET,
    VFORK,
    WAITS,
    WORKERS,
    Target,
    running,
)
from tests.support.wait import eventually

MIB = 1 << 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def watchdog() -> Iterator[int]:
    """A process that stands for the watchdog: pytest itself has the targets below it, which a watchdog has not."""
    with running(WAITS) as target:
        yield target.pid


@contextmanager
def reading(identity: ProcessIdentity | Unavailable) -> Iterator[ProcessTree]:
    assert isinstance(identity, ProcessIdentity), identity
    source = ProcessTree(identity)
    try:
        yield source
    finally:
        source.close()


def memory_of(source: ProcessTree | PsutilTree, now: float = 0.0, details_max_age: float = -1.0) -> ProcessMemory:
    """By default with fresh details."""
    memory = source.read(now, details_max_age)
    assert isinstance(memory, ProcessMemory), memory
    return memory


def near(number: object, expected: int, within: int = 2 * MIB) -> bool:
    return isinstance(number, int) and abs(number - expected) <= within


def pid_found(finder: Finder, own_pid: int) -> int:
    found = find(finder, own_pid=own_pid)
    assert isinstance(found, ProcessIdentity), found
    return found.pid


def anonymous(memory: ProcessMemory) -> int:
    assert isinstance(memory.anonymous_bytes, int)
    return memory.anonymous_bytes


class TestMemory:
    def test_grows_by_what_it_takes(self) -> None:
        with running(GROWS) as target, reading(find(ByPid(target.pid))) as source:
            before = memory_of(source)
            target.ask(48 * MIB)
            after = memory_of(source)
            assert near(after.resident_bytes - before.resident_bytes, 48 * MIB, within=MIB)
            assert near(anonymous(after) - anonymous(before), 48 * MIB, within=MIB)

    def test_agrees_with_psutil(self) -> None:
        with running(GROWS) as target, reading(find(ByPid(target.pid))) as source:
            target.ask(16 * MIB)
            memory, theirs = memory_of(source), psutil.Process(target.pid).memory_full_info()
            assert near(memory.resident_bytes, theirs.rss, within=MIB)
            assert memory.swap_bytes == theirs.swap
            assert near(memory.file_bytes, theirs.shared, within=MIB)
            assert near(source.proportional(), theirs.pss, within=MIB)

    def test_start_time_agrees_with_psutil(self) -> None:
        with running(WAITS) as target:
            identity = find(ByPid(target.pid))
            assert isinstance(identity, ProcessIdentity)
            started = start_time_seconds(identity)
            assert isinstance(started, float)
            assert abs(started - psutil.Process(target.pid).create_time()) < 2

    def test_shared_memory_of_forked_workers_counts_once(self) -> None:
        with running(WORKERS) as target, reading(find(ByPid(target.pid))) as source:
            memory = memory_of(source)
            assert memory.processes == 4
            everyone = [psutil.Process(target.pid), *psutil.Process(target.pid).children(recursive=True)]
            assert near(memory.resident_bytes, sum(one.memory_info().rss for one in everyone))
            assert memory.resident_bytes > 4 * 64 * MIB
            assert near(memory.shared_bytes, 64 * MIB)
            assert 3 * 16 * MIB <= anonymous(memory) < 3 * 16 * MIB + 4 * 20 * MIB
            assert measured(memory, Measure.ANON) == anonymous(memory) + 64 * MIB
            proportional = source.proportional()
            assert isinstance(proportional, int)
            assert (3 * 16 + 64) * MIB < proportional < (3 * 16 + 64 + 40) * MIB

    def test_children_are_seen_without_the_kernels_list_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with running(WORKERS) as target:
            monkeypatch.setattr(os.path, "exists", lambda path: not str(path).endswith("children"))
            with reading(find(ByPid(target.pid))) as source:
                assert memory_of(source).processes == 4

    def test_the_child_of_vfork_does_not_double_its_parent(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        with running(VFORK, str(fifo)) as target, reading(find(ByPid(target.pid))) as source:
            alone = memory_of(source)
            assert alone.resident_bytes > 64 * MIB
            target.tell("spawn")
            (child,) = eventually(lambda: psutil.Process(target.pid).children(), what="the child before exec")
            assert child.memory_info().rss > 64 * MIB  # it is in its parent's memory
            assert near(memory_of(source).resident_bytes, alone.resident_bytes, within=MIB)
            with fifo.open("w"):
                eventually(lambda: child.name() == "cat", what="exec")
                after = memory_of(source)
                assert after.processes == 2
                assert near(after.resident_bytes, alone.resident_bytes, within=8 * MIB)


class TestEnd:
    def test_killed_between_reads(self) -> None:
        """Reads without a pause across the death: each is the whole number or GONE, and after GONE nothing else."""
        with running(GROWS) as target, reading(find(ByPid(target.pid))) as source:
            target.ask(16 * MIB)
            whole = memory_of(source).resident_bytes
            answers: list[ProcessMemory | Unavailable] = []
            while not answers or isinstance(answers[-1], ProcessMemory):
                answers.append(source.read(len(answers), 9.5))
                if len(answers) == 100:
                    target.kill()
            gone = answers.pop()
            assert isinstance(gone, Unavailable)
            assert gone.reason is Reason.GONE
            assert len(answers) >= 99
            assert all(isinstance(one, ProcessMemory) and near(one.resident_bytes, whole, MIB) for one in answers)
            target.popen.wait()
            assert source.read(1e9, 0.0) == gone

    def test_a_zombie_is_gone_and_so_is_what_was_reaped(self) -> None:
        with running(WAITS) as target, reading(find(ByPid(target.pid))) as one, reading(find(ByPid(target.pid))) as two:
            memory_of(one), memory_of(two)
            target.kill()
            eventually(lambda: psutil.Process(target.pid).status() == psutil.STATUS_ZOMBIE)
            found = find(ByPid(target.pid))
            assert isinstance(found, Unavailable)
            assert found.reason is Reason.GONE
            first = one.read(0.0, 5.0)
            target.popen.wait()
            second = two.read(0.0, 5.0)
            for answer in (first, second):
                assert isinstance(answer, Unavailable)
                assert answer.reason is Reason.GONE

    def test_a_zombie_child_does_not_count(self) -> None:
        with running(WORKERS) as target, reading(find(ByPid(target.pid))) as source:
            before = memory_of(source)
            victim = int(target.heard[0])
            target.ask(victim)
            eventually(lambda: psutil.Process(victim).status() == psutil.STATUS_ZOMBIE)
            for details_max_age in (5.0, -1.0):
                after = memory_of(source, details_max_age=details_max_age)
                assert after.processes == 3
                assert before.resident_bytes - after.resident_bytes > 64 * MIB
            assert isinstance(source.proportional(), int)

    def test_dies_and_comes_back_under_the_same_command_line(self, watchdog: int) -> None:
        token = uuid.uuid4().hex
        with running(WAITS, token) as first:
            before = find(ByCommand(token), own_pid=watchdog)
            with reading(before) as source:
                memory_of(source)
                first.end()
                with running(WAITS, token) as second:
                    after = find(ByCommand(token), own_pid=watchdog)
                    assert isinstance(after, ProcessIdentity)
                    assert after.pid == second.pid
                    assert after != before
                    gone = source.read(1.0, 5.0)
                    assert isinstance(gone, Unavailable)
                    assert gone.reason is Reason.GONE


class TestFinding:
    def test_two_unrelated_processes(self, watchdog: int) -> None:
        token = uuid.uuid4().hex
        with running(WAITS, token) as one, running(WAITS, token) as other:
            both = find(ByCommand(token), own_pid=watchdog)
            assert isinstance(both, Unavailable)
            assert both.reason is Reason.AMBIGUOUS
            assert str(one.pid) in both.detail
            assert str(other.pid) in both.detail

    def test_ourselves_never(self) -> None:
        token = uuid.uuid4().hex
        with running(WAITS, token) as target:
            found = find(ByCommand(token), own_pid=target.pid)
            assert isinstance(found, Unavailable)
            assert found.reason is Reason.NOT_FOUND
            below_us = find(ByCommand(token))
            assert isinstance(below_us, Unavailable)

    def test_prefork_listener(self, watchdog: int) -> None:
        with running(PREFORK) as target:
            assert pid_found(ByPort(int(target.heard[0])), watchdog) == target.pid

    def test_reuseport_workers(self, watchdog: int) -> None:
        with running(REUSEPORT) as target:
            assert pid_found(ByPort(int(target.heard[0])), watchdog) == target.pid

    def test_unix_socket(self, watchdog: int, tmp_path: Path) -> None:
        path = tmp_path / "a b.sock"
        with running(UNIX_SOCKET, str(path)) as target:
            assert pid_found(BySocket(str(path)), watchdog) == target.pid
            assert pid_found(BySocket(str(tmp_path / "." / ".." / tmp_path.name / "a b.sock")), watchdog) == target.pid

    def test_pid_file_fresh_and_stale(self, watchdog: int, tmp_path: Path) -> None:
        path = tmp_path / "server.pid"
        with running(WAITS) as target:
            path.write_text(f"{target.pid}\n")
            assert pid_found(ByPidFile(path), watchdog) == target.pid
            long_ago = path.stat().st_mtime - 3600
            os.utime(path, (long_ago, long_ago))
            stale = find(ByPidFile(path))
            assert isinstance(stale, Unavailable)
            assert stale.reason is Reason.GONE
            assert "stale pid file" in stale.detail


AS_ANOTHER_USER = """
import os, sys
from memory_watchdog.observation import *
from memory_watchdog.sources.discovery import *
from memory_watchdog.sources.process import *

def drop():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


@as_root
class TestAnotherUser:
    def test_what_can_be_read_of_roots_process(self) -> None:
        program = AS_ANOTHER_USER + (
            "drop()\n"
            "source = ProcessTree(find(ByPid(int(sys.argv[1]))))\n"
            "memory = source.read(0.0, 5.0)\n"
            "print(memory.resident_bytes, memory.swap_bytes, measured(memory, Measure.ANON), sep='\\n')\n"
            "print(source.proportional().reason, find(ByPort(int(sys.argv[2]))).reason, sep='\\n')\n"
        )
        with running(PREFORK) as target, reading(find(ByPid(target.pid))) as source:
            answer = subprocess.run(
                [sys.executable, "-c", program, str(target.pid), target.heard[0]],
                check=False,
                capture_output=True,
                text=True,
            )
            ours = memory_of(source)  # last: the workers have touched all that they will
        assert answer.returncode == 0, answer.stderr
        resident, swap, anon, proportional, port = answer.stdout.splitlines()
        assert near(int(resident), ours.resident_bytes, within=MIB)
        assert int(swap) == ours.swap_bytes
        assert near(int(anon), anonymous(ours), within=MIB)
        assert (proportional, port) == ("permission", "permission")

    def test_owner_of_the_port_unseen_in_a_namespace_of_its_own(self) -> None:
        """Pid 1 stands for an init above both; the server is root's, the reader nobody's."""
        program = (
            PRELUDE
            + AS_ANOTHER_USER
            + "listener = socket.create_server(('127.0.0.1', 0))\n"
            + "port = listener.getsockname()[1]\n"
            + "master = fork(lambda: None)\n"
            + "listener.close()\n"
            + "def look():\n"
            + "    drop()\n"
            + "    say(find(ByUrl(ByPort(port))).pid == master, find(ByPort(port)).reason)\n"
            + "    os._exit(0)\n"
            + "os.waitpid(fork(look), 0)\n"
            + "other = fork(lambda: None)\n"
            + "os.waitpid(fork(lambda: (drop(), say(find(ByUrl(ByPort(port))).reason), os._exit(0))), 0)\n"
        )
        unshared = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*unshared, "true"], check=False, capture_output=True).returncode != 0:
            pytest.skip("no PID namespace can be made here")
        answer = subprocess.run(
            [*unshared, sys.executable, "-c", program],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert answer.stdout.splitlines() == ["True permission", "permission"], answer.stderr


class TestPsutil:
    def test_resident_and_nothing_else(self) -> None:
        with running(WORKERS) as target, reading(find(ByPid(target.pid))) as ours:
            identity = identify(target.pid)
            assert isinstance(identity, ProcessIdentity)
            source = PsutilTree(identity)
            assert source.identity == identity
            memory = memory_of(source)
            assert memory.processes == 4
            assert near(memory.resident_bytes, memory_of(ours).resident_bytes)
            unknown = measured(memory, Measure.ANON)
            assert isinstance(unknown, Unavailable)
            assert unknown.reason is Reason.UNSUPPORTED
            assert source.proportional() == unknown
            victim = int(target.heard[0])
            target.ask(victim)
            eventually(lambda: psutil.Process(victim).status() == psutil.STATUS_ZOMBIE)
            assert memory_of(source, details_max_age=5.0).processes == 3
            target.kill()
            eventually(lambda: psutil.Process(target.pid).status() == psutil.STATUS_ZOMBIE)
            gone = source.read(0.0, 5.0)
            assert isinstance(gone, Unavailable)
            assert gone.reason is Reason.GONE
            source.close()

    def test_absent_or_another(self) -> None:
        with running(WAITS) as target:
            other = PsutilTree(ProcessIdentity(target.pid, 1)).read(0.0, 5.0)
            assert isinstance(other, Unavailable)
            assert other.reason is Reason.GONE
        absent = identify(target.pid)
        assert isinstance(absent, Unavailable)
        assert absent.reason is Reason.NOT_FOUND


@contextmanager
def memory_cgroup(target: Target) -> Iterator[Path]:
    """A cgroup of our own below the one that we are in, with the target inside; v1 only."""
    paths = read_cgroup_paths("/proc", os.getpid())
    assert not isinstance(paths, Unavailable)
    if paths.memory_v1 is None:
        pytest.skip("no v1 memory controller")
    folder = Path("/sys/fs/cgroup/memory") / paths.memory_v1.strip("/") / f"memory-watchdog-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        (folder / "cgroup.procs").write_text(str(target.pid))
        yield folder
    finally:
        target.end()
        for made in (*sorted(folder.glob("*/")), folder):
            eventually(partial(_removed, made), what=f"rmdir {made}")


def _removed(folder: Path) -> bool:
    """The kernel keeps a cgroup busy for a moment after its last process."""
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True


class TestCgroup:
    def test_found_by_cgroup(self, watchdog: int) -> None:
        with running(WAITS) as target, memory_cgroup(target) as folder:
            inner = folder / "inner worker"
            inner.mkdir()
            (inner / "cgroup.procs").write_text(str(target.pid))
            assert pid_found(ByCgroup(str(folder)), watchdog) == target.pid
            assert pid_found(ByCgroup(str(inner)), watchdog) == target.pid
            assert isinstance(find(ByCgroup(str(folder) + "x"), own_pid=watchdog), Unavailable)

    def test_machine(self) -> None:
        assert machine_memory() == Limit(psutil.virtual_memory().total, LimitSource.MACHINE)

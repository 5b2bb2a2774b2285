"""Real memory cgroups, of the version that the machine has, and processes that fill them.

Covers: making them, limits, members, counts as the kernel's own files have them, removal; a program that takes memory
of each kind on request.
Leaves to others: cgroups as mere files (`cgroup_trees`).

One handle for both versions: what differs between them is here and in no test.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.targets import PRELUDE, Target
from tests.support.wait import eventually

MIB = 1 << 20

V1_ROOT = Path("/sys/fs/cgroup/memory")
V2_ROOT = Path("/sys/fs/cgroup")
VERSION = 1 if (V1_ROOT / "memory.stat").exists() else 2
ROOT = V1_ROOT if VERSION == 1 else V2_ROOT

# Says "ok" after each line. A child that is to be killed for memory says so itself, or the program would be the victim.
FILLS = (
    PRELUDE
    + """
MIB = 1 << 20
kept = []

def touched(block):
    for at in range(0, len(block), 4096):
        block[at] = 1
    return block

def anon(count):
    kept.append(touched(mmap.mmap(-1, int(count) * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))

def shmem(count):
    kept.append(touched(mmap.mmap(-1, int(count) * MIB)))

def file(path, count):
    with open(path, "wb") as out:
        for _ in range(int(count)):
            out.write(b"x" * MIB)
    for _ in range(2):
        with open(path, "rb") as back:
            while back.read(MIB):
                pass

def lock(path):
    import ctypes
    with open(path, "r+b") as opened:
        block = mmap.mmap(opened.fileno(), 0)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(block))):
        raise OSError(ctypes.get_errno(), "mlock")
    kept.append(block)

def mapped(path):
    with open(path, "rb") as opened:
        block = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
    for at in range(0, len(block), 4096):
        block[at]
    kept.append(block)

def pipes(count):
    import fcntl
    for _ in range(int(count)):  # a MiB of kernel memory each
        ends = os.pipe()
        fcntl.fcntl(ends[1], 1031, MIB)  # F_SETPIPE_SZ
        os.write(ends[1], b"x" * MIB)
        kept.append(ends)

def die(count):
    def work():
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
        anon(count)
    _, status = os.waitpid(fork(work), 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status

say(os.getpid())
for line in sys.stdin:
    name, *arguments = line.split()
    globals()[name](*arguments)
    say("ok")
"""
)


@dataclass(frozen=True)
class RealCgroup:
    """A cgroup of ours."""

    folder: Path

    @property
    def path(self) -> str:
        """As /proc/PID/cgroup has it."""
        return "/" + str(self.folder.relative_to(ROOT))

    def child(self, name: str) -> RealCgroup:
        """A cgroup below, removed with this one."""
        made = RealCgroup(self.folder / name)
        made.folder.mkdir()
        if VERSION == 2:
            (self.folder / "cgroup.subtree_control").write_text("+memory")
        return made

    def limit(self, bytes_: int | None) -> None:
        """Its own limit; None takes it away."""
        name, none = ("memory.limit_in_bytes", "-1") if VERSION == 1 else ("memory.max", "max")
        (self.folder / name).write_text(none if bytes_ is None else str(bytes_))

    def add(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    @property
    def usage(self) -> int:
        return int((self.folder / ("memory.usage_in_bytes" if VERSION == 1 else "memory.current")).read_text())

    @property
    def oom_kills(self) -> int:
        """What the kernel says."""
        text = (self.folder / ("memory.oom_control" if VERSION == 1 else "memory.events")).read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def remove(self) -> None:
        """With all below. The kernel keeps one busy for a moment after its last process.

        Who is still inside, as after a test that failed, goes to the root.
        """
        folders = [Path(where) for where, _, _ in os.walk(self.folder, topdown=False)]
        for folder in folders:
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    (ROOT / "cgroup.procs").write_text(pid)
            eventually(lambda gone=folder: _removed(gone), what=f"{folder} removed")  # type: ignore[misc]


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def why_none() -> str:
    """Why no cgroup can be made here; empty where one can, and where the tests run for nothing else."""
    if os.environ.get("CGROUP2_VM") == "1":
        return ""
    probe = ROOT / f"memory-watchdog-test-{uuid.uuid4().hex[:8]}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"no cgroup can be made: {error}"
    return ""


@contextlib.contextmanager
def real_cgroup(limit: int | None = None) -> Iterator[RealCgroup]:
    """One at the top of the hierarchy."""
    folder = ROOT / f"memory-watchdog-test-{uuid.uuid4().hex[:8]}"
    try:
        if VERSION == 2:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    made = RealCgroup(folder)
    try:
        made.limit(limit)
        yield made
    finally:
        made.remove()


class Filler(Target):
    """A process in a cgroup that takes memory as it is told."""

    def __init__(self, cgroup: RealCgroup) -> None:
        super().__init__(FILLS)
        cgroup.add(self.pid)

    def does(self, name: str, *arguments: object) -> None:
        """Take memory of a kind, or let a child be killed; done when this returns."""
        assert self.ask(" ".join(map(str, (name, *arguments)))) == ["ok"]


@contextlib.contextmanager
def filling(cgroup: RealCgroup) -> Iterator[Filler]:
    """A filler in this cgroup, ended afterwards."""
    filler = Filler(cgroup)
    try:
        yield filler
    finally:
        filler.end()


@contextlib.contextmanager
def file_on_disk() -> Iterator[Path]:
    """A place for a file whose pages are page cache; on a tmpfs, as /tmp may be, they would be shared memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="memory-watchdog-test-") as folder:
        yield Path(folder) / "file"

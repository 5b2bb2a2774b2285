"""Read single facts of /proc, tolerant of processes that end in the middle.

Covers: `stat`, command line, cgroup paths, children of one process; one look at the whole process table with its
parent links.
Leaves to others: which process is the server (`discovery`), what its tree holds (`process`), limits (`cgroup`).

Plain reads and not psutil, whose procfs root is a global: here it is an argument, so that tests can hand in hostile
trees. Paths are text and `os` is asked directly: a look at 500 processes opens 500 files, and a Path costs as much as
the open.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable

_PF_KTHREAD = 0x00200000  # include/linux/sched.h; field 9 of stat
_IDLE_COMMANDS = (["catatonit", "-P"], ["sleep", "infinity"])  # what stands in for `pause`


@dataclass(frozen=True, slots=True)
class Stat:
    """What we need of /proc/PID/stat."""

    pid: int
    comm: str
    state: str
    parent_pid: int
    is_kernel_thread: bool
    start_ticks: int

    @property
    def is_dead(self) -> bool:
        """A zombie or what becomes one: it holds a pid and no memory."""
        return self.state in "ZXx"

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_ticks)


@dataclass(frozen=True, slots=True)
class CgroupPaths:
    """Where a process is: in v1's memory hierarchy, in the v2 hierarchy. On hybrid systems it is in both."""

    memory_v1: str | None
    v2: str | None


def unavailable(error: OSError, missing: Reason = Reason.GONE) -> Unavailable:
    """What an error of the kernel means. `missing` is what a file that is not there means."""
    if isinstance(error, FileNotFoundError | ProcessLookupError | NotADirectoryError):
        return Unavailable(missing, str(error))
    if isinstance(error, PermissionError):
        return Unavailable(Reason.PERMISSION, str(error))
    return Unavailable(Reason.UNREADABLE, str(error))


def read(path: str | Path, missing: Reason = Reason.GONE) -> bytes | Unavailable:
    """The whole file. Half the cost of Path.read_bytes, which matters for hundreds of `status` files."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = b""
            while chunk := os.read(descriptor, 65536):
                content += chunk
            return content
        finally:
            os.close(descriptor)
    except OSError as error:
        return unavailable(error, missing)


def parse_stat(raw: bytes) -> Stat | None:
    """The line of /proc/PID/stat, None if it is torn.

    The name may hold spaces, newlines and parentheses: the fields begin after the last `)`. Something must follow
    field 22, or a torn start time would pass for a whole one.
    """
    head, _, tail = raw.rpartition(b")")
    pid, _, comm = head.partition(b" (")
    fields = tail.split()
    if len(fields) < 21:
        return None
    try:
        return Stat(
            pid=int(pid),
            comm=os.fsdecode(comm),
            state=fields[0].decode("ascii"),
            parent_pid=int(fields[1]),
            is_kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
            start_ticks=int(fields[19]),
        )
    except ValueError:
        return None


def read_stat(proc: str | Path, pid: int) -> Stat | Unavailable:
    """What `stat` says; a thread's id is answered for as well."""
    raw = read(f"{proc}/{pid}/stat")
    if isinstance(raw, Unavailable):
        return raw
    return parse_stat(raw) or Unavailable(Reason.UNREADABLE, f"{proc}/{pid}/stat: {raw[:80]!r}")


def read_arguments(proc: str | Path, pid: int) -> list[str] | Unavailable:
    """The command line; empty where a process has none left."""
    raw = read(f"{proc}/{pid}/cmdline")
    if isinstance(raw, Unavailable):
        return raw
    return os.fsdecode(raw.rstrip(b"\0")).split("\0") if raw.rstrip(b"\0") else []


def read_cgroup_paths(proc: str | Path, pid: int) -> CgroupPaths | Unavailable:
    """The two hierarchies that can hold the memory controller."""
    raw = read(f"{proc}/{pid}/cgroup")
    if isinstance(raw, Unavailable):
        return raw
    memory_v1 = v2 = None
    for line in raw.split(b"\n"):
        number, _, rest = line.partition(b":")
        controllers, separator, path = rest.partition(b":")
        if not separator or not path.startswith(b"/"):
            continue
        if number == b"0" and not controllers:
            v2 = os.fsdecode(path)
        elif b"memory" in controllers.split(b","):
            memory_v1 = os.fsdecode(path)
    return CgroupPaths(memory_v1, v2)


def same_program(proc: str | Path, one: int, other: int) -> bool:
    """By executable, which another user's process does not show, or by the first argument, which it does."""
    programs = []
    for pid in (one, other):
        try:
            # " (deleted)": replaced by an upgrade while it runs
            programs.append(str(Path(f"{proc}/{pid}/exe").readlink()).removesuffix(" (deleted)"))
        except OSError:
            break
    if len(programs) == 2 and programs[0] == programs[1]:
        return True
    first, second = read_arguments(proc, one), read_arguments(proc, other)
    if isinstance(first, Unavailable) or isinstance(second, Unavailable):
        return False
    return bool(first) and first[:1] == second[:1]


def is_pause(proc: str | Path, stat: Stat) -> bool:
    """Keeps a pod's namespaces or a container up and serves nothing."""
    if stat.comm == "pause":
        return True
    arguments = read_arguments(proc, stat.pid)
    if isinstance(arguments, Unavailable) or not arguments:
        return False
    program = Path(arguments[0]).name
    return program == "pause" or [program, *arguments[1:]] in _IDLE_COMMANDS


class Table:
    """One look at every living user process and its parent. Kernel threads and zombies are not in it."""

    def __init__(self, proc: str | Path) -> None:
        self.stats: dict[int, Stat] = {}
        self.refused = False  # something was there that we may not see (hidepid)
        try:
            names = os.listdir(proc)  # noqa: PTH208
        except OSError as error:
            self.refused = isinstance(error, PermissionError)
            names = []
        for name in names:
            if not (name.isascii() and name.isdigit()):
                continue
            stat = read_stat(proc, int(name))
            if isinstance(stat, Unavailable):
                self.refused |= stat.reason is Reason.PERMISSION
            elif not stat.is_dead and not stat.is_kernel_thread:
                self.stats[stat.pid] = stat

    def ancestors(self, pid: int) -> Iterator[int]:
        """Parent, grandparent, …; links read at different moments may form a ring, which ends the walk."""
        seen = {pid}
        while (stat := self.stats.get(pid)) is not None and (pid := stat.parent_pid) in self.stats and pid not in seen:
            seen.add(pid)
            yield pid

    def tree_of(self, pid: int) -> set[int]:
        """The process, its ancestors and its descendants."""
        below = {other for other in self.stats if pid in self.ancestors(other)}
        return {pid, *self.ancestors(pid), *below}

    def tops(self, pids: Iterable[int]) -> set[int]:
        """Those of `pids` that have none of `pids` above them."""
        chosen = set(pids)
        return {pid for pid in chosen if chosen.isdisjoint(self.ancestors(pid))}

    def children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for stat in self.stats.values():
            found.setdefault(stat.parent_pid, []).append(stat.pid)
        return found


def descendants(proc: str | Path, root_pid: int) -> dict[int, int] | Unavailable:
    """Pid to parent pid of every process below `root_pid`, parents before their children.

    `task/TID/children` (CONFIG_PROC_CHILDREN) costs by the size of the tree; without it every process of the machine
    is looked at.
    """
    by_parent: dict[int, list[int]] | None = None
    if not os.path.exists(f"{proc}/{root_pid}/task/{root_pid}/children"):  # noqa: PTH110
        table = Table(proc)
        if table.refused:
            return Unavailable(Reason.PERMISSION, f"some processes of {proc} cannot be seen")
        by_parent = table.children()
    found: dict[int, int] = {}
    walk = [root_pid]
    for parent in walk:  # it grows meanwhile
        children = _children_by_thread(proc, parent) if by_parent is None else by_parent.get(parent, [])
        if isinstance(children, Unavailable):
            return children
        for pid in children:
            if pid != root_pid and pid not in found:
                found[pid] = parent
                walk.append(pid)
    return found


def _children_by_thread(proc: str | Path, pid: int) -> list[int] | Unavailable:
    """The children of all threads: each thread lists only those that it forked itself. Gone means no children."""
    tasks = f"{proc}/{pid}/task"
    try:
        threads = os.listdir(tasks)  # noqa: PTH208
    except OSError as error:
        failure = unavailable(error)
        return [] if failure.reason is Reason.GONE else failure
    found: list[int] = []
    for thread in threads:
        raw = read(f"{tasks}/{thread}/children")
        if isinstance(raw, Unavailable):
            if raw.reason is Reason.GONE:
                continue
            return raw
        try:
            found += map(int, raw.split())
        except ValueError:
            return Unavailable(Reason.UNREADABLE, f"{tasks}/{thread}/children: {raw[:80]!r}")
    return found

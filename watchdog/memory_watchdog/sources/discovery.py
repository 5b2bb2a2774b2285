"""Find the server: from what the user says about it to one process, or why not.

Covers: port, pid, pid file, command line, cgroup, listening unix socket, and a target that names only its url; one
process out of several matches; the identity by which it is known from then on.
Leaves to others: who holds a socket (`sockets`), reading /proc (`procfs`), the memory of the tree (`process`).

Several matches are one server only where the process table says so; it is never "the first".
"""

from __future__ import annotations

import os
import re
import stat as file_modes
from dataclasses import dataclass, replace
from pathlib import Path

from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable
from memory_watchdog.sources.procfs import (
    Table,
    is_pause,
    read,
    read_arguments,
    read_cgroup_paths,
    read_stat,
    same_program,
    unavailable,
)
from memory_watchdog.sources.sockets import owners, tcp_inodes, unix_inodes

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PID_MAX = 1 << 22  # PID_MAX_LIMIT of 64-bit Linux
_CLOCK_SLACK_SECONDS = 2.0  # btime is in whole seconds, start times in hundredths
_PIDS_NAMED = 10  # in the text about an ambiguity

# systemd keeps the socket of a socket-activated service open beside the service.
_SOCKET_KEEPER = "systemd"


@dataclass(frozen=True, slots=True)
class ByPort:
    """Whoever listens on this TCP port."""

    port: int


@dataclass(frozen=True, slots=True)
class ByPid:
    """This pid. `start_ticks` pins it to one process: one that uses the pid again is not taken. See `pinned`."""

    pid: int
    start_ticks: int | None = None


@dataclass(frozen=True, slots=True)
class ByPidFile:
    """The pid in this file, which is read each time."""

    path: Path


@dataclass(frozen=True, slots=True)
class ByCommand:
    """A regular expression that is searched in the arguments joined with spaces."""

    pattern: str


@dataclass(frozen=True, slots=True)
class ByCgroup:
    """The processes of this cgroup and those below, with or without the path of the mount."""

    path: str


@dataclass(frozen=True, slots=True)
class BySocket:
    """Whoever listens on this unix socket; an abstract one begins with `@`."""

    path: str


@dataclass(frozen=True, slots=True)
class ByUrl:
    """The target names only a url: the owner of its port or socket, and if that one hides its descriptors from us,
    the only process tree that it can be."""

    listener: ByPort | BySocket


Finder = ByPort | ByPid | ByPidFile | ByCommand | ByCgroup | BySocket | ByUrl


def pinned(finder: Finder, identity: ProcessIdentity) -> Finder:
    """The finder to use from now on: a bare pid stands for the process that had it when it was first found."""
    if isinstance(finder, ByPid) and finder.start_ticks is None:
        return replace(finder, start_ticks=identity.start_ticks)
    return finder


def find(finder: Finder, proc: Path = Path("/proc"), own_pid: int | None = None) -> ProcessIdentity | Unavailable:
    """The root of the server's process tree. `own_pid` is the watchdog's, as `proc` numbers it."""
    if not proc.is_dir():
        return Unavailable(Reason.UNSUPPORTED, f"there is no {proc}")
    if isinstance(finder, ByPid):
        return _by_pid(finder, proc)
    if isinstance(finder, ByPidFile):
        return _by_pid_file(finder.path, proc)
    table = Table(proc)
    own_tree = table.tree_of(own_pid if own_pid is not None else _own_pid(proc))
    if isinstance(finder, ByCommand):
        return _by_command(finder.pattern, proc, table, own_tree)
    if isinstance(finder, ByCgroup):
        return _by_cgroup(finder.path, proc, table, own_tree)
    listener = finder.listener if isinstance(finder, ByUrl) else finder
    found = _by_listener(listener, proc, table, own_tree)
    if found is None:  # looked at once more: the server may have started after the table was read, or ended since
        return _by_listener(listener, proc, Table(proc), own_tree) or Unavailable(
            Reason.PERMISSION, f"{_named_listener(listener)} is held where we cannot look, as in another PID namespace"
        )
    if isinstance(finder, ByUrl) and isinstance(found, Unavailable) and found.reason is Reason.PERMISSION:
        return _only_tree(found, proc, table, own_tree)
    return found


def _named_listener(listener: ByPort | BySocket) -> str:
    return f"port {listener.port}" if isinstance(listener, ByPort) else listener.path


def start_time_seconds(identity: ProcessIdentity, proc: Path = Path("/proc")) -> float | Unavailable:
    """When the process started, in seconds since 1970: `btime` of /proc/stat, which follows clock steps, + ticks."""
    raw = read(proc / "stat", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    booted = re.search(rb"^btime (\d+)$", raw, re.MULTILINE)
    if booted is None:
        return Unavailable(Reason.UNREADABLE, f"{proc}/stat has no btime")
    return int(booted[1]) + identity.start_ticks / _TICKS_PER_SECOND


def _own_pid(proc: Path) -> int:
    """In a /proc that was mounted from elsewhere we have another number than getpid says."""
    try:
        return int((proc / "self").readlink().name)
    except (OSError, ValueError):
        return os.getpid()


def _by_pid(finder: ByPid, proc: Path) -> ProcessIdentity | Unavailable:
    stat = read_stat(proc, finder.pid)
    if isinstance(stat, Unavailable):
        if stat.reason is Reason.GONE and finder.start_ticks is None:
            if _is_hidden(finder.pid, proc):
                return Unavailable(Reason.PERMISSION, f"process {finder.pid} is there, and {proc} hides it (hidepid)")
            return Unavailable(Reason.NOT_FOUND, f"there is no process {finder.pid}")
        return stat
    if finder.start_ticks not in (None, stat.start_ticks):
        return Unavailable(Reason.GONE, f"pid {finder.pid} is used again by another process ({stat.comm})")
    if stat.is_dead:
        return Unavailable(Reason.GONE, f"process {finder.pid} ({stat.comm}) has ended and is a zombie")
    if stat.is_kernel_thread:
        return Unavailable(Reason.INVALID, f"{finder.pid} ({stat.comm}) is a kernel thread")
    return stat.identity


def _is_hidden(pid: int, proc: Path) -> bool:
    """Is there a process that /proc shows as if there were none? Signal 0 asks the kernel, and sends nothing."""
    if proc != _PROC:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return not (proc / str(pid)).exists()  # else it began just now


def _by_pid_file(path: Path, proc: Path) -> ProcessIdentity | Unavailable:
    try:
        # O_NONBLOCK: opening a fifo would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            content = os.read(descriptor, 64) if file_modes.S_ISREG(status.st_mode) else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        return unavailable(error, missing=Reason.NOT_FOUND)
    text = content.strip()
    if len(content) == 64 or not text.isdigit() or not 0 < int(text) <= _PID_MAX:
        return Unavailable(Reason.INVALID, f"{path} does not hold one pid: {content[:32]!r}")
    identity = _by_pid(ByPid(int(text)), proc)
    if isinstance(identity, Unavailable):
        if identity.reason is Reason.NOT_FOUND:
            return Unavailable(Reason.GONE, f"stale pid file {path}: there is no process {int(text)}")
        return identity
    started = start_time_seconds(identity, proc)
    if isinstance(started, Unavailable):
        return started
    if started > status.st_mtime + _CLOCK_SLACK_SECONDS:
        late = started - status.st_mtime
        return Unavailable(
            Reason.GONE, f"stale pid file {path}: process {identity.pid} started {late:.0f} s after it was written"
        )
    return identity


def _by_command(pattern: str, proc: Path, table: Table, own_tree: set[int]) -> ProcessIdentity | Unavailable:
    """Our own tree is left out: our arguments, and those of a shell that started us, hold the pattern."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        return Unavailable(Reason.INVALID, f"{pattern!r}: {error}")
    matches: set[int] = set()
    refused = table.refused
    for pid in table.stats.keys() - own_tree:
        arguments = read_arguments(proc, pid)
        if isinstance(arguments, Unavailable):
            refused |= arguments.reason is Reason.PERMISSION
        elif arguments and expression.search(" ".join(arguments)):
            matches.add(pid)
    what = f"with a command line that matches {pattern!r}"
    return _one(matches, proc, table, what) if matches else _nothing(what, refused)


def _by_cgroup(path: str, proc: Path, table: Table, own_tree: set[int]) -> ProcessIdentity | Unavailable:
    """Neither our own tree nor a pause process counts: the cgroup given may be that of a whole pod."""
    wanted = _cgroup_candidates(path)
    matches: set[int] = set()
    refused = table.refused
    for pid in table.stats.keys() - own_tree:
        paths = read_cgroup_paths(proc, pid)
        if isinstance(paths, Unavailable):
            refused |= paths.reason is Reason.PERMISSION
        elif any(_lies_in(own, wanted) for own in (paths.memory_v1, paths.v2)) and not is_pause(proc, table.stats[pid]):
            matches.add(pid)
    what = f"in cgroup {path}"
    return _one(matches, proc, table, what) if matches else _nothing(what, refused)


def _cgroup_candidates(path: str) -> set[str]:
    """The path as the kernel writes it in /proc/PID/cgroup, for each mount that it may have been copied from."""
    whole = "/" + path.strip("/")
    candidates = {whole}
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"):
        if whole == mount or whole.startswith(mount + "/"):
            candidates.add(whole.removeprefix(mount) or "/")
    return candidates


def _lies_in(path: str | None, folders: set[str]) -> bool:
    return path is not None and any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _by_listener(
    listener: ByPort | BySocket, proc: Path, table: Table, own_tree: set[int]
) -> ProcessIdentity | Unavailable | None:
    """The server behind a listening socket; None where nobody has it open although everybody shows what he has."""
    if isinstance(listener, ByPort):
        inodes, what = tcp_inodes(proc, listener.port), f"that listens on port {listener.port}"
    else:
        inodes, what = unix_inodes(proc, listener.path), f"that listens on {listener.path}"
    if isinstance(inodes, Unavailable):
        return inodes
    if not inodes:
        return Unavailable(Reason.NOT_FOUND, f"there is no socket {what}")
    found = owners(proc, inodes, table.stats)
    servers = {pid for pid in found.pids if table.stats[pid].comm != _SOCKET_KEEPER} or set(found.pids)
    if not servers:
        return _nothing(what, refused=True) if found.refused or table.refused else None
    return _one(servers, proc, table, what, _shared_parent(servers, proc, table, own_tree))


def _shared_parent(pids: set[int], proc: Path, table: Table, own_tree: set[int]) -> int | None:
    """The master of SO_REUSEPORT workers: it has no socket of its own, but runs the same program as all of them.

    A parent that is above ourselves is none: it starts servers, it is not one.
    """
    tops = table.tops(pids)
    parents = {table.stats[pid].parent_pid for pid in tops}
    if len(tops) < 2 or len(parents) != 1:
        return None
    parent = parents.pop()
    if parent not in table.stats or parent in own_tree:
        return None
    return parent if all(same_program(proc, parent, pid) for pid in tops) else None


def _only_tree(seen: Unavailable, proc: Path, table: Table, own_tree: set[int]) -> ProcessIdentity | Unavailable:
    """The only tree of the namespace that can be the server, else what was `seen` of the owner stays true.

    A tree hangs from nothing (parent 0, as each container's main process in a shared PID namespace), from a pause
    process or from one of our own ancestors.
    """
    pauses = {pid for pid in table.stats if is_pause(proc, table.stats[pid])}
    passed_over = own_tree | pauses
    roots = {
        pid
        for pid, stat in table.stats.items()
        if pid not in passed_over and (stat.parent_pid not in table.stats or stat.parent_pid in passed_over)
    }
    if len(roots) == 1 and not table.refused:
        return _confirmed(roots.pop(), proc, table)
    return Unavailable(seen.reason, f"{seen.detail}; process trees that it could be: {_named(roots, table)}")


def _one(
    matches: set[int], proc: Path, table: Table, what: str, stand_in: int | None = None
) -> ProcessIdentity | Unavailable:
    """The match that all others descend from (the master of prefork workers), else the stand-in for them."""
    tops = table.tops(matches)
    if len(tops) > 1 and stand_in is None:
        return Unavailable(Reason.AMBIGUOUS, f"several unrelated processes {what}: {_named(tops, table)}")
    return _confirmed(stand_in if stand_in is not None else tops.pop(), proc, table)


def _confirmed(pid: int, proc: Path, table: Table) -> ProcessIdentity | Unavailable:
    """The match was read after the table: the pid may have been used again in between."""
    return _by_pid(ByPid(pid, table.stats[pid].start_ticks), proc)


def _nothing(what: str, refused: bool) -> Unavailable:
    if refused:
        return Unavailable(Reason.PERMISSION, f"no process {what} among those that we may look into")
    return Unavailable(Reason.NOT_FOUND, f"no process {what}")


def _named(pids: set[int], table: Table) -> str:
    names = [f"{pid} ({table.stats[pid].comm})" for pid in sorted(pids)]
    more = f" and {len(names) - _PIDS_NAMED} more" if len(names) > _PIDS_NAMED else ""
    return (", ".join(names[:_PIDS_NAMED]) or "none") + more

"""Hold /proc/PID/statm of one process open, and do without where descriptors are scarce.

Covers: opening it for the right process, reading it, the limit of open files.
Leaves to others: which processes make up a tree and what the numbers add up to (`process`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.procfs import read_stat, unavailable

NOT_HELD = -1
LINE_BYTES = 256  # seven numbers of at most 20 digits

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


@dataclass(slots=True, eq=False)
class Statm:
    """`statm` of one process. Held open: a fresh open and read costs 30 µs, this 2 to 3, and it cannot be fooled by a
    reused pid: it answers ESRCH when its process is gone."""

    proc: str
    pid: int
    start_ticks: int
    descriptor: int

    def line(self) -> bytes:
        """The line as the kernel gives it. Raises OSError; the process is gone where `unavailable` says GONE."""
        if self.descriptor != NOT_HELD:
            return os.pread(self.descriptor, LINE_BYTES, 0)
        descriptor = os.open(f"{self.proc}/{self.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.pread(descriptor, LINE_BYTES, 0)
        finally:
            os.close(descriptor)
        stat = read_stat(self.proc, self.pid)
        if isinstance(stat, Unavailable) and stat.reason is not Reason.GONE:
            raise OSError(errno.EIO, stat.detail)
        if isinstance(stat, Unavailable) or stat.start_ticks != self.start_ticks:
            raise ProcessLookupError(errno.ESRCH, "the pid is used again by another process")
        return line

    def living_line(self) -> bytes | Unavailable:
        """The line; GONE also for a zombie, whose memory is given back."""
        try:
            line = self.line()
        except OSError as error:
            return unavailable(error)
        return Unavailable(Reason.GONE, f"process {self.pid} has ended") if line.startswith(b"0 ") else line

    def release(self) -> None:
        if self.descriptor != NOT_HELD:
            os.close(self.descriptor)
            self.descriptor = NOT_HELD


def open_statm(proc: str, pid: int, parents: Set[int] | None = None) -> Statm | Unavailable:
    """Take hold of a process. GONE also where it is a zombie, or is not, or no longer, a child of one of `parents`.

    `stat` is read after `statm` was opened, and `statm` after that: if it still answers, the pid was not used again in
    between and both speak of the same process.
    """
    descriptor = _descriptor(f"{proc}/{pid}/statm")
    if isinstance(descriptor, Unavailable):
        return descriptor
    member = Statm(proc, pid, 0, descriptor)
    failure: Unavailable
    stat = read_stat(proc, pid)
    if isinstance(stat, Unavailable):
        failure = stat
    elif stat.is_dead or (parents is not None and stat.parent_pid not in parents):
        failure = Unavailable(Reason.GONE, f"process {pid} has ended or has moved to another parent")
    else:
        member.start_ticks = stat.start_ticks
        line = member.living_line()
        if not isinstance(line, Unavailable):
            return member
        failure = line
    member.release()
    return failure


def _descriptor(path: str) -> int | Unavailable:
    """A descriptor to keep, or NOT_HELD where more than half of those that we may have are in use.

    The kernel gives the lowest free number, so a number in the upper half says that the lower half is taken. The upper
    half is for sockets and for reading afresh.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return unavailable(error)
    if descriptor < _upper_half():
        return descriptor
    os.close(descriptor)
    return NOT_HELD


def _upper_half() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


class Reserve:
    """One descriptor that is set aside for the moment when all others are in use: memory is then still read.

    It lies in the upper half, where `open_statm` keeps nothing.
    """

    def __init__(self) -> None:
        self._descriptor = NOT_HELD
        self._take()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Whoever opens one file at a time finds a free descriptor in here."""
        self.close()
        try:
            yield
        finally:
            self._take()

    def close(self) -> None:
        if self._descriptor != NOT_HELD:
            os.close(self._descriptor)
            self._descriptor = NOT_HELD

    def _take(self) -> None:
        try:
            low = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _upper_half())
            finally:
                os.close(low)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise

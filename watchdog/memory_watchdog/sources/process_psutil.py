"""Read a process tree through psutil, where there is no /proc.

Covers: resident memory and the number of processes, with the interface of `process.ProcessTree`.
Leaves to others: Linux, where `process` is a tenth of the cost and knows far more.
"""

from __future__ import annotations

import psutil

from memory_watchdog.observation import ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources.discovery import ByPid, Finder

_TICKS_PER_SECOND = 100  # a tick of our own: psutil gives seconds
_UNSUPPORTED = Unavailable(Reason.UNSUPPORTED, "not known without /proc")


def identify(pid: int) -> ProcessIdentity | Unavailable:
    """The process that has this pid now. Its ticks count from 1970 and compare only with others from here."""
    try:
        return _identity_of(psutil.Process(pid))
    except psutil.Error as error:
        failure = _unavailable(error)
        return Unavailable(Reason.NOT_FOUND, failure.detail) if failure.reason is Reason.GONE else failure


def find(finder: Finder) -> ProcessIdentity | Unavailable:
    """The process that a finder means. Without /proc only a pid can be found; it stays with its first process."""
    if not isinstance(finder, ByPid):
        return Unavailable(Reason.UNSUPPORTED, "without /proc a process is found by its pid only: set process.pid")
    identity = identify(finder.pid)
    if isinstance(identity, ProcessIdentity) and finder.start_ticks not in (None, identity.start_ticks):
        return Unavailable(Reason.GONE, f"pid {finder.pid} is used again by another process")
    return identity


class PsutilTree:
    """The tree below one process, as `process.ProcessTree`."""

    def __init__(self, identity: ProcessIdentity) -> None:
        self._identity = identity
        self._gone: Unavailable | None = None
        self._members: list[psutil.Process] = []
        self._listed_at = float("-inf")

    @property
    def start_time_seconds(self) -> float:
        """When the root started, since the epoch."""
        return self._identity.start_ticks / _TICKS_PER_SECOND

    @property
    def identity(self) -> ProcessIdentity:
        return self._identity

    def read(self, now: float, details_max_age: float) -> ProcessMemory | Unavailable:
        if self._gone is None:
            try:
                return self._read(now, details_max_age)
            except psutil.Error as error:
                failure = _unavailable(error)
                if failure.reason is not Reason.GONE:
                    return failure
                self._gone = failure
        return self._gone

    def proportional(self) -> Reading:
        return _UNSUPPORTED

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, now: float, details_max_age: float) -> ProcessMemory | Unavailable:
        """Raises psutil.Error where the root is gone or something is refused; a descendant that is gone is dropped."""
        if not self._members or now - self._listed_at > details_max_age:
            root = psutil.Process(self._identity.pid)
            if _identity_of(root) != self._identity:
                raise psutil.NoSuchProcess(root.pid, msg="the pid is used again by another process")
            self._members = [root, *root.children(recursive=True)]
            self._listed_at = now
        resident_bytes = 0
        living: list[psutil.Process] = []
        for process in self._members:
            try:
                # is_running compares the start time; a zombie still runs by its measure and holds nothing
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    raise psutil.NoSuchProcess(process.pid)
                resident_bytes += process.memory_info().rss
                living.append(process)
            except psutil.NoSuchProcess:
                if process is self._members[0]:
                    raise
        self._members = living
        return ProcessMemory(
            resident_bytes=resident_bytes,
            anonymous_bytes=_UNSUPPORTED,
            processes=len(living),
            file_bytes=_UNSUPPORTED,
            shared_bytes=_UNSUPPORTED,
            swap_bytes=_UNSUPPORTED,
            proportional_bytes=_UNSUPPORTED,
        )


def _identity_of(process: psutil.Process) -> ProcessIdentity:
    return ProcessIdentity(process.pid, round(process.create_time() * _TICKS_PER_SECOND))


def _unavailable(error: psutil.Error) -> Unavailable:
    if isinstance(error, psutil.NoSuchProcess):  # ZombieProcess is one
        return Unavailable(Reason.GONE, str(error))
    if isinstance(error, psutil.AccessDenied):
        return Unavailable(Reason.PERMISSION, str(error))
    return Unavailable(Reason.UNREADABLE, str(error))

"""Who may be ended: a process that is held by a pidfd, and every reason why one is left alone.

Covers: holding a process, signals to it, that it still is the target, the watchdog itself, pid 1, missing permission.
Leaves to others: the order of the steps (`restart`), whether it is time (`policy.restart`).

A pidfd stands for one process, whatever its pid is used for later (pidfd_open(2), Linux 5.3): it is opened first, then
the process behind it is checked, and only then anything is sent.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import ProcessIdentity, Unavailable
from memory_watchdog.policy.events import RestartEnded, RestartOutcome
from memory_watchdog.sources.discovery import ByCommand, ByPid, ByUrl, Finder, find
from memory_watchdog.sources.procfs import read, read_stat

_WALKS = 3  # up the parents: one of them may end meanwhile, and its child gets another parent
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h

PID_1_ADVICE = (
    "pid 1 of a PID namespace ignores SIGKILL from inside: let it end on SIGTERM, or let an init process "
    "(docker run --init, tini, a pause container) be pid 1"
)
NO_TERM_EITHER = "; it does not handle SIGTERM now, and without a handler that one is ignored too"


@dataclass(frozen=True, slots=True)
class Held:
    """A process that nobody else can become."""

    pid: int
    descriptor: int

    def send(self, number: signal.Signals) -> str | None:
        """The signal; why it could not be sent."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return None  # it has ended: that is what was wanted
        except OSError as error:
            return f"{number.name} to pid {self.pid}: {error.strerror}"
        return None

    def may_be_signalled(self) -> str | None:
        """None, or why a signal would be refused; nothing is sent."""
        try:
            signal.pidfd_send_signal(self.descriptor, 0)
        except ProcessLookupError:
            return None
        except OSError as error:
            advice = "run the watchdog as the same user, or with CAP_KILL"
            return f"pid {self.pid} may not be signalled ({error.strerror}): {advice}"
        return None

    def close(self) -> None:
        """Let it go."""
        os.close(self.descriptor)

    def has_ended(self) -> bool:
        """Is it gone, or a zombie that nobody has collected yet?"""
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    async def ends_within(self, seconds: float) -> bool:
        """Wait for that, at most so long."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self.descriptor, ended.set)
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.descriptor)
        return True


def checked(identity: ProcessIdentity, finder: Finder, proc: Path = Path("/proc")) -> tuple[Held] | RestartEnded:
    """The process, held, if it may and can be ended. Blocks: it looks for the process once more."""
    if identity.pid <= 0:
        return RestartEnded("", RestartOutcome.REFUSED, "only the server itself tells of its process")
    try:
        held = Held(identity.pid, os.pidfd_open(identity.pid))
    except ProcessLookupError:
        return RestartEnded("", RestartOutcome.GONE, "it has ended by itself")
    except OSError as error:
        return RestartEnded("", RestartOutcome.REFUSED, f"pid {identity.pid}: {error.strerror}")
    shown = _pid_as_proc_has_it(held.descriptor, proc)
    stat = read_stat(proc, identity.pid)  # after the pidfd: it is the same process, or another one that is refused now
    if shown is not None and shown > 0 and shown != identity.pid:
        why = RestartEnded("", RestartOutcome.REFUSED, f"{proc} shows another PID namespace than ours")
    elif isinstance(stat, Unavailable) or held.has_ended():
        why = RestartEnded("", RestartOutcome.GONE, "it has ended by itself")
    elif stat.identity != identity:
        why = RestartEnded("", RestartOutcome.GONE, f"it has ended, and pid {identity.pid} is another process now")
    elif shown is None:
        why = RestartEnded("", RestartOutcome.REFUSED, "the kernel does not tell whose pidfd it is")
    elif (reason := why_never(identity, finder, proc) or held.may_be_signalled()) is not None:
        why = RestartEnded("", RestartOutcome.REFUSED, reason)  # before the drain: it would be drained for nothing
    else:
        return (held,)
    held.close()
    return why


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What is in the way of the last step: it would be refused, or it is tried and may fail."""

    is_refused: bool
    detail: str


def hindrance(identity: ProcessIdentity, finder: Finder, proc: Path = Path("/proc")) -> Hindrance | None:
    """What is in its way as things are; nothing is sent. Blocks."""
    held = checked(identity, finder, proc)
    if isinstance(held, RestartEnded):
        return None if held.outcome is RestartOutcome.GONE else Hindrance(True, held.detail)
    held[0].close()
    if not ignores_kill(identity, proc):
        return None
    return Hindrance(False, PID_1_ADVICE + ("" if _handles_term(identity.pid, proc) else NO_TERM_EITHER))


def why_never(identity: ProcessIdentity, finder: Finder, proc: Path = Path("/proc")) -> str | None:
    """Why this process is not ended; None where it may be."""
    above = _own_ancestry(proc)
    if identity.pid in above.pids:
        return f"pid {identity.pid} is the watchdog itself, or what it runs in"
    if above.hidden is not None:
        return f"it cannot be shown that the watchdog does not run in it: pid {above.hidden} above us cannot be seen"
    if identity.pid == 1 and _is_initial_namespace(proc):
        return "pid 1 of the machine is never ended"
    if isinstance(finder, ByCommand):
        return "a process that is known by its command line alone is never ended: name its port, pid file or cgroup"
    strict = finder.listener if isinstance(finder, ByUrl) else finder
    if isinstance(strict, ByPid):
        return None  # the identity is that of when it was first found
    found = find(strict, proc)
    if isinstance(found, Unavailable):
        return f"it cannot be shown that pid {identity.pid} still is the target: {found}"
    return None if found == identity else f"the target is pid {found.pid} by now"


def ignores_kill(identity: ProcessIdentity, proc: Path = Path("/proc")) -> bool:
    """Is it pid 1 of a PID namespace that we are in too? The kernel keeps SIGKILL from inside away from that one."""
    return identity.pid == 1 and not _is_initial_namespace(proc)


def _pid_as_proc_has_it(descriptor: int, proc: Path) -> int | None:
    """The pid of a pidfd in the PID namespace of `proc` (Linux 5.5); 0 or less where it is none there or has ended."""
    try:
        lines = (proc / f"self/fdinfo/{descriptor}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line[4:]) for line in lines if line.startswith("Pid:")), None)


def _handles_term(pid: int, proc: Path) -> bool:
    """Is there a handler for SIGTERM? Taken for true where `status` does not tell."""
    raw = read(proc / str(pid) / "status")
    found = None if isinstance(raw, Unavailable) else re.search(rb"^SigCgt:\t([0-9a-f]+)$", raw, re.MULTILINE)
    return found is None or bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


@dataclass(frozen=True, slots=True)
class _Ancestry:
    """Our own pid and those above us; `hidden` is the first that cannot be seen (hidepid): above it none is known."""

    pids: frozenset[int]
    hidden: int | None = None


def _own_ancestry(proc: Path) -> _Ancestry:
    """In a shared PID namespace the parent of a container's first process is none, 0.

    Read one by one, for a process whose first thread has ended while others live looks dead and is a parent all the
    same. A hidden pid 1 hides nobody: it is the top of its namespace.
    """
    pids, parent = set[int](), os.getpid()
    for _ in range(_WALKS):
        pids, parent = set(), os.getpid()
        while not isinstance(stat := read_stat(proc, parent), Unavailable) and stat.pid not in pids:
            pids.add(stat.pid)
            parent = stat.parent_pid
            if parent == 0:
                return _Ancestry(frozenset(pids))
        if parent == 1:
            return _Ancestry(frozenset({*pids, 1}))
    return _Ancestry(frozenset({*pids, parent}), parent)


def _is_initial_namespace(proc: Path) -> bool:
    """The machine's own PID namespace; taken for it where that cannot be told."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return True

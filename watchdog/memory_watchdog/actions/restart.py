"""Ends the target's process: evidence, drain, SIGTERM, SIGKILL, each in a bounded time, and never another's.

Covers: who may not be ended, the order of the steps, signals by pidfd, workers that outlive their parent.
Leaves to others: whether it is time (`policy.restart`), what the evidence says (`actions.evidence`), starting it again
(systemd, the container engine, the kubelet).

A pidfd stands for one process, whatever its pid is used for later (pidfd_open(2), Linux 5.3): it is opened first, then
the process behind it is checked, and only then anything is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import Outcome, OutcomeKind, ProcessIdentity, Unavailable
from memory_watchdog.policy.events import RestartEnded, RestartOutcome
from memory_watchdog.quantities import format_seconds
from memory_watchdog.sources.discovery import ByCommand, ByPid, ByUrl, Finder, find
from memory_watchdog.sources.procfs import Table, descendants, read_stat

KILL_SECONDS = 5.0
"""How long a killed process may take to be gone: giving back 100 GB takes the kernel a second or two."""

CHECK_SECONDS = 2.0
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h

PID_1_ADVICE = (
    "pid 1 of a PID namespace ignores SIGKILL from inside: let it end on SIGTERM, or let an init process "
    "(docker run --init, tini, a pause container) be pid 1"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a target is ended. `drain` asks the server to finish; None where there is nothing to ask."""

    finder: Finder
    term_seconds: float
    drain: Callable[[], Awaitable[Outcome]] | None = None


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

    def has_ended(self) -> bool:
        """Is it gone, or a zombie that nobody has collected yet?"""
        return bool(select.select([self.descriptor], [], [], 0)[0])

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


async def restart(
    request_id: str, identity: ProcessIdentity, plan: Plan, evidence: Callable[[], Awaitable[str]]
) -> RestartEnded:
    """End the process. Raises nothing but CancelledError. `evidence` says what it kept, and must bound its own time."""

    def ended(outcome: RestartOutcome, *details: str) -> RestartEnded:
        return RestartEnded(request_id, outcome, "; ".join(filter(None, details)))

    try:
        async with asyncio.timeout(CHECK_SECONDS):
            held = await asyncio.to_thread(checked, identity, plan.finder)
    except TimeoutError:
        return ended(RestartOutcome.REFUSED, "who the process is could not be checked in time")
    if isinstance(held, RestartEnded):
        return RestartEnded(request_id, held.outcome, held.detail)
    try:
        kept = await evidence()
        drained = await _drained(plan, held)
        return ended(*await _signalled(held, plan.term_seconds), drained, kept)
    finally:
        os.close(held.descriptor)


def checked(identity: ProcessIdentity, finder: Finder, proc: Path = Path("/proc")) -> Held | RestartEnded:
    """The process, held, if it may be ended. Blocks: it looks for the process once more."""
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
    elif (reason := why_never(identity, finder, proc)) is not None:
        why = RestartEnded("", RestartOutcome.REFUSED, reason)
    else:
        return held
    os.close(held.descriptor)
    return why


def why_never(identity: ProcessIdentity, finder: Finder, proc: Path = Path("/proc")) -> str | None:
    """Why this process is not ended; None where it may be."""
    if identity.pid in _own_ancestry(proc):
        return f"pid {identity.pid} is the watchdog itself, or what it runs in"
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
        lines = (proc / f"self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line[4:]) for line in lines if line.startswith("Pid:")), None)


def _own_ancestry(proc: Path) -> set[int]:
    """Our own pid and those above us. (In a shared PID namespace the parent of a container's first process is none.)"""
    return {os.getpid(), *Table(proc).ancestors(os.getpid())}


def _is_initial_namespace(proc: Path) -> bool:
    """The machine's own PID namespace; taken for it where that cannot be told."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return True


async def _drained(plan: Plan, held: Held) -> str:
    """What became of the drain. That it fails does not keep the process: it is what ends when nothing else helps."""
    if plan.drain is None:
        return ""
    outcome = await plan.drain()
    if outcome.kind is not OutcomeKind.DONE and not held.has_ended():
        return f"drain: {outcome.reason or outcome.kind} {outcome.detail}".rstrip()
    return "drained"


async def _signalled(held: Held, term_seconds: float) -> tuple[RestartOutcome, str]:
    if held.has_ended():
        return RestartOutcome.ENDED, "it ended while it was drained"
    if (refused := held.send(signal.SIGTERM)) is not None:
        return RestartOutcome.FAILED, refused
    if await held.ends_within(term_seconds):
        return RestartOutcome.ENDED, "on SIGTERM"
    with contextlib.ExitStack() as stack:
        workers = _held_below(held.pid, stack)
        if (refused := held.send(signal.SIGKILL)) is not None:
            return RestartOutcome.FAILED, refused
        gone = await held.ends_within(KILL_SECONDS)
        for worker in workers if gone else ():
            worker.send(signal.SIGKILL)  # left alone they would keep the memory, and often the port
    late = f"not within {format_seconds(term_seconds)} on SIGTERM"
    if gone:
        return RestartOutcome.KILLED, f"{late}, so by SIGKILL"
    advice = PID_1_ADVICE if held.pid == 1 else "it is stuck in the kernel"
    return (
        RestartOutcome.FAILED,
        f"{late}, and SIGKILL has not ended it within {format_seconds(KILL_SECONDS)}: {advice}",
    )


def _held_below(pid: int, stack: contextlib.ExitStack) -> list[Held]:
    """The processes below, each held, and then seen to be one of them still."""
    below = descendants("/proc", pid)
    workers: list[Held] = []
    for child, parent in {} if isinstance(below, Unavailable) else below.items():
        with contextlib.suppress(OSError):  # it has just ended
            descriptor = os.pidfd_open(child)
            stack.callback(os.close, descriptor)
            stat = read_stat("/proc", child)
            if not isinstance(stat, Unavailable) and stat.parent_pid == parent:
                workers.append(Held(child, descriptor))
    return workers

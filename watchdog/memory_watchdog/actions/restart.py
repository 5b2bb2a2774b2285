"""Ends the target's process: evidence, drain, SIGTERM, SIGKILL, each in a bounded time, and never another's.

Covers: the order of the steps, what each may take, workers that outlive their parent.
Leaves to others: who may not be ended (`guards`), whether it is time (`policy.restart`), what the evidence says
(`evidence`), starting it again (systemd, the container engine, the kubelet).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from memory_watchdog.actions.guards import PID_1_ADVICE, Held, checked
from memory_watchdog.observation import Outcome, OutcomeKind, ProcessIdentity, Unavailable
from memory_watchdog.policy.events import RestartEnded, RestartOutcome
from memory_watchdog.quantities import format_seconds
from memory_watchdog.sources.discovery import Finder
from memory_watchdog.sources.procfs import descendants, read_stat

KILL_SECONDS = 5.0
"""How long a killed process may take to be gone: giving back 100 GB takes the kernel a second or two."""

CHECK_SECONDS = 2.0
WORKERS_SECONDS = 1.0
"""How long it may take to list the workers: /proc of a machine with 10,000 processes takes 0.1 s."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a target is ended. `drain` asks the server to finish; None where there is nothing to ask."""

    finder: Finder
    term_seconds: float
    drain: Callable[[], Awaitable[Outcome]] | None = None


async def restart(
    request_id: str, identity: ProcessIdentity, plan: Plan, evidence: Callable[[], Awaitable[str]]
) -> RestartEnded:
    """End the process. Raises nothing but CancelledError. `evidence` says what it kept, and must bound its own time."""

    def ended(outcome: RestartOutcome, *details: str) -> RestartEnded:
        return RestartEnded(request_id, outcome, "; ".join(filter(None, details)))

    held = await _in_time(CHECK_SECONDS, lambda: checked(identity, plan.finder))
    if held is None:
        return ended(RestartOutcome.REFUSED, "who the process is could not be checked in time")
    if isinstance(held, RestartEnded):
        return RestartEnded(request_id, held.outcome, held.detail)
    [process] = held
    try:
        kept = await _kept(evidence)
        drained = await _drained(plan, process)
        return ended(*await _signalled(process, plan.term_seconds), drained, kept)
    finally:
        process.close()


async def _kept(evidence: Callable[[], Awaitable[str]]) -> str:
    try:
        return await evidence()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the evidence, the process must be ended
        return f"no evidence: {error!r}"


async def _in_time(
    seconds: float, work: Callable[[], Sequence[Held] | RestartEnded]
) -> Sequence[Held] | RestartEnded | None:
    """What `work` returns, in a thread; None when it takes longer: what it holds then is let go when it is done."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.wait({working}, timeout=seconds)
        return working.result() if working.done() else None
    finally:
        if not working.done():
            working.add_done_callback(_let_go)


def _let_go(working: asyncio.Task[Sequence[Held] | RestartEnded]) -> None:
    if working.cancelled() or working.exception() is not None:
        return
    held = working.result()
    for one in () if isinstance(held, RestartEnded) else held:
        one.close()


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
    workers = await _in_time(WORKERS_SECONDS, lambda: _held_below(held.pid))
    assert not isinstance(workers, RestartEnded), "only who is checked is refused"
    try:
        if (refused := held.send(signal.SIGKILL)) is not None:
            return RestartOutcome.FAILED, refused
        gone = await held.ends_within(KILL_SECONDS)
        for worker in workers or () if gone else ():
            worker.send(signal.SIGKILL)  # left alone they would keep the memory, and often the port
    finally:
        for worker in workers or ():
            worker.close()
    late = f"not within {format_seconds(term_seconds)} on SIGTERM"
    if gone:
        left = "" if workers is not None else "; its workers could not be listed in time and may live on"
        return RestartOutcome.KILLED, f"{late}, so by SIGKILL{left}"
    advice = PID_1_ADVICE if held.pid == 1 else "it is stuck in the kernel"
    return (
        RestartOutcome.FAILED,
        f"{late}, and SIGKILL has not ended it within {format_seconds(KILL_SECONDS)}: {advice}",
    )


def _held_below(pid: int) -> list[Held]:
    """The processes below, each held, and then seen to be one of them still."""
    below = descendants("/proc", pid)
    workers: list[Held] = []
    for child, parent in {} if isinstance(below, Unavailable) else below.items():
        with contextlib.suppress(OSError):  # it has just ended
            worker = Held(child, os.pidfd_open(child))
            stat = read_stat("/proc", child)
            if not isinstance(stat, Unavailable) and stat.parent_pid == parent:
                workers.append(worker)
            else:
                worker.close()
    return workers

"""The kernel is asked to take memory back from the target's own cgroup: `memory.reclaim` of cgroup v2.

Covers: one write, beside the loop, with a deadline; what the kernel answers.
Leaves to others: which cgroup that is (`sources.cgroup_view`), several steps (`actions.steps`), what it was worth: that
is measured, and the kernel's word is only shown beside it (`policy.efficacy`).

Reclaim drops page cache and swaps out anonymous memory; without swap only the first, of which `unreclaimable` and
`anon` show nothing. It is asked of the process's own cgroup and never of one above it: others live there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.actions.template import Placeholders
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Unavailable
from memory_watchdog.outside_text import Json
from memory_watchdog.quantities import format_bytes, format_seconds

FILE = "memory.reclaim"

Home = Callable[[], Path | Unavailable]
"""Says where the target's own cgroup is now, or why there is none to ask."""


def no_home() -> Unavailable:
    """Where nothing is known of a cgroup."""
    return Unavailable(Reason.NOT_CONFIGURED, "no cgroup is looked at")


_REASONS = {
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
    errno.EROFS: Reason.PERMISSION,
    errno.ENOENT: Reason.UNSUPPORTED,
    errno.ENODEV: Reason.GONE,
}


@dataclass(frozen=True, slots=True)
class Reclaim:
    """What the config says of it. The amount is the decision's `target_bytes`."""

    timeout_seconds: float = 10.0

    @property
    def label(self) -> str:
        """What it is called where several steps are told of."""
        return FILE

    @property
    def templates(self) -> tuple[Json, ...]:
        """Nothing in it is filled in."""
        return ()


async def reclaim(home: Home, step: Reclaim, values: Placeholders) -> Outcome:
    """Ask once. Raises nothing but CancelledError.

    A write that outlasts the deadline goes on in the kernel, in a thread that cannot be ended: a timeout, as with a
    server that answers nothing.
    """
    request_id, wanted = values.request_id, values.target_bytes
    folder = home()
    if isinstance(folder, Unavailable):
        return Outcome(request_id, OutcomeKind.UNREACHED, 0.0, folder.reason, folder.detail)
    if wanted is None:
        detail = "how much has to go is not known, or nothing has"
        return Outcome(request_id, OutcomeKind.UNREACHED, 0.0, Reason.NOT_SENT, detail)
    started = time.monotonic()
    writing = asyncio.create_task(asyncio.to_thread(_write, folder / FILE, wanted))
    done, _ = await asyncio.wait({writing}, timeout=step.timeout_seconds)
    duration = time.monotonic() - started
    if not done:
        detail = f"{FILE} has not ended within {format_seconds(step.timeout_seconds)}"
        return Outcome(request_id, OutcomeKind.TIMEOUT, duration, Reason.TIMEOUT, detail)
    error = writing.result()
    if error is None:
        return Outcome(request_id, OutcomeKind.DONE, duration, claimed_bytes=wanted)
    if error == errno.EAGAIN:
        # What it did take is not told.
        return Outcome(request_id, OutcomeKind.DONE, duration, detail=f"less than {format_bytes(wanted)} was to be had")
    reason = _REASONS.get(error, Reason.UNREADABLE)
    hint = ": the kernel has it since 5.19" if error == errno.ENOENT else ""
    kind = OutcomeKind.FAILED if reason is Reason.UNREADABLE else OutcomeKind.UNREACHED
    return Outcome(request_id, kind, duration, reason, f"{folder / FILE}: {os.strerror(error)}{hint}")


def _write(path: Path, wanted: int) -> int | None:
    """The errno, None when the kernel has taken as much as was asked for."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(wanted).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return None

"""The limit of a target, as its config asks for it.

Leaves to others: what a cgroup says (`cgroup`), what an unknown limit means (`policy`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from memory_watchdog.observation import Limit, LimitSource, ProcessIdentity, Reason, Unavailable
from memory_watchdog.quantities import Size
from memory_watchdog.sources.cgroup import machine_memory, read_limit

LimitWish = Size | Literal["auto", "machine"]


def limit_of(
    wish: LimitWish, identity: ProcessIdentity | Unavailable, proc: Path = Path("/proc")
) -> Limit | Unavailable:
    """The limit at this moment.

    `auto` is the cgroup's; the machine's memory only where the whole path was read and holds no limit. What cannot be
    read is unknown, and never replaced by something larger.
    """
    if isinstance(wish, Size):
        return Limit(wish.bytes, LimitSource.GIVEN)
    if wish == "machine":
        return machine_memory(proc)
    if isinstance(identity, Unavailable):
        return Unavailable(identity.reason, "without the process its cgroup is unknown")
    found = read_limit(identity.pid, proc)
    if isinstance(found, Unavailable) and found.reason is Reason.UNLIMITED:
        return machine_memory(proc)
    return found

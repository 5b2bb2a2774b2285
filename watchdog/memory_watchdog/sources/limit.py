"""The limit of a target, as its config asks for it.

Leaves to others: what a cgroup says (`cgroup`), what an unknown limit means (`policy`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from memory_watchdog.observation import Limit, LimitSource, Reason, Unavailable
from memory_watchdog.quantities import Size
from memory_watchdog.sources.cgroup import machine_memory

LimitWish = Size | Literal["auto", "machine"]


def limit_of(wish: LimitWish, of_cgroup: Limit | Unavailable, proc: Path = Path("/proc")) -> Limit | Unavailable:
    """The limit at this moment; `of_cgroup` is what was just read of the target's cgroup.

    `auto` is the cgroup's; the machine's memory only where the whole path was read and holds no limit. What cannot be
    read is unknown, and never replaced by something larger.
    """
    if isinstance(wish, Size):
        return Limit(wish.bytes, LimitSource.GIVEN)
    unlimited = isinstance(of_cgroup, Unavailable) and of_cgroup.reason is Reason.UNLIMITED
    return machine_memory(proc) if wish == "machine" or unlimited else of_cgroup

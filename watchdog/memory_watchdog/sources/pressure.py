"""Pressure (PSI): how long tasks of a cgroup waited for memory.

Covers: the totals of a cgroup's `memory.pressure`.
Leaves to others: the machine's /proc/pressure, which says nothing of one target and is not shown as if it did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.cgroup_files import Folder

_FILE = "memory.pressure"
_LINES = re.compile(rb"some [^\n]* total=(\d{1,20})\nfull [^\n]* total=(\d{1,20})\n")


@dataclass(frozen=True, slots=True)
class Pressure:
    """Microseconds since the cgroup began: `waiting` while at least one task waited, `stalled` while all did."""

    waiting_microseconds: int
    stalled_microseconds: int


def read_pressure(folder: Folder) -> Pressure | Unavailable:
    """The totals of one cgroup, UNSUPPORTED where the kernel does not count them (CONFIG_PSI, psi=0)."""
    raw = folder.read(_FILE)
    if isinstance(raw, Unavailable):
        if raw.reason is Reason.NOT_FOUND:
            return Unavailable(Reason.UNSUPPORTED, f"{raw.detail}: a kernel that does not count pressure")
        return raw
    found = _LINES.match(raw)
    if found is None:
        return Unavailable(Reason.UNREADABLE, f"{folder.path}/{_FILE}: {raw[:80]!r}")
    return Pressure(int(found[1]), int(found[2]))

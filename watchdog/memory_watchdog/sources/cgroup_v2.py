"""What the files of a cgroup v2 say.

Leaves to others: which cgroup counts (`cgroup`), where it is (`cgroup_path`), what pressure is (`pressure`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from memory_watchdog.observation import Reading, Reason, Unavailable
from memory_watchdog.sources import cgroup_files
from memory_watchdog.sources.cgroup_files import Folder, entry, number
from memory_watchdog.sources.pressure import Pressure, read_pressure

COUNTS_ANY = "memory.current"
"""The file that a cgroup has when its memory is counted."""

_RECLAIMABLE = (b"inactive_file", b"active_file", b"slab_reclaimable")


def is_root(names: Collection[str]) -> bool:
    """Are these the files of the hierarchy's root? Every other cgroup has cgroup.events."""
    return "cgroup.procs" in names and "cgroup.events" not in names


def counts_above(parent: Path) -> bool:  # noqa: ARG001 - the shape that v1 has
    """Is what is below counted in `parent` too? Always."""
    return True


def limit(folder: Folder) -> int | Unavailable | None:
    """`memory.max`, or `memory.high` where lower: there the cgroup is throttled until it hardly runs."""
    maximum = cgroup_files.limit(folder, "memory.max")
    high = cgroup_files.limit(folder, "memory.high")
    if maximum is None or isinstance(high, Unavailable):
        return high
    if high is None or isinstance(maximum, Unavailable):
        return maximum
    return min(maximum, high)


def hidden_limit(folder: Folder) -> Reading:
    """v2 does not tell a cgroup what limits it from where it cannot see."""
    return Unavailable(Reason.NOT_FOUND, f"no limit up to {folder.path}, and what lies above is not shown")


def usage(folder: Folder) -> Reading:
    """What is charged to the cgroup and those below it, page cache and kernel memory included."""
    return number(folder, "memory.current")


def reclaimable(folder: Folder) -> Reading:
    """Page cache on the lists that reclaim looks through (neither shared memory nor locked pages), and slab."""
    return cgroup_files.sum_of_entries(folder, _RECLAIMABLE)


def oom_kills(folder: Folder) -> Reading:
    """Killed processes of the cgroup and those below it. `oom` beside it once rose by 1,005 for a single kill."""
    raw = folder.read("memory.events")
    if isinstance(raw, Unavailable):
        return raw
    kills = entry(raw, b"oom_kill")
    return Unavailable(Reason.UNREADABLE, f"{folder.path}/memory.events: {raw[:80]!r}") if kills is None else kills


def pressure(folder: Folder) -> Pressure | Unavailable:
    """How long the tasks of the cgroup waited for memory."""
    return read_pressure(folder)

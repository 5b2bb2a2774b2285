"""What the files of a cgroup v1 say.

Leaves to others: which cgroup counts (`cgroup`), where it is (`cgroup_path`).

`total_…` lines are those of the cgroup and all below it, as is the usage; where `use_hierarchy` is off the kernel makes
them those of the cgroup alone, which then is the usage too.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from memory_watchdog.observation import Reading, Reason, Unavailable
from memory_watchdog.sources import cgroup_files
from memory_watchdog.sources.cgroup_files import Folder, entry, number
from memory_watchdog.sources.pressure import Pressure

COUNTS_ANY = "memory.usage_in_bytes"
"""The file that a cgroup has when its memory is counted."""

_PAGE_CACHE = (b"total_inactive_file", b"total_active_file")
_NO_PRESSURE = Unavailable(Reason.UNSUPPORTED, "cgroup v1 does not count the pressure of a cgroup")


def is_root(names: Collection[str]) -> bool:
    """Are these the files of the hierarchy's root? Only that one has a release agent."""
    return "release_agent" in names


def counts_above(parent: Path) -> bool:
    """Is what is below counted in `parent` too? Always since Linux 5.11, before that where it was switched on."""
    try:
        return (parent / "memory.use_hierarchy").read_bytes().strip() != b"0"
    except OSError:
        return True


def limit(folder: Folder) -> int | Unavailable | None:
    """The cgroup's own limit."""
    return cgroup_files.limit(folder, "memory.limit_in_bytes")


def hidden_limit(folder: Folder) -> Reading:
    """The tightest limit of the cgroup and all above it, those that are not shown to us included."""
    return _stat_entry(folder, b"hierarchical_memory_limit")


def usage(folder: Folder) -> Reading:
    """What is charged to the cgroup and those below it, page cache and kernel memory included."""
    return number(folder, "memory.usage_in_bytes")


def reclaimable(folder: Folder) -> Reading:
    """Page cache on the lists that reclaim looks through: neither shared memory nor locked pages. v1 shows no slab."""
    return cgroup_files.sum_of_entries(folder, _PAGE_CACHE)


def oom_kills(folder: Folder) -> Reading:
    """Killed processes that were in this very cgroup. (v1 does not add up those below.)"""
    raw = folder.read("memory.oom_control")
    if isinstance(raw, Unavailable):
        return raw
    kills = entry(raw, b"oom_kill")
    if kills is None and b"\noom_kill " not in raw:
        return Unavailable(Reason.UNSUPPORTED, f"{folder.path}/memory.oom_control has no oom_kill (before Linux 4.13)")
    return Unavailable(Reason.UNREADABLE, f"{folder.path}/memory.oom_control: {raw[:80]!r}") if kills is None else kills


def pressure(folder: Folder) -> Pressure | Unavailable:  # noqa: ARG001 - the shape that v2 has
    """Never known: what /proc/pressure says is the machine's."""
    return _NO_PRESSURE


def _stat_entry(folder: Folder, key: bytes) -> Reading:
    raw = folder.read("memory.stat")
    if isinstance(raw, Unavailable):
        return raw
    value = entry(raw, key)
    if value is None:
        return Unavailable(Reason.UNREADABLE, f"{folder.path}/memory.stat has no {key.decode()}")
    return value

"""Cgroups as files: a /proc with one process, a hierarchy of either version, and what is seen of them.

Leaves to others: what the kernel alone can show (ENODEV, charges, kills); real cgroups do (`cgroups`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from memory_watchdog.observation import Limit, LimitSource, ProcessIdentity, Reason, Unavailable
from memory_watchdog.sources.cgroup_view import CgroupLook, CgroupView
from memory_watchdog.sources.limit import limit_of

from tests.support.trees import UNLIMITED_V1, machine, process, tree

MIB = 1 << 20
GIB = 1 << 30
PID = 50
IDENTITY = ProcessIdentity(PID, 1000)

V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
HYBRID = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu\n"
    + V1
    + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)

Files = dict[str, str | bytes]


class Box:
    """A /proc of 16 GiB with one process, and what lies at /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.proc = machine(folder / "proc")
        self.cgroups = folder / "cgroup"
        self.cgroups.mkdir()
        self.view = CgroupView(self.proc, self.cgroups)

    def holds(self, cgroup: str, mountinfo: str, files: Files) -> Box:
        """Our own mounts, with these files in them."""
        process(self.proc, PID, 1, cgroup=cgroup)
        tree(self.proc, {"self/mountinfo": mountinfo})
        tree(self.cgroups, files)
        return self

    def shows(self, mountinfo: str, files: Files) -> Box:
        """The target's mounts, with these files below its root."""
        tree(self.proc / str(PID), {"mountinfo": mountinfo})
        tree(self.proc / str(PID) / "root", files)
        return self

    def look(
        self, identity: ProcessIdentity | Unavailable = IDENTITY, now: float = 0.0, *, wants_limit: bool = True
    ) -> CgroupLook:
        """What the view says, the same view each time."""
        return asyncio.run(self.view.read(identity, now, wants_limit=wants_limit))

    def fresh(self, *, wants_limit: bool = True) -> CgroupLook:
        """What a view says that knows nothing yet."""
        self.view.close()
        self.view = CgroupView(self.proc, self.cgroups)
        return self.look(wants_limit=wants_limit)

    def limit(self) -> Limit | Unavailable:
        """The limit that `auto` takes."""
        return limit_of("auto", self.fresh().limit, self.proc)

    def reason(self) -> Reason:
        """Why the cgroup's limit is unknown."""
        limit = self.fresh().limit
        assert isinstance(limit, Unavailable), limit
        return limit.reason


def v1(
    path: str,
    limit: int | str = UNLIMITED_V1,
    *,
    usage: int = 0,
    cache: int = 0,
    hierarchical: int | str | None = None,
    kills: int = 0,
    root: bool = False,
    point: str = "memory",
) -> Files:
    """One cgroup v1; `cache` is split between the two lists of page cache."""
    folder = f"{point}{path.rstrip('/')}"
    hierarchical = limit if hierarchical is None else hierarchical
    files: Files = {
        f"{folder}/cgroup.procs": "",
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"{folder}/memory.use_hierarchy": "1\n",
        f"{folder}/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
        f"{folder}/memory.stat": (
            f"cache 7\nrss 5\nshmem 3\ninactive_file 1\nactive_file 2\nhierarchical_memory_limit {hierarchical}\n"
            f"total_cache {cache}\ntotal_rss 5\ntotal_shmem 0\ntotal_inactive_file {cache // 2}\n"
            f"total_active_file {cache - cache // 2}\ntotal_unevictable 0\n"
        ),
    }
    return files | ({f"{folder}/release_agent": "\n"} if root else {})


def v2(  # noqa: PLR0913 - every number can be said
    path: str,
    maximum: int | str = "max",
    *,
    high: int | str = "max",
    usage: int = 0,
    cache: int = 0,
    slab: int = 0,
    kills: int = 0,
    pressure: tuple[int, int] = (0, 0),
    point: str = ".",
) -> Files:
    """One cgroup v2, not the root; `cache` is split between the two lists of page cache."""
    folder = f"{point}{path.rstrip('/')}"
    return {
        f"{folder}/cgroup.procs": "",
        f"{folder}/cgroup.events": "populated 1\nfrozen 0\n",
        f"{folder}/memory.max": f"{maximum}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{usage}\n",
        f"{folder}/memory.events": f"low 0\nhigh 3\nmax 416\noom 1005\noom_kill {kills}\noom_group_kill 0\n",
        f"{folder}/memory.stat": (
            f"anon 1\nfile {cache}\nkernel 5\nshmem 0\nfile_mapped 3\ninactive_anon 1\ninactive_file {cache // 2}\n"
            f"active_file {cache - cache // 2}\nunevictable 0\nslab_reclaimable {slab}\nslab_unreclaimable 9\nslab 9\n"
        ),
        f"{folder}/memory.pressure": (
            f"some avg10=0.00 avg60=0.12 avg300=0.00 total={pressure[0]}\n"
            f"full avg10=0.00 avg60=0.00 avg300=0.00 total={pressure[1]}\n"
        ),
    }


def v2_root(point: str = ".") -> Files:
    """The root of the unified hierarchy, as the kernel has it."""
    return {
        f"{point}/cgroup.procs": "1\n",
        f"{point}/memory.stat": "anon 1\n",
        f"{point}/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=777\nfull total=777\n",
    }


def of_cgroup(bytes_: int) -> Limit:
    """A limit that a cgroup has."""
    return Limit(bytes_, LimitSource.CGROUP)

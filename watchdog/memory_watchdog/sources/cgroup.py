"""Read what the kernel limits the target's memory to.

Covers: the limit of the cgroup that a process is in, v1 and v2, and the machine's memory.
Leaves to others: the target's pid (`discovery`), which limit is asked for (`watcher`), thresholds (`policy`).

UNLIMITED is said only after the whole path up to the hierarchy's root was read: a container that sees no more than its
own cgroup may well be limited above it, and then the machine's memory is not what it has.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from memory_watchdog.observation import Limit, LimitSource, Reason, Unavailable
from memory_watchdog.sources.procfs import read, read_cgroup_paths

_DEFAULT_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT_V1 = 1 << 62  # "none" is LONG_MAX rounded down to a page: 0x7ffffffffffff000 with pages of 4 KiB
_LIMIT_FILES_V2 = ("memory.max", "memory.high")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a hierarchy is mounted, and which of its cgroups is at the mount point."""

    point: Path
    root: str


def read_limit(pid: int, proc: Path = Path("/proc"), cgroup_root: Path = _DEFAULT_ROOT) -> Limit | Unavailable:
    """The tightest limit on the process's memory cgroup and those above it, as far as they can be seen.

    `cgroup_root` is where /sys/fs/cgroup is to be found, for mounts that lie in it.
    """
    paths = read_cgroup_paths(proc, pid)
    if isinstance(paths, Unavailable):
        if paths.reason is Reason.GONE and (proc / str(pid)).exists():
            return Unavailable(Reason.NOT_FOUND, f"{proc}/{pid} has no cgroup: a kernel without them")
        return paths
    path, version = (paths.memory_v1, 1) if paths.memory_v1 is not None else (paths.v2, 2)
    if path is None:
        return Unavailable(Reason.NOT_FOUND, f"process {pid} is in no cgroup that counts memory")
    mount = _mount(version, proc, cgroup_root)
    if isinstance(mount, Unavailable):
        return mount
    inside = _inside(mount, path)
    if isinstance(inside, Unavailable):
        return inside
    machine = machine_memory(proc)
    no_limit = machine.bytes if isinstance(machine, Limit) else _NO_LIMIT_V1
    if version == 1:
        return _limit_v1(mount.point / inside, no_limit)
    return _limit_v2(mount.point, inside, no_limit)


def machine_memory(proc: Path = Path("/proc")) -> Limit | Unavailable:
    """MemTotal: what the machine, or the virtual machine, has."""
    raw = read(proc / "meminfo", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    found = re.search(rb"^MemTotal:[ \t]+(\d+) kB$", raw, re.M)
    if found is None or int(found[1]) == 0:
        return Unavailable(Reason.UNREADABLE, f"{proc}/meminfo has no MemTotal")
    return Limit(int(found[1]) * 1024, LimitSource.MACHINE)


def _mount(version: int, proc: Path, cgroup_root: Path) -> Mount | Unavailable:
    """Our own mount of the hierarchy; of several, the one that shows most of it."""
    raw = read(proc / "self" / "mountinfo", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    found: list[Mount] = []
    for line in os.fsdecode(raw).split("\n"):
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup cgroup rw,memory
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3:
            continue
        is_memory = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if kind[0] == "cgroup2" if version == 2 else is_memory:
            found.append(Mount(_moved(Path(_unescaped(fields[4])), cgroup_root), _unescaped(fields[3])))
    if not found:
        return Unavailable(Reason.NOT_FOUND, f"no mount of a cgroup v{version} hierarchy that counts memory")
    return min(found, key=lambda mount: len(mount.root))


def _moved(point: Path, cgroup_root: Path) -> Path:
    return cgroup_root / point.relative_to(_DEFAULT_ROOT) if point.is_relative_to(_DEFAULT_ROOT) else point


def _unescaped(text: str) -> str:
    """mountinfo writes a blank as \\040."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def _inside(mount: Mount, path: str) -> PurePosixPath | Unavailable:
    """The cgroup's path below the mount point, where the mount shows it.

    A `..` leads out of our cgroup namespace, to a cgroup that no mount of ours shows.
    """
    root = mount.root.rstrip("/")
    rest = path[len(root) :]
    if not path.startswith(root) or (rest and not rest.startswith("/")) or ".." in rest.split("/"):
        return Unavailable(Reason.NOT_FOUND, f"cgroup {path} is not below {mount.root}, which {mount.point} shows")
    return PurePosixPath(rest.strip("/"))


def _limit_v1(folder: Path, no_limit: int) -> Limit | Unavailable:
    """`hierarchical_memory_limit` is the tightest of all ancestors, those outside a container included."""
    raw = read(folder / "memory.stat", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    found = re.search(rb"^hierarchical_memory_limit (\d+)$", raw, re.M)
    if found is None:
        return Unavailable(Reason.UNREADABLE, f"{folder}/memory.stat has no hierarchical_memory_limit")
    own = _limit_in(folder / "memory.limit_in_bytes")
    if isinstance(own, Unavailable):
        return own
    return _limit(min(int(found[1]), int(found[1]) if own is None else own), no_limit, folder)


def _limit_v2(mount_point: Path, inside: PurePosixPath, no_limit: int) -> Limit | Unavailable:
    """Smallest of `memory.max` and `memory.high` from the cgroup up to the mount point."""
    folder = mount_point / inside
    limits: list[int] = []
    for visible in (folder, *(mount_point / above for above in inside.parents)):
        for name in _LIMIT_FILES_V2:
            value = _limit_in(visible / name)
            if isinstance(value, Unavailable):
                return value
            if value is not None:
                limits.append(value)
        if not visible.is_dir():  # asked last: files that went with their cgroup are not "no limit"
            return Unavailable(Reason.NOT_FOUND, f"there is no {visible}")
    limit = _limit(min(limits, default=no_limit), no_limit, folder)
    # Every cgroup but the root of the hierarchy has cgroup.events.
    if isinstance(limit, Unavailable) and limit.reason is Reason.UNLIMITED and (mount_point / "cgroup.events").exists():
        return Unavailable(Reason.NOT_FOUND, f"no limit up to {mount_point}, and what lies above is not shown")
    return limit


def _limit(bytes_: int, no_limit: int, folder: Path) -> Limit | Unavailable:
    if bytes_ >= no_limit:
        return Unavailable(Reason.UNLIMITED, f"{folder} and all above it have no limit below the machine's memory")
    if bytes_ == 0:  # `echo 0 > memory.high` is a way to reclaim; no share of it makes sense
        return Unavailable(Reason.INVALID, f"the limit of {folder} or of one above it is 0")
    return Limit(bytes_, LimitSource.CGROUP)


def _limit_in(path: Path) -> int | Unavailable | None:
    """One limit file; None for `max`, and where the memory controller is not switched on for that cgroup."""
    raw = read(path, missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return None if raw.reason is Reason.NOT_FOUND else raw
    text = raw.strip()
    if text == b"max":
        return None
    return int(text) if text.isdigit() else Unavailable(Reason.UNREADABLE, f"{path}: {raw[:40]!r}")

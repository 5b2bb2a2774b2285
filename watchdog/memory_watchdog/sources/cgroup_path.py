"""Find the memory cgroup of a process and those above it, as far as any mount shows them.

Covers: v1, v2 and both side by side; our own mounts; the target's mounts, through /proc/PID/root, where ours do not
show its cgroup (another cgroup namespace, another container).
Leaves to others: what their files say (`cgroup_v1`, `cgroup_v2`), which of them counts (`cgroup`).

The kernel writes both the paths in /proc/PID/cgroup and the roots in /proc/PID/mountinfo as seen from the cgroup
namespace of who reads them: the two fit each other, `/../other` included, whichever process's mounts they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from memory_watchdog.observation import Reading, Reason, Unavailable
from memory_watchdog.sources import cgroup_v1, cgroup_v2
from memory_watchdog.sources.cgroup_files import Folder
from memory_watchdog.sources.pressure import Pressure
from memory_watchdog.sources.procfs import read, read_cgroup_paths, unavailable

DEFAULT_ROOT = Path("/sys/fs/cgroup")
_OCTAL = re.compile(r"\\([0-7]{3})")


class Version(Protocol):
    """How a version of cgroups says things; the modules `cgroup_v1` and `cgroup_v2` are the two."""

    COUNTS_ANY: str

    def is_root(self, names: Collection[str]) -> bool: ...
    def counts_above(self, parent: Path) -> bool: ...
    def limit(self, folder: Folder) -> int | Unavailable | None: ...
    def hidden_limit(self, folder: Folder) -> Reading: ...
    def usage(self, folder: Folder) -> Reading: ...
    def reclaimable(self, folder: Folder) -> Reading: ...
    def oom_kills(self, folder: Folder) -> Reading: ...
    def pressure(self, folder: Folder) -> Pressure | Unavailable: ...


V1: Version = cgroup_v1
V2: Version = cgroup_v2


@dataclass(frozen=True, slots=True)
class Place:
    """A cgroup: `folders` begins with its own and goes up.

    The hierarchy's root limits nothing, and counts the whole machine: it is left out, so a process in it has no
    folders. `whole`: what is not among `folders` limits nothing.
    """

    version: Version
    path: str
    folders: tuple[Path, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.path} (v{1 if self.version is V1 else 2})"


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a hierarchy is mounted, and which of its cgroups is at the mount point."""

    point: Path
    root: str


def locate(pid: int, proc: Path = Path("/proc"), cgroup_root: Path = DEFAULT_ROOT) -> Place | Unavailable:
    """Where the process's memory cgroup can be read. `cgroup_root` stands for /sys/fs/cgroup in our own mounts."""
    paths = read_cgroup_paths(proc, pid)
    if isinstance(paths, Unavailable):
        if paths.reason is Reason.GONE and (proc / str(pid)).exists():
            return Unavailable(Reason.NOT_FOUND, f"{proc}/{pid} has no cgroup: a kernel without them")
        return paths
    path, version = (paths.memory_v1, V1) if paths.memory_v1 is not None else (paths.v2, V2)
    if path is None:
        return Unavailable(Reason.NOT_FOUND, f"process {pid} is in no cgroup that counts memory")
    own = _shown(proc / "self", version, path, lambda point: _moved(point, cgroup_root))
    if isinstance(own, Place):
        return own
    its_root = proc / str(pid) / "root"
    its = _shown(proc / str(pid), version, path, lambda point: its_root / point.relative_to("/"))
    if isinstance(its, Place):
        return its
    reason = Reason.PERMISSION if its.reason is Reason.PERMISSION else own.reason
    return Unavailable(reason, f"our mounts: {own.detail}; the target's: {its.detail}")


def _shown(viewer: Path, version: Version, path: str, reached: Callable[[Path], Path]) -> Place | Unavailable:
    """The cgroup in the mounts of one process; `reached` is where we find a mount point of its."""
    mounts = _mounts(viewer / "mountinfo", version)
    if isinstance(mounts, Unavailable):
        return mounts
    failure: Unavailable | None = None
    for mount in sorted(mounts, key=lambda mount: len(mount.root)):  # first the one that shows most
        inside = _inside(mount, path)
        if inside is None:
            continue
        place = _place(version, path, reached(mount.point), inside)
        if isinstance(place, Place):
            return place
        failure = failure or place
    points = ", ".join(f"{mount.point} with {mount.root}" for mount in mounts) or "none of this version"
    return failure or Unavailable(Reason.NOT_FOUND, f"cgroup {path} is in none of {points}")


def _mounts(mountinfo: Path, version: Version) -> list[_Mount] | Unavailable:
    raw = read(mountinfo, missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    found: list[_Mount] = []
    for line in os.fsdecode(raw).split("\n"):
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup cgroup rw,memory
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3:
            continue
        root, point = _unescaped(fields[3]), _unescaped(fields[4])
        is_v1 = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if (is_v1 if version is V1 else kind[0] == "cgroup2") and point.startswith("/") and "\0" not in point:
            found.append(_Mount(Path(point), root))
    return found


def _moved(point: Path, cgroup_root: Path) -> Path:
    return cgroup_root / point.relative_to(DEFAULT_ROOT) if point.is_relative_to(DEFAULT_ROOT) else point


def _unescaped(text: str) -> str:
    """mountinfo writes a blank as \\040."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def _inside(mount: _Mount, path: str) -> tuple[str, ...] | None:
    """The names that lead from the mount point to the cgroup, None where the mount does not show it.

    A `..` in them would lead out of the mount, to a cgroup whose path we cannot know.
    """
    root = mount.root.rstrip("/")
    rest = path[len(root) :]
    names = tuple(name for name in rest.split("/") if name)
    if not path.startswith(root) or (rest and not rest.startswith("/")) or ".." in names or "\0" in path:
        return None
    return names


def _place(version: Version, path: str, top: Path, names: tuple[str, ...]) -> Place | Unavailable:
    """The folders from the cgroup up to the mount point, or to where the hierarchy does not count further up."""
    chain = [top.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]
    try:
        names_at_top = os.listdir(top)  # noqa: PTH208
        os.stat(chain[0])  # noqa: PTH116 - is_dir would hide a refusal
    except OSError as error:
        return unavailable(error, missing=Reason.NOT_FOUND)
    whole = version.is_root(names_at_top)
    if whole:
        chain.pop()
    for depth in range(1, len(chain)):
        if not version.counts_above(chain[depth]):
            return Place(version, path, tuple(chain[:depth]), whole=True)
    return Place(version, path, tuple(chain), whole)

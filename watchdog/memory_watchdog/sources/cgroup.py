"""The memory cgroup of one process: its limit, what it uses, kills, pressure.

Covers: which of the cgroups above a process limits it, the numbers that are compared with that limit, whose kills and
pressure are the target's; the machine's memory.
Leaves to others: where a cgroup is (`cgroup_path`), what its files say (`cgroup_v1`, `cgroup_v2`), finding it again
when the process moves (`cgroup_view`), which limit is asked for (`limit`), thresholds (`policy`).

The limit is that of the cgroup with the least headroom: limit minus its own unreclaimable memory, that of all other
processes in it included. No limit is said only after the whole path up to the hierarchy's root was read: a container
that sees no more than its own cgroup may well be limited above it, and then the machine's memory is not what it has.

Known and accepted: a cgroup that no mount shows may have a limit with less headroom than those that are shown; v1 tells
it where it is also the smallest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import Limit, LimitSource, ProcessIdentity, Reading, Reason, Unavailable
from memory_watchdog.sources.cgroup_files import Folder, open_folder
from memory_watchdog.sources.cgroup_path import DEFAULT_ROOT, V1, Place, locate
from memory_watchdog.sources.pressure import Pressure
from memory_watchdog.sources.procfs import descendants, read, read_stat

NO_LIMIT = 1 << 62  # v1's "none" is LONG_MAX rounded down to a page: 0x7ffffffffffff000 with pages of 4 KiB
_MEM_TOTAL = re.compile(rb"^MemTotal:[ \t]+(\d{1,18}) kB$", re.M)
_PID_DIGITS = 7  # PID_MAX_LIMIT of 64-bit Linux is 2^22
_IN_ROOT = Unavailable(Reason.UNSUPPORTED, "the process is in the hierarchy's root, which counts the whole machine")


@dataclass(frozen=True, slots=True)
class Used:
    """What one cgroup uses, those below it included. Page cache and reclaimable slab are not in `unreclaimable`."""

    usage: Reading
    unreclaimable: Reading


@dataclass(frozen=True, slots=True)
class CgroupNumbers:
    """One reading. `of_limit`: `used` is of the cgroup that the limit is of, else of the process's own.

    `kills` and `pressure` are of the process's own, `source` tells that one from others; `path` says whose `used` is.
    `folder` is that cgroup, held open until the next search, and `is_v1` how it is to be spoken to.
    """

    limit: Limit | Unavailable
    of_limit: bool
    used: Used
    kills: Reading
    pressure: Pressure | Unavailable
    source: tuple[int, int] | None
    path: str
    folder: Folder | None
    is_v1: bool


class Cgroup:
    """The cgroups of one process, held open. For one thread at a time; `hold` makes one."""

    def __init__(
        self,
        identity: ProcessIdentity,
        place: Place,
        folders: Sequence[Folder],
        home: Folder | None,
        membership: Folder,
        said: bytes | Unavailable,
    ) -> None:
        self.identity = identity
        self._place = place
        self._version = place.version
        self._folders = folders
        self._counting = _counting(place, folders)
        self._home = home
        self._home_source = None if home is None else home.number
        self._membership = membership
        self._said = said
        self._last: Folder | None = None

    @property
    def home(self) -> Path | Unavailable:
        """The folder of the process's own cgroup, where the kernel can be asked to reclaim."""
        if self._version is V1:
            return Unavailable(Reason.UNSUPPORTED, "cgroup v1 has no memory.reclaim")
        return _IN_ROOT if self._home is None else self._home.path

    def moved(self) -> bool:
        """Is the process in another cgroup than it was, or gone? One pread, 4 µs."""
        return isinstance(self._said, Unavailable) or self._membership.read("cgroup") != self._said

    def read(self, machine_bytes: int, *, wants_limit: bool) -> CgroupNumbers:
        """The numbers now. `wants_limit`: `used` is to be that of the cgroup whose limit counts, where it is shown."""
        limit, folder, used = self._tightest(machine_bytes)
        of_limit = wants_limit and folder is not None
        if folder is None or not wants_limit:
            folder, used = self._counting, None
        if used is None:
            used = Used(_IN_ROOT, _IN_ROOT) if folder is None else self._used(folder)
        pressure = _IN_ROOT if self._home is None else self._version.pressure(self._home)
        self._last = folder
        path = str(self._place.path if folder is None else folder.path)
        return CgroupNumbers(
            limit, of_limit, used, self.kills(), pressure, self._home_source, path, folder, self._version is V1
        )

    def unreclaimable(self) -> Reading:
        """That of the last reading's cgroup again, whatever its limit has become."""
        return _IN_ROOT if self._last is None else self._used(self._last).unreclaimable

    def kills(self) -> Reading:
        """Processes of the target that the kernel killed for memory, in this cgroup."""
        return _IN_ROOT if self._home is None else self._version.oom_kills(self._home)

    @property
    def source(self) -> tuple[int, int] | None:
        """Tells the cgroup whose kills and pressure are read from any other."""
        return self._home_source

    def close(self) -> None:
        """Give the descriptors back."""
        for folder in (*self._folders, self._membership):
            folder.close()

    def _tightest(self, machine_bytes: int) -> tuple[Limit | Unavailable, Folder | None, Used | None]:
        """The limit that counts, the cgroup that has it, and its numbers where they were needed to tell."""
        limited: list[tuple[int, Folder]] = []
        for folder in self._folders:
            value = self._version.limit(folder)
            if isinstance(value, Unavailable):
                return value, None, None
            if value is not None and value < machine_bytes:
                limited.append((value, folder))
        smallest = min((value for value, _ in limited), default=machine_bytes)
        hidden = None if self._place.whole else self._version.hidden_limit(self._folders[0])
        if isinstance(hidden, int) and hidden < smallest:
            return _limit(hidden, self._folders[-1]), None, None
        if isinstance(hidden, Unavailable) and (not limited or hidden.reason is not Reason.NOT_FOUND):
            return hidden, None, None
        if not limited:
            return Unavailable(Reason.UNLIMITED, f"no cgroup from {self._place} upwards has a limit"), None, None
        if len(limited) == 1:
            return _limit(*limited[0]), limited[0][1], None
        return self._least_headroom(limited)

    def _least_headroom(
        self, limited: Sequence[tuple[int, Folder]]
    ) -> tuple[Limit | Unavailable, Folder | None, Used | None]:
        best: tuple[int, int, Folder, Used] | None = None
        for value, folder in limited:
            used = self._used(folder)
            if isinstance(used.unreclaimable, Unavailable):
                return used.unreclaimable, None, None  # it could be the one
            headroom = value - used.unreclaimable
            if best is None or headroom < best[0]:
                best = headroom, value, folder, used
        assert best is not None, "at least two are limited"
        return _limit(best[1], best[2]), best[2], best[3]

    def _used(self, folder: Folder) -> Used:
        usage = self._version.usage(folder)
        reclaimable = self._version.reclaimable(folder)
        if isinstance(usage, Unavailable):
            return Used(usage, usage)
        if isinstance(reclaimable, Unavailable):
            return Used(usage, reclaimable)
        # The two are read one after the other, and the kernel adds up the second a little later than the first.
        return Used(usage, max(0, usage - reclaimable))


def hold(
    identity: ProcessIdentity, proc: Path = Path("/proc"), cgroup_root: Path = DEFAULT_ROOT
) -> Cgroup | Unavailable:
    """Find the cgroups of a process and open them. May stall where the target's own mounts have to be gone through."""
    membership = open_folder(proc / str(identity.pid))
    stat = read_stat(proc, identity.pid)
    for failure in (membership, stat):
        if isinstance(failure, Unavailable):
            gone = failure.reason in (Reason.GONE, Reason.NOT_FOUND)
            return Unavailable(Reason.GONE, f"process {identity.pid} has ended") if gone else failure
    assert isinstance(membership, Folder), "else it has returned"
    assert not isinstance(stat, Unavailable), "else it has returned"
    if stat.identity != identity:
        return Unavailable(Reason.GONE, f"pid {identity.pid} is used again by another process")
    said = membership.read("cgroup")  # before anything is looked up: a move in between shows at the first read
    place = locate(identity.pid, proc, cgroup_root)
    if isinstance(place, Unavailable):
        return place
    folders: list[Folder] = []
    for path in place.folders:
        folder = open_folder(path)
        if isinstance(folder, Unavailable):
            return folder
        folders.append(folder)
    return Cgroup(identity, place, folders, _home(place, folders, identity.pid, proc), membership, said)


def machine_memory(proc: Path = Path("/proc")) -> Limit | Unavailable:
    """MemTotal: what the machine, or the virtual machine, has."""
    raw = read(proc / "meminfo", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    found = _MEM_TOTAL.search(raw)
    if found is None or int(found[1]) == 0:
        return Unavailable(Reason.UNREADABLE, f"{proc}/meminfo has no MemTotal")
    return Limit(int(found[1]) * 1024, LimitSource.MACHINE)


def _limit(bytes_: int, folder: Folder) -> Limit | Unavailable:
    if bytes_ == 0:  # `echo 0 > memory.high` is a way to reclaim; no share of it makes sense
        return Unavailable(Reason.INVALID, f"the limit of {folder.path} is 0")
    return Limit(bytes_, LimitSource.CGROUP)


def _counting(place: Place, folders: Sequence[Folder]) -> Folder | None:
    """The cgroup that the process's memory is charged to: its own, or the first above with the controller on."""
    for folder in folders:
        seen = folder.read(place.version.COUNTS_ANY)
        if not isinstance(seen, Unavailable) or seen.reason is not Reason.NOT_FOUND:
            return folder
    return None


def _home(place: Place, folders: Sequence[Folder], pid: int, proc: Path) -> Folder | None:
    """The topmost cgroup that holds the target's processes only: kills below it are the target's, and outlive a cgroup
    that is removed after them. In v1 kills do not add up, so there it is the process's own."""
    home = _counting(place, folders)
    listed = descendants(proc, pid)
    if home is None or place.version is V1 or isinstance(listed, Unavailable):
        return home
    own = {pid, *listed}
    for folder in folders[folders.index(home) + 1 :]:
        if not _holds_only(folder.path, own):
            break
        home = folder
    return home


def _holds_only(folder: Path, pids: Collection[int]) -> bool:
    """Are all processes of the cgroup and those below it among `pids`? One that our PID namespace lacks reads 0."""
    for where, _, _ in os.walk(folder):
        raw = read(f"{where}/cgroup.procs")
        if isinstance(raw, Unavailable):
            if raw.reason is Reason.GONE:
                continue
            return False
        if any(not word.isdigit() or len(word) > _PID_DIGITS or int(word) not in pids for word in raw.split()):
            return False
    return True

"""Read the memory of one process tree, often and cheaply.

Covers: resident and anonymous memory each tick from `statm`; swap, file and shared memory and the list of descendants
from time to time; PSS on request; the number that a process measure compares.
Leaves to others: finding the process (`discovery`), systems without /proc (`process_psutil`), limits and what the
kernel can take back (`cgroup`), what any of it means (`policy`).

Known and accepted: pages that forked workers share copy-on-write count once in each of them; only PSS tells.
"""

from __future__ import annotations

import operator
import os
import re
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import Measure, ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources.procfs import descendants, read, read_stat, unavailable
from memory_watchdog.sources.statm import LINE_BYTES, NOT_HELD, Reserve, Statm, open_statm

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NOT_YET = Unavailable(Reason.PENDING)
_ON_REQUEST = Unavailable(Reason.PENDING, "read on request only: it stalls the target")
_STATUS_LINES = {
    label: re.compile(rb"^%b:[ \t]+(\d+) kB$" % label, re.M) for label in (b"RssFile", b"RssShmem", b"VmSwap")
}
_PSS_LINE = re.compile(rb"^Pss:[ \t]+(\d+) kB$", re.M)


def raise_descriptor_limit() -> int:
    """Lift the soft limit of open files to the hard one; a tree keeps one open per process. Returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a hard limit above what the kernel takes: the soft one stays, and serves
        return soft
    return hard


def measured(memory: ProcessMemory, measure: Measure) -> Reading:
    """The number that `measure` compares; unknown as soon as one part of it is."""
    if measure is Measure.RSS:
        return memory.resident_bytes
    if measure is Measure.PSS:
        return memory.proportional_bytes
    if measure is not Measure.ANON:
        return Unavailable(Reason.UNSUPPORTED, f"{measure} is no number of a process tree")
    total = 0
    for part in (memory.swap_bytes, memory.shared_bytes, memory.anonymous_bytes):
        if isinstance(part, Unavailable):
            return part
        total += part
    return total


@dataclass(frozen=True, slots=True)
class _Details:
    """What `status` tells and `statm` does not."""

    file_bytes: Reading
    shared_bytes: Reading
    swap_bytes: Reading


class ProcessTree:
    """The tree below one process. For one thread at a time, except `proportional`, which touches no state."""

    def __init__(self, identity: ProcessIdentity, proc: Path = Path("/proc")) -> None:
        self._identity = identity
        self._proc = str(proc)
        self._reserve = Reserve()
        self._members: list[Statm] = []  # the root first, parents before their children
        self._all_held = False
        self._details = _Details(_NOT_YET, _NOT_YET, _NOT_YET)
        self._details_at = float("-inf")
        self._gone: Unavailable | None = None

    @property
    def identity(self) -> ProcessIdentity:
        return self._identity

    def read(self, now: float, details_max_age: float) -> ProcessMemory | Unavailable:
        """The tree as it is now. Descendants and `status` are read again when older than `details_max_age` seconds.

        GONE is final: the identity never comes back.
        """
        if self._gone is not None:
            return self._gone
        if now - self._details_at > details_max_age:
            with self._reserve.given_up():
                result = self._look_again(now) or self._sum()
        elif self._all_held:
            result = self._sum()
        else:
            with self._reserve.given_up():
                result = self._sum()
        if isinstance(result, Unavailable) and result.reason is Reason.GONE:
            self._gone = result
            self.close()
        return result

    def proportional(self) -> Reading:
        """Σ Pss. Stalls the target, 37 ms at 1 GB: to be called in a thread, with a deadline."""
        listed = descendants(self._proc, self._identity.pid)
        if isinstance(listed, Unavailable):
            return listed
        total = 0
        for pid in (self._identity.pid, *listed):
            pss = self._proportional_of(pid)
            if not isinstance(pss, Unavailable):
                total += pss
            elif pid == self._identity.pid or pss.reason is not Reason.GONE:
                return pss
        return total

    def close(self) -> None:
        """Give the descriptors back; a later read begins anew."""
        for member in self._members:
            member.release()
        self._members = []
        self._details_at = float("-inf")
        self._reserve.close()

    def _sum(self) -> ProcessMemory | Unavailable:
        """The hot path: nothing in the loop that a tick does not need."""
        resident_pages = shared_pages = 0
        gone: list[Statm] = []
        pread = os.pread
        for member in self._members:
            line = b""
            try:
                descriptor = member.descriptor
                line = pread(descriptor, LINE_BYTES, 0) if descriptor != NOT_HELD else member.line()
                size, resident, shared, _ = line.split(b" ", 3)
                if size == b"0":  # a zombie, or one that has just given its memory back
                    gone.append(member)
                    continue
                pages, pages_shared = int(resident), int(shared)
            except OSError as error:
                failure = unavailable(error)
                if failure.reason is not Reason.GONE:
                    return failure
                gone.append(member)
                continue
            except ValueError:
                pages, pages_shared = -1, 0
            if not 0 <= pages_shared <= pages:
                return Unavailable(Reason.UNREADABLE, f"{self._proc}/{member.pid}/statm: {line!r}")
            resident_pages += pages
            shared_pages += pages_shared
        if gone and gone[0] is self._members[0]:
            return self._ended()
        self._drop(gone)
        return ProcessMemory(
            resident_bytes=resident_pages * _PAGE_BYTES,
            anonymous_bytes=(resident_pages - shared_pages) * _PAGE_BYTES,
            processes=len(self._members),
            file_bytes=self._details.file_bytes,
            shared_bytes=self._details.shared_bytes,
            swap_bytes=self._details.swap_bytes,
            proportional_bytes=_ON_REQUEST,
        )

    def _drop(self, gone: list[Statm]) -> None:
        for member in gone:
            member.release()
            self._members.remove(member)

    def _ended(self) -> Unavailable:
        return Unavailable(Reason.GONE, f"process {self._identity.pid} has ended")

    def _look_again(self, now: float) -> Unavailable | None:
        """Who belongs to the tree, and what `status` says of them."""
        failure = self._attach() or self._relist()
        self._all_held = all(member.descriptor != NOT_HELD for member in self._members)
        if failure is None:
            self._details = self._read_details()
            self._details_at = now
        return failure

    def _attach(self) -> Unavailable | None:
        """Take hold of the root, once, if it still is the process that was found."""
        if self._members:
            return None
        root = open_statm(self._proc, self._identity.pid)
        if isinstance(root, Unavailable):
            return self._ended() if root.reason is Reason.GONE else root
        if root.start_ticks != self._identity.start_ticks:
            root.release()
            return Unavailable(Reason.GONE, f"pid {self._identity.pid} is used again by another process")
        self._members = [root]
        return None

    def _relist(self) -> Unavailable | None:
        """Who is in the tree now. On a failure the list may be too short: nothing is to be summed from it."""
        root = self._members[0]
        listed = descendants(self._proc, root.pid)
        if isinstance(listed, Unavailable):
            return listed
        known = {member.pid: member for member in self._members[1:]}
        members = {root.pid: root}
        tree = {root.pid, *listed}
        failure: Unavailable | None = None
        for pid, parent in listed.items():
            member = _still_there(known.pop(pid, None))
            if member is None:
                opened = open_statm(self._proc, pid, tree)
                if isinstance(opened, Unavailable):
                    failure = failure if opened.reason is Reason.GONE else opened
                    continue
                if _shares_memory(opened, members.get(parent)):
                    opened.release()
                    continue
                member = opened
            members[pid] = member
        for member in known.values():  # the kernel's list misses some while their siblings end
            if self._hangs_from(member, members):
                members[member.pid] = member
            else:
                member.release()
        self._members = list(members.values())
        return failure

    def _hangs_from(self, member: Statm, members: Mapping[int, Statm]) -> bool:
        stat = read_stat(self._proc, member.pid)
        return (
            not isinstance(stat, Unavailable)
            and not stat.is_dead
            and stat.start_ticks == member.start_ticks
            and stat.parent_pid in members
        )

    def _read_details(self) -> _Details:
        """One process whose `status` cannot be read makes the sums unknown; one that has ended does not count."""
        file_bytes: Reading = 0
        shared_bytes: Reading = 0
        swap_bytes: Reading = 0
        for member in self._members:
            raw = read(f"{self._proc}/{member.pid}/status")
            if isinstance(raw, Unavailable):
                if raw.reason is Reason.GONE:
                    continue
                return _Details(raw, raw, raw)
            if b"\nVmSize:" not in raw or isinstance(member.living_line(), Unavailable):
                continue  # a zombie, or the status of whoever uses the pid again
            file_bytes = _joined(operator.add, file_bytes, _status_bytes(raw, b"RssFile"))
            shared_bytes = _joined(max, shared_bytes, _status_bytes(raw, b"RssShmem"))
            swap_bytes = _joined(operator.add, swap_bytes, _status_bytes(raw, b"VmSwap"))
        return _Details(file_bytes, shared_bytes, swap_bytes)

    def _proportional_of(self, pid: int) -> Reading:
        """Pss of one process, GONE where the pid was used again before the end of the read."""
        before = read_stat(self._proc, pid)
        if isinstance(before, Unavailable):
            return before
        path = f"{self._proc}/{pid}/smaps_rollup"
        raw = read(path)
        after = read_stat(self._proc, pid)
        if isinstance(after, Unavailable):
            return after
        if after.is_dead or before.identity != after.identity:
            return self._ended()
        if pid == self._identity.pid and after.identity != self._identity:
            return self._ended()
        if isinstance(raw, Unavailable):
            if raw.reason is Reason.GONE and not os.path.exists(path):  # noqa: PTH110
                return Unavailable(Reason.UNSUPPORTED, f"this kernel has no {path}")
            return raw
        found = _PSS_LINE.search(raw)
        return int(found[1]) * 1024 if found else Unavailable(Reason.UNREADABLE, f"{path}: {raw[:80]!r}")


def _still_there(member: Statm | None) -> Statm | None:
    """A known process, unless its pid is in use by another one now."""
    if member is None or not isinstance(member.living_line(), Unavailable):
        return member
    member.release()
    return None


def _shares_memory(child: Statm, parent: Statm | None) -> bool:
    """The child of vfork (subprocess, posix_spawn) runs in its parent's memory until exec: counted, it would double it.

    Then all seven numbers are equal. After fork they are not: page tables of files are not copied.
    """
    if parent is None:
        return False
    line = parent.living_line()
    return not isinstance(line, Unavailable) and line == child.living_line()


def _joined(join: Callable[[int, int], int], one: Reading, other: Reading) -> Reading:
    if isinstance(one, Unavailable):
        return one
    return other if isinstance(other, Unavailable) else join(one, other)


def _status_bytes(raw: bytes, label: bytes) -> Reading:
    found = _STATUS_LINES[label].search(raw)
    if found is not None:
        return int(found[1]) * 1024
    if b"\n" + label + b":" in raw:
        return Unavailable(Reason.UNREADABLE, f"status: {label.decode()} is no number of kB")
    return Unavailable(Reason.UNSUPPORTED, f"status has no {label.decode()}")

"""The view of a target's cgroup: found, read at every tick, found again when the process has moved.

Covers: finding it beside the loop, moves and restarts, counts that only go up whatever the process does.
Leaves to others: which process it is (`view`), what is read (`cgroup`), which limit is asked for (`limit`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import CgroupMemory, Limit, ProcessIdentity, Reading, Reason, Unavailable
from memory_watchdog.sources.cgroup import NO_LIMIT, Cgroup, CgroupNumbers, hold, machine_memory
from memory_watchdog.sources.cgroup_files import Folder
from memory_watchdog.sources.cgroup_path import DEFAULT_ROOT

SEARCH_WAIT_SECONDS = 0.5
"""How long a tick waits for the search; 1 ms is usual, but the target's own mounts can hold it up for ever."""

RETRY_SECONDS = 5.0
"""After a search that failed; where nothing shows the cgroup, ten searches a second would not change that."""

HOLD_SECONDS = 60.0
"""How long what was found is used: controllers can be switched on, and other processes come, without a move."""


@dataclass(frozen=True, slots=True)
class CgroupLook:
    """One look. `of_limit`: `memory`'s usage is that of the cgroup that the limit is of. `path` is for people.

    `folder` is the cgroup of that usage, open until the next look; None where it is not seen.
    """

    limit: Limit | Unavailable
    of_limit: bool
    memory: CgroupMemory
    path: str = ""
    folder: Folder | None = None
    is_v1: bool = False


class _Rising:
    """A count that goes on where its source begins anew: it rises by what the same source rose by."""

    def __init__(self) -> None:
        self.total: Reading = Unavailable(Reason.PENDING)
        self._last: int | None = None
        self._source: tuple[int, int] | None = None

    def see(self, reading: Reading, source: tuple[int, int] | None) -> Reading:
        """The count after one reading of it, or why it is unknown now."""
        if isinstance(reading, Unavailable):
            if isinstance(self.total, Unavailable):
                self.total = reading
            return reading
        if isinstance(self.total, Unavailable):
            self.total = reading  # from before we looked: a restarted watchdog goes on where it was
        elif self._last is not None and source == self._source:
            self.total += max(0, reading - self._last)
        self._last, self._source = reading, source
        return self.total


class CgroupView:
    """Keeps hold of the cgroup of one target's process."""

    def __init__(self, proc: Path = Path("/proc"), cgroup_root: Path = DEFAULT_ROOT) -> None:
        self._proc = proc
        self._cgroup_root = cgroup_root
        self._held: Cgroup | None = None
        self._held_until = 0.0
        self._search: asyncio.Task[Cgroup | Unavailable] | None = None
        self._searched: ProcessIdentity | None = None
        self._failure: Unavailable | None = None
        self._retry_at = 0.0
        self._machine_bytes = NO_LIMIT
        self._kills, self._waiting, self._stalled = _Rising(), _Rising(), _Rising()

    async def read(self, identity: ProcessIdentity | Unavailable, now: float, *, wants_limit: bool) -> CgroupLook:
        """The numbers of the process's cgroup; of the one that limits it with `wants_limit`, where that is shown."""
        if isinstance(identity, Unavailable):
            self._detach()
            return self._unknown(Unavailable(identity.reason, "without the process its cgroup is unknown"))
        why = Unavailable(Reason.GONE, "the cgroup was removed")
        for _ in range(2):  # the second time for a process that was moved, or whose cgroup has just been removed
            held = await self._current(identity, now)
            if isinstance(held, Unavailable):
                return self._unknown(held)
            numbers = held.read(self._machine_bytes, wants_limit=wants_limit)
            if Reason.GONE not in (_reason(numbers.limit), _reason(numbers.used.usage)):
                return self._look(numbers)
            self._detach()
        return self._unknown(why)

    def glance(self) -> Reading:
        """Only what the cgroup of the last look cannot give back: three preads."""
        if self._held is None or self._held.moved():
            return Unavailable(Reason.GONE, "the process has moved or ended")
        return self._held.unreclaimable()

    def home(self) -> Path | Unavailable:
        """The folder of the process's own cgroup (v2), as it is held now; why there is none."""
        if self._held is None:
            return Unavailable(Reason.GONE, "the process or its cgroup is not seen")
        if self._held.moved():
            return Unavailable(Reason.GONE, "the process has moved to another cgroup")
        return self._held.home

    def close(self) -> None:
        """Give back the descriptors."""
        self._detach()
        if self._search is not None:
            self._search.cancel()
            self._search = None

    # ---- what was found

    async def _current(self, identity: ProcessIdentity, now: float) -> Cgroup | Unavailable:
        held = self._held
        if held is not None and (held.identity != identity or held.moved()):
            self._detach()
            held = None
        if held is not None and now < self._held_until:
            return held
        if self._searched != identity:
            self._forget_search()
        if held is None and self._failure is not None and now < self._retry_at:
            return self._failure
        found = await self._found(identity, 0.0 if held is not None else SEARCH_WAIT_SECONDS)
        if found is None:
            return held or Unavailable(Reason.TIMEOUT, "looking for the cgroup takes long")
        self._held_until = now + HOLD_SECONDS
        machine = machine_memory(self._proc)
        self._machine_bytes = machine.bytes if isinstance(machine, Limit) else NO_LIMIT
        if isinstance(found, Unavailable):
            if held is None and found.reason is not Reason.GONE:  # gone is between two cgroups, or replaced at once
                self._failure, self._retry_at = found, now + RETRY_SECONDS
            return held or found
        self._detach()
        self._failure, self._held = None, found
        return found

    async def _found(self, identity: ProcessIdentity, wait_seconds: float) -> Cgroup | Unavailable | None:
        """What the search found, in a thread; None while it is under way."""
        if self._search is None:
            self._searched = identity
            self._search = asyncio.create_task(asyncio.to_thread(hold, identity, self._proc, self._cgroup_root))
        done, _ = await asyncio.wait({self._search}, timeout=wait_seconds)
        if not done:
            return None
        search, self._search = self._search, None
        return search.result()

    def _forget_search(self) -> None:
        """Another process: what is found for the one before it is not wanted any more."""
        if self._search is not None:
            self._search.cancel()
            self._search = None
        self._failure = None

    def _detach(self) -> None:
        """Let go. Before that a last look at the kills: the process may be gone because of one."""
        if self._held is not None:
            self._kills.see(self._held.kills(), self._held.source)
            self._held.close()
            self._held = None
        self._failure = None

    # ---- what is told

    def _look(self, numbers: CgroupNumbers) -> CgroupLook:
        self._kills.see(numbers.kills, numbers.source)
        waiting: Reading
        stalled: Reading
        if isinstance(numbers.pressure, Unavailable):
            waiting = stalled = numbers.pressure
        else:
            waiting, stalled = numbers.pressure.waiting_microseconds, numbers.pressure.stalled_microseconds
        memory = CgroupMemory(
            usage_bytes=numbers.used.usage,
            unreclaimable_bytes=numbers.used.unreclaimable,
            oom_kills=self._kills.total,
            waiting_microseconds=self._waiting.see(waiting, numbers.source),
            stalled_microseconds=self._stalled.see(stalled, numbers.source),
        )
        return CgroupLook(numbers.limit, numbers.of_limit, memory, numbers.path, numbers.folder, is_v1=numbers.is_v1)

    def _unknown(self, why: Unavailable) -> CgroupLook:
        kills = self._kills.total if isinstance(self._kills.total, int) else why
        return CgroupLook(why, False, CgroupMemory(why, why, kills, why, why))


def _reason(reading: object) -> Reason | None:
    return reading.reason if isinstance(reading, Unavailable) else None

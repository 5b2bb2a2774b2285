"""The view of a target's process: found, read at every tick, found again when it was replaced.

Covers: discovery beside the loop, re-attachment, the numbers of the tree, Pss within its budget.
Leaves to others: how a process is found (`discovery`) and read (`process`), which number counts (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources.discovery import Finder, find, pinned, start_time_seconds
from memory_watchdog.sources.process import ProcessTree

SEARCH_WAIT_SECONDS = 0.5
"""How long a tick waits for a discovery; 20 ms are usual, but one hung command line can hold it up for ever."""

PSS_DEADLINE_SECONDS = 5.0
PSS_SHARE = 0.01
"""Reading smaps_rollup holds the target's mmap lock, 37 ms at 1 GB: at most this share of the time goes into it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the process. Both are unknown for the same reason, or both are known."""

    identity: ProcessIdentity | Unavailable
    memory: ProcessMemory | Unavailable


class ProcessView:
    """Keeps hold of one target's process. `finder` is None where nothing on this machine could be the target."""

    def __init__(self, finder: Finder | None, proc: Path = Path("/proc")) -> None:
        self._finder = finder
        self._proc = proc
        self._tree: ProcessTree | None = None
        self._search: asyncio.Task[ProcessIdentity | Unavailable] | None = None
        self._pss: asyncio.Task[Reading] | None = None
        self.start_time_seconds: float | None = None

    async def read(self, now: float, details_max_age: float) -> Seen:
        """Read the tree; find the process first where it is not known or has ended."""
        if self._finder is None:
            unknown = Unavailable(Reason.NOT_CONFIGURED, "no process on this machine belongs to the target")
            return Seen(unknown, unknown)
        for _ in range(2):  # the second time for a process that took the place of one that has just ended
            if self._tree is None:
                found = await self._attach(self._finder)
                if found is not None:
                    return Seen(found, found)
            assert self._tree is not None, "attached"
            memory = self._tree.read(now, details_max_age)
            if not isinstance(memory, Unavailable) or memory.reason is not Reason.GONE:
                return Seen(self._tree.identity, memory)
            self._detach()
        gone = Unavailable(Reason.GONE, "the process ended")
        return Seen(gone, gone)

    def read_again(self, now: float, details_max_age: float) -> ProcessMemory | Unavailable:
        """Read the tree that `read` has just read, with younger details."""
        return Unavailable(Reason.GONE) if self._tree is None else self._tree.read(now, details_max_age)

    async def proportional(self) -> tuple[Reading, float]:
        """Pss of the tree, and how many seconds it has to be left alone now."""
        if self._tree is None:
            return Unavailable(Reason.GONE), 0.0
        loop = asyncio.get_running_loop()
        started = loop.time()
        if self._pss is None:
            self._pss = asyncio.create_task(asyncio.to_thread(self._tree.proportional))
        done, _ = await asyncio.wait({self._pss}, timeout=PSS_DEADLINE_SECONDS)
        took = loop.time() - started
        if not done:
            return Unavailable(
                Reason.TIMEOUT, f"smaps_rollup took more than {PSS_DEADLINE_SECONDS:g}s"
            ), took / PSS_SHARE
        reading, self._pss = self._pss.result(), None
        return reading, took / PSS_SHARE

    def close(self) -> None:
        """Give back the descriptors."""
        self._detach()
        for task in (self._search, self._pss):
            if task is not None:
                task.cancel()

    def _detach(self) -> None:
        if self._tree is not None:
            self._tree.close()
            self._tree = None
            self.start_time_seconds = None

    async def _attach(self, finder: Finder) -> Unavailable | None:
        """Find the process, in a thread: a scan of all descriptors takes milliseconds, a hung one for ever."""
        if self._search is None:
            self._search = asyncio.create_task(_in_thread(find, finder, self._proc))
        done, _ = await asyncio.wait({self._search}, timeout=SEARCH_WAIT_SECONDS)
        if not done:
            return Unavailable(Reason.TIMEOUT, "looking for the process takes long")
        found, self._search = self._search.result(), None
        if isinstance(found, Unavailable):
            return found
        self._finder = pinned(finder, found)
        self._tree = ProcessTree(found, self._proc)
        started = start_time_seconds(found, self._proc)
        self.start_time_seconds = None if isinstance(started, Unavailable) else started
        return None


async def _in_thread(
    search: Callable[[Finder, Path], ProcessIdentity | Unavailable], finder: Finder, proc: Path
) -> ProcessIdentity | Unavailable:
    return await asyncio.to_thread(search, finder, proc)

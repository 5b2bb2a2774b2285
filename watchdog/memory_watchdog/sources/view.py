"""The view of a target's process: found, read at every tick, found again when it was replaced.

Covers: discovery beside the loop, re-attachment, the numbers of the tree, Pss within its budget.
Leaves to others: how a process is found (`discovery`) and read (`process`), which number counts (`watcher`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources.discovery import Finder, find, pinned, start_time_seconds
from memory_watchdog.sources.process import ProcessTree
from memory_watchdog.sources.process_psutil import PsutilTree
from memory_watchdog.sources.process_psutil import find as find_without_proc

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
        self._tree: ProcessTree | PsutilTree | None = None
        self._search: asyncio.Task[ProcessIdentity | Unavailable] | None = None
        self._pss: asyncio.Task[tuple[Reading, float]] | None = None
        self._closed = False
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
        late = self._pss is not None  # asked for by an earlier look: what it says is not of now
        if self._pss is None:
            if self._tree is None:
                return Unavailable(Reason.GONE), 0.0
            self._pss = asyncio.create_task(asyncio.to_thread(_timed, self._tree.proportional))
        pss = self._pss
        done, _ = await asyncio.wait({pss}, timeout=PSS_DEADLINE_SECONDS)
        if not done:
            text = f"smaps_rollup took more than {PSS_DEADLINE_SECONDS:g}s"
            return Unavailable(Reason.TIMEOUT, text), PSS_DEADLINE_SECONDS / PSS_SHARE
        self._pss = None
        if pss.cancelled():
            return _ELSEWHERE, 0.0
        reading, took = pss.result()
        if late:
            reading = Unavailable(Reason.TIMEOUT, f"smaps_rollup took {took:.1f}s: it is no reading of now")
        return reading, took / PSS_SHARE

    def close(self) -> None:
        """Give back the descriptors. A read that is under way ends as unknown."""
        self._closed = True
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
            self._search = asyncio.create_task(asyncio.to_thread(_find, finder, self._proc))
        search = self._search
        done, _ = await asyncio.wait({search}, timeout=SEARCH_WAIT_SECONDS)
        if self._closed:  # by a reload, while we waited: whatever was found is no longer asked for
            return _ELSEWHERE
        if not done:
            return Unavailable(Reason.TIMEOUT, "looking for the process takes long")
        found, self._search = search.result(), None
        if isinstance(found, Unavailable):
            return found
        self._finder = pinned(finder, found)
        if not self._proc.is_dir():
            self._tree = tree = PsutilTree(found)
            self.start_time_seconds = tree.start_time_seconds
            return None
        self._tree = ProcessTree(found, self._proc)
        started = start_time_seconds(found, self._proc)
        self.start_time_seconds = None if isinstance(started, Unavailable) else started
        return None


_ELSEWHERE = Unavailable(Reason.PENDING, "the process is looked for in another way from now on")


def _timed(read: Callable[[], Reading]) -> tuple[Reading, float]:
    """A reading and the seconds that it took, waiting for a thread not included."""
    started = time.monotonic()
    return read(), time.monotonic() - started


def _find(finder: Finder, proc: Path) -> ProcessIdentity | Unavailable:
    """By /proc where there is one, else by psutil."""
    return find(finder, proc) if proc.is_dir() else find_without_proc(finder)

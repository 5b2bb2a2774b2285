"""`MemoryManager`: what a server registers its caches with.

Covers: registry, report, one cleanup at a time by request, the periodic thread.
Leaves to others: one cleanup (`cleanup`), asking a component safely (`guarded`), what is due in a period (`period`),
repeated requests (`remembered`), pages (`allocator`), the section of a health check (`health`), the wire (`web`).
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping

from memory_watchdog_kit.allocator import Allocator, find_allocator
from memory_watchdog_kit.component import CleanupReport, Component, Level, MemoryReport
from memory_watchdog_kit.forking import held_across_forks, renewed_in_child
from memory_watchdog_kit.manager.cleanup import Surroundings, clean
from memory_watchdog_kit.manager.guarded import Guarded
from memory_watchdog_kit.manager.health import LastCleanup, health_section, memory_line
from memory_watchdog_kit.manager.period import BackOff, Thresholds, worth_a_trim
from memory_watchdog_kit.manager.remembered import Remembered
from memory_watchdog_kit.own_memory import OwnMemory, read_own_memory, start_time_seconds
from memory_watchdog_kit.settings import MemoryManagerSettings

log = logging.getLogger(__name__)

_LONGEST_ID = 256
_JOIN_SECONDS = 1.0  # a cleanup that runs at exit is left to its daemon thread after this


class CleanupBusy(Exception):
    """A cleanup is running, and one runs at a time."""


class MemoryManager:
    """Knows what holds memory in this process, reports it, cleans it, and gives the pages back to the system.

    Every `interval_seconds` (default 180) its thread has components drop what is expired, gives back what the allocator
    holds free (from 16 MiB and 5 % on), logs one line, and cleans where the process's private memory (see `OwnMemory`)
    has reached a threshold: aggressively from `aggressive_threshold_bytes` on, normally from `normal_threshold_bytes`
    on, which is 6/7 of it where it is not given. Without thresholds nothing is cleaned by the clock, since the kit's
    structures are bounded by themselves. A level that does not help backs off (see `BackOff`).

    The thread is silent while a watchdog asked within the last `quiet_after_watchdog_seconds`. Asked means: `cleanup`
    was called with `by_watchdog=True`, also if the answer was that it is busy, or came from memory; reading the
    statistics does not count.

    `config` (a `MemoryManagerSettings` or the mapping `memory_management` of the configuration) gives the interval and
    the aggressive threshold where they are not given as arguments. A component whose cleanup makes no move for
    `component_deadline_seconds` is reported and left behind. Raises ValueError for a number that cannot be.

    In a forked process the registry is a copy, no cleanup runs, and the thread is not there until `start` is called
    again: a prefork server does that in each worker.

    Thread-safe. Nothing here runs on an event loop: call `cleanup` from a thread.
    """

    def __init__(  # noqa: PLR0913 - the options of a public constructor
        self,
        interval_seconds: float | None = None,
        *,
        config: MemoryManagerSettings | Mapping[str, object] | None = None,
        aggressive_threshold_bytes: int | None = None,
        normal_threshold_bytes: int | None = None,
        quiet_after_watchdog_seconds: float = 60.0,
        component_deadline_seconds: float = 10.0,
        statistics_deadline_seconds: float = 1.0,
        remembered_requests: int = 256,
        remember_seconds: float = 3600.0,
        allocator: Allocator | None = None,
        own_memory: Callable[[], OwnMemory] = read_own_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = MemoryManagerSettings.chosen(
            config, interval_seconds=interval_seconds, aggressive_threshold_bytes=aggressive_threshold_bytes
        )
        self._interval_seconds = settings.interval_seconds
        self._thresholds = Thresholds.below(settings.aggressive_threshold_bytes, normal_threshold_bytes)
        self._quiet_seconds = _positive("quiet_after_watchdog_seconds", quiet_after_watchdog_seconds, or_zero=True)
        self._by = Surroundings(
            allocator or find_allocator(),
            own_memory,
            _positive("component_deadline_seconds", component_deadline_seconds),
            _positive("statistics_deadline_seconds", statistics_deadline_seconds),
        )
        self._clock = clock
        self._components: dict[str, Guarded] = {}
        self._remembered = Remembered(
            int(_positive("remembered_requests", remembered_requests, or_zero=True)),
            _positive("remember_seconds", remember_seconds, or_zero=True),
            clock,
        )
        self._back_off = BackOff()
        self._last: LastCleanup | None = None
        self._asked_at: float | None = None
        self._lock = held_across_forks(threading.Lock())  # short: nothing of a component runs under it
        self._cleaning = threading.Lock()  # held by the one cleanup that runs
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child, where of all threads only the one that forked goes on."""
        self._cleaning = threading.Lock()
        self._thread = None
        self._stopping = threading.Event()
        self._components = {name: Guarded(guarded.component) for name, guarded in self._components.items()}

    def register(self, component: Component) -> None:
        """From now on it is reported and cleaned. Its name is read once; ValueError for an empty or known one."""
        guarded = Guarded(component)
        with self._lock:
            if guarded.name in self._components:
                raise ValueError(f"a component named {guarded.name!r} is registered already")
            self._components[guarded.name] = guarded

    def unregister(self, name: str) -> None:
        """Forget a component, which itself stays as it is. KeyError for a name that is not there."""
        with self._lock:
            del self._components[name]

    def start(self) -> None:
        """Start the periodic thread; nothing happens if it runs. It ends at exit, and never holds the exit up."""
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="memory-manager", daemon=True
            )
            self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the periodic thread; nothing happens if none runs. Waits at most a second for a cleanup of its own."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        atexit.unregister(self.stop)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def report(self) -> MemoryReport:
        """The process and every component, at this moment. Never raises: what a component raises is in its report.

        Takes what the components take, at most `statistics_deadline_seconds` each.
        """
        return MemoryReport(
            pid=os.getpid(),
            start_time_seconds=start_time_seconds(),
            resident_bytes=self._by.own_memory().resident_bytes,
            allocator_free_bytes=self._by.allocator.free_bytes(),
            components=tuple(one.report(self._by.statistics_deadline_seconds) for one in self._registered()),
        )

    def cleanup(
        self,
        level: Level | str = Level.NORMAL,
        *,
        reason: str = "",
        request_id: str | None = None,
        target_bytes: int | None = None,
        by_watchdog: bool = False,
    ) -> CleanupReport:
        """Clean now, and block until that is done: from a thread, not on an event loop.

        The cheapest components go first (see `cheapest_first`). With `target_bytes` it stops when so much is gone: at
        first what the allocator holds free anyway, then what the components free. Then pages go back to the system.
        `reclaimed_bytes` is the measured fall of the process's private memory (see `OwnMemory`).

        A repeated `request_id` is answered from memory (of 256 answers and an hour, by default) and not run again.
        Raises CleanupBusy while another runs, also for the same id; ValueError for an unknown level, a negative target
        or an id of more than 256 characters.
        """
        wanted = _level(level)
        if target_bytes is not None and (type(target_bytes) is not int or target_bytes < 0):
            raise ValueError(f"target_bytes is {target_bytes!r}: it must be a number of bytes, from 0 on")
        if request_id is not None and len(request_id) > _LONGEST_ID:
            raise ValueError(f"request_id has {len(request_id)} characters: at most {_LONGEST_ID} are taken")
        with self._lock:
            if by_watchdog:
                self._asked_at = self._clock()
            known = None if request_id is None else self._remembered.get(request_id)
            if known is not None:
                return known
            if not self._cleaning.acquire(blocking=False):
                raise CleanupBusy("a cleanup is running")
        try:
            return self._clean(wanted, reason, request_id or uuid.uuid4().hex, target_bytes)
        finally:
            self._cleaning.release()

    def period(self) -> None:
        """What the thread does each interval; for servers with a scheduler of their own, which then never `start`."""
        with self._lock:
            asked_at = self._asked_at
        if asked_at is not None and self._clock() - asked_at < self._quiet_seconds:
            log.debug("silent: a watchdog asked %.0f s ago", self._clock() - asked_at)
            return
        if not self._cleaning.acquire(blocking=False):
            return
        try:
            self._period()
        finally:
            self._cleaning.release()

    def health(self) -> dict[str, object]:
        """A section for the server's own health check, ready for JSON; it cleans nothing and touches no model.

        `status` is `critical` from the aggressive threshold on, else `degraded` if a component does not answer, else
        `high` from the normal threshold on, else `ok`. Then `process`, `components`, `thresholds`, `last_cleanup`
        (None before the first). Sizes are bytes, keys that are not known are left out.
        """
        with self._lock:
            last = self._last
        own = self._by.own_memory()
        return health_section(self.report(), own, self._thresholds, last, self._clock())

    def _registered(self) -> list[Guarded]:
        with self._lock:
            return list(self._components.values())

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._interval_seconds):
            try:
                self.period()
            except Exception:
                log.exception("a period of the memory manager failed")

    def _period(self) -> None:
        """Under `_cleaning`."""
        expired = [one.expire(self._by.deadline_seconds) for one in self._registered()]
        report = self.report()
        own = self._by.own_memory()
        log.info("%s", memory_line(report, own, [one for one in expired if one is not None]))
        level = self._thresholds.level(own.private_bytes)
        if level is not None and self._back_off.due(level):
            done = self._clean(level, "periodic", uuid.uuid4().hex, None)
            self._back_off.ended(level, held_bytes=own.private_bytes, reclaimed_bytes=done.reclaimed_bytes)
            return
        if level is None:
            self._back_off.forget()
        if worth_a_trim(report.allocator_free_bytes, own.private_bytes):
            self._by.allocator.give_back()

    def _clean(self, level: Level, reason: str, request_id: str, target_bytes: int | None) -> CleanupReport:
        """Under `_cleaning`; the answer is remembered before that is let go of."""
        started = time.perf_counter()
        result = clean(self._registered(), level, target_bytes, self._by)
        report = CleanupReport(
            request_id=request_id,
            level=level,
            reclaimed_bytes=result.reclaimed_bytes,
            duration_seconds=time.perf_counter() - started,
            components=result.components,
            not_given_back=result.not_given_back,
        )
        with self._lock:
            self._remembered.put(report)
            self._last = LastCleanup(report, reason, self._clock())
        log.info(
            "cleanup %s (%.200r): %.1f MiB reclaimed in %.3f s, %d items removed, %d of %d components failed",
            level.value,
            reason,
            result.reclaimed_bytes / 2**20,
            report.duration_seconds,
            sum(one.cleaned.items_removed for one in result.components),
            sum(one.error is not None for one in result.components),
            len(result.components),
        )
        return report


def _level(level: Level | str) -> Level:
    try:
        return Level(level)
    except ValueError:
        known = ", ".join(Level)
        raise ValueError(f"{level!r:.100} is no level of a cleanup: one of {known}") from None


def _positive(name: str, value: float, *, or_zero: bool = False) -> float:
    if not math.isfinite(value) or value < 0 or (value == 0 and not or_zero):
        raise ValueError(f"{name} is {value}: it must be positive and finite")
    return float(value)

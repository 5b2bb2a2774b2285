"""Kernel events of a target's memory: they only shorten the wait until the next look, and decide nothing.

Covers: usage thresholds of cgroup v1, `memory.events` and pressure triggers of v2, pressure of the machine; which of
them are armed, why the others are not, and that a storm of them costs one look each `min_interval` at the most.
Leaves to others: when a look comes without them (`policy.interval`), what is seen then (`observer`).

Each file is asked once for a cgroup: what is refused stays refused until the target has another one, since neither
permissions nor the kernel change under it. Sources: Linux, Documentation/admin-guide/cgroup-v1/memory.rst (eventfd),
cgroup-v2.rst (`memory.events`), accounting/psi.rst (triggers).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.cgroup_files import Folder
from memory_watchdog.sources.procfs import unavailable

PRESSURE_TRIGGER = b"some 100000 2000000\0"
"""100 ms of waiting within 2 s. Without CAP_SYS_RESOURCE a window is a multiple of 2 s; the file wants the NUL."""

MACHINE_PRESSURE = Path("/proc/pressure/memory")
# poll(2) has them too, with the same values; a platform without epoll has neither of the files.
_READABLE, _PRIORITY = select.POLLIN, select.POLLPRI
_TRIGGER_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC

REARM_BYTES = 1 << 20
REARM_SHARE = 8
"""A threshold in usage follows page cache: it is moved by an eighth of the way to it, or 1 MiB, not by less."""


class Source(StrEnum):
    """What tells of an event."""

    USAGE = "usage"
    EVENTS = "events"
    PRESSURE = "pressure"
    MACHINE_PRESSURE = "machine_pressure"


class MachinePressure:
    """One trigger on the machine's pressure, shared by all targets whose cgroup cannot have one of its own."""

    def __init__(self, file: Path = MACHINE_PRESSURE) -> None:
        self._file = file
        self._listeners: set[Callable[[], None]] = set()
        self._descriptor: int | Unavailable | None = None
        self._epoll: select.epoll | None = None

    def subscribe(self, listener: Callable[[], None]) -> Unavailable | None:
        """Call `listener` at each event, in the loop, which is running now. Why not, where it cannot be had."""
        if self._descriptor is None:
            trigger = _pressure_trigger(lambda: os.open(self._file, _TRIGGER_FLAGS), str(self._file))
            self._epoll, self._descriptor = _waited_for(None, trigger, _PRIORITY)
            if self._epoll is not None:
                asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._event)
        if isinstance(self._descriptor, Unavailable):
            return self._descriptor
        self._listeners.add(listener)
        return None

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """No more of it; the last one gives back the descriptors."""
        self._listeners.discard(listener)
        if not self._listeners and self._epoll is not None and isinstance(self._descriptor, int):
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            os.close(self._descriptor)
            self._epoll = self._descriptor = None

    def _event(self) -> None:
        assert self._epoll is not None, "it is read while it is there"
        self._epoll.poll(0)  # which takes the event: the kernel sends at most one a window
        for listener in tuple(self._listeners):
            listener()


class Triggers:
    """The kernel events of one target. `wake` asks for a look, `counted` is told the source of each event."""

    def __init__(self, machine: MachinePressure, wake: Callable[[], None], counted: Callable[[Source], None]) -> None:
        self._machine = machine
        self._wake = wake
        self._counted = counted
        self._min_interval = 0.0
        self._looked_at = float("-inf")
        self._pending: asyncio.TimerHandle | None = None
        self._is_reading = False
        self._cgroup: tuple[int, int] | None = None
        self._epoll: select.epoll | None = None
        self._open: dict[int, Source] = {}
        self._standing: dict[Source, Unavailable | None] = {}
        self._is_news = False
        self._usage_bytes: int | None = None

    @property
    def standing(self) -> Mapping[Source, Unavailable | None]:
        """Every source that was tried for the target's cgroup: None where it is armed, else why it is not."""
        return self._standing

    def arm(self, folder: Folder | None, *, is_v1: bool, crossing: tuple[int, int] | None, min_interval: float) -> bool:
        """Called after each look: be told of what comes next. True when `standing` has changed.

        `folder` is the cgroup that is looked at. `crossing` is the usage at which the next threshold is entered, as
        long as page cache stays what it is, and how far that is away; None where it is not known.
        """
        self._min_interval = min_interval
        self._looked_at = asyncio.get_running_loop().time()
        cgroup = None if folder is None else folder.number
        if cgroup != self._cgroup or not self._standing:
            self._disarm()
            self._cgroup = cgroup
            if folder is not None and not is_v1:
                self._arm_v2(folder)
            if Source.PRESSURE not in self._open.values():
                self._stands(Source.MACHINE_PRESSURE, self._machine.subscribe(self._machine_event))
        if folder is not None and is_v1 and crossing is not None:
            self._arm_usage(folder, *crossing)
        self._read_on()
        is_news, self._is_news = self._is_news, False
        return is_news

    def close(self) -> None:
        """Give everything back."""
        self._disarm()
        self._cgroup = None

    # ---- arming

    def _arm_v2(self, folder: Folder) -> None:
        self._keep(Source.EVENTS, _events_file(folder), _PRIORITY)
        name = f"{folder.path}/memory.pressure"
        pressure = _pressure_trigger(lambda: folder.open("memory.pressure", _TRIGGER_FLAGS), name)
        self._keep(Source.PRESSURE, pressure, _PRIORITY)

    def _arm_usage(self, folder: Folder, usage_bytes: int, away_bytes: int) -> None:
        if isinstance(self._standing.get(Source.USAGE), Unavailable):
            return
        if self._usage_bytes is not None:
            moved = abs(usage_bytes - self._usage_bytes)
            if moved <= max(REARM_BYTES, away_bytes // REARM_SHARE):
                return
        for descriptor in [one for one, source in self._open.items() if source is Source.USAGE]:
            self._let_go(descriptor)
        self._keep(Source.USAGE, _usage_threshold(folder, usage_bytes), _READABLE)
        self._usage_bytes = usage_bytes

    def _keep(self, source: Source, descriptor: int | Unavailable, events: int) -> None:
        self._epoll, kept = _waited_for(self._epoll, descriptor, events)
        self._stands(source, kept if isinstance(kept, Unavailable) else None)
        if not isinstance(kept, Unavailable):
            self._open[kept] = source

    def _stands(self, source: Source, why_not: Unavailable | None) -> None:
        self._is_news |= source not in self._standing or self._standing[source] != why_not
        self._standing[source] = why_not

    def _let_go(self, descriptor: int) -> None:
        assert self._epoll is not None, "what is open is registered"
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        del self._open[descriptor]

    def _disarm(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._epoll is not None:
            self._pause()
            for descriptor in tuple(self._open):
                self._let_go(descriptor)
            self._epoll.close()
            self._epoll = None
        self._machine.unsubscribe(self._machine_event)
        self._is_news |= bool(self._standing)
        self._standing, self._usage_bytes = {}, None

    # ---- events

    def _read_on(self) -> None:
        if self._epoll is not None and not self._is_reading:
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._event)
            self._is_reading = True

    def _pause(self) -> None:
        """Nothing more before the next look, however many there are."""
        if self._epoll is not None and self._is_reading:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._is_reading = False

    def _event(self) -> None:
        assert self._epoll is not None, "it is read while it is there"
        for descriptor, flags in self._epoll.poll(0):
            source = self._open[descriptor]
            self._counted(source)
            if not _taken(source, descriptor, flags):
                self._let_go(descriptor)
                self._stands(source, Unavailable(Reason.GONE, "the cgroup was removed"))
        self._pause()
        self._ask()

    def _machine_event(self) -> None:
        if self._pending is None:
            self._counted(Source.MACHINE_PRESSURE)
            self._ask()

    def _ask(self) -> None:
        """For a look, `min_interval` after the last one at the earliest."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_at(max(loop.time(), self._looked_at + self._min_interval), self._ring)

    def _ring(self) -> None:
        self._pending = None
        self._wake()


def _taken(source: Source, descriptor: int, flags: int) -> bool:
    """Take the event, so that the next one is seen; False where there will be none: the cgroup was removed."""
    try:
        match source:
            case Source.USAGE:
                os.eventfd_read(descriptor)
            case Source.EVENTS:
                os.pread(descriptor, 4096, 0)
            case Source.PRESSURE:
                return not flags & select.EPOLLERR
    except OSError as error:
        return error.errno == errno.EAGAIN
    return True


def _usage_threshold(folder: Folder, usage_bytes: int) -> int | Unavailable:
    """An eventfd that counts each time the usage of a v1 cgroup crosses a value; closing it ends that."""
    name = f"{folder.path}/cgroup.event_control"
    event = _opened(lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "an eventfd")
    if isinstance(event, Unavailable):
        return event

    def register() -> int:
        with contextlib.ExitStack() as stack:
            usage = folder.open("memory.usage_in_bytes", os.O_RDONLY)
            stack.callback(os.close, usage)
            control = folder.open("cgroup.event_control", os.O_WRONLY)
            stack.callback(os.close, control)
            return os.write(control, b"%d %d %d" % (event, usage, usage_bytes))

    armed = _opened(register, name)
    if isinstance(armed, Unavailable):
        os.close(event)
        return armed
    return event


def _events_file(folder: Folder) -> int | Unavailable:
    """`memory.events`, read once: what was before is no event."""
    name = f"{folder.path}/memory.events"
    descriptor = _opened(lambda: folder.open("memory.events", os.O_RDONLY), name)
    if isinstance(descriptor, Unavailable):
        return descriptor
    read = _opened(lambda: len(os.pread(descriptor, 4096, 0)), name)
    if isinstance(read, Unavailable):
        os.close(descriptor)
        return read
    return descriptor


def _pressure_trigger(open_file: Callable[[], int], name: str) -> int | Unavailable:
    descriptor = _opened(open_file, name)
    if isinstance(descriptor, Unavailable):
        return descriptor
    written = _opened(lambda: os.write(descriptor, PRESSURE_TRIGGER), name)
    if isinstance(written, Unavailable):
        os.close(descriptor)
        return written
    return descriptor


def _opened(work: Callable[[], int], name: str) -> int | Unavailable:
    """The number that `work` gives, or why the kernel refuses it."""
    try:
        return work()
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return Unavailable(Reason.UNSUPPORTED, f"{name}: {error.strerror}")
        failure = unavailable(error, missing=Reason.NOT_FOUND)
        return Unavailable(failure.reason, f"{name}: {error.strerror}")


def _waited_for(
    epoll: select.epoll | None, descriptor: int | Unavailable, events: int
) -> tuple[select.epoll | None, int | Unavailable]:
    """The epoll, made where there is none yet, and the descriptor, which it waits for from now on.

    asyncio does not ask for POLLPRI; an epoll that does is itself readable. What cannot be waited for is closed.
    """
    if isinstance(descriptor, Unavailable):
        return epoll, descriptor
    made = epoll
    try:
        made = made or select.epoll()
        made.register(descriptor, events)
    except OSError as error:
        os.close(descriptor)
        if made is not None and made is not epoll:
            made.close()
        return epoll, Unavailable(Reason.UNSUPPORTED, f"it cannot be waited for: {error.strerror}")
    return made, descriptor

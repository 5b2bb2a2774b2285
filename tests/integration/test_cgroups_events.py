"""Kernel events of real cgroups, v1 or v2 as the machine has, and of the machine's pressure.

Leaves to others: when a look comes without them (`test_interval`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.cgroup_files import Folder, open_folder
from memory_watchdog.sources.triggers import MachinePressure, Source, Triggers

from tests.support.cgroups import MIB, VERSION, Filler, RealCgroup, file_on_disk, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE
from tests.support.watchdog import config, running_watchdog

pytestmark = [pytest.mark.skipif(bool(why_none()), reason=why_none()), pytest.mark.timeout(60 * PATIENCE)]

OF_CGROUP = {Source.USAGE, Source.MACHINE_PRESSURE} if VERSION == 1 else {Source.EVENTS, Source.PRESSURE}


class Told:
    """What the triggers of one target told."""

    def __init__(self, min_interval: float = 0.0) -> None:
        self.sources: Counter[Source] = Counter()
        self.looks: list[float] = []
        self.min_interval = min_interval
        self.triggers = Triggers(MachinePressure(), self._wake, self._count)

    def _wake(self) -> None:
        self.looks.append(time.monotonic())

    def _count(self, source: Source) -> None:
        self.sources[source] += 1

    def arm(self, folder: Folder | None, cgroup: RealCgroup | None, away: int = 24 * MIB) -> bool:
        """What the watcher does after a look."""
        crossing = None if cgroup is None else (cgroup.usage + away, away)
        return self.triggers.arm(folder, is_v1=VERSION == 1, crossing=crossing, min_interval=self.min_interval)

    async def until(self, done: Callable[[], bool], seconds: float = 20.0) -> bool:
        """Let the loop run until that is so."""
        ends = time.monotonic() + seconds * PATIENCE
        while not done() and time.monotonic() < ends:  # noqa: ASYNC110 - what is waited for is not only an event
            await asyncio.sleep(0.01)
        return done()


def of(cgroup: RealCgroup) -> Folder:
    folder = open_folder(cgroup.folder)
    assert isinstance(folder, Folder)
    return folder


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def run(work: Coroutine[Any, Any, None]) -> None:
    """And no descriptor is left behind."""
    before = descriptors()
    asyncio.run(work)
    assert descriptors() == before


@pytest.fixture
def cgroup() -> Iterator[RealCgroup]:
    with real_cgroup(96 * MIB) as made:
        yield made


@pytest.fixture
def filler(cgroup: RealCgroup) -> Iterator[Filler]:
    with filling(cgroup) as target:
        target.does("anon", 8)
        yield target


def presses(filler: Filler, path: Path) -> None:
    """An event of the version's own: usage crosses what is 24 MiB away (v1), or reaches the limit (v2)."""
    filler.does("file", path, 40 if VERSION == 1 else 200)


def test_an_event_asks_for_a_look(cgroup: RealCgroup, filler: Filler) -> None:
    async def work() -> None:
        told, folder = Told(), of(cgroup)
        assert told.arm(folder, cgroup)
        assert told.triggers.standing == dict.fromkeys(OF_CGROUP)
        assert not told.arm(folder, cgroup), "nothing has changed"
        with file_on_disk() as path:
            await asyncio.to_thread(presses, filler, path)
            own = Source.USAGE if VERSION == 1 else Source.EVENTS
            assert await told.until(lambda: bool(told.sources[own] and told.looks))
        told.triggers.close()
        folder.close()

    run(work())


def test_a_storm_of_events_costs_one_look_each_min_interval(cgroup: RealCgroup, filler: Filler) -> None:
    async def work() -> None:
        told, folder = Told(min_interval=0.5), of(cgroup)
        told.arm(folder, cgroup, away=2 * MIB)
        began = time.monotonic()
        with file_on_disk() as path:
            while time.monotonic() < began + 2:
                storm = asyncio.create_task(asyncio.to_thread(presses, filler, path))
                while not storm.done():
                    looks = len(told.looks)
                    if await told.until(lambda looks=looks: len(told.looks) > looks, 0.05 / PATIENCE):  # type: ignore[misc]
                        told.arm(folder, cgroup, away=2 * MIB)
                await storm
        assert told.looks
        allowed = (time.monotonic() - began) / told.min_interval + 1
        assert len(told.looks) <= allowed
        told.triggers.close()
        folder.close()

    run(work())


def test_without_a_look_there_is_no_second_event(cgroup: RealCgroup, filler: Filler) -> None:
    async def work() -> None:
        told, folder = Told(), of(cgroup)
        told.arm(folder, cgroup, away=2 * MIB)
        with file_on_disk() as path:
            for _ in range(3):
                await asyncio.to_thread(presses, filler, path)
        assert await told.until(lambda: bool(told.looks))
        assert told.sources[Source.USAGE] + told.sources[Source.EVENTS] <= 1
        told.triggers.close()
        folder.close()

    run(work())


def test_another_cgroup_is_armed_and_the_one_before_is_not(cgroup: RealCgroup, filler: Filler) -> None:
    async def work() -> None:
        with real_cgroup(96 * MIB) as other:
            told, first, second = Told(), of(cgroup), of(other)
            told.arm(first, cgroup)
            told.arm(second, other)
            with file_on_disk() as path, file_on_disk() as again:
                await asyncio.to_thread(presses, filler, path)
                assert not await told.until(lambda: bool(told.sources[Source.USAGE] + told.sources[Source.EVENTS]), 0.5)
                other.add(filler.pid)
                await asyncio.to_thread(presses, filler, again)
            assert await told.until(lambda: bool(told.looks))
            told.triggers.close()
            cgroup.add(filler.pid)
            for folder in (first, second):
                folder.close()

    run(work())


def test_a_removed_cgroup_is_let_go(cgroup: RealCgroup) -> None:
    """The next look sees that it is gone; an epoll need not be woken by that."""

    async def work() -> None:
        below = cgroup.child("below")
        told, folder = Told(), of(below)
        told.arm(folder, below)
        below.remove()
        assert told.arm(None, None)
        assert set(told.triggers.standing) == {Source.MACHINE_PRESSURE}
        told.triggers.close()
        folder.close()

    run(work())


def test_what_is_refused_is_said_and_not_asked_again(tmp_path: Path) -> None:
    """Files that are none of the kernel's: nothing of it can be waited for."""

    async def work() -> None:
        for name in ("memory.events", "memory.pressure", "memory.usage_in_bytes"):
            (tmp_path / name).write_text("0\n")
        folder = open_folder(tmp_path)
        assert isinstance(folder, Folder)
        triggers = Triggers(MachinePressure(tmp_path / "nothing"), lambda: None, lambda _: None)
        for is_v1, refused in ((True, {Source.USAGE}), (False, {Source.EVENTS, Source.PRESSURE})):
            arm = {"is_v1": is_v1, "crossing": (1 << 20, 1 << 20), "min_interval": 0.0}
            assert triggers.arm(folder, **arm)  # type: ignore[arg-type]
            assert set(triggers.standing) == refused | {Source.MACHINE_PRESSURE}
            reasons = {why.reason for why in triggers.standing.values() if why is not None}
            assert reasons == {Reason.NOT_FOUND} | (set() if is_v1 else {Reason.UNSUPPORTED})
            assert not triggers.arm(folder, **arm)  # type: ignore[arg-type]
            triggers.close()
        folder.close()

    run(work())


@pytest.mark.parametrize("missing", ["epoll", "eventfd"])
def test_without_descriptors_it_is_refused_and_nothing_is_left(
    cgroup: RealCgroup, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """A look must not fail because of what only brings the next one forward."""

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def work() -> None:
        told, folder = Told(), of(cgroup)
        monkeypatch.setattr(select if missing == "epoll" else os, missing, none_left)
        assert told.arm(folder, cgroup)
        refused = {source for source, why in told.triggers.standing.items() if why is not None}
        assert refused == (OF_CGROUP | {Source.MACHINE_PRESSURE} if missing == "epoll" else OF_CGROUP & {Source.USAGE})
        told.triggers.close()
        folder.close()

    # the loop has an epoll of its own
    with asyncio.Runner() as runner:
        runner.get_loop()
        before = descriptors()
        runner.run(work())
        assert descriptors() == before


def test_events_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "memory.events").mkdir()
        folder = open_folder(tmp_path)
        assert isinstance(folder, Folder)
        triggers = Triggers(MachinePressure(tmp_path / "nothing"), lambda: None, lambda _: None)
        triggers.arm(folder, is_v1=False, crossing=None, min_interval=0.0)
        assert isinstance(triggers.standing[Source.EVENTS], Unavailable)
        triggers.close()
        folder.close()

    run(work())


def test_a_platform_without_epoll_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.delattr(select, "epoll")
        triggers = Triggers(MachinePressure(tmp_path / "nothing"), lambda: None, lambda _: None)
        triggers.arm(None, is_v1=False, crossing=None, min_interval=0.0)
        why = triggers.standing[Source.MACHINE_PRESSURE]
        assert why is not None
        assert why.reason is Reason.NOT_FOUND
        triggers.close()

    run(work())


def test_a_usage_threshold_follows_page_cache(cgroup: RealCgroup) -> None:
    async def work() -> None:
        told, folder = Told(), of(cgroup)
        told.arm(folder, cgroup, away=64 * MIB)
        armed = told.triggers._usage_bytes
        for away, moves in ((60, False), (50, True)):
            told.arm(folder, cgroup, away=away * MIB)
            assert (told.triggers._usage_bytes != armed) == (moves and VERSION == 1)
        told.triggers.close()
        folder.close()

    run(work())


def test_the_machines_pressure_is_one_trigger_for_all() -> None:
    async def work() -> None:
        machine = MachinePressure()
        before = descriptors()
        all_ = [Triggers(machine, lambda: None, lambda _: None) for _ in range(20)]
        for triggers in all_:
            triggers.arm(None, is_v1=True, crossing=None, min_interval=0.0)
            assert triggers.standing == {Source.MACHINE_PRESSURE: None}
        assert descriptors() == before + 2
        for triggers in all_:
            triggers.close()

    run(work())


def test_the_running_watchdog_tells_what_is_armed_and_counts(
    tmp_path: Path, cgroup: RealCgroup, filler: Filler
) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{filler.pid}\n")
    levels = [{"name": "high", "enter": "50%", "exit": "40%"}]
    settings = config(None, process={"pid_file": str(pid_file)}, levels=levels, limit="auto")
    with running_watchdog(tmp_path, settings) as watchdog:
        told = watchdog.wait_for("kernel events")
        assert set(told["armed"].split(",")) == OF_CGROUP
        seen = watchdog.metrics()
        assert all(seen.value("kernel_events_armed", source=source) == 1 for source in OF_CGROUP)
        with file_on_disk() as path:
            filler.does("anon", 60)
            presses(filler, path)
        watchdog.wait_for("level", after="high")
        own = Source.USAGE if VERSION == 1 else Source.EVENTS
        watchdog.ticks(2)
        assert (watchdog.metrics().value("kernel_events_total", source=own) or 0) >= 1

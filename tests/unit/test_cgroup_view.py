"""The view of a cgroup over time: moves, restarts, counts that go on, searches that take long.

Leaves to others: what one look says (`test_cgroup`, `test_cgroup_numbers`), cgroups that are removed (real ones).
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path

import pytest
from memory_watchdog.observation import (
    ProcessIdentity,
    Reason,
    Unavailable,
)
from memory_watchdog.sources import cgroup_view
from memory_watchdog.sources.cgroup import hold
from memory_watchdog.sources.cgroup_files import Folder, open_folder
from memory_watchdog.sources.cgroup_view import HOLD_SECONDS, RETRY_SECONDS, CgroupLook

from tests.support.cgroup_trees import GIB, IDENTITY, PID, V2, Box, of_cgroup, v2, v2_root
from tests.support.trees import process, tree

FILES = v2("/a", GIB, usage=1, kills=2) | v2("/b", 2 * GIB, usage=2, kills=7) | v2_root()
GONE = Unavailable(Reason.GONE, "the process ended")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path).holds("0::/a\n", V2, FILES)


def moves(box: Box, path: str, start_ticks: int = 1000) -> ProcessIdentity:
    process(box.proc, PID, 1, cgroup=f"0::{path}\n", start_ticks=start_ticks)
    return ProcessIdentity(PID, start_ticks)


class TestMoves:
    def test_to_another_cgroup(self, box: Box) -> None:
        assert box.look().limit == of_cgroup(GIB)
        moves(box, "/b")
        assert box.look().limit == of_cgroup(2 * GIB)

    def test_another_process(self, box: Box) -> None:
        box.look()
        process(box.proc, 60, 1, cgroup="0::/b\n")
        assert box.look(ProcessIdentity(60, 1000)).limit == of_cgroup(2 * GIB)
        assert box.look().limit == of_cgroup(GIB)

    def test_removed_before_a_file_was_read(self, box: Box) -> None:
        """A file that went with its cgroup is not a limit that there is not."""
        folder = open_folder(box.cgroups / "a")
        assert isinstance(folder, Folder)
        assert folder.read("memory.peak") == Unavailable(Reason.NOT_FOUND, f"there is no {folder.path}/memory.peak")
        shutil.rmtree(folder.path)
        gone = folder.read("memory.max")
        assert isinstance(gone, Unavailable)
        assert gone.reason is Reason.GONE

    def test_to_one_that_is_not_shown(self, box: Box) -> None:
        box.look()
        moves(box, "/../x")
        look = box.look()
        assert isinstance(look.limit, Unavailable)
        assert isinstance(look.memory.usage_bytes, Unavailable)

    def test_a_limit_that_changes(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, {"a/memory.max": f"{3 * GIB}\n"})
        assert box.look().limit == of_cgroup(3 * GIB)
        tree(box.cgroups, {"a/memory.max": "max\n"})
        assert box.look().limit == Unavailable(Reason.UNLIMITED, "no cgroup from /a (v2) upwards has a limit")

    def test_without_the_process(self, box: Box) -> None:
        box.look()
        for why in (GONE, Unavailable(Reason.PERMISSION), Unavailable(Reason.NOT_CONFIGURED)):
            look = box.look(why)
            for reading in (look.limit, look.memory.usage_bytes, look.memory.waiting_microseconds):
                assert isinstance(reading, Unavailable)
                assert reading.reason is why.reason

    def test_controller_that_is_switched_on_later(self, box: Box) -> None:
        box.holds("0::/a/app\n", V2, {"a/app/cgroup.procs": "", "a/app/cgroup.events": ""})
        assert box.look(wants_limit=False).memory.usage_bytes == 1
        tree(box.cgroups, v2("/a/app", GIB // 2, usage=0))
        assert box.look(now=1).limit == of_cgroup(GIB // 2)  # limits at once

        async def later() -> CgroupLook:
            deadline = time.monotonic() + 20  # found again beside the loop, while what is held serves
            look = await box.view.read(IDENTITY, HOLD_SECONDS + 1, wants_limit=False)
            while look.memory.usage_bytes == 1 and time.monotonic() < deadline:
                look = await box.view.read(IDENTITY, HOLD_SECONDS + 1, wants_limit=False)
            return look

        assert asyncio.run(later()).memory.usage_bytes == 0

    def test_descriptors_are_given_back(self, box: Box) -> None:
        box.look()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for turn in range(20):
            moves(box, "/ab"[0] + "ab"[turn % 2])
            box.look(now=turn * 100.0)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
        box.view.close()
        assert len(list(Path("/proc/self/fd").iterdir())) < before


class TestCounts:
    def test_from_before_we_looked(self, box: Box) -> None:
        assert box.look().memory.oom_kills == 2

    def test_go_up(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, v2("/a", GIB, kills=5, pressure=(9, 3)))
        memory = box.look().memory
        assert (memory.oom_kills, memory.waiting_microseconds, memory.stalled_microseconds) == (5, 9, 3)

    def test_never_down_when_the_process_moves(self, box: Box) -> None:
        box.look()
        moves(box, "/b")
        assert box.look().memory.oom_kills == 2  # the seven of the other cgroup were not the target's
        tree(box.cgroups, v2("/b", kills=8))
        assert box.look().memory.oom_kills == 3
        moves(box, "/a")
        assert box.look().memory.oom_kills == 3

    def test_never_down_when_the_process_restarts(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, v2("/a", kills=3))
        assert box.look(moves(box, "/b", start_ticks=2000)).memory.oom_kills == 3  # a last look at what it left

    def test_a_kill_between_two_processes_in_one_cgroup(self, box: Box) -> None:
        box.look()
        assert box.look(GONE).memory.oom_kills == 2
        tree(box.cgroups, v2("/a", kills=3))
        assert box.look(moves(box, "/a", start_ticks=2000)).memory.oom_kills == 3

    def test_kills_are_told_while_there_is_no_process(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, v2("/a", kills=3))
        assert box.look(GONE).memory.oom_kills == 3
        assert box.look(GONE).memory.oom_kills == 3

    def test_not_down_when_the_file_says_less(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, v2("/a", kills=0))
        assert box.look().memory.oom_kills == 2
        tree(box.cgroups, v2("/a", kills=1))
        assert box.look().memory.oom_kills == 3

    def test_a_file_that_cannot_be_read_for_a_moment(self, box: Box) -> None:
        box.look()
        tree(box.cgroups, {"a/memory.events": "", "a/memory.pressure": ""})
        memory = box.look().memory
        assert memory.oom_kills == 2
        assert isinstance(memory.waiting_microseconds, Unavailable)


class TestSearch:
    def test_failed_is_not_repeated_at_once(self, box: Box) -> None:
        moves(box, "/gone")
        assert isinstance(box.look().limit, Unavailable)
        tree(box.cgroups, v2("/gone", GIB))
        assert isinstance(box.look(now=RETRY_SECONDS - 1).limit, Unavailable)
        assert box.look(now=RETRY_SECONDS).limit == of_cgroup(GIB)

    def test_failed_says_nothing_of_another_process(self, box: Box) -> None:
        moves(box, "/gone")
        box.look()
        assert box.look(moves(box, "/a", start_ticks=2000)).limit == of_cgroup(GIB)

    def test_that_takes_long(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where the target's root is on a file system that does not answer."""
        monkeypatch.setattr(cgroup_view, "SEARCH_WAIT_SECONDS", 0.01)
        released = threading.Event()

        def stuck(*arguments: object) -> object:
            released.wait(20)
            return hold(*arguments)  # type: ignore[arg-type]

        async def looks() -> tuple[CgroupLook, CgroupLook]:
            monkeypatch.setattr(cgroup_view, "hold", stuck)
            before = await box.view.read(IDENTITY, 0.0, wants_limit=True)
            released.set()
            monkeypatch.setattr(cgroup_view, "SEARCH_WAIT_SECONDS", 20)
            return before, await box.view.read(IDENTITY, 0.1, wants_limit=True)

        before, after = asyncio.run(looks())
        assert isinstance(before.limit, Unavailable)
        assert before.limit.reason is Reason.TIMEOUT
        assert after.limit == of_cgroup(GIB)

    def test_what_is_held_serves_while_it_is_looked_for_again(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        released = threading.Event()

        async def looks() -> list[CgroupLook]:
            first = await box.view.read(IDENTITY, 0.0, wants_limit=True)
            monkeypatch.setattr(cgroup_view, "SEARCH_WAIT_SECONDS", 60)
            monkeypatch.setattr(cgroup_view, "hold", lambda *_: released.wait(60) and Unavailable(Reason.UNREADABLE))
            try:
                async with asyncio.timeout(10):  # it waits for nothing
                    later = [await box.view.read(IDENTITY, HOLD_SECONDS + turn, wants_limit=True) for turn in range(2)]
            finally:
                released.set()
            await asyncio.to_thread(released.wait)
            return [first, *later, await box.view.read(IDENTITY, HOLD_SECONDS + 5, wants_limit=True)]

        assert {look.limit for look in asyncio.run(looks())} == {of_cgroup(GIB)}

"""What the manager does by the clock; the clock and the process's memory are the test's."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import Cleaned, CleanupBusy, Level, MemoryManager, OwnMemory
from memory_watchdog_kit.manager.period import BackOff, Thresholds, worth_a_trim

from tests.support.components import Shelf
from tests.support.wait import eventually

MIB = 2**20


class Server:
    """A process whose numbers are set, and a manager of one shelf in it."""

    def __init__(self, own_bytes: int = 100 * MIB, **options: Any) -> None:
        self.name = "set"
        self.now = 1000.0
        self.own_bytes = own_bytes
        self.held_bytes = 0
        self.trims = 0
        self.shelf = Expirable("shelf", items=5)
        self.manager = MemoryManager(
            allocator=self,
            own_memory=lambda: OwnMemory(self.own_bytes, self.own_bytes),
            clock=lambda: self.now,
            **options,
        )
        self.manager.register(self.shelf)

    def free_bytes(self) -> int | None:
        return self.held_bytes

    def give_back(self) -> str | None:
        self.trims += 1
        return None

    def cleanups(self, periods: int) -> list[Level | None]:
        """The level of each period's cleanup."""
        seen: list[Level | None] = []
        for _ in range(periods):
            before = len(self.shelf.asked)
            self.manager.period()
            self.now += 180.0
            seen.append(self.shelf.asked[-1][0] if len(self.shelf.asked) > before else None)
        return seen


class Expirable(Shelf):
    """A shelf that counts how often what is expired was to go."""

    expirations = 0

    def expire(self) -> Iterator[Cleaned]:
        self.expirations += 1
        yield Cleaned(3, 300)


def test_below_the_thresholds_only_what_is_expired_goes() -> None:
    server = Server(aggressive_threshold_bytes=200 * MIB)
    assert server.cleanups(3) == [None] * 3
    assert (server.shelf.expirations, server.trims) == (3, 0)
    assert Server(own_bytes=2**50).cleanups(2) == [None] * 2, "without thresholds there is nothing to be above"


@pytest.mark.parametrize(
    ("own_bytes", "level"),
    [(600 * MIB - 1, None), (600 * MIB, Level.NORMAL), (700 * MIB - 1, Level.NORMAL), (700 * MIB, Level.AGGRESSIVE)],
)
def test_a_threshold_that_is_reached_is_a_cleanup_of_its_level(own_bytes: int, level: Level | None) -> None:
    assert Server(own_bytes, aggressive_threshold_bytes=700 * MIB).cleanups(1) == [level]


def test_what_does_not_help_backs_off() -> None:
    server = Server(300 * MIB, aggressive_threshold_bytes=200 * MIB)
    ran = [at for at, level in enumerate(server.cleanups(100)) if level is not None]
    assert ran == [0, 2, 6, 14, 30, 46, 62, 78, 94]


def test_what_helps_goes_on_every_period() -> None:
    server = Server(300 * MIB, aggressive_threshold_bytes=200 * MIB)

    def cleanup(level: Level, target_bytes: int | None) -> Cleaned:
        server.shelf.asked.append((level, target_bytes))
        server.own_bytes -= 4 * MIB
        return Cleaned(1, 1)

    server.shelf.cleanup = cleanup  # type: ignore[method-assign]
    assert server.cleanups(20) == [Level.AGGRESSIVE] * 20


def test_below_the_thresholds_failures_are_forgotten() -> None:
    server = Server(300 * MIB, aggressive_threshold_bytes=200 * MIB)
    server.cleanups(8)
    server.own_bytes = 100 * MIB
    server.cleanups(1)
    server.own_bytes = 300 * MIB
    assert server.cleanups(2) == [Level.AGGRESSIVE, None]


def test_one_levels_failures_are_not_the_others() -> None:
    server = Server(190 * MIB, aggressive_threshold_bytes=200 * MIB)
    assert server.cleanups(7)[-1] is Level.NORMAL
    server.own_bytes = 300 * MIB
    assert server.cleanups(1) == [Level.AGGRESSIVE]


@pytest.mark.parametrize("busy", [False, True])
def test_it_is_silent_while_a_watchdog_asks(busy: bool) -> None:
    server = Server(quiet_after_watchdog_seconds=60.0, aggressive_threshold_bytes=1)
    if busy:
        server.manager._cleaning.acquire()
        with pytest.raises(CleanupBusy):
            server.manager.cleanup(by_watchdog=True)
        server.manager._cleaning.release()
    else:
        server.manager.cleanup(request_id="one", by_watchdog=True)
        server.now += 50
        server.manager.cleanup(request_id="one", by_watchdog=True)  # from memory
    server.now += 59
    asked = len(server.shelf.asked)
    server.manager.period()
    assert (len(server.shelf.asked), server.shelf.expirations) == (asked, 0)
    server.now += 2
    server.manager.period()
    assert (len(server.shelf.asked), server.shelf.expirations) == (asked + 1, 1)


def test_a_cleanup_of_somebody_else_does_not_make_it_silent() -> None:
    server = Server()
    server.manager.cleanup()
    server.manager.report()
    server.manager.period()
    assert server.shelf.expirations == 1


def test_a_period_waits_for_no_cleanup_that_runs() -> None:
    server = Server()
    with server.manager._cleaning:
        server.manager.period()
    assert server.shelf.expirations == 0


def test_enough_that_the_allocator_holds_is_given_back_by_the_clock() -> None:
    server = Server(500 * MIB)
    for held, trims in ((63 * MIB, 0), (65 * MIB, 1)):
        server.held_bytes = held
        server.manager.period()
        assert server.trims == trims
    assert not worth_a_trim(65 * MIB, 1000 * MIB)
    assert not worth_a_trim(None, 0)


def test_each_period_logs_one_line_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(512 * MIB)
    server.held_bytes = 10 * MIB
    with caplog.at_level(logging.INFO, "memory_watchdog_kit"):
        server.manager.period()
    assert [record.message for record in caplog.records] == [
        "memory: 512.0 MiB private, 512.0 MiB resident, 10.0 MiB free in the allocator, shelf 0.0 MiB in 5 items, "
        "3 items expired"
    ]


def test_a_cleanup_logs_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "memory_watchdog_kit"):
        Server().manager.cleanup(reason="two\nlines")
    assert "cleanup normal ('two\\nlines'): 0.0 MiB reclaimed in 0." in caplog.text
    assert "5 items removed, 0 of 1 components failed" in caplog.text


@settings(deadline=None)  # never fail because the machine is busy
@given(st.lists(st.booleans(), max_size=60))
def test_a_back_off_never_gives_up_and_never_skips_after_a_success(outcomes: list[bool]) -> None:
    back_off = BackOff()
    skipped = 0
    helped = True
    for outcome in outcomes:
        while not back_off.due(Level.NORMAL):
            skipped += 1
            assert not helped
            assert skipped <= 15
        skipped = 0
        helped = outcome
        back_off.ended(Level.NORMAL, held_bytes=1000, reclaimed_bytes=10 if outcome else 9)


@settings(deadline=None)  # never fail because the machine is busy
@given(st.integers(1, 2**50), st.none() | st.integers(1, 2**50), st.integers(0, 2**51))
def test_thresholds_are_ordered(aggressive: int, normal: int | None, held: int) -> None:
    if normal is not None and normal > aggressive:
        with pytest.raises(ValueError, match="is above"):
            Thresholds.below(aggressive, normal)
        return
    thresholds = Thresholds.below(aggressive, normal)
    assert thresholds.normal_bytes is not None
    assert thresholds.normal_bytes <= aggressive
    level = thresholds.level(held)
    assert (level is Level.AGGRESSIVE) == (held >= aggressive)
    assert (level is None) == (held < thresholds.normal_bytes)


def test_the_thread_starts_once_works_and_ends() -> None:
    worked = threading.Event()

    class Watched(Shelf):
        def expire(self) -> Cleaned:
            worked.set()
            raise OSError("and goes on after a failure")

    manager = MemoryManager(0.01)
    manager.register(Watched())
    manager.stop()
    manager.start()
    manager.start()
    assert len(manager_threads()) == 1
    assert worked.wait(60)
    worked.clear()
    assert worked.wait(60)
    manager.stop()
    manager.stop()
    eventually(lambda: not manager_threads())
    worked.clear()
    manager.start()
    assert worked.wait(60)
    manager.stop()
    eventually(lambda: not manager_threads())


def test_a_failing_period_does_not_end_the_thread(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = MemoryManager(0.01)
    failed = threading.Event()

    def fail() -> None:
        if "a period of the memory manager failed" in caplog.text:
            failed.set()
        raise OSError("proc is gone")

    monkeypatch.setattr(manager, "period", fail)
    manager.start()
    assert failed.wait(60)
    manager.stop()


@pytest.mark.parametrize("hangs", [False, True])
def test_the_exit_of_the_process_is_not_held_up(hangs: bool) -> None:
    program = """if True:
        import sys, threading
        from memory_watchdog_kit import Cleaned, MemoryManager, Statistics
        began = threading.Event()
        class Slow:
            name = "slow"
            def statistics(self): return Statistics(items=1)
            def expire(self):
                began.set()
                if {hangs}: threading.Event().wait()
                return Cleaned()
            def cleanup(self, level, target_bytes): return Cleaned()
        manager = MemoryManager(0.01)
        manager.register(Slow())
        manager.start()
        assert began.wait(30)
        print("end")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program.format(hangs=hangs))],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def manager_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memory-manager"]

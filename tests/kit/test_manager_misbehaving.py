"""Components that raise, hang or answer nonsense: each is reported with its error, and stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from memory_watchdog_kit import Cleaned, ComponentCleanup, ComponentReport, Level, MemoryManager, Statistics

from tests.support.components import Shelf
from tests.support.wait import eventually

DEADLINE_SECONDS = 1.0  # long enough for a healthy component on a busy machine


class Odd:
    """Does what it is told to do when it is asked."""

    name = "odd"

    def __init__(
        self, statistics: Callable[[], Any] = lambda: Statistics(items=1), cleanup: Callable[[], Any] = Cleaned
    ) -> None:
        self._statistics = statistics
        self._cleanup = cleanup

    def statistics(self) -> Statistics:
        return self._statistics()  # type: ignore[no-any-return]

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned | Iterator[Cleaned]:
        return self._cleanup()  # type: ignore[no-any-return]


class Unspeakable(Exception):
    """An exception whose text raises too."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Callable[[], Any]:
    def function() -> Any:
        raise error

    return function


def steps_then(last: Callable[[], Any]) -> Callable[[], Any]:
    def function() -> Iterator[Any]:
        yield Cleaned(1, 10)
        yield Cleaned(2, 20)
        yield last()

    return function


def with_shelf(odd: Odd, **options: Any) -> tuple[MemoryManager, Shelf]:
    manager = MemoryManager(**options)
    manager.register(odd)
    shelf = Shelf("shelf", items=5)
    manager.register(shelf)
    return manager, shelf


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (raising(OSError("disk is gone")), "OSError: disk is gone"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(Unspeakable()), "Unspeakable: (its text cannot be read)"),
        (raising(ValueError("x" * 10_000)), f"ValueError: {'x' * 488}"),
        (lambda: None, "statistics answered with NoneType: it must be Statistics"),
        (lambda: {"bytes": 1}, "statistics answered with dict: it must be Statistics"),
        (Statistics, "statistics know neither bytes nor items"),
        (lambda: Statistics(bytes=-1), "bytes is -1: it must be between 0 and 2^53"),
        (lambda: Statistics(items=True), "items is a bool: it must be an int"),
        (lambda: Statistics(items=1, hits=2**53 + 1), "hits is 9.0072e+15: it must be between 0 and 2^53"),
        (lambda: Statistics(bytes=np.int64(5)), "bytes is a int64: it must be an int"),  # type: ignore[arg-type]
        (lambda: Statistics(items=1, refill_seconds=float("nan")), "refill_seconds is nan: it must be finite"),
        (lambda: Statistics(items=1, refill_seconds=-1.0), "refill_seconds is -1.0: it must be finite"),
        (lambda: Statistics(items=1, refill_seconds="1"), "refill_seconds is a str"),  # type: ignore[arg-type]
    ],
)
def test_statistics_that_cannot_be_are_reported_with_their_error(answer: Callable[[], Any], error: str) -> None:
    manager, shelf = with_shelf(Odd(statistics=answer))
    odd, other = manager.report().components
    assert (odd.name, odd.statistics) == ("odd", None)
    assert (odd.error or "").startswith(error)
    assert other == ComponentReport("shelf", shelf.statistics())
    assert [one.name for one in manager.cleanup().components] == ["odd", "shelf"]


@pytest.mark.parametrize(
    ("answer", "done", "error"),
    [
        (raising(OSError("disk is gone")), Cleaned(), "OSError: disk is gone"),
        (raising(KeyboardInterrupt()), Cleaned(), "KeyboardInterrupt: "),
        (lambda: None, Cleaned(), "TypeError: cleanup answered with NoneType"),
        (lambda: [Cleaned(1)], Cleaned(), "TypeError: cleanup answered with list"),
        (lambda: Cleaned(-1), Cleaned(), "ValueError: items_removed is -1"),
        (lambda: Cleaned(1, True), Cleaned(), "ValueError: bytes_freed is a bool"),
        (lambda: Cleaned(1, 10**30), Cleaned(), "ValueError: bytes_freed is 1e+30"),
        (steps_then(raising(OSError("late"))), Cleaned(3, 30), "OSError: late"),
        (steps_then(lambda: 7), Cleaned(3, 30), "TypeError: cleanup answered with int"),
        (steps_then(lambda: Cleaned(1, 2**53)), Cleaned(3, 30), "ValueError: bytes_freed is"),
    ],
)
def test_a_cleanup_that_fails_is_reported_with_what_it_did(
    answer: Callable[[], Any], done: Cleaned, error: str
) -> None:
    manager, shelf = with_shelf(Odd(cleanup=answer))
    odd, other = manager.cleanup().components
    assert (odd.name, odd.cleaned) == ("odd", done)
    assert (odd.error or "").startswith(error)
    assert other == ComponentCleanup("shelf", Cleaned(5, 5000))
    assert shelf.items == 0


def test_what_hangs_in_a_cleanup_is_left_behind_and_busy_until_it_returns() -> None:
    free = threading.Event()

    def hang() -> Cleaned:
        assert free.wait(60)
        return Cleaned(1, 1)

    manager, shelf = with_shelf(Odd(cleanup=hang), component_deadline_seconds=DEADLINE_SECONDS)
    try:
        odd, other = manager.cleanup().components
        assert odd == ComponentCleanup("odd", Cleaned(), "its cleanup did not come back within 1 s")
        assert other.cleaned == Cleaned(5, 5000)
        shelf.items = 2
        odd, other = manager.cleanup().components
        assert odd.error == "busy: its cleanup that was asked for earlier has not come back"
        assert other.cleaned == Cleaned(2, 2000)
        assert threads_of("memory-cleanup odd") == 1
        assert manager.report().components[0].error is None, "its statistics are another question"
    finally:
        free.set()
    eventually(lambda: threads_of("memory-cleanup odd") == 0)
    odd, _ = manager.cleanup().components
    assert odd == ComponentCleanup("odd", Cleaned(1, 1))


def test_statistics_that_hang_hold_up_one_report_once() -> None:
    free = threading.Event()
    manager, _ = with_shelf(
        Odd(statistics=lambda: free.wait(60) and Statistics(items=1)), statistics_deadline_seconds=DEADLINE_SECONDS
    )
    try:
        odd, other = manager.report().components
        assert odd == ComponentReport("odd", None, "its statistics did not come back within 1 s")
        assert other.error is None
        for _ in range(5):
            assert (manager.report().components[0].error or "").startswith("busy: its statistics")
        assert threads_of("memory-statistics odd") == 1
    finally:
        free.set()
    eventually(lambda: threads_of("memory-statistics odd") == 0)
    assert manager.report().components[0].error is None


def test_steps_that_go_on_are_not_late_however_long_they_take() -> None:
    def slowly() -> Iterator[Cleaned]:
        for _ in range(30):
            threading.Event().wait(0.05)
            yield Cleaned(1, 1)

    manager, _ = with_shelf(Odd(cleanup=slowly), component_deadline_seconds=DEADLINE_SECONDS)
    odd, _ = manager.cleanup().components
    assert odd == ComponentCleanup("odd", Cleaned(30, 30))


def test_steps_that_never_end_are_ended() -> None:
    manager, _ = with_shelf(Odd(cleanup=lambda: repeat(Cleaned())), component_deadline_seconds=0.1)
    odd = manager.cleanup().components[0]
    assert odd.error == "its cleanup did not come to an end within 1 s"
    eventually(lambda: threads_of("memory-cleanup odd") == 0)


def test_where_the_system_gives_no_more_threads_that_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, _ = with_shelf(Odd())

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert [one.error for one in manager.report().components] == [
        "no thread for its statistics: RuntimeError: can't start new thread"
    ] * 2
    assert [one.error for one in manager.cleanup().components] == [
        "no thread for its cleanup: RuntimeError: can't start new thread"
    ] * 2


def threads_of(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())

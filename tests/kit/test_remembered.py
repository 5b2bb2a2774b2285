"""Answers that are remembered: bounded in number and in time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import CleanupReport, Level, MemoryManager
from memory_watchdog_kit.manager.remembered import Remembered

from tests.support.components import Shelf


def answer(request_id: str) -> CleanupReport:
    return CleanupReport(request_id, Level.NORMAL, 0, 0.0, ())


@settings(deadline=None)  # never fail because the machine is busy
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_at_most_so_many_and_none_that_is_too_old(requests: list[tuple[int, int]]) -> None:
    now = 0.0
    remembered = Remembered(5, 100.0, lambda: now)
    given_at: dict[str, float] = {}
    for number, pause in requests:
        now += pause
        request_id = str(number)
        known = remembered.get(request_id)
        if known is None:
            remembered.put(answer(request_id))
            given_at.pop(request_id, None)
            given_at[request_id] = now
        else:
            assert known.request_id == request_id
            assert now - given_at[request_id] <= 100.0
        newest = [one for one in list(given_at)[-5:] if now - given_at[one] <= 100.0]
        assert [one for one in given_at if remembered.get(one) is not None] == newest
        assert len(remembered) <= 5


@pytest.mark.parametrize(("option", "value"), [("remembered_requests", 1), ("remember_seconds", 10.0)])
def test_the_manager_forgets_as_it_is_told(option: str, value: float) -> None:
    now = 0.0
    shelf = Shelf("shelf", 1)
    manager = MemoryManager(clock=lambda: now, **{option: value})  # type: ignore[arg-type]
    manager.register(shelf)
    manager.cleanup(request_id="first")
    now = 11.0
    manager.cleanup(request_id="second")
    manager.cleanup(request_id="first")
    assert len(shelf.asked) == 3
    manager.cleanup(request_id="first")
    assert len(shelf.asked) == 3

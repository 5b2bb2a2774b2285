"""Work beside the loop: its deadline, and that late work does not pile up."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.worker import Worker


def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def test_the_loop_goes_on_and_the_work_returns() -> None:
    async def both() -> tuple[object, int]:
        turns = 0
        working = asyncio.create_task(Worker().run(10, slow, 0.1))
        while not working.done():
            turns += 1
            await asyncio.sleep(0)
        return working.result(), turns

    result, turns = asyncio.run(both())
    assert result == "done"
    assert turns > 10


def test_late_work_is_given_up_and_the_next_waits_until_it_has_ended() -> None:
    finish = threading.Event()

    async def work() -> list[object]:
        worker = Worker()
        late = await worker.run(0.01, finish.wait, 10)
        refused = await worker.run(10, lambda: 2)
        finish.set()
        async with asyncio.timeout(5):
            while isinstance(after := await worker.run(10, lambda: 3), Unavailable):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.001)
        return [late, refused, after]

    late, refused, after = asyncio.run(work())
    assert late == Unavailable(Reason.TIMEOUT, "more than 10ms of work on the answer")
    assert refused == Unavailable(Reason.TIMEOUT, "an earlier answer is still being worked on")
    assert after == 3


def test_a_fault_of_the_work_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Worker().run(10, lambda: 1 // 0))

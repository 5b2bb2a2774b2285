"""Letting go in small steps."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import Cleaned, Level, MemoryManager, Statistics, release_in_steps
from memory_watchdog_kit.pacing import pause_after

leaves = st.none() | st.integers() | st.text(max_size=5)
nested = st.recursive(
    leaves, lambda inside: st.lists(inside) | st.dictionaries(st.text(max_size=3), inside) | st.tuples(inside, inside)
)
MAKERS: list[Callable[[list[Any]], Any]] = [
    list,
    deque,
    lambda elements: dict(enumerate(elements)),
    lambda elements: OrderedDict(enumerate(elements)),
    lambda elements: set(map(str, range(len(elements)))),
]


@pytest.mark.parametrize("make", MAKERS, ids=["list", "deque", "dict", "ordered", "set"])
@settings(max_examples=30, deadline=None)  # of each kind; never fail because the machine is busy
@given(elements=st.lists(nested, max_size=50))
def test_everything_goes_and_is_counted(make: Callable[[list[Any]], Any], elements: list[Any]) -> None:
    container = make(elements)
    steps = list(release_in_steps(container, 1e-9, size_of=lambda _: 7))
    assert not container
    assert sum(steps, Cleaned()) == Cleaned(len(elements), 7 * len(elements))
    assert all(step.items_removed <= 16 for step in steps)


def test_without_sizes_no_bytes_are_claimed() -> None:
    assert list(release_in_steps({1: "one", 2: "two"}, 10.0)) == [Cleaned(2, 0)]


def test_a_step_is_a_time_and_not_a_number() -> None:
    assert len(list(release_in_steps(list(range(100_000)), 60.0))) == 1
    assert len(list(release_in_steps(list(range(100_000)), 1e-9))) == 100_000 / 16


@pytest.mark.parametrize(
    "large",
    [
        lambda: {"rows": list(range(5000))},
        lambda: {"rows": [{"row": deque(range(2000))}, {"row": set(range(2000))}]},
        lambda: (list(range(3000)), frozenset(range(3000))),
    ],
)
def test_a_large_thing_inside_is_emptied_in_steps_too(large: Callable[[], Any]) -> None:
    steps = list(release_in_steps([large()], 1e-9))
    assert len(steps) > 100
    assert sum(steps, Cleaned()) == Cleaned(1, 0)


def test_what_somebody_else_holds_stays_whole() -> None:
    shared = list(range(5000))
    inner = {"a": shared}
    assert len(list(release_in_steps([{"one": inner}, (shared,), shared], 1e-9))) == 1
    assert shared == list(range(5000))
    assert inner == {"a": shared}


def test_a_ring_is_let_go_of() -> None:
    ring: list[Any] = list(range(5000))
    ring.append(ring)
    container = [ring]
    del ring
    assert sum(release_in_steps(container, 1e-9), Cleaned()) == Cleaned(1, 0)


def test_what_is_put_in_meanwhile_stays() -> None:
    container = list(range(100))
    steps = release_in_steps(container, 1e-9)
    next(steps)
    container.extend(range(1000))
    assert sum(steps, Cleaned()).items_removed == 100 - 16
    assert len(container) == 1000


def test_somebody_else_may_empty_it_too() -> None:
    container = dict.fromkeys(range(100))
    steps = release_in_steps(container, 1e-9)
    next(steps)
    container.clear()
    assert sum(steps, Cleaned()).items_removed == 0


def test_giving_up_half_way_leaves_the_rest() -> None:
    container = list(range(100))
    steps = release_in_steps(container, 1e-9)
    next(steps)
    del steps
    assert len(container) == 84


@pytest.mark.parametrize("unfit", ["text", (1, 2), 3, iter([1])])
def test_what_cannot_be_emptied_is_refused(unfit: Any) -> None:
    with pytest.raises(TypeError, match="cannot be emptied step by step"):
        release_in_steps(unfit)


@pytest.mark.parametrize("step_seconds", [0, -1, float("nan")])
def test_a_step_has_a_length(step_seconds: float) -> None:
    with pytest.raises(ValueError, match="step_seconds"):
        release_in_steps([], step_seconds)


@pytest.mark.parametrize(("step", "pause"), [(0, 0.001), (0.003, 0.001), (0.009, 0.003), (1, 0.005)])
def test_a_pause_is_long_enough_to_hand_over(step: float, pause: float) -> None:
    assert pause_after(step) == pytest.approx(pause)


def test_an_event_loop_runs_between_the_steps() -> None:
    class Many:
        name = "many"

        def statistics(self) -> Statistics:
            return Statistics(items=0)

        def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
            for step in release_in_steps({number: [str(number)] for number in range(100_000)}, 0.001):
                turns_at_steps.append(turns)
                yield step

    turns = 0
    turns_at_steps: list[int] = []
    manager = MemoryManager(component_deadline_seconds=60.0)
    manager.register(Many())

    async def loop() -> None:
        nonlocal turns
        thread = threading.Thread(target=manager.cleanup)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
            turns += 1
        thread.join()

    asyncio.run(loop())
    assert len(turns_at_steps) > 10
    # On a busy machine a pause may pass without the loop's thread getting a core.
    assert len(set(turns_at_steps)) > len(turns_at_steps) / 2


def test_a_settled_heap_is_out_of_the_collectors_reach() -> None:
    program = """if True:
        import gc
        from memory_watchdog_kit import settle_heap
        held = [[number] for number in range(50_000)]
        frozen = settle_heap()
        assert frozen == gc.get_freeze_count() > 50_000, frozen
        assert len(gc.get_objects()) < 1_000, len(gc.get_objects())
        del held
        assert gc.get_freeze_count() < frozen - 50_000, "what is frozen is still freed"
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

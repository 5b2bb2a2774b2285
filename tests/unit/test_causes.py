"""Where memory goes: parts that add up, and words that fit, over looks made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import (
    Component,
    Limit,
    LimitSource,
    Measure,
    Observation,
    ProcessIdentity,
    ProcessMemory,
    Reading,
    Reason,
    ServerReport,
    Unavailable,
)
from memory_watchdog.policy.causes import POINTS, UNEXPLAINED, Causes, Picture, split_of

MIB = 1 << 20
NOT = Unavailable(Reason.NOT_CONFIGURED)


def look(
    at: float,
    used: Reading,
    components: Mapping[str, int | None] | None = None,
    *,
    allocator: int | None = None,
    measure: Measure = Measure.ANON,
    file_bytes: Reading = 0,
) -> Observation:
    """One look; without components the server reports nothing."""
    report: ServerReport | Unavailable = NOT
    if components is not None:
        listed = tuple(Component(name, bytes=size) for name, size in components.items())
        report = ServerReport(answered_at=at, components=listed, allocator_free_bytes=allocator)
    memory = ProcessMemory(300 * MIB, 300 * MIB, 1, file_bytes, 0, 0, NOT)
    limit = Limit(1000 * MIB, LimitSource.GIVEN)
    return Observation(at, measure, used, limit, ProcessIdentity(7, 7), memory, report)


def seen(make: Callable[[int], Observation], count: int = 40) -> Picture:
    causes = Causes()
    for second in range(count):
        causes.look(make(second))
    picture = causes.picture()
    assert picture is not None
    return picture


def told(used: Callable[[int], float], components: Callable[[int], Mapping[str, int]] | None, **more: Any) -> str:
    """The sentence; sizes in MiB at each second."""

    def make(second: int) -> Observation:
        listed = None if components is None else {n: b * MIB for n, b in components(second).items()}
        extra = {key: value(second) * MIB if callable(value) else value for key, value in more.items()}
        return look(float(second), int(used(second) * MIB), listed, **extra)

    return seen(make).sentence


def test_the_parts_add_up() -> None:
    split = split_of(look(1, 300 * MIB, {"a": 100 * MIB, "b": None}, allocator=50 * MIB))
    assert split is not None
    assert (split.components_bytes, split.allocator_bytes, split.files_bytes) == (100 * MIB, 50 * MIB, 0)
    assert split.unexplained_bytes == 150 * MIB
    assert split_of(look(1, NOT)) is None


@pytest.mark.parametrize(("measure", "files"), [(Measure.RSS, 70), (Measure.ANON, 0), (Measure.UNRECLAIMABLE, 0)])
def test_files_are_a_part_only_where_the_measure_counts_them(measure: Measure, files: int) -> None:
    split = split_of(look(1, 300 * MIB, measure=measure, file_bytes=70 * MIB))
    assert split is not None
    assert split.files_bytes == files * MIB


def test_each_cause_has_its_sentence() -> None:
    assert told(lambda s: 300 + s, lambda s: {"c": 100 + s, "d": 9}) == "component c grows 60.0 MiB/min"
    assert told(lambda s: 300 + s, lambda s: {"c": 100}).startswith("no component explains it: a leak or an uncounted")
    assert told(lambda s: 300 + s, None) == (
        "it grows 60.0 MiB/min; the server reports no components that could explain it"
    )
    assert told(lambda s: 300 + s, lambda s: {"c": 100}, allocator=lambda s: 20 + s) == (
        "freed but not returned: the allocator keeps it, 60.0 MiB/min more"
    )
    assert told(lambda s: 300, lambda s: {"c": 200 - 2 * s}, allocator=lambda s: 2 * s) == (
        "freed but not returned: the allocator keeps it (78.0 MiB)"
    )
    assert told(lambda s: 300, lambda s: {"c": 200 - 2 * s}) == (
        "freed but not returned: the allocator, or something that still refers to it, keeps it"
    )
    assert told(lambda s: 300 + s, lambda s: {"c": 9}, measure=Measure.RSS, file_bytes=lambda s: s).startswith(
        "file-backed memory grows 60.0 MiB/min"
    )
    assert told(lambda s: 300, lambda s: {"c": 9}) == "it does not grow"
    assert told(lambda s: 300 - s, lambda s: {"c": 200 - s}) == "it does not grow"
    assert told(lambda s: 300 + 2 * s, lambda s: {"c": 50 + s, "d": 50 + s}) == (
        "several parts grow: component d by 60.0 MiB/min, component c by 60.0 MiB/min"
    )


def test_a_cache_that_breathes_is_no_growth() -> None:
    assert told(lambda s: 300 + 20 * (s % 2), lambda s: {"c": 100 + 20 * (s % 2)}) == "it does not grow"


def test_a_slope_is_measured_in_bytes_per_second() -> None:
    picture = seen(lambda s: look(float(s), (300 + s) * MIB, {"c": 100 * MIB}))
    assert picture.growth_bytes_per_second == pytest.approx(MIB)
    assert picture.unaccounted_growth_bytes_per_second == pytest.approx(MIB)
    assert picture.slopes[UNEXPLAINED] == pytest.approx(MIB)


def test_the_same_answer_of_the_server_is_one_point() -> None:
    """Between two answers used moves on and the components do not: the difference would look like a leak."""
    causes, first = Causes(), look(0.0, 300 * MIB, {"c": 100 * MIB})
    assert causes.look(first)
    for second in range(1, 30):
        again = Observation(
            float(second), first.measure, (300 + second) * MIB, first.limit, first.identity, first.memory, first.report
        )
        assert not causes.look(again)


def test_parts_that_come_or_go_and_a_new_process_start_it_anew() -> None:
    def make(second: int) -> Observation:
        return look(float(second), (300 + second) * MIB, {"c": 100 * MIB} | ({"d": 5 * MIB} if second > 36 else {}))

    assert seen(make).slopes == {}
    causes = Causes()
    causes.look(make(0))
    causes.begin_anew()
    assert causes.picture() is None


@given(
    st.lists(
        st.tuples(st.integers(0, 2**50), st.integers(0, 2**50), st.none() | st.integers(0, 2**50)),
        min_size=1,
        max_size=POINTS + 30,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_reported_there_are_words_and_the_parts_add_up(rows: list[tuple[int, int, int | None]]) -> None:
    picture = seen(lambda s: look(float(s), rows[s][0], {"c": rows[s][1]}, allocator=rows[s][2]), len(rows))
    split = picture.split
    whole = split.components_bytes + (split.allocator_bytes or 0) + (split.files_bytes or 0) + split.unexplained_bytes
    assert whole == split.used_bytes
    assert picture.sentence

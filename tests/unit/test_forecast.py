"""The forecast: what it must say of leaks, must not say of harmless memory, and never says at all."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import Limit, LimitSource, Measure
from memory_watchdog.policy.efficacy import Basis
from memory_watchdog.policy.forecast import WARM_UP_SECONDS, Forecast
from memory_watchdog.policy.foresight import Foresight
from memory_watchdog.policy.slopes import REACH, growth_of_suffix, no_higher_than, slope, steady_growth

from benchmarks.forecast import SETTINGS, ours
from benchmarks.traces import LIMIT_BYTES, harmless, leaks

MIB = 1 << 20
BASIS = Basis(Measure.ANON, Limit(1000 * MIB, LimitSource.GIVEN))


def fed(readings: list[tuple[float, float]]) -> Forecast:
    """A forecast that has seen (second, MiB) under a limit of 1,000 MiB."""
    forecast = Forecast()
    for at, mib in readings:
        forecast.fold(int(mib * MIB), at, 1000 * MIB)
    return forecast


def line(begins: int, ends: int, base: float, per_second: float) -> list[tuple[float, float]]:
    return [(float(at), base + per_second * (at - begins)) for at in range(begins, ends)]


CALM = line(0, 600, 200, 0)


@pytest.mark.parametrize("seed", [7, 8])
def test_harmless_memory_is_left_alone(seed: int) -> None:
    """The whole is `benchmarks.forecast`; other seeds give the same."""
    acted = [trace.name for trace in harmless(seed) if ours(trace)[0] is not None]
    assert acted == []


@pytest.mark.parametrize("seed", [7, 8])
def test_leaks_are_foreseen(seed: int) -> None:
    for trace in leaks(seed):
        assert trace.begins_at is not None
        assert trace.reaches_limit_at is not None
        acts_at, at_half = ours(trace)
        assert acts_at is not None, trace.name
        assert trace.begins_at < acts_at <= trace.reaches_limit_at - 60, trace.name
        left = trace.reaches_limit_at - (trace.begins_at + trace.reaches_limit_at) // 2
        assert at_half is None or abs(at_half - left) <= 0.25 * left, trace.name


def test_a_straight_leak_is_named_to_the_second() -> None:
    forecast = fed([*CALM, *line(600, 900, 200, 2)])
    assert forecast.growth_bytes_per_second == pytest.approx(2 * MIB, rel=0.01)
    assert forecast.time_to_limit_seconds(1000 * MIB) == pytest.approx(100, rel=0.03)
    assert forecast.time_to_limit_seconds(None) is None


def test_it_reaches_no_further_than_it_has_seen() -> None:
    """70 s of growth say nothing of what is 400 s away."""
    assert fed([*CALM, *line(600, 670, 200, 2)]).time_to_limit_seconds(1000 * MIB) is None
    assert fed([*CALM, *line(600, 670, 200, 2)]).time_to_limit_seconds(400 * MIB) is not None


def test_growth_that_has_ended_is_not_carried_on() -> None:
    growing = [*CALM, *line(600, 900, 200, 2)]
    assert fed(growing).time_to_limit_seconds(1000 * MIB) is not None
    assert fed([*growing, *line(900, 930, 798, 0)]).time_to_limit_seconds(1000 * MIB) is None


def test_the_way_up_to_an_old_height_is_no_news() -> None:
    """A collector's teeth: memory was at 600 MiB before, and came down by itself."""
    teeth = [(float(at), 400 + 200 * (at % 200) / 200) for at in range(1000)]
    assert fed(teeth[:990]).time_to_limit_seconds(700 * MIB) is None
    higher = [*teeth, *line(1000, 1000 + 360, 400, 1)]
    assert fed(higher).time_to_limit_seconds(900 * MIB) == pytest.approx(140, abs=15), "beyond it is news"


def test_troughs_that_climb_are_a_leak_and_its_teeth_count() -> None:
    """Cleaned up every 100 s, and each time a little less comes back: the peaks reach the limit first."""
    readings = [(float(at), 300 + 0.3 * at + 100 * (at % 100) / 100) for at in range(1600)]
    forecast = fed(readings)
    assert forecast.growth_bytes_per_second == pytest.approx(0.3 * MIB, rel=0.1)
    assert forecast.time_to_limit_seconds(1000 * MIB) == pytest.approx((1000 - 100 - 300) / 0.3 - 1600, abs=60)


def test_a_new_process_warms_up() -> None:
    young = line(0, int(WARM_UP_SECONDS), 100, 2)
    assert fed(young).time_to_limit_seconds(1000 * MIB) is None
    forecast = fed([*CALM, *line(600, 900, 200, 2)])
    forecast.begin_anew()
    assert forecast.time_to_limit_seconds(1000 * MIB) is None
    assert forecast.growth_bytes_per_second is None


def test_another_measure_or_limit_starts_it_anew() -> None:
    for other in (
        Basis(Measure.RSS, BASIS.limit),
        Basis(Measure.ANON, Limit(999 * MIB, LimitSource.GIVEN)),
        Basis(Measure.ANON, None),
    ):
        foresight = Foresight()
        for at, mib in [*CALM, *line(600, 900, 200, 2)]:
            foresight.look(SETTINGS, int(mib * MIB), at, BASIS)
        assert foresight.is_due(SETTINGS, 899.0)
        foresight.look(SETTINGS, 800 * MIB, 900.0, other)
        assert not foresight.is_due(SETTINGS, 900.0)
        assert foresight.forecast.growth_bytes_per_second is None


def test_slope_shrugs_at_a_quarter_of_wild_points() -> None:
    points = [(float(at), 10 * at) for at in range(40)]
    for index in range(0, 40, 4):
        points[index] = (points[index][0], 100_000)
    assert slope(points) == pytest.approx(10, rel=0.6)


readings = st.lists(st.tuples(st.floats(0, 1e6, allow_nan=False), st.integers(0, 2**50)), min_size=1, max_size=120)


@given(readings, st.integers(1, 2**50))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_it_is_a_number_within_reach_or_nothing(seen: list[tuple[float, int]], limit: int) -> None:
    """Out of order, repeated, wild: no exception, no infinity, the same again from the same readings."""
    forecast, again = Forecast(), Forecast()
    for at, used in seen:
        forecast.fold(used, at, limit)
        again.fold(used, at, limit)
        seconds, growth = forecast.time_to_limit_seconds(limit), forecast.growth_bytes_per_second
        assert seconds == again.time_to_limit_seconds(limit)
        assert seconds is None or 0 <= seconds <= REACH * 1e6
        assert growth is None or math.isfinite(growth)


def walk(seed: int) -> Iterator[tuple[float, int]]:
    """Growth of changing steepness with noise and falls, looked at every 1, 4 or 15 s."""
    pick = random.Random(seed)
    every, at, used = pick.choice([1.0, 4.0, 15.0]), 0.0, 200.0
    for _ in range(6):
        slope_now, noise, teeth = pick.choice([0.0, 0.02, 0.3, 2.0]), pick.choice([0.0, 0.5, 5.0]), pick.random() < 0.3
        for _ in range(pick.randrange(20, 200)):
            at += every
            used = max(50.0, used + slope_now * every - (teeth and pick.random() < 0.05) * 60)
            yield at, int((used + pick.gauss(0, noise)) * MIB)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([30.0, 180.0, 3600.0]))
def test_when_it_is_asked_and_how_changes_no_answer(seed: int, within_seconds: float) -> None:
    limit = 1000 * MIB
    often, seldom = Forecast(), Forecast()
    for number, (at, used) in enumerate(walk(seed)):
        often.fold(used, at, limit)
        seldom.fold(used, at, limit)
        near = often.is_near(limit, within_seconds)
        seconds = often.time_to_limit_seconds(limit)
        assert near == (seconds is not None and seconds < within_seconds)
        if number % 97 == 0:
            assert seldom.time_to_limit_seconds(limit) == seconds
            assert seldom.growth_bytes_per_second == often.growth_bytes_per_second


@given(st.integers(0, 2**32))
def test_no_line_is_above_its_bound(seed: int) -> None:
    pick = random.Random(seed)
    rise, noise = pick.choice([0.1, 1.0, 20.0]), pick.choice([0.0, 1.0, 30.0])
    points = [(4.0 * n, int((100 + rise * 4 * n + pick.gauss(0, noise)) * MIB)) for n in range(pick.randrange(8, 33))]
    growth, later = growth_of_suffix(points), points[-1][0] + 500
    if growth is not None:
        reached = growth.line_bytes + growth.bytes_per_second * (later - growth.at)
        assert reached <= no_higher_than(points, later) * (1 + 1e-9)


def test_steady_growth_wants_both_halves_to_agree() -> None:
    rising = [(float(at), 1000 * at) for at in range(0, 160, 10)]
    assert steady_growth(rising) is not None
    slowing = [(at, int(1000 * 160 * (1 - math.exp(-at / 40)))) for at, _ in rising]
    assert steady_growth(slowing) is None
    assert steady_growth(rising[:3]) is None
    assert LIMIT_BYTES == 2**30

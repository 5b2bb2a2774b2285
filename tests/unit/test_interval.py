"""How long until the next look: the formula, its bounds, and what is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.policy.interval import BURST_BYTES_PER_SECOND, next_interval
from memory_watchdog.policy.settings import LevelSettings
from memory_watchdog.policy.thresholds import resolve
from memory_watchdog.quantities import Percent

LEVELS = (LevelSettings("normal", Percent(75), Percent(70)), LevelSettings("aggressive", Percent(90), Percent(80)))
GB = 10**9


def after(
    used: int | None, limit: int | None = 100 * GB, growth: float = 0.0, low: float = 0.1, high: float = 60
) -> float:
    return next_interval(
        used=used,
        limit_bytes=limit,
        thresholds=resolve(LEVELS, limit),
        growth_bytes_per_second=growth,
        min_interval_seconds=low,
        interval_seconds=high,
    )


@pytest.mark.parametrize(
    ("used", "seconds"),
    [
        (74 * GB, 1.0),  # 1 GB to `enter` of normal, twice the burst of 500 MB/s
        (70 * GB, 5.0),
        (0, 60),  # 75 s are more than the longest
        (75 * GB - 1, 0.1),
        (75 * GB, 15.0),  # at a level, the next one counts
        (89 * GB, 1.0),
        (90 * GB, 10.0),  # above the last one, the limit
        (99 * GB, 1.0),
        (100 * GB, 0.1),
        (200 * GB, 0.1),
    ],
)
def test_the_distance_to_the_next_threshold_at_the_worst_rate(used: int, seconds: float) -> None:
    assert after(used) == pytest.approx(seconds)


def test_growth_above_the_burst_shortens_it_and_growth_below_does_not() -> None:
    assert after(70 * GB, growth=BURST_BYTES_PER_SECOND * 10.0) == pytest.approx(0.5)
    assert after(70 * GB, growth=BURST_BYTES_PER_SECOND / 10) == after(70 * GB, growth=-1e12) == pytest.approx(5.0)


def test_without_used_or_limit_there_is_no_distance() -> None:
    assert after(None) == 60
    assert after(70 * GB, limit=None) == 60


def test_without_any_level_the_distance_to_the_limit_is_nobodys_business() -> None:
    seconds = next_interval(
        used=GB - 1, limit_bytes=GB, thresholds=resolve((), GB), growth_bytes_per_second=0, min_interval_seconds=0.1,
        interval_seconds=7,
    )  # fmt: skip
    assert seconds == 7


counts = st.integers(min_value=0, max_value=2**63)


@given(
    used=st.none() | counts,
    limit=st.none() | counts,
    growth=st.floats(allow_nan=False, allow_infinity=False),
    low=st.floats(0.01, 10),
    more=st.floats(0, 1000),
)
def test_it_is_always_between_its_bounds(
    used: int | None, limit: int | None, growth: float, low: float, more: float
) -> None:
    assert low <= after(used, limit, growth, low, low + more) <= low + more

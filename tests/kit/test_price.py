"""The order of components: the cheapest bytes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import Statistics
from memory_watchdog_kit.manager.price import cheapest_first, hit_rate, price_per_byte

CACHE = Statistics(bytes=1_000_000, items=100, hits=90, misses=10, refill_seconds=0.5)

counts = st.none() | st.integers(0, 10**9)
statistics = st.builds(
    Statistics,
    bytes=counts,
    items=counts,
    hits=counts,
    misses=counts,
    refill_seconds=st.none() | st.floats(0, 3600, allow_nan=False),
)


def test_a_price_is_the_expected_refill_time_of_a_byte() -> None:
    assert price_per_byte(CACHE) == pytest.approx(91 / 102 * 0.5 / 10_000)


@pytest.mark.parametrize(
    ("hits", "misses", "rate"),
    [(None, 3, 0.5), (3, None, 0.5), (0, 0, 0.5), (0, 1, 1 / 3), (0, 998, 0.001), (8, 0, 0.9)],
)
def test_the_hit_rate_of_few_lookups_is_taken_with_care(hits: int | None, misses: int | None, rate: float) -> None:
    assert hit_rate(Statistics(items=1, hits=hits, misses=misses)) == pytest.approx(rate)


@pytest.mark.parametrize(
    "cheaper",
    [
        replace(CACHE, refill_seconds=0.1),  # quicker to get again
        replace(CACHE, hits=10, misses=90),  # asked for less
        replace(CACHE, bytes=9_000_000),  # the same use of more bytes
    ],
)
def test_what_is_cheaper_goes_first(cheaper: Statistics) -> None:
    assert cheapest_first([CACHE, cheaper]) == [1, 0]
    assert cheapest_first([cheaper, CACHE]) == [0, 1]


def test_the_unknown_is_in_the_middle() -> None:
    cheap, dear = replace(CACHE, refill_seconds=0.001), replace(CACHE, refill_seconds=10.0)
    unknown = Statistics(items=1)
    assert cheapest_first([dear, None, unknown, CACHE, cheap]) == [4, 1, 2, 3, 0]
    assert cheapest_first([None, unknown]) == [0, 1]
    assert cheapest_first([]) == []


@settings(deadline=None)  # never fail because the machine is busy
@given(st.lists(st.none() | statistics, max_size=20))
def test_every_component_has_its_turn_and_known_prices_ascend(of: list[Statistics | None]) -> None:
    order = cheapest_first(of)
    assert sorted(order) == list(range(len(of)))
    prices = [price for at in order if (one := of[at]) is not None and (price := price_per_byte(one)) is not None]
    assert prices == sorted(prices)
    assert cheapest_first(of) == order

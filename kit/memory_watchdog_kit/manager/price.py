"""In which order components are cleaned: the cheapest bytes first.

Covers: the price of a byte of a component, and the order. Pure functions.
Leaves to others: where the numbers come from (`component`), what is then cleaned (`cleanup`).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from memory_watchdog_kit.component import Statistics


def hit_rate(statistics: Statistics) -> float:
    """The expected share of lookups that hit, (hits + 1) / (lookups + 2): a half where nothing was looked up yet.

    That is Laplace's rule of succession: one miss alone does not make a cache worthless.
    """
    if statistics.hits is None or statistics.misses is None:
        return 0.5
    return (statistics.hits + 1) / (statistics.hits + statistics.misses + 2)


def price_per_byte(statistics: Statistics) -> float | None:
    """What a freed byte is expected to cost, in seconds of refilling: hit rate × refill time / mean bytes of an item.

    None where the bytes, the items or the refill time are not known, or there is nothing in it.
    """
    if statistics.refill_seconds is None or not statistics.bytes or not statistics.items:
        return None
    return hit_rate(statistics) * statistics.refill_seconds / (statistics.bytes / statistics.items)


def cheapest_first(of: Sequence[Statistics | None]) -> list[int]:
    """The positions of components in the order in which to clean them.

    An unknown price counts as the median of the known ones; equal prices stay in the order given.
    """
    prices = [None if statistics is None else price_per_byte(statistics) for statistics in of]
    known = [price for price in prices if price is not None]
    middle = median(known) if known else 0.0
    return sorted(range(len(prices)), key=lambda at: middle if (price := prices[at]) is None else price)

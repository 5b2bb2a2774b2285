"""How long until the next look at a target.

clamp((next enter − used) / (2 × max(observed growth, burst)), min_interval, interval): the worst fill rate is assumed,
as earlyoom does. Leaves to others: kernel events, which only shorten it.
"""

from __future__ import annotations

from memory_watchdog.policy.thresholds import Thresholds

BURST_BYTES_PER_SECOND = 500_000_000
"""The fill rate that is assumed where none as fast has been seen (DESIGN.md, "How often")."""


def ahead_of(used: int, limit_bytes: int | None, thresholds: Thresholds) -> int | None:
    """What `used` must not pass unseen: the next `enter`, above the last one the limit. None where nothing is known."""
    ahead = thresholds.next_enter(used)
    if ahead is None and any(edge is not None for edge in thresholds.edges):
        return limit_bytes
    return ahead


def next_interval(
    *,
    used: int | None,
    limit_bytes: int | None,
    thresholds: Thresholds,
    growth_bytes_per_second: float,
    min_interval_seconds: float,
    interval_seconds: float,
) -> float:
    """Seconds until the next tick."""
    if used is None:
        return interval_seconds
    ahead = ahead_of(used, limit_bytes, thresholds)
    if ahead is None:
        return interval_seconds
    worst = max(growth_bytes_per_second, BURST_BYTES_PER_SECOND)
    return min(max((ahead - used) / (2 * worst), min_interval_seconds), interval_seconds)

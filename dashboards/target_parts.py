"""Expressions and conventions that the rows of the target's dashboard share."""

from __future__ import annotations

from dashboards.colours import Colour
from dashboards.queries import BY_TARGET, of_target, rate, share_of

NAME = "{{target}} {{instance}}"
"""Both, since in a fleet all targets are called the same."""

UNACCOUNTED = of_target("target_unaccounted_bytes")
COMPONENT_BYTES = of_target("component_bytes")
LAST_CLEANUP = of_target("cleanup_last_timestamp_seconds")
START = of_target("target_start_time_seconds")

HITS = rate(of_target("component_hits_total"))
MISSES = rate(of_target("component_misses_total"))
HIT_RATE = share_of(HITS, f"({HITS} + {MISSES})")

AFTER_SECONDS = 300
"""For so long after a cleanup what users miss is put down to it: a cache of minutes has refilled by then."""
RECENTLY_CLEANED = f"time() - max by ({BY_TARGET}) ({LAST_CLEANUP}) < {AFTER_SECONDS}"

SHARE_STEPS = ((None, Colour.GOOD), (0.75, Colour.WARNING), (0.875, Colour.BAD))
"""The levels that a target has by default; its own are drawn from its metrics."""

"""How the ladder of a target stands after a tick, as the ledger keeps it.

Leaves to others: the ladder (`policy`), keeping it (`ledger`), showing it (`web`).
"""

from __future__ import annotations

from memory_watchdog.ledger import Standing
from memory_watchdog.policy.causes import Picture
from memory_watchdog.policy.ladder import Ladder


def standing_of(ladder: Ladder, picture: Picture | None, now: float) -> Standing:
    """The ladder at `now` (CLOCK_BOOTTIME), with what its growth looks like."""
    settings = ladder.settings
    return Standing(
        level=ladder.held,
        levels=tuple(level.name for level in settings.levels),
        edges=ladder.thresholds.edges,
        cooldown_seconds={
            level.name: ladder.cooldown_seconds(index)
            for index, level in enumerate(settings.levels)
            if level.cleanup_timeout_seconds is not None
        },
        budget_remaining=ladder.budget_remaining(),
        paused=ladder.state.paused_until is not None and ladder.state.paused_until > now,
        dry_run=settings.dry_run,
        growth_bytes_per_second=ladder.growth_bytes_per_second,
        time_to_limit_seconds=ladder.time_to_limit_seconds(),
        picture=picture,
    )

"""What the ladder is told about a target: levels, times, budget. Frozen, so that a reload is a new value.

Leaves to others: how the config file spells it (`config`), what the thresholds are in bytes (`thresholds`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from memory_watchdog.quantities import Percent, Threshold

NONE = "none"
"""The name of no level; no level of a target may carry it."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """One level. `cleanup_timeout_seconds` is of the whole cleanup; None where the level sends nothing."""

    name: str
    enter: Threshold
    exit: Threshold
    sustain_seconds: float = 0.0
    cooldown_seconds: float = 60.0
    min_reclaim: Threshold = field(default=Percent(1))
    cleanup_timeout_seconds: float | None = 30.0


@dataclass(frozen=True, slots=True)
class RestartSettings:
    """When the last step may be taken. `after` is how many cleanups in a row must have been shown not to help.

    `min_age_seconds` is doubled by each restart within the budget's window; `steps_seconds` is what all steps may take.
    """

    after: int = 2
    min_age_seconds: float = 600.0
    budget_actions: int = 3
    budget_per_seconds: float = 3600.0
    steps_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """Everything about a target that the ladder decides by. Levels ascend. Without `restart` no process is ever ended.

    `forecast_within_seconds` is how near in time the limit must be for the forecast alone to act, None where it never
    does; `forecast_above` is how much must be used for that.
    """

    levels: tuple[LevelSettings, ...]
    stale_after_seconds: float = 15.0
    settle_seconds: float = 10.0
    escalate_after: int = 2
    max_cooldown_seconds: float = 600.0
    budget_actions: int = 30
    budget_per_seconds: float = 3600.0
    statistics_configured: bool = True
    dry_run: bool = False
    forecast_within_seconds: float | None = 180.0
    forecast_above: Threshold = field(default=Percent(40))
    restart: RestartSettings | None = None

    def index_of(self, name: str) -> int | None:
        """Where the level of that name stands; None where there is none (`none` included)."""
        return next((index for index, level in enumerate(self.levels) if level.name == name), None)

    def highest_cleanup(self) -> int | None:
        """The highest level that sends anything."""
        indices = [index for index, level in enumerate(self.levels) if level.cleanup_timeout_seconds is not None]
        return indices[-1] if indices else None

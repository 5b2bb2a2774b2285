"""Whether the forecast alone is reason enough to act: nothing is held, and the limit is near in time.

Covers: since when the limit has been foreseen, when the past no longer counts, the words of the reason.
Leaves to others: the forecast itself (`forecast`), cooldown, budget and sending (`holdback`, `ladder`).

It is not part of the state that is saved: a restarted watchdog looks for a while before it foresees anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from memory_watchdog.policy.efficacy import Basis
from memory_watchdog.policy.forecast import Forecast, Memory
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.quantities import format_bytes, format_seconds


@dataclass(slots=True)
class Outlook:
    """What is remembered: plain data, so that it can be recorded and read back."""

    memory: Memory = field(default_factory=Memory)
    basis: Basis | None = None
    near_since: float | None = None
    last_at: float | None = None


class Foresight:
    """The forecast of one target, and since when it says that the limit is near."""

    def __init__(self, outlook: Outlook | None = None) -> None:
        self.outlook = outlook or Outlook()

    @property
    def forecast(self) -> Forecast:
        """The forecast as it stands."""
        return Forecast(self.outlook.memory)

    def begin_anew(self) -> None:
        """Another process."""
        self.outlook.memory, self.outlook.near_since = Memory(), None

    def look(self, settings: LadderSettings, used: int, taken_at: float, basis: Basis) -> None:
        """Take one known reading. Another measure, limit or source of the limit starts it anew."""
        outlook = self.outlook
        if outlook.basis is not None and basis != outlook.basis:
            self.begin_anew()
        outlook.basis = basis
        limit_bytes = None if basis.limit is None else basis.limit.bytes
        self.forecast.fold(used, taken_at, limit_bytes)
        gap = outlook.last_at is None or taken_at - outlook.last_at > settings.stale_after_seconds
        outlook.last_at = taken_at
        if not self._is_near(settings, used, limit_bytes):
            outlook.near_since = None
        elif outlook.near_since is None or gap:
            outlook.near_since = taken_at

    def is_due(self, settings: LadderSettings, taken_at: float) -> bool:
        """Has the limit been near for the first level's sustain, at every reading?"""
        since = self.outlook.near_since
        return since is not None and taken_at - since >= settings.levels[0].sustain_seconds

    def words(self, limit_bytes: int | None) -> str:
        """`growing by 2.10 MiB/s the limit is reached in 2m40s`."""
        growth, seconds = self.forecast.growth_bytes_per_second, self.forecast.time_to_limit_seconds(limit_bytes)
        if growth is None or seconds is None:
            raise ValueError("there are words only where the limit is near")
        return f"growing by {format_bytes(round(growth))}/s the limit is reached in {format_seconds(round(seconds))}"

    def _is_near(self, settings: LadderSettings, used: int, limit_bytes: int | None) -> bool:
        within, above = settings.forecast_within_seconds, settings.forecast_above.of(limit_bytes)
        if within is None or above is None or used < above:
            return False
        return self.forecast.is_near(limit_bytes, within)

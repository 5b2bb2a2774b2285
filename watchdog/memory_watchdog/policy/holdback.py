"""What keeps a wanted request from being sent: in flight, unanswered, cooldown, pause, budget.

Pure functions of settings and state. Leaves to others: whether anything is wanted, and sending it (`ladder`).
"""

from __future__ import annotations

from dataclasses import dataclass

from memory_watchdog.policy.events import Suppression, Trigger
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.policy.state import LadderState, doubled
from memory_watchdog.quantities import format_seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that the memory asks for: `held` and `level` are indices; they differ when escalating."""

    held: int
    level: int
    trigger: Trigger
    used: int
    limit_bytes: int | None
    taken_at: float


def held_back(
    settings: LadderSettings, state: LadderState, wanted: Wanted, now: float
) -> tuple[Suppression, str] | None:
    """Why `wanted` is not sent now, with a detail for the log; None when nothing speaks against it."""
    if state.request is not None:
        if state.request.answered_at is None:
            return Suppression.IN_FLIGHT, f"request {state.request.request_id} is in flight"
        if wanted.held <= index_or_top(settings, state.request.level):
            return Suppression.IN_FLIGHT, f"the verdict on request {state.request.request_id} is awaited"
    if blocked_by_unanswered(settings, state, wanted.held):
        return Suppression.UNANSWERED, "an earlier request timed out and the server has not answered since"
    ends = cooldown_ends_at(settings, state, wanted)
    if now < ends and not limit_comes_first(state, wanted, ends - now):
        return Suppression.COOLDOWN, f"{format_seconds(ends - now)} of the cooldown left"
    if state.paused_until is not None:
        return Suppression.PAUSED, f"paused for another {format_seconds(state.paused_until - now)}"
    if budget_places(settings, state, wanted.level) <= 0:
        return (
            Suppression.BUDGET,
            f"{settings.budget_actions} in {format_seconds(settings.budget_per_seconds)} are spent",
        )
    return None


def index_or_top(settings: LadderSettings, name: str) -> int:
    """Where a level stands; a level that a reload removed holds back all the others, as nothing is known of it."""
    index = settings.index_of(name)
    return len(settings.levels) if index is None else index


def blocked_by_unanswered(settings: LadderSettings, state: LadderState, held: int) -> bool:
    """Does a timed-out request hold back what is wanted at `held`? A rise above its level passes, once."""
    hold = state.unanswered
    if hold is None or hold.released:
        return False
    return hold.passed or held <= index_or_top(settings, hold.level)


def cooldown_seconds(settings: LadderSettings, state: LadderState, level: int, held: int | None = None) -> float:
    """The cooldown of `level` at the present streak; an escalation from `held` counts that level's streak instead."""
    base = settings.levels[level].cooldown_seconds
    if held is None or held == level:
        streak = state.levels[settings.levels[level].name].streak
    else:
        streak = state.levels[settings.levels[held].name].streak - settings.escalate_after
    return doubled(base, streak, settings.max_cooldown_seconds)


def cooldown_ends_at(settings: LadderSettings, state: LadderState, wanted: Wanted) -> float:
    """When the cooldown ends, counted from the last request at that level or above; −inf without one."""
    last = float("-inf")
    for level in settings.levels[wanted.level :]:
        known = state.levels[level.name]
        for at in (known.last_request_at, known.shadow_request_at):
            if at is not None:
                last = max(last, at)
    return last + cooldown_seconds(settings, state, wanted.level, wanted.held)


def limit_comes_first(state: LadderState, wanted: Wanted, remaining_seconds: float) -> bool:
    """Would the limit be reached before the cooldown ends (+ settle), though the last cleanup helped?

    Without this the survivable growth on 512 MiB is 5.9 MiB/s instead of 9.5 (DESIGN.md, section 4).
    """
    last = state.last_effective
    if last is None or wanted.limit_bytes is None:
        return False
    growth = last.growth_bytes_per_second(wanted.used, wanted.taken_at)
    return growth > 0 and wanted.used + growth * (remaining_seconds + last.settle_seconds) >= wanted.limit_bytes


def budget_places(settings: LadderSettings, state: LadderState, level: int) -> int:
    """How many requests may still be sent at `level`: a quarter is kept for the highest cleanup level."""
    taken = len(state.budget) + len(state.shadow_budget)
    kept = 0 if level == settings.highest_cleanup() else settings.budget_actions // 4
    return settings.budget_actions - kept - taken

"""The last step: whether the target's process is to be ended, because cleaning up has been shown not to help.

Covers: when it is due, how old the process must be, budget and back-off, what holds it back.
Leaves to others: ending it (`actions.restart`), starting it again (its own supervisor), the rest of the ladder.

Pure functions of settings and state. Only cleanups that were answered, or refused, and measured without a doubt count:
a server that is busy is not ended for being busy.
"""

from __future__ import annotations

from memory_watchdog.observation import Observation, OutcomeKind, ProcessIdentity
from memory_watchdog.policy.efficacy import Request
from memory_watchdog.policy.events import Note, Restart, RestartDone, RestartEnded, RestartHeldBack, RestartOutcome
from memory_watchdog.policy.settings import LadderSettings, RestartSettings
from memory_watchdog.policy.state import LadderState, Restarting, doubled
from memory_watchdog.policy.thresholds import Thresholds
from memory_watchdog.quantities import format_bytes, format_seconds

USER_HZ = 100
"""Ticks a second of a start time in /proc: the same on every architecture of Linux (include/asm-generic/param.h)."""

GRACE_SECONDS = 10.0
"""How long after all its steps a restart without an end is given up by the ladder itself."""


def counts(settings: LadderSettings, request: Request) -> bool:
    """Does this request, found to have reclaimed nothing, speak for a restart?"""
    highest = settings.highest_cleanup()
    known = request.outcome in (OutcomeKind.DONE, OutcomeKind.FAILED)
    return known and highest is not None and request.level == settings.levels[highest].name


def decide(
    settings: LadderSettings, state: LadderState, thresholds: Thresholds, seen: Observation, now: float
) -> Restart | RestartHeldBack | None:
    """What an observation asks for; None where no restart is due."""
    rules = settings.restart
    if rules is None or not isinstance(seen.used, int) or not isinstance(seen.identity, ProcessIdentity):
        return None
    why = _why(settings, rules, state, thresholds, seen.used, now)
    if why is None:
        return None
    blocked = _held_back(settings, rules, state, seen.identity, now)
    if blocked is not None:
        return RestartHeldBack(*blocked)
    state.sequence += 1
    limit = None if state.last_basis is None or state.last_basis.limit is None else state.last_basis.limit.bytes
    decided = Restart(f"{state.instance}-{state.sequence}", seen.identity, why, seen.used, limit)
    state.restart = Restarting(decided.request_id, now + rules.steps_seconds + GRACE_SECONDS)
    state.restarts.append(now)
    state.suppressed.clear()
    return decided


def _why(
    settings: LadderSettings,
    rules: RestartSettings,
    state: LadderState,
    thresholds: Thresholds,
    used: int,
    now: float,
) -> str | None:
    """Why it is due, in words."""
    index = settings.index_of(state.held)
    if index != len(settings.levels) - 1 or state.restart is not None or state.request is not None:
        return None
    level, edge, known = settings.levels[index], thresholds.edges[index], state.levels[state.held]
    if edge is None or used < edge.enter:
        return None
    if state.unanswered is not None and not state.unanswered.released:
        return None
    at = f"{format_bytes(used)} are used, {level.name} is held from {format_bytes(edge.enter)} on"
    if level.cleanup_timeout_seconds is not None:
        if known.ineffective < rules.after:
            return None
        return f"{at}, and {known.ineffective} cleanups in a row did not help"
    held_seconds = now - state.held_since
    if held_seconds < settings.max_cooldown_seconds:
        return None
    return f"{at} for {format_seconds(round(held_seconds))}, and there is no cleanup for it"


def _held_back(
    settings: LadderSettings, rules: RestartSettings, state: LadderState, identity: ProcessIdentity, now: float
) -> tuple[RestartOutcome, str] | None:
    needed = doubled(rules.min_age_seconds, len(state.restarts), rules.budget_per_seconds)
    lived = now - identity.start_ticks / USER_HZ
    if state.restarts:
        lived = min(lived, now - state.restarts[-1])
    if lived < needed:
        detail = f"the process is {format_seconds(round(lived))} old, {format_seconds(needed)} are needed"
        return RestartOutcome.TOO_YOUNG, f"{detail} after {len(state.restarts)} restarts" if state.restarts else detail
    if state.paused_until is not None:
        return RestartOutcome.PAUSED, f"paused for another {format_seconds(state.paused_until - now)}"
    if len(state.restarts) >= rules.budget_actions:
        spent = f"{rules.budget_actions} in {format_seconds(rules.budget_per_seconds)} are spent"
        return RestartOutcome.NO_BUDGET, f"{spent}: restarting does not help either, somebody must look"
    if settings.dry_run:
        return RestartOutcome.DRY_RUN, "dry run: the process would be ended now"
    return None


def end(state: LadderState, ended: RestartEnded, now: float) -> list[Note]:
    """Take how it ended. It must be shown anew that cleaning up does not help before there is another one."""
    state.decide_after = now
    for level in state.levels.values():
        level.ineffective = 0
    if state.restart is None or state.restart.request_id != ended.request_id:
        return []
    state.restart = None
    return [RestartDone(ended.request_id, ended.outcome, ended.detail)]


def let_lapse(settings: LadderSettings, state: LadderState, now: float) -> list[Note]:
    """Forget what the budget's window has left behind, and give up a restart whose end never came."""
    if settings.restart is not None and state.restarts:
        oldest = now - settings.restart.budget_per_seconds
        state.restarts = [at for at in state.restarts if at > oldest]
    if state.restart is None or now < state.restart.expires_at:
        return []
    detail = "no end of it was told: the watchdog was ended in the middle, or a step hangs"
    return end(state, RestartEnded(state.restart.request_id, RestartOutcome.FAILED, detail), now)

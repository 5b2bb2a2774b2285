"""The held level: where memory stands, with sustain on the way up and hysteresis on the way down.

Leaves to others: what is wanted at a level and what is sent (`ladder`).
"""

from __future__ import annotations

from memory_watchdog.policy.events import LevelChanged
from memory_watchdog.policy.settings import NONE, LadderSettings
from memory_watchdog.policy.state import LadderState
from memory_watchdog.policy.thresholds import Thresholds
from memory_watchdog.policy.words import fall_words, rise_words


def sustain(settings: LadderSettings, state: LadderState, thresholds: Thresholds, used: int, taken_at: float) -> None:
    """Since when has every observation met each `enter`? A gap longer than `stale_after` starts anew."""
    last = state.last_known_at
    gap = last is None or taken_at - last > settings.stale_after_seconds
    for level, edge in zip(settings.levels, thresholds.edges, strict=True):
        known = state.levels[level.name]
        if edge is None or used < edge.enter:
            known.met_since = None
        elif known.met_since is None or gap:
            known.met_since = taken_at


def move(
    settings: LadderSettings, state: LadderState, thresholds: Thresholds, used: int, taken_at: float
) -> LevelChanged | None:
    """Rise to the highest level that was met for its sustain, or fall below the held level's exit."""
    levels, edges = settings.levels, thresholds.edges
    held = settings.index_of(state.held)
    for index in range(len(levels) - 1, -1 if held is None else held, -1):
        since, edge = state.levels[levels[index].name].met_since, edges[index]
        if edge is not None and since is not None and taken_at - since >= levels[index].sustain_seconds:
            return hold(state, levels[index].name, used, taken_at, rise_words(levels[index], edge, used))
    if held is None:
        return None
    edge = edges[held]
    if edge is not None and used >= edge.exit:
        return None
    lower = thresholds.highest_not_undercut(used, held)
    after = NONE if lower is None else levels[lower].name
    return hold(state, after, used, taken_at, fall_words(levels[held], edge, used))


def hold(state: LadderState, after: str, used: int | None, at: float, reason: str) -> LevelChanged:
    """Hold another level from now on. An episode ends with the return to none."""
    changed = LevelChanged(state.held, after, used, reason)
    if after == NONE:
        state.episode += 1
        for level in state.levels.values():
            level.last_verdict = None
    state.held, state.held_since = after, at
    state.suppressed.clear()
    return changed


def forget_when_quiet(settings: LadderSettings, state: LadderState, now: float) -> None:
    """All streaks go to 0 when no level was held and nothing was sent for `max_cooldown`."""
    quiet_since = state.held_since if state.last_sent_at is None else max(state.held_since, state.last_sent_at)
    if state.held == NONE and now - quiet_since >= settings.max_cooldown_seconds:
        for level in state.levels.values():
            level.streak = level.ineffective = 0

"""Thresholds proposed from the first half of a target's past, and tried on the second.

Covers: which thresholds are tried, which is best, how wrong the first half was about the second, when to refuse.
Leaves to others: the model that they are tried with (`model`).

Best is what keeps memory below `SAFE_SHARE` of the limit with the fewest cleanups; among those that need as few, the
highest thresholds. What is proposed is only as good as the past: so the second half is predicted from the first, and a
prediction that is far off is refused instead of being shown as advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from memory_watchdog.observation import Limit
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.quantities import Percent
from memory_watchdog.replay.model import Alternative, with_settings
from memory_watchdog.replay.tape import Tape

LEAST_LOOKS = 400
LEAST_SECONDS = 3600.0
MOST_LOOKS = 10_000
"""Of each half; of more the highest of each group is taken. Fourteen candidates then take 15 s."""

SAFE_SHARE = 0.95
ENTERS = (55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0)
GAPS = (8.0, 12.5)
HYSTERESIS = (5.0, 7.5)
"""Exit of the first level below its enter, and of the second below its own: as the defaults have it."""

WORST_ERROR = 0.5
"""A second half with half as many cleanups again as the first predicts, or half as few, was not predicted."""

_FEW = 3  # cleanups more or less that chance alone explains


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Thresholds of the two lowest levels, in percent, and how they did. `refused` says why they are no advice."""

    settings: LadderSettings
    cleanups_first: int
    cleanups_second: int
    nearest_first: float
    nearest_second: float
    error: float
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class NoSuggestion:
    """Why nothing can be proposed."""

    reason: str


def suggest(
    tape: Tape, base: LadderSettings, progress: Callable[[int], None] = lambda _: None
) -> Suggestion | NoSuggestion:
    """Propose `enter` and `exit` of the first two levels. `base` are the settings that are kept besides."""
    known = [look for look in tape.looks if isinstance(look.used, int) and isinstance(look.limit, Limit)]
    seconds = known[-1].now - known[0].now if known else 0.0
    if len(known) < LEAST_LOOKS or seconds < LEAST_SECONDS:
        return NoSuggestion(
            f"{len(known)} looks with a known limit over {seconds:.0f} s are too few: at least {LEAST_LOOKS} over "
            f"{LEAST_SECONDS:.0f} s are needed"
        )
    middle = known[0].now + seconds / 2
    halves = _part(tape, known[0].now, middle), _part(tape, middle, known[-1].now)
    tried = [(settings, with_settings(halves[0], settings, progress)) for settings in _candidates(base)]
    safe = [one for one in tried if one[1].figures.nearest[0] < SAFE_SHARE]
    if not safe:
        lowest = min(made.figures.nearest[0] for _, made in tried)
        return NoSuggestion(
            f"no thresholds would have kept the first half below {100 * SAFE_SHARE:.0f} % of the limit: the best reach "
            f"{100 * lowest:.1f} %; a cleanup that gives back more, or a higher limit, is needed"
        )
    settings, first = min(safe, key=lambda one: (_count(one[1]), -_first_enter(one[0])))
    second = with_settings(halves[1], settings, progress)
    return _judged(settings, first, second)


def _judged(settings: LadderSettings, first: Alternative, second: Alternative) -> Suggestion:
    counts = _count(first), _count(second)
    difference = max(0, abs(counts[1] - counts[0]) - _FEW)
    error = difference / max(counts[0], _FEW)
    refused, share = None, 100 * second.figures.nearest[0]
    if share >= 100 * SAFE_SHARE:
        refused = f"on the second half memory would have come to {share:.1f} % of the limit with them"
    elif error > WORST_ERROR:
        refused = f"the first half predicts {counts[0]} cleanups for the second, its own model has {counts[1]}"
    nearest = first.figures.nearest[0], second.figures.nearest[0]
    return Suggestion(settings, *counts, *nearest, error, refused)


def _candidates(base: LadderSettings) -> Iterator[LadderSettings]:
    """Settings with other thresholds for the two lowest levels; further ones lie above them and are left out."""
    for enter in ENTERS:
        for gap in GAPS if len(base.levels) > 1 else (0.0,):
            levels = [replace(base.levels[0], enter=Percent(enter), exit=Percent(enter - HYSTERESIS[0]))]
            if len(base.levels) > 1:
                upper = enter + gap
                levels.append(replace(base.levels[1], enter=Percent(upper), exit=Percent(upper - HYSTERESIS[1])))
            yield replace(base, levels=tuple(levels), dry_run=False)


def _first_enter(settings: LadderSettings) -> float:
    enter = settings.levels[0].enter
    return enter.percent if isinstance(enter, Percent) else 0.0


def _count(made: Alternative) -> int:
    return sum(made.figures.actions.values())


def _part(tape: Tape, begins: float, ends: float) -> Tape:
    """A part of the past, thinned out. What cleanups give back is known from all of it: there are few."""
    looks = [look for look in tape.looks if begins <= look.now <= ends]
    size = max(1, len(looks) // MOST_LOOKS)
    groups = (looks[first : first + size] for first in range(0, len(looks), size))
    return replace(
        tape,
        settings=None,
        state=None,
        looks=[max(group, key=lambda look: look.used if isinstance(look.used, int) else -1) for group in groups],
        others=[(now, event) for now, event in tape.others if begins <= now <= ends],
        decided=[],
    )

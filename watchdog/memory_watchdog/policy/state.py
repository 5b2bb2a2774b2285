"""What the ladder remembers of a target: plain data, so that it can be saved and read back.

Leaves to others: how it changes (`ladder`), the file it is kept in (`state_file`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from memory_watchdog.policy.efficacy import Basis, LastEffective, Request, Unanswered
from memory_watchdog.policy.events import VerdictKind
from memory_watchdog.policy.settings import LevelSettings


@dataclass(slots=True)
class LevelState:
    """What the ladder remembers of one level."""

    met_since: float | None = None
    last_request_at: float | None = None
    shadow_request_at: float | None = None  # dry run: when it would have been
    streak: int = 0
    last_verdict: VerdictKind | None = None  # of this episode
    ineffective: int = 0  # in a row, at the highest cleanup, answered and measured: what speaks for a restart


@dataclass(frozen=True, slots=True)
class Place:
    """One place of the budget that is taken."""

    request_id: str
    taken_at: float


@dataclass(frozen=True, slots=True)
class Restarting:
    """The process is being ended; given up when no end was told by then."""

    request_id: str
    expires_at: float


@dataclass(slots=True)
class LadderState:
    """Everything the ladder remembers; plain data, so that it can be saved and read back."""

    instance: str
    held: str
    levels: dict[str, LevelState]
    held_since: float = 0.0
    episode: int = 0
    sequence: int = 0
    now: float = 0.0
    last_known_at: float | None = None
    last_used_bytes: int | None = None
    last_basis: Basis | None = None
    decide_after: float = -1.0  # only an observation taken later is decided on
    last_sent_at: float | None = None
    request: Request | None = None
    unanswered: Unanswered | None = None
    last_effective: LastEffective | None = None
    budget: list[Place] = field(default_factory=list)
    shadow_budget: list[float] = field(default_factory=list)
    paused_until: float | None = None
    suppressed: list[str] = field(default_factory=list)  # reasons noted since the last request or level change
    restart: Restarting | None = None
    restarts: list[float] = field(default_factory=list)  # when, within the budget's window


def level_states(levels: tuple[LevelSettings, ...], known: dict[str, LevelState]) -> dict[str, LevelState]:
    """States for `levels`, by name; those already known are kept."""
    return {level.name: known.get(level.name) or LevelState() for level in levels}


def doubled(base_seconds: float, times: int, max_seconds: float) -> float:
    """`base` × 2^`times`, at most max(`max_seconds`, `base`). The exponent is capped: 2^64 s is past any maximum."""
    return min(base_seconds * 2.0 ** min(max(times, 0), 64), max(max_seconds, base_seconds))


def shifted(state: LadderState, seconds: float) -> LadderState:
    """The same state with every time moved by `seconds`: for a clock that began anew."""

    def moved(at: float | None) -> float | None:
        return None if at is None else at + seconds

    request, unanswered, effective = state.request, state.unanswered, state.last_effective
    return replace(
        state,
        held_since=state.held_since + seconds,
        now=state.now + seconds,
        last_known_at=moved(state.last_known_at),
        decide_after=state.decide_after + seconds,
        last_sent_at=moved(state.last_sent_at),
        paused_until=moved(state.paused_until),
        budget=[Place(place.request_id, place.taken_at + seconds) for place in state.budget],
        shadow_budget=[at + seconds for at in state.shadow_budget],
        request=None
        if request is None
        else replace(
            request,
            sent_at=request.sent_at + seconds,
            low_at=request.low_at + seconds,
            answered_at=moved(request.answered_at),
        ),
        unanswered=None
        if unanswered is None
        else replace(unanswered, since=unanswered.since + seconds, ends_at=unanswered.ends_at + seconds),
        restart=None
        if state.restart is None
        else replace(state.restart, expires_at=state.restart.expires_at + seconds),
        restarts=[at + seconds for at in state.restarts],
        last_effective=None if effective is None else replace(effective, low_at=effective.low_at + seconds),
        levels={
            name: replace(
                level,
                met_since=moved(level.met_since),
                last_request_at=moved(level.last_request_at),
                shadow_request_at=moved(level.shadow_request_at),
            )
            for name, level in state.levels.items()
        },
    )

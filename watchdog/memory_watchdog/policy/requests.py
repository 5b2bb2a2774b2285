"""The life of a request in the ladder's state: opened, answered or timed out, and finished by a verdict.

Leaves to others: whether to send (`holdback`, `ladder`), the arithmetic of reclaimed bytes (`efficacy`).
"""

from __future__ import annotations

from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.policy import restart
from memory_watchdog.policy.efficacy import LastEffective, Request, Unanswered
from memory_watchdog.policy.events import Note, RequestFailed, Trigger, Verdict, VerdictKind
from memory_watchdog.policy.holdback import index_or_top
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.policy.state import LadderState, Place

GRACE_SECONDS = 5.0
"""How long after its timeout a request without an Outcome is ended by the ladder itself."""


def open_request(
    settings: LadderSettings, state: LadderState, level: int, held: int | None, trigger: Trigger, used: int | None
) -> Request:
    """Put a request in flight: it starts the cooldown and takes a place in the budget. `held` is None by hand."""
    chosen = settings.levels[level]
    assert chosen.cleanup_timeout_seconds is not None, "only levels with a cleanup are sent"
    state.request = Request(
        request_id=_request_id(settings, state, level),
        level=chosen.name,
        held=None if held is None else settings.levels[held].name,
        trigger=trigger,
        episode=state.episode,
        sent_at=state.now,
        timeout_seconds=chosen.cleanup_timeout_seconds,
        settle_seconds=settings.settle_seconds,
        min_reclaim=chosen.min_reclaim,
        basis=state.last_basis if used is not None else None,
        before_bytes=used,
    )
    state.levels[chosen.name].last_request_at = state.last_sent_at = state.now
    state.budget.append(Place(state.request.request_id, state.now))
    state.last_effective = None
    state.suppressed.clear()
    return state.request


def _request_id(settings: LadderSettings, state: LadderState, level: int) -> str:
    """The id for a request at `level`: that of a timed-out one if it is repeated, and cannot have run late."""
    unanswered = state.unanswered
    if unanswered is not None:
        if not unanswered.released:
            unanswered.passed = True
        else:
            state.unanswered = None
            if not unanswered.fallen and level == settings.index_of(unanswered.level):
                return unanswered.request_id
    state.sequence += 1
    return f"{state.instance}-{state.sequence}"


def answer(settings: LadderSettings, state: LadderState, outcome: Outcome, now: float) -> list[Note]:
    """Take the outcome of a request; one that has ended here already only shows that the server lives."""
    request = state.request
    state.decide_after = now  # a late answer too: what was seen before it says nothing of what that did
    heard = outcome.kind is OutcomeKind.DONE or (
        outcome.kind is OutcomeKind.FAILED and outcome.reason is not Reason.CLOSED
    )
    if heard and state.unanswered is not None:
        state.unanswered.released = True
    if request is None or request.request_id != outcome.request_id or request.answered_at is not None:
        return []
    notes: list[Note] = []
    request.outcome = outcome.kind
    if outcome.kind is not OutcomeKind.DONE:
        reason = outcome.reason or Reason.INVALID
        notes.append(RequestFailed(request.request_id, request.level, reason, outcome.detail))
    if outcome.kind is OutcomeKind.UNREACHED:
        notes.append(finish(settings, state, request, VerdictKind.INCONCLUSIVE, None, "the server did not get it"))
        return notes
    request.answered_at = now
    if outcome.kind is OutcomeKind.TIMEOUT:
        wait = settings.max_cooldown_seconds
        if not settings.statistics_configured:
            wait = min(wait, 2 * request.timeout_seconds)
        state.unanswered = Unanswered(
            request.request_id, request.level, now, now + wait, request.before_bytes, request.min_reclaim
        )
    return notes


def expire(settings: LadderSettings, state: LadderState, now: float) -> list[Note]:
    """End a request that got no Outcome: its sender died or hangs."""
    request = state.request
    if request is None or request.answered_at is not None:
        return []
    limit = request.timeout_seconds + GRACE_SECONDS
    if now < request.sent_at + limit:
        return []
    detail = f"no outcome {limit:g}s after it was sent"
    return answer(settings, state, Outcome(request.request_id, OutcomeKind.TIMEOUT, limit, Reason.TIMEOUT, detail), now)


def lose(settings: LadderSettings, state: LadderState) -> list[Note]:
    """The process was replaced: what was in flight has failed, what was settling can no longer be judged."""
    notes: list[Note] = []
    request = state.request
    if request is not None:
        if request.answered_at is None:
            detail = "the process was replaced while the request was in flight"
            request.outcome = OutcomeKind.FAILED
            notes.append(RequestFailed(request.request_id, request.level, Reason.TARGET_GONE, detail))
        notes.append(finish(settings, state, request, VerdictKind.INCONCLUSIVE, None, "the process was replaced"))
    state.unanswered = state.last_effective = None
    for level in state.levels.values():
        level.streak = level.ineffective = 0
        level.met_since = None
    return notes


def conclude(settings: LadderSettings, state: LadderState, now: float) -> list[Note]:
    """Give the verdict when the settle time is over."""
    request = state.request
    if request is None or now < request.settled_at:
        return []
    return [finish(settings, state, request, *request.judge())]


def finish(
    settings: LadderSettings,
    state: LadderState,
    request: Request,
    kind: VerdictKind,
    reclaimed: int | None,
    reason: str,
) -> Verdict:
    """Close a request with its verdict, and move streak and budget by it."""
    state.request = None
    owner = None if request.held is None else state.levels.get(request.held)
    if owner is not None and request.episode == state.episode:
        owner.last_verdict = kind
    state.last_effective = None
    if kind is VerdictKind.EFFECTIVE:
        assert request.low_bytes is not None, "an effective verdict has a low"
        state.last_effective = LastEffective(request.low_bytes, request.low_at, request.settle_seconds)
        for level in settings.levels[: index_or_top(settings, request.level) + 1]:
            state.levels[level.name].streak = 0
        for known in state.levels.values():
            known.ineffective = 0
        _give_back(state, request.request_id)
    elif owner is not None and (kind is VerdictKind.INEFFECTIVE or request.outcome is not OutcomeKind.DONE):
        owner.streak += 1
        if kind is VerdictKind.INEFFECTIVE and restart.counts(settings, request):
            owner.ineffective += 1
    return Verdict(request.request_id, request.level, request.held, kind, request.outcome, reclaimed, reason)


def _give_back(state: LadderState, request_id: str) -> None:
    """Free the last place of that id: a repeat has the id of the request it repeats, and a place of its own."""
    for index in range(len(state.budget) - 1, -1, -1):
        if state.budget[index].request_id == request_id:
            del state.budget[index]
            return

"""The decision: takes every event of a target and says when a request is to be sent, and why.

Covers: the order of things in one step, what is wanted at the held level, pause, dry run, manual requests, reload.
Leaves to others: the held level (`held`), what keeps a request back (`holdback`), the life of a request (`requests`),
reclaimed bytes (`efficacy`); reading memory and sending.

Pure: `step` takes an event and the time (CLOCK_BOOTTIME, seconds) and returns a decision or None; the same events give
the same decisions. `notes` says what else the last step changed. The rules are those of DESIGN.md, section 4.
"""

from __future__ import annotations

from memory_watchdog.observation import Limit, Observation, Outcome, Reading
from memory_watchdog.policy import held, requests, restart
from memory_watchdog.policy.efficacy import Basis
from memory_watchdog.policy.events import (
    Decision,
    Event,
    Manual,
    NewProcess,
    Note,
    Pause,
    Reloaded,
    Restart,
    RestartEnded,
    Resume,
    Suppressed,
    Suppression,
    ThresholdsChanged,
    Trigger,
    VerdictKind,
)
from memory_watchdog.policy.foresight import Foresight, Outlook
from memory_watchdog.policy.holdback import (
    Wanted,
    blocked_by_unanswered,
    budget_places,
    cooldown_seconds,
    held_back,
)
from memory_watchdog.policy.settings import NONE, LadderSettings, LevelSettings
from memory_watchdog.policy.state import LadderState, level_states
from memory_watchdog.policy.thresholds import resolve
from memory_watchdog.policy.words import request_words
from memory_watchdog.quantities import Percent


class Ladder:
    """One target's ladder. `state` is all it remembers; give it back to a new Ladder to go on after a restart.

    `outlook` is what its forecast remembers: it is recorded, and not saved.
    """

    def __init__(
        self, settings: LadderSettings, instance: str, state: LadderState | None = None, outlook: Outlook | None = None
    ) -> None:
        """`instance` starts every request id, so that ids of different runs never meet."""
        self.settings = settings
        self.state = state or LadderState(instance, NONE, level_states(settings.levels, {}))
        self.state.instance = instance
        self.thresholds = resolve(settings.levels, None)
        self._resolved_for: tuple[tuple[LevelSettings, ...], int | None] = (settings.levels, None)
        self._foresight = Foresight(outlook)
        self.restart: Restart | None = None
        self.notes: tuple[Note, ...] = ()
        self._notes: list[Note] = []
        self._reload(settings)
        self.notes = tuple(self._notes)

    @property
    def held(self) -> str:
        """The name of the level that memory is at."""
        return self.state.held

    def cooldown_seconds(self, level: int) -> float:
        """The cooldown of a level, by index, as the streak makes it now."""
        return cooldown_seconds(self.settings, self.state, level)

    @property
    def outlook(self) -> Outlook:
        """What the forecast remembers."""
        return self._foresight.outlook

    @property
    def growth_bytes_per_second(self) -> float | None:
        """How fast memory grows, by its lower envelope; None until a minute has been seen."""
        return self._foresight.forecast.growth_bytes_per_second

    def time_to_limit_seconds(self) -> float | None:
        """Seconds until the limit is reached; None where nothing says so with confidence."""
        limit = self.state.last_basis.limit if self.state.last_basis is not None else None
        return self._foresight.forecast.time_to_limit_seconds(None if limit is None else limit.bytes)

    def budget_remaining(self) -> int:
        """Places of the budget that are free, the quarter for the highest cleanup level among them."""
        highest = self.settings.highest_cleanup()
        return 0 if highest is None else max(0, budget_places(self.settings, self.state, highest))

    def calm_below(self, used: Reading) -> int | None:
        """Below this, no number that `used` may take next leads to anything, but for what a forecast begins to foresee.

        None where something is held, waited for or foreseen: then every number may matter, also one that lies lower.
        """
        state = self.state
        waits = state.request is not None or state.unanswered is not None or self.outlook.near_since is not None
        if waits or state.held != NONE or not isinstance(used, int):
            return None
        lowest = min((edge.enter for edge in self.thresholds.edges if edge is not None), default=None)
        return None if lowest is None or used >= lowest else lowest

    def step(self, event: Event, now: float) -> Decision | None:
        """Take one event; answer with the request to be sent, if any. `restart` is the last step, where that is due.

        Raises ValueError for a Manual whose level does not exist or sends nothing.
        """
        state = self.state
        if isinstance(event, Manual):
            self._level_by_hand(event)  # raises before anything has changed
        # A time before the last one is taken as the last one: nothing may be due twice because a clock went back.
        state.now = now = max(now, state.now)
        self._notes = requests.expire(self.settings, state, now)
        self._let_lapse(now)
        self._notes += restart.let_lapse(self.settings, state, now)
        self.restart = None
        decision: Decision | None = None
        if isinstance(event, Observation):
            decision = self._observe(event, now)
        else:
            self._notes += requests.conclude(self.settings, state, now)
            match event:
                case Outcome():
                    self._notes += requests.answer(self.settings, state, event, now)
                case NewProcess():
                    self._notes += requests.lose(self.settings, state)
                    self._foresight.begin_anew()
                case Pause():
                    state.paused_until = event.until if event.until > now else None
                case Resume():
                    state.paused_until = None
                case Manual():
                    decision = self._manual(event, now)
                case Reloaded():
                    self._reload(event.settings)
                case RestartEnded():
                    self._notes += restart.end(state, event, now)
        self.notes = tuple(self._notes)
        return decision

    def _let_lapse(self, now: float) -> None:
        """End what time ends: a pause, the wait for an unanswered request, places in the budget."""
        state = self.state
        if state.paused_until is not None and now >= state.paused_until:
            state.paused_until = None
        if state.unanswered is not None and now >= state.unanswered.ends_at:
            state.unanswered.released = True
        oldest = now - self.settings.budget_per_seconds
        if state.budget and state.budget[0].taken_at <= oldest:
            state.budget = [place for place in state.budget if place.taken_at > oldest]
        if state.shadow_budget and state.shadow_budget[0] <= oldest:
            state.shadow_budget = [at for at in state.shadow_budget if at > oldest]

    def _observe(self, seen: Observation, now: float) -> Decision | None:
        state, settings = self.state, self.settings
        limit_bytes = seen.limit.bytes if isinstance(seen.limit, Limit) else None
        late = state.last_known_at is not None and seen.taken_at < state.last_known_at
        if not late:
            self._move_thresholds(limit_bytes)
        unanswered, answered_at = state.unanswered, seen.server_answered_at
        if unanswered is not None and answered_at is not None and answered_at > unanswered.since:
            unanswered.released = True
        unknown = self._unknown(seen)
        if unknown is not None or late or not isinstance(seen.used, int):
            self._notes += requests.conclude(settings, state, now)
            index = settings.index_of(state.held)
            if unknown is not None and index is not None and self._sends(index):
                self._suppress(unknown[0], index, Trigger.THRESHOLD, unknown[1])
            return None
        used, basis = seen.used, Basis.of(seen)
        self._foresight.look(settings, used, seen.taken_at, basis)
        held.sustain(settings, state, self.thresholds, used, seen.taken_at)
        if state.request is not None:
            state.request.fold(used, seen.taken_at, basis)
        remeasured = state.last_basis is not None and basis.measure != state.last_basis.measure
        if unanswered is not None:
            if remeasured:
                unanswered.highest_bytes = None  # numbers of two measures cannot be compared
            unanswered.fold(used, limit_bytes)
        state.last_known_at, state.last_used_bytes, state.last_basis = seen.taken_at, used, basis
        self._notes += requests.conclude(settings, state, now)
        if remeasured:
            state.last_effective = None
        held.forget_when_quiet(settings, state, now)  # first: a rise after a long quiet starts with the base cooldown
        before = settings.index_of(state.held)
        changed = held.move(settings, state, self.thresholds, used, seen.taken_at)
        if changed is not None:
            self._notes.append(changed)
            after = settings.index_of(state.held)
            if after is None or (before is not None and after < before):
                return None  # a fall sends nothing at that moment
        if self._restarts(seen, now):
            return None
        return self._decide(used, limit_bytes, seen.taken_at, now)

    def _restarts(self, seen: Observation, now: float) -> bool:
        """Is the process being ended, from now on or already? Then nothing else is asked of it."""
        if self.state.restart is None and seen.taken_at > self.state.decide_after:
            due = restart.decide(self.settings, self.state, self.thresholds, seen, now)
            if isinstance(due, Restart):
                self.restart = due
            elif due is not None and (key := f"restart {due.outcome}") not in self.state.suppressed:
                self.state.suppressed.append(key)
                self._notes.append(due)
        return self.state.restart is not None

    def _unknown(self, seen: Observation) -> tuple[Suppression, str] | None:
        if not isinstance(seen.used, int):
            return Suppression.STALE, f"used is unknown: {seen.used}"
        percent = any(isinstance(level.enter, Percent) for level in self.settings.levels)
        if percent and not isinstance(seen.limit, Limit):
            return Suppression.NO_LIMIT, f"the limit is unknown: {seen.limit}"
        return None

    def _move_thresholds(self, limit_bytes: int | None) -> None:
        if self._resolved_for == (self.settings.levels, limit_bytes):
            return  # working them out anew takes 16 µs, a third of a step
        self._resolved_for = (self.settings.levels, limit_bytes)
        moved = resolve(self.settings.levels, limit_bytes)
        if moved != self.thresholds:
            self.thresholds = moved
            self._notes.append(ThresholdsChanged(limit_bytes, moved.crossed))

    def _wanted(self, used: int, limit_bytes: int | None, taken_at: float) -> Wanted | None:
        """What the memory asks for at the held level, whatever may hold it back."""
        settings = self.settings
        index = settings.index_of(self.state.held)
        if index is None:
            foreseen = self._foresight.is_due(settings, taken_at) and self._sends(0) and self.thresholds.edges[0]
            return Wanted(0, 0, Trigger.FORECAST, used, limit_bytes, taken_at) if foreseen else None
        edge = self.thresholds.edges[index]
        if edge is None:
            return None
        known = self.state.levels[self.state.held]
        level, trigger = index, Trigger.THRESHOLD
        if used < edge.enter:
            if known.last_verdict is not VerdictKind.EFFECTIVE:
                return None  # between exit and enter it goes on only while it helps
        elif known.streak >= settings.escalate_after:
            higher = next((i for i in range(index + 1, len(settings.levels)) if self._sends(i)), None)
            if higher is not None:
                level, trigger = higher, Trigger.ESCALATION
        return Wanted(index, level, trigger, used, limit_bytes, taken_at) if self._sends(level) else None

    def _sends(self, level: int) -> bool:
        return self.settings.levels[level].cleanup_timeout_seconds is not None

    def _decide(self, used: int, limit_bytes: int | None, taken_at: float, now: float) -> Decision | None:
        state, settings = self.state, self.settings
        wanted = self._wanted(used, limit_bytes, taken_at)
        if wanted is None:
            return None
        blocked = held_back(settings, state, wanted, now)
        if blocked is not None:
            self._suppress(blocked[0], wanted.level, wanted.trigger, blocked[1])
            return None
        if taken_at <= state.decide_after:
            return None  # seen before the last outcome: it says nothing of what that did
        level, edge = settings.levels[wanted.held], self.thresholds.edges[wanted.held]
        assert edge is not None, "a wanted level has thresholds"
        foreseen = self._foresight.words(limit_bytes) if wanted.trigger is Trigger.FORECAST else ""
        streak = state.levels[level.name].streak
        reason = request_words(wanted.trigger, level, edge, used, limit_bytes, streak, foreseen)
        if settings.dry_run:
            state.levels[settings.levels[wanted.level].name].shadow_request_at = now
            state.shadow_budget.append(now)
            state.last_effective = None
            self._suppress(Suppression.DRY_RUN, wanted.level, wanted.trigger, reason)
            return None
        return self._send(wanted.level, wanted.held, wanted.trigger, used, limit_bytes, reason)

    def _suppress(self, reason: Suppression, level: int, trigger: Trigger, detail: str) -> None:
        # Each would-be request of a dry run counts, and each press of the button; the rest once until things change.
        every_time = reason is Suppression.DRY_RUN or trigger is Trigger.MANUAL
        if every_time or reason not in self.state.suppressed:
            self._notes.append(Suppressed(reason, self.settings.levels[level].name, trigger, detail))
            if not every_time:
                self.state.suppressed.append(reason)

    def _level_by_hand(self, event: Manual) -> int:
        level = self.settings.index_of(event.level)
        if level is None or not self._sends(level):
            raise ValueError(f"no level {event.level!r} with a cleanup")
        return level

    def _manual(self, event: Manual, now: float) -> Decision | None:
        state, settings = self.state, self.settings
        level = self._level_by_hand(event)
        blocked: tuple[Suppression, str] | None = None
        if state.request is not None and state.request.answered_at is None:
            blocked = Suppression.IN_FLIGHT, f"request {state.request.request_id} is in flight"
        elif state.restart is not None:
            blocked = Suppression.IN_FLIGHT, "the process is being ended"
        elif blocked_by_unanswered(settings, state, level):
            blocked = Suppression.UNANSWERED, "an earlier request timed out and the server has not answered since"
        elif settings.dry_run:
            blocked = Suppression.DRY_RUN, f"dry run: {event.reason}"
        if blocked is not None:
            self._suppress(blocked[0], level, Trigger.MANUAL, blocked[1])
            return None
        fresh = state.last_known_at is not None and now - state.last_known_at <= settings.stale_after_seconds
        used = state.last_used_bytes if fresh else None
        limit = state.last_basis.limit if fresh and state.last_basis is not None else None
        return self._send(level, None, Trigger.MANUAL, used, None if limit is None else limit.bytes, event.reason)

    def _send(
        self, level: int, owner: int | None, trigger: Trigger, used: int | None, limit_bytes: int | None, reason: str
    ) -> Decision:
        state, settings = self.state, self.settings
        if state.request is not None:
            text = f"superseded by a request at level {settings.levels[level].name}"
            self._notes.append(requests.finish(settings, state, state.request, VerdictKind.INCONCLUSIVE, None, text))
        request = requests.open_request(settings, state, level, owner, trigger, used)
        edge = resolve(settings.levels, limit_bytes).edges[level if owner is None else owner]
        over = 0 if used is None or edge is None else used - edge.exit + 1
        return Decision(
            request_id=request.request_id,
            level=request.level,
            held=state.held,
            trigger=trigger,
            reason=reason,
            target_bytes=over if over > 0 else None,
            used_bytes=used,
            limit_bytes=limit_bytes,
        )

    def _reload(self, settings: LadderSettings) -> None:
        """Take other settings: levels are matched by name, and what remains keeps its timers, streaks and budget."""
        state = self.state
        self.settings = settings
        limit = state.last_basis.limit if state.last_basis is not None else None
        self._move_thresholds(None if limit is None else limit.bytes)
        state.levels = level_states(settings.levels, state.levels)
        if not settings.dry_run:
            state.shadow_budget.clear()
            for level in state.levels.values():
                level.shadow_request_at = None
        if state.held != NONE and settings.index_of(state.held) is None:
            used, remaining = state.last_used_bytes, None
            if used is not None:
                remaining = self.thresholds.highest_not_undercut(used, len(settings.levels))
            after = NONE if remaining is None else settings.levels[remaining].name
            self._notes.append(held.hold(state, after, used, state.now, "its level is no longer configured"))

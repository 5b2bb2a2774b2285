"""Other settings over the same past: decided on memory as it was up to the first difference, modelled from there on.

Covers: the second ladder, the first difference, what memory would have been after it.
Leaves to others: the past (`tape`), counting (`figures`).

The model: growth goes on as recorded. A cleanup that really ran and is not sent now gives its bytes back to memory when
it was answered; one that is sent now takes the median of what was measured at its level, after the median time. The
range is that of the 10th and 90th percentile for the same requests. A cache that was cleaned grows again, which the
model does not know: over hours it is too hopeful, and says so. A process that is ended now and was not then is counted
and not modelled: nobody knows how the new one would have grown.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from memory_watchdog.observation import Outcome, OutcomeKind
from memory_watchdog.policy.events import Decision, Event, Manual, NewProcess, Reloaded, RestartEnded
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.replay.figures import Figures
from memory_watchdog.replay.tape import Effect, Look, Tape

INSTANCE = "replay"


@dataclass(slots=True)
class Alternative:
    """What other settings come to. `differs_at` is the first difference, None where there is none."""

    figures: Figures
    differs_at: float | None = None
    difference: str = ""


@dataclass(slots=True)
class _Run:
    """One run of the second ladder."""

    tape: Tape
    ladder: Ladder
    made: Alternative
    modelled: bool
    recorded: dict[float, Decision] = field(default_factory=dict)
    ended: frozenset[float] = frozenset()
    effects: list[Effect] = field(default_factory=list)  # of recorded cleanups, the latest first
    due: list[tuple[float, str, Decision]] = field(default_factory=list)
    taken: tuple[float, float, float] = (0.0, 0.0, 0.0)  # by ours, at the 10th, 50th and 90th percentile
    returned: float = 0.0  # from recorded cleanups that are not sent now

    def look(self, look: Look) -> None:
        """One look, after everything that was due before it."""
        self._settle(look.now)
        used = look.used
        spread: tuple[float, ...] = (0.0,)
        if self.modelled and isinstance(used, int):
            moved = used + self.returned - self.taken[1]
            used = max(0, int(moved))
            # Fewer bytes taken is more memory: the 10th percentile is the higher end.
            spread = (0.0, self.taken[1] - self.taken[0], self.taken[1] - self.taken[2])
        self.made.figures.look(look.now, used, look.limit, spread)
        self._step(look.observation(used), look.now)

    def other(self, event: Event, now: float) -> None:
        """Any other event. The model makes its own outcomes; the settings stay what they are."""
        self._settle(now)
        if isinstance(event, NewProcess):
            # The new one is as it was recorded, whatever was done to the old one.
            self.returned, self.taken = 0.0, (0.0, 0.0, 0.0)
            self.due.clear()
        if isinstance(event, Reloaded) or (self.modelled and isinstance(event, Outcome | RestartEnded)):
            return
        try:
            self._step(event, now)
        except ValueError:
            # A cleanup by hand at a level that these settings do not have.
            self._differ(now, f"by hand at level {event.level}" if isinstance(event, Manual) else "an event")

    def _step(self, event: Event, now: float) -> None:
        decision = self.ladder.step(event, now)
        self.made.figures.noted(self.ladder.notes)
        if decision is not None:
            self.made.figures.decided(now, decision)
        if self.ladder.restart is not None:
            self.made.figures.restarted()
        ended = now in self.ended
        if not self.modelled and ended != (self.ladder.restart is not None):
            self._differ(now, "the process was ended before, not now" if ended else "the process is ended now")
        if not self.modelled:
            self._compare(decision, self.recorded.get(now), now)
        elif decision is not None:
            self._send(decision, now)

    def _compare(self, decision: Decision | None, before: Decision | None, now: float) -> None:
        ours = None if decision is None else (decision.level, decision.target_bytes)
        theirs = None if before is None else (before.level, before.target_bytes)
        if ours == theirs:
            return
        said = [
            "nothing" if one is None else f"{one.level} by {one.trigger}, target {one.target_bytes}"
            for one in (before, decision)
        ]
        self._differ(now, f"{said[0]} before, {said[1]} now")
        if decision is not None:
            self._send(decision, now)

    def _differ(self, now: float, text: str) -> None:
        self.modelled = True
        if self.made.differs_at is None:
            self.made.differs_at, self.made.difference = now, text
        # What was answered before has had its effect on what was recorded, and has it here.
        self.effects = [effect for effect in self.effects if effect.answered_at >= now]

    def _send(self, decision: Decision, now: float) -> None:
        heapq.heappush(self.due, (now + self.tape.duration_seconds(decision.level), decision.request_id, decision))

    def _settle(self, now: float) -> None:
        """Everything that happens to memory before `now`."""
        if not self.modelled:
            return
        while self.effects and self.effects[-1].answered_at <= now:
            effect = self.effects.pop()
            measured = effect.reclaimed_bytes
            self.returned += self.tape.reclaims(effect.level)[1] if measured is None else measured
        while self.due and self.due[0][0] <= now:
            at, request_id, decision = heapq.heappop(self.due)
            low, middle, high = self.tape.reclaims(decision.level)
            self.taken = (self.taken[0] + low, self.taken[1] + middle, self.taken[2] + high)
            duration = self.tape.duration_seconds(decision.level)
            self._step(Outcome(request_id, OutcomeKind.DONE, duration, claimed_bytes=int(middle)), at)


def with_settings(
    tape: Tape, settings: LadderSettings, progress: Callable[[int], None] = lambda _: None
) -> Alternative:
    """The past of one target under other settings. `progress` is told how many looks are done."""
    made = Alternative(Figures(settings, tape.wall_offset))
    state = deepcopy(tape.state)
    instance = INSTANCE if state is None else state.instance
    run = _Run(tape, Ladder(settings, instance, state), made, modelled=tape.settings is None)
    run.recorded, run.ended = dict(tape.decided), frozenset(tape.ended)
    run.effects = sorted(tape.effects, key=lambda effect: effect.answered_at, reverse=True)
    for number, (now, what) in enumerate(_in_order(tape)):
        if isinstance(what, Look):
            run.look(what)
        else:
            run.other(what, now)
        if number % 1000 == 999:
            progress(1000)
    return made


def _in_order(tape: Tape) -> Iterator[tuple[float, Look | Event]]:
    looks = ((look.now, index, look) for index, look in enumerate(tape.looks))
    others = ((now, index, event) for index, (now, event) in enumerate(tape.others))
    merged: Iterator[tuple[float, int, Look | Event]] = heapq.merge(looks, others, key=lambda one: one[:1])
    return ((now, what) for now, _, what in merged)

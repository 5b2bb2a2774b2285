"""An independent observer of a ladder: keeps its own books from events, decisions and notes, and objects to breaches.

Covers: the held level, which requests may and must be sent, cooldown with streaks, budget, holds, dry run, verdicts.
It never reads the ladder's state: only `held`, `cooldown_seconds`, `budget_remaining`, `notes` and the decision.
Leaves to others: the books themselves (`books`), which events there are (`test_properties`).
"""

from __future__ import annotations

from memory_watchdog.observation import Observation, Outcome, OutcomeKind
from memory_watchdog.policy.events import (
    Decision,
    Event,
    LevelChanged,
    Manual,
    NewProcess,
    Note,
    Pause,
    Reloaded,
    Resume,
    Suppressed,
    Trigger,
    Verdict,
    VerdictKind,
)
from memory_watchdog.policy.ladder import Ladder

from tests.unit.ladder.books import NEVER, Books, Seen, Sent, in_bytes


class Referee(Books):
    """Call `judge` after every step."""

    def judge(self, event: Event, now: float, decision: Decision | None, ladder: Ladder) -> None:
        """Check one step, then take it into the books."""
        self.now = now = max(now, self.now)
        self.steps += 1
        self.remeasured = False
        self.let_expire()
        before, known, notes = self.held, False, ladder.notes
        if isinstance(event, Outcome):
            self.hear(event)
        elif isinstance(event, Observation):
            known = self.known(event)
            self.look(event, known)
        verdicts = [note for note in notes if isinstance(note, Verdict)]
        superseding = [verdicts.pop()] if decision is not None and verdicts and not self._over() else []
        self._take_verdicts(verdicts)
        if isinstance(event, NewProcess):
            assert self.open is None, "a new process ends every request"
            self.replace()
        elif isinstance(event, Pause):
            self.paused_until = event.until
        elif isinstance(event, Resume):
            self.paused_until = NEVER
        elif isinstance(event, Reloaded):
            self.reload(event.settings)
        self.forget_when_quiet(known)
        self._check_held(event, ladder.held, known, notes)
        self._check_sending(event, decision, notes, known, fell=self.index(ladder.held) < self.index(before))
        self._take_verdicts(superseding)
        if decision is not None:
            self._check_id(decision)
            self.book(decision)
        self._check_numbers(ladder)

    def _over(self) -> bool:
        """Has the open request come to its verdict by itself?"""
        last = self.open
        return last is not None and last.heard_at is not None and self.now >= last.heard_at + last.settle

    def _check_numbers(self, ladder: Ladder) -> None:
        assert not self._over(), "a verdict is overdue"
        for index, level in enumerate(self.settings.levels):
            streak = self.streaks[level.name]
            assert streak >= 0
            assert ladder.cooldown_seconds(index) == self.cooldown(level, streak)
        highest = self.highest()
        assert ladder.budget_remaining() == (0 if highest is None else max(0, self.places(highest)))

    def _take_verdicts(self, notes: list[Verdict]) -> None:
        for note in notes:
            request = self.open
            assert request is not None, "a verdict on nothing"
            assert (note.request_id, note.level, note.held) == (request.request_id, request.level, request.held)
            self._check_verdict(request, note)
            request.verdict, request.reclaimed = note.kind, note.reclaimed_bytes
            self.facts.add(f"verdict {note.kind}")
            self.helped = request if note.kind is VerdictKind.EFFECTIVE and not self.remeasured else None
            if request.held is not None and request.held in self.streaks and request.episode == self.episode:
                self.verdicts[request.held] = note.kind
            if note.kind is VerdictKind.EFFECTIVE:
                for level in self.settings.levels[: self.rank(request.level) + 1]:
                    self.streaks[level.name] = 0
            elif request.held in self.streaks and (
                note.kind is VerdictKind.INEFFECTIVE or request.kind is not OutcomeKind.DONE
            ):
                self.streaks[request.held] += 1

    def _check_verdict(self, request: Sent, note: Verdict) -> None:
        """Measured anew from the readings."""
        if request.kind is OutcomeKind.UNREACHED or not self._over():
            assert (note.kind, note.reclaimed_bytes) == (VerdictKind.INCONCLUSIVE, None), "a verdict before its time"
            return
        assert request.heard_at is not None
        half, end = request.heard_at + request.settle / 2, request.heard_at + request.settle
        readings = [seen for seen in self.since(request) if seen.at <= end]
        first = [seen.used for seen in readings if seen.at <= half]
        second = [seen.used for seen in readings if seen.at > half]
        if not first or not second or len({(seen.measure, seen.limit) for seen in readings}) > 1:
            assert (note.kind, note.reclaimed_bytes) == (VerdictKind.INCONCLUSIVE, None), "it cannot be measured"
            return
        reclaimed = max(0, max(first) - min(second))
        assert note.reclaimed_bytes == reclaimed
        limit = readings[0].limit
        enough = in_bytes(request.settings.min_reclaim, max(first) if limit is None else limit.bytes)
        assert enough is not None
        assert note.kind is (VerdictKind.EFFECTIVE if reclaimed >= max(enough, 1) else VerdictKind.INEFFECTIVE)

    def _check_held(self, event: Event, held: str, known: bool, notes: tuple[Note, ...]) -> None:
        assert held == "none" or self.index(held) >= 0, f"{held} is no level"
        changes = [note for note in notes if isinstance(note, LevelChanged)]
        assert [(note.before, note.after) for note in changes] == ([(self.held, held)] if held != self.held else [])
        if known:
            assert held == self._expected_held()
        elif isinstance(event, Reloaded) and self.held != "none" and self.index(self.held) < 0:
            last = self.seen[-1]
            edges = self.edges(None if last.limit is None else last.limit.bytes)
            assert held == self._highest_not_undercut(last.used, edges, len(self.settings.levels))
        else:
            assert held == self.held, "the held level changes on known readings only"
        if held != self.held:
            self.facts.add("fall" if self.index(held) < self.index(self.held) else "rise")
            if held == "none":
                self.episode += 1
                self.verdicts.clear()
                self.none_since = self.seen[-1].at if known else self.now
        self.held = held

    def _highest_not_undercut(self, used: int, edges: dict[str, tuple[int, int]], below: int) -> str:
        names = [level.name for level in self.settings.levels[:below]]
        return next((name for name in reversed(names) if name in edges and used >= edges[name][1]), "none")

    def _expected_held(self) -> str:
        last, held = self.seen[-1], self.index(self.held)
        for level in reversed(self.settings.levels[held + 1 :]):
            since = self._met_since(level.name)
            if since is not None and last.at - since >= level.sustain_seconds:
                return level.name
        if held < 0 or (self.held in last.edges and last.used >= last.edges[self.held][1]):
            return self.held
        return self._highest_not_undercut(last.used, last.edges, held)

    def _met_since(self, name: str) -> float | None:
        """Back from the last reading while every one met `enter`, of this process and without a long gap."""
        later: Seen | None = None
        for seen in reversed(self.seen):
            if seen.process != self.process or seen.step < self.born.get(name, 0):
                break
            if name not in seen.edges or seen.used < seen.edges[name][0]:
                break
            if later is not None and later.at - seen.at > later.stale_after:
                break
            later = seen
        return None if later is None else later.at

    def _check_sending(
        self, event: Event, decision: Decision | None, notes: tuple[Note, ...], known: bool, fell: bool
    ) -> None:
        shadow = [
            note
            for note in notes
            if isinstance(note, Suppressed) and note.reason == "dry_run" and note.trigger is not Trigger.MANUAL
        ]
        if isinstance(event, Manual):
            allowed = self._manual_allowed(event)
            assert (decision is not None) == allowed, "by hand: sent or not, against the rules"
            assert decision is None or (decision.trigger is Trigger.MANUAL and decision.level == event.level)
            return
        if not isinstance(event, Observation) or not known or fell:
            assert decision is None, "only a known reading leads to a request, and no fall"
            assert not shadow
            return
        asked = self._asked()
        must, may = False, False
        if asked is not None:
            level = asked[0]
            may = event.taken_at > self.last_outcome_at and self._nothing_against(level, early=True)
            must = event.taken_at > self.last_outcome_at and self._nothing_against(level, early=False)
        acted = decision is not None or bool(shadow)
        assert may or not acted, "sent against the rules"
        assert acted or not must, "due, and not sent"
        if acted and not must:
            self.facts.add("limit comes first")
        assert decision is None or not self.settings.dry_run, "sent in dry run"
        if decision is not None:
            assert asked is not None
            assert (decision.level, decision.trigger, decision.held) == (*asked, self.held)
        if shadow:
            assert self.settings.dry_run
            assert asked is not None
            self.facts.add("shadow")
            self.shadows.append((self.now, asked[0]))
            self.helped = None

    def _manual_allowed(self, event: Manual) -> bool:
        last = self.open
        in_flight = last is not None and last.heard_at is None
        return not in_flight and not self.settings.dry_run and not self._held_back(event.level)

    def _held_back(self, name: str) -> bool:
        hold = self.hold
        return hold is not None and not hold.released and (hold.passed or self.rank(name) <= self.rank(hold.level))

    def _asked(self) -> tuple[str, Trigger] | None:
        """Which level is asked for by the memory, whatever may speak against it."""
        last = self.seen[-1]
        if self.held not in last.edges:
            return None
        enter, leave = last.edges[self.held]
        assert last.used >= leave, "held below its exit"
        name, trigger = self.held, Trigger.THRESHOLD
        if last.used < enter:
            if self.verdicts.get(self.held) is not VerdictKind.EFFECTIVE:
                return None
        elif self.streaks[self.held] >= self.settings.escalate_after:
            above = self.settings.levels[self.index(self.held) + 1 :]
            found = next((level.name for level in above if level.cleanup_timeout_seconds is not None), None)
            if found is not None:
                name, trigger = found, Trigger.ESCALATION
        level = self.settings.levels[self.index(name)]
        return (name, trigger) if level.cleanup_timeout_seconds is not None else None

    def _nothing_against(self, level: str, early: bool) -> bool:
        last = self.open
        if last is not None and (last.heard_at is None or self.index(self.held) <= self.rank(last.level)):
            return False
        if self._held_back(self.held) or self.now < self.paused_until:
            return False
        return self._cooled(level, early) and self.places(level) > 0

    def _cooled(self, name: str, early: bool) -> bool:
        index = self.index(name)
        above = [level.name for level in self.settings.levels[index:]]
        times = [self.last_at[other] for other in above if other in self.last_at]
        times += [at for at, other in self.shadows if other in above]
        streak = self.streaks[self.held] - (0 if name == self.held else self.settings.escalate_after)
        cooldown = self.cooldown(self.settings.levels[index], streak)
        if self.now >= max(times, default=NEVER) + cooldown:
            return True
        helped = self.helped
        if not early or helped is None or self.seen[-1].limit is None:
            return False
        assert helped.heard_at is not None
        return self.now >= helped.heard_at + helped.settle

    def _check_id(self, decision: Decision) -> None:
        """A repeat has the id of the request that timed out, everything else one that was never used."""
        hold, repeated = self.hold, None
        if hold is not None and not hold.released:
            assert not hold.passed
            hold.passed = True
            self.facts.add("through the hold")
        elif hold is not None:
            if not hold.fell and hold.level == decision.level:
                repeated = hold.request_id
                self.facts.add("repeated id")
            self.hold = None
        if repeated is not None:
            assert decision.request_id == repeated
        else:
            assert decision.request_id not in {one.request_id for one in self.sent}

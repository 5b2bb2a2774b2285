"""Over arbitrary events, times and settings the ladder keeps its rules, as the referee sees them.

Covers: unknown and late readings, changing limits and measures, outcomes of every kind, late, foreign or never, clock
steps, new processes, pause, manual, reload, dry run, state through JSON. A script is a list of numbers, so that
hypothesis can shrink it and a seed can make thousands.
Leaves to others: the rules themselves (`referee`), worked examples (`test_scenarios_*`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import LimitSource, Measure, Observation, Outcome, OutcomeKind, Reason
from memory_watchdog.policy.events import (
    Decision,
    Event,
    Manual,
    NewProcess,
    Note,
    Pause,
    Reloaded,
    Resume,
    ThresholdsChanged,
    Trigger,
    VerdictKind,
)
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import NONE, LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent, Size, Threshold

from tests.unit.ladder.books import Sent, in_bytes
from tests.unit.ladder.referee import Referee
from tests.unit.ladder.simulator import ME, MIB, observe, through_json

Move = tuple[str, float, int]
"""What happens, how long after the last, and a number that the details are taken from."""

LOOKS = ["see"] * 8 + ["stay"] * 4 + ["serve"]
EVENTS = [*LOOKS, *["answer"] * 5, "process", "pause", "resume", "manual"]
RELOADS = [*EVENTS, "reload", "dry"]
GAPS = [0.0, 0.1, 0.1, 1.0, 1.0, 1.0, 3.0, 5.0, 5.0, 5.0, 10.0, 10.0, 31.0, 61.0, 130.0, 700.0]
STEPS = [*GAPS * 3, -50.0, 86400.0]


def settings_from(seed: int) -> LadderSettings:
    """One to four levels, in sizes or percentages, some without cleanup."""
    pick = random.Random(seed)
    count, sizes = pick.randint(1, 4), pick.random() < 0.3
    enters, beneath = sorted(pick.sample(range(40, 100), count)), 20
    levels: list[LevelSettings] = []
    for name, enter in zip(pick.sample("abcde", count), enters, strict=True):
        beneath = pick.randint(beneath, enter - 1)
        above: Threshold = Size(enter * MIB) if sizes else Percent(enter)
        below: Threshold = Size(beneath * MIB) if sizes else Percent(beneath)
        timeout = pick.choice([None, 2.0, 5.0, 30.0, 60.0])
        reclaims: list[Threshold] = [Percent(1), Percent(1), Percent(10), Size(2 * MIB)]
        reclaim = pick.choice(reclaims)
        sustain, cooldown = pick.choice([0.0, 0.0, 5.0, 12.0]), pick.choice([1.0, 20.0, 60.0])
        levels.append(LevelSettings(name, above, below, sustain, cooldown, reclaim, timeout))
    return LadderSettings(
        tuple(levels),
        stale_after_seconds=pick.choice([2.0, 15.0, 15.0, 100.0]),
        settle_seconds=pick.choice([2.0, 10.0, 10.0, 70.0]),
        escalate_after=pick.choice([1, 2, 2, 99]),
        max_cooldown_seconds=pick.choice([10.0, 120.0, 600.0]),
        budget_actions=pick.choice([1, 3, 8, 30]),
        budget_per_seconds=1000.0,
        statistics_configured=pick.random() < 0.7,
        dry_run=pick.random() < 0.1,
        forecast_within_seconds=None,  # a forecast is not saved, and needs minutes: `test_forecast_trigger`
    )


def script_from(seed: int, length: int, kinds: Sequence[str]) -> list[Move]:
    pick = random.Random(seed)
    return [(pick.choice(kinds), pick.choice(STEPS), pick.getrandbits(24)) for _ in range(length)]


def scripts(kinds: Sequence[str]) -> st.SearchStrategy[list[Move]]:
    move = st.tuples(st.sampled_from(kinds), st.sampled_from(STEPS), st.integers(0, 2**24 - 1))
    return st.lists(move, min_size=10, max_size=60)


@dataclass
class Play:
    """A ladder, its referee, and a twin that is now and then saved, and read back by another process."""

    settings: LadderSettings
    now: float = 1000.0
    used: float = 50.0
    limit: float | None = 100.0
    measure: Measure = Measure.ANON
    events: list[tuple[Event, float]] = field(default_factory=list)
    decisions: list[Decision | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ladder, self.twin = Ladder(self.settings, "w"), Ladder(self.settings, "w")
        self.referee = Referee(self.settings)

    def run(self, script: Sequence[Move]) -> Play:
        """Play the whole script."""
        for kind, gap, number in script:
            self.now += gap
            pick = random.Random(number)
            if pick.random() < 0.2:
                self.twin = Ladder(self.twin.settings, "w", through_json(self.twin.state))
            if kind == "see":
                self._move_memory(pick)
                self._see(pick)
            elif kind == "stay":
                every = pick.choice([0.1, 1.0, 5.0])
                for _ in range(pick.randint(1, 12)):
                    self._see(pick)
                    self.now += every
            elif kind == "serve":
                self._serve(pick)
            elif kind == "answer":
                self._answer(pick)
            else:
                self._other(kind, pick)
        return self

    def _serve(self, pick: random.Random) -> None:
        """A server that grows and answers; its cleanups help, a little or much."""
        every, growth, freed = pick.choice([0.5, 2.0, 4.0]), pick.choice([0.1, 0.5, 2.0]), pick.choice([0.5, 5.0, 20.0])
        for _ in range(pick.randint(5, 30)):
            self.used = min(self.used + growth * every, 99.0)
            decision = self._step(observe(self.now, self.used, self.limit, measure=self.measure))
            if decision is not None:
                self.now += 0.3
                self.used = max(0.0, self.used - freed)
                self._step(Outcome(decision.request_id, OutcomeKind.DONE, 0.3))
            self.now += every

    def _move_memory(self, pick: random.Random) -> None:
        limit = None if self.limit is None else round(self.limit * MIB)
        edges = [edge for level in self.settings.levels for edge in (level.enter, level.exit)]
        around = [found / MIB for edge in edges if (found := in_bytes(edge, limit)) is not None]
        near = pick.choice(around) + pick.choice([-6.0, -1 / MIB, 0.0, 0.0, 2.0]) if around else 0.0
        self.used = max(0.0, pick.choice([near, near, near, 20.0, 105.0, self.used + 1, self.used - 3]))
        if pick.random() < 0.05:
            self.limit = pick.choice([100.0, 100.0, 130.0, 80.0, 10 / MIB, None])
        if pick.random() < 0.03:
            self.measure = pick.choice([Measure.ANON, Measure.RSS])

    def _see(self, pick: random.Random) -> None:
        taken_at = self.now - pick.choice([0.0, 0.0, 0.0, 0.0, 0.05, 4.0])
        used = None if pick.random() < 0.05 else self.used
        limit = None if pick.random() < 0.03 else self.limit
        source = LimitSource.CGROUP if pick.random() < 0.01 else LimitSource.GIVEN
        answered_at = pick.choice([None, None, None, None, taken_at, taken_at - 20])
        seen = observe(taken_at, used, limit, measure=self.measure, source=source, answered_at=answered_at)
        decision = self._step(seen)
        if decision is not None and pick.random() < 0.6:
            self.now += pick.choice([0.0, 0.3, 2.0, 29.0])
            self._answer(pick)

    def _answer(self, pick: random.Random) -> None:
        ids = [decision.request_id for decision in self.decisions if decision is not None]
        last = ids[-1] if ids else "w-1"
        request_id = pick.choice([last, last, last, last, pick.choice(ids or ["w-0"]), "foreign-1"])
        kind = pick.choice([OutcomeKind.DONE, OutcomeKind.DONE, OutcomeKind.TIMEOUT, *OutcomeKind])
        reason = None if kind is OutcomeKind.DONE else pick.choice([Reason.HTTP_STATUS, Reason.CLOSED])
        self._step(Outcome(request_id, kind, 0.5, reason, claimed_bytes=pick.choice([None, MIB])))

    def _other(self, kind: str, pick: random.Random) -> None:
        if kind == "process":
            self._step(NewProcess(ME))
        elif kind == "pause":
            self._step(Pause(self.now + pick.choice([-1.0, 20.0, 200.0])))
        elif kind == "resume":
            self._step(Resume())
        elif kind == "manual":
            level = pick.choice(self.settings.levels)
            if level.cleanup_timeout_seconds is not None:
                self._step(Manual(level.name))
            else:
                with pytest.raises(ValueError, match=level.name):
                    self.ladder.step(Manual(level.name), self.now)
        elif kind == "dry":
            self.settings = replace(self.settings, dry_run=not self.settings.dry_run)
            self._step(Reloaded(self.settings))
        elif kind == "reload":
            self.settings = settings_from(pick.getrandbits(20))
            self._step(Reloaded(self.settings))

    def _step(self, event: Event) -> Decision | None:
        decision = self.ladder.step(event, self.now)
        assert self.twin.step(event, self.now) == decision
        assert said(self.twin.notes) == said(self.ladder.notes)
        self.referee.judge(event, self.now, decision, self.ladder)
        if isinstance(event, Observation) and len(self.events) % 5 == 0:
            self._glance_below(event)
        self.events.append((event, self.now))
        self.decisions.append(decision)
        return decision

    def _glance_below(self, seen: Observation) -> None:
        """What would be passed over, because a glance saw less than `calm_below`, leads to nothing indeed."""
        below = self.ladder.calm_below(seen.used)
        if below is not None:
            passed_over = deepcopy(self.ladder)
            for used in (below - 1, 0):
                again = replace(seen, taken_at=max(seen.taken_at, self.now), used=used)
                assert passed_over.step(again, self.now) is None
                assert passed_over.held == NONE
                # a reading that came too late was not taken, its limit neither: `again` has it
                assert all(isinstance(note, ThresholdsChanged) for note in passed_over.notes)


def said(notes: tuple[Note, ...]) -> list[Note]:
    """Without the thresholds, which a restarted ladder says again."""
    return [note for note in notes if not isinstance(note, ThresholdsChanged)]


FUZZ = settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.integers(0, 2**20), scripts(RELOADS))
def test_rules_hold_over_arbitrary_events(seed: int, script: list[Move]) -> None:
    Play(settings_from(seed)).run(script)


@settings(FUZZ, max_examples=300)
@given(st.integers(0, 2**20), scripts(EVENTS))
def test_never_more_requests_than_cooldown_and_budget_allow(seed: int, script: list[Move]) -> None:
    """The same once more without streaks, holds and notes of the moment: only what was sent, looked at afterwards."""
    chosen = settings_from(seed)
    audit(Play(chosen).run(script), chosen)


@settings(FUZZ, max_examples=100)
@given(st.integers(0, 2**20), scripts(RELOADS))
def test_same_events_same_decisions(seed: int, script: list[Move]) -> None:
    chosen = settings_from(seed)
    play = Play(chosen).run(script)
    again = Ladder(chosen, "w")
    assert [again.step(event, at) for event, at in play.events] == play.decisions


HAPPENS = {
    *("rise", "fall", "expired", "ran late", "through the hold", "repeated id", "shadow", "limit comes first"),
    *(f"outcome {kind}" for kind in OutcomeKind),
    *(f"verdict {kind}" for kind in VerdictKind),
    *(f"sent {trigger}" for trigger in Trigger if trigger is not Trigger.FORECAST),
}


@pytest.mark.parametrize("part", range(4))
def test_rules_hold_over_long_scripts_by_seed(part: int) -> None:
    """Longer than hypothesis likes them, and everything that can happen does happen."""
    facts: set[str] = set()
    for seed in range(part * 80, part * 80 + 80):
        kinds = [RELOADS, EVENTS, LOOKS * 4 + EVENTS][seed % 3]
        play = Play(settings_from(seed)).run(script_from(seed, 150, kinds))
        facts |= play.referee.facts
        if kinds is not RELOADS:
            audit(play, settings_from(seed))
    assert facts >= HAPPENS


def audit(play: Play, chosen: LadderSettings) -> None:
    """Spacing and budget of everything that was sent, under one set of settings."""
    sent = play.referee.sent
    rank = {level.name: index for index, level in enumerate(chosen.levels)}
    for number, one in enumerate(sent):
        assert number == 0 or sent[number - 1].heard_at is not None or sent[number - 1].verdict is not None
        if one.held is None:
            continue
        window = [
            other
            for other in sent[: number + 1]
            if other.held is not None
            and other.at > one.at - chosen.budget_per_seconds
            and other.verdict is not VerdictKind.EFFECTIVE
        ]
        assert len(window) <= chosen.budget_actions
        before = [other for other in sent[:number] if rank[other.level] >= rank[one.level]]
        if before:
            spacing, base = one.at - before[-1].at, chosen.levels[rank[one.level]].cooldown_seconds
            assert spacing >= base or helped(sent[number - 1], one, chosen)


def helped(last: Sent, one: Sent, chosen: LadderSettings) -> bool:
    """Was the last request effective, and its settle time over?"""
    return last.verdict is VerdictKind.EFFECTIVE and one.at - last.at >= chosen.settle_seconds

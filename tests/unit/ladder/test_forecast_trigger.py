"""The forecast as a reason to act: when it may, when it must not, and that it is bounded like every other request."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from memory_watchdog.observation import Outcome, OutcomeKind
from memory_watchdog.policy.events import Decision, LevelChanged, NewProcess, Suppressed, Trigger, Verdict, VerdictKind
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import NONE, LadderSettings

from tests.unit.ladder.simulator import DEFAULTS, ME, Bench, observe


def leak(begins: float = 600, per_second: float = 0.2, base: float = 20) -> Callable[[float], float]:
    """Percent of the limit at a second: calm, then growth."""
    return lambda at: base + per_second * max(0.0, at - begins)


def played(settings: LadderSettings, used: Callable[[float], float], seconds: int) -> list[tuple[float, Decision]]:
    """What is sent while memory does what it does; every request is answered at once and changes nothing."""
    ladder, sent = Ladder(settings, "t"), []
    for at in range(seconds):
        decision = ladder.step(observe(float(at), used(at)), float(at))
        if decision is not None:
            sent.append((float(at), decision))
            ladder.step(Outcome(decision.request_id, OutcomeKind.DONE, 0.1), at + 0.1)
    return sent


def test_it_acts_before_the_first_level_is_entered() -> None:
    (at, first), *_ = played(DEFAULTS, leak(), 880)
    assert (first.trigger, first.level, first.held) == (Trigger.FORECAST, "normal", NONE)
    assert 820 <= at <= 840, "the limit comes at 1000 s; nearer than 180 s for the first level's sustain"
    assert "the limit is reached in" in first.reason
    assert "growing by" in first.reason


def test_not_below_above_nor_without_within_nor_without_a_limit() -> None:
    assert played(replace(DEFAULTS, forecast_within_seconds=None), leak(), 870) == []
    steep = leak(per_second=0.16, base=10)  # at 38 % when the limit is as near as 390 s
    assert played(replace(DEFAULTS, forecast_within_seconds=400.0), steep, 780) == []
    bench = Bench(DEFAULTS)
    for at in range(900):
        bench.ladder.step(observe(float(at), leak()(at), None), float(at))
    assert bench.ladder.time_to_limit_seconds() is None


def test_ineffective_forecast_cleanups_back_off_like_all_others() -> None:
    settings = replace(DEFAULTS, levels=DEFAULTS.levels[1:], forecast_within_seconds=400.0)  # entered at 87.5 %
    times = [
        at for at, decision in played(settings, leak(per_second=0.1), 1270) if decision.trigger is Trigger.FORECAST
    ]
    assert len(times) >= 2
    assert all(after - before >= 60 for before, after in pairwise(times)), "30 s, doubled by the first"


def test_a_new_process_starts_it_anew() -> None:
    ladder = Ladder(DEFAULTS, "t")
    for at in range(850):
        ladder.step(observe(float(at), leak()(at)), float(at))
    assert ladder.time_to_limit_seconds() is not None
    ladder.step(NewProcess(ME), 850.0)
    assert ladder.time_to_limit_seconds() is None
    assert ladder.growth_bytes_per_second is None


def test_an_alert_only_first_level_sends_nothing() -> None:
    quiet = replace(DEFAULTS.levels[0], cleanup_timeout_seconds=None)
    assert played(replace(DEFAULTS, levels=(quiet, DEFAULTS.levels[1])), leak(), 870) == []


def test_dry_run_and_pause_hold_it_back_and_say_so() -> None:
    ladder = Ladder(replace(DEFAULTS, dry_run=True), "t")
    said = []
    for at in range(870):
        assert ladder.step(observe(float(at), leak()(at)), float(at)) is None
        said += [note for note in ladder.notes if isinstance(note, Suppressed)]
    assert {(note.reason, note.trigger) for note in said} >= {("dry_run", "forecast")}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_memory_does_it_is_bounded(seed: int) -> None:
    """Never while a level is held, never below `above`, never nearer than the cooldown, never beyond the budget."""
    pick = random.Random(seed)
    settings = replace(DEFAULTS, budget_actions=8, budget_per_seconds=2000.0)
    ladder, used, slope = Ladder(settings, "t"), 30.0, 0.0
    sent: list[tuple[float, Decision]] = []
    kept: list[float] = []
    for at in range(9000):
        if at % 97 == 0:
            slope = pick.choice([0.0, 0.05, 0.2, 0.2, 0.4, -0.2])
        used = min(max(used + slope + pick.gauss(0, 0.05), 15), 99)
        held = ladder.held
        decision = ladder.step(observe(float(at), used), float(at))
        kept = [taken for taken in kept if taken > at - 2000]
        changed = any(isinstance(note, LevelChanged) for note in ladder.notes)
        for note in ladder.notes:
            if isinstance(note, Verdict) and note.kind is VerdictKind.EFFECTIVE:
                kept.remove(next(when for when, one in sent if one.request_id == note.request_id))
        if decision is None:
            continue
        if decision.trigger is Trigger.FORECAST:
            assert held == NONE
            assert not changed
            assert used >= 40
            assert decision.level == "normal"
        before = [when for when, _ in sent]
        if before and decision.trigger is Trigger.FORECAST:
            assert at - before[-1] >= settings.settle_seconds
        sent.append((float(at), decision))
        kept.append(float(at))
        assert len(kept) <= 8
        answer = pick.choice([OutcomeKind.DONE, OutcomeKind.DONE, OutcomeKind.FAILED])
        ladder.step(Outcome(decision.request_id, answer, 0.1), at + 0.1)
        used = max(15.0, used - pick.choice([0, 0, 5, 20]))

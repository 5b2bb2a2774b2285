"""Back-off: cooldown, escalation, and what resets a streak. Percent of a limit of 100 MiB."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.observation import OutcomeKind, Reason
from memory_watchdog.policy.events import Manual, NewProcess, RequestFailed, Trigger
from memory_watchdog.quantities import Percent

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, ME, NORMAL, Bench

QUICK = replace(NORMAL, sustain_seconds=0.0)
AT_ONCE = replace(DEFAULTS, levels=(QUICK, AGGRESSIVE))
ALONE = replace(DEFAULTS, levels=(QUICK,))
PATIENT = replace(AT_ONCE, escalate_after=99)


def plateau(b: Bench, first: float, last: float, used: float = 76) -> None:
    """The same reading every second; every request is answered after half a second and does nothing."""
    at = first
    while at <= last:
        if b.see(at, used):
            b.answer(at + 0.5)
        at += 1


# ---- back-off, escalation, streaks


def test_cooldown_doubles_up_to_the_maximum(bench: MakeBench) -> None:
    b = bench(replace(ALONE, max_cooldown_seconds=300.0))
    plateau(b, 0, 1200)
    assert b.times() == [0, 120, 360, 660, 960]


def test_max_cooldown_never_shortens_the_cooldown(bench: MakeBench) -> None:
    b = bench(replace(ALONE, max_cooldown_seconds=10.0))
    plateau(b, 0, 130)
    assert b.times() == [0, 60, 120]


def test_failed_requests_count_in_the_streak(bench: MakeBench) -> None:
    b = bench(ALONE)
    b.see(0, 76)
    b.answer(0.5, OutcomeKind.FAILED)
    b.watch(1, 119, 76)
    assert b.times() == [0]
    b.see(120, 76)
    b.answer(120.5, OutcomeKind.UNREACHED, Reason.CONNECTION)
    assert b.verdicts() == ["ineffective", "inconclusive"]
    assert b.ladder.cooldown_seconds(0) == 240
    assert [note.reason for note in b.noted(RequestFailed)] == [Reason.HTTP_STATUS, Reason.CONNECTION]


def test_failed_request_that_reclaimed_resets_the_streak(bench: MakeBench) -> None:
    b = bench(ALONE)
    b.see(0, 76)
    b.answer(0.5, OutcomeKind.FAILED)
    b.watch(1, 11, 71)
    assert b.ladder.cooldown_seconds(0) == 60
    assert b.ladder.budget_remaining() == 30


def test_escalation_has_its_own_cooldown_and_leaves_the_held_level(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 900)
    # 0 and 120 at normal; streak 2 at the verdict: aggressive at once, then after 30 × 2^1, 2^2, … from the last one
    assert b.times() == [0, 120, 131, 191, 311, 551]
    assert b.levels() == ["normal", "normal"] + ["aggressive"] * 4
    assert {decision.held for _, decision in b.sent} == {"normal"}
    assert [decision.trigger for _, decision in b.sent[2:]] == [Trigger.ESCALATION] * 4
    assert b.ladder.held == "normal"


def test_useless_escalations_do_not_delay_an_emergency(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 600)
    assert b.times()[-1] == 551
    assert b.see(601, 90) is not None, "the streak is normal's: aggressive has its base cooldown, 30 s since 551"
    b.answer(601.5)
    plateau(b, 602, 660, 90)
    assert b.ladder.cooldown_seconds(1) == 60
    assert b.times()[-1] == 601
    plateau(b, 661, 661, 90)
    assert b.times()[-1] == 661


def test_escalation_needs_used_at_enter(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 130)
    b.watch(131, 700, 74)
    assert b.levels() == ["normal", "normal"]


def test_escalation_skips_a_level_that_sends_nothing(bench: MakeBench) -> None:
    shown = replace(AGGRESSIVE, name="shown", enter=Percent(80), exit=Percent(78), cleanup_timeout_seconds=None)
    b = bench(replace(AT_ONCE, levels=(QUICK, shown, AGGRESSIVE)))
    plateau(b, 0, 140)
    assert b.levels() == ["normal", "normal", "aggressive"]


def test_effective_verdict_resets_the_level_and_those_below(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 131)
    assert b.levels() == ["normal", "normal", "aggressive"]
    assert b.ladder.cooldown_seconds(0) == 240
    b.watch(132, 142, 72)
    assert b.verdicts()[-1] == "effective"
    assert b.ladder.cooldown_seconds(0) == 60


def test_effective_verdict_below_leaves_the_streak_above(bench: MakeBench) -> None:
    b = bench(PATIENT)
    plateau(b, 0, 15, 90)
    assert b.ladder.cooldown_seconds(1) == 60
    b.watch(16, 60, 76)
    b.answer(60.5)
    b.watch(61, 71, 72)
    assert b.verdicts() == ["ineffective", "effective"]
    assert b.ladder.cooldown_seconds(0) == 60
    assert b.ladder.cooldown_seconds(1) == 60


def test_new_process_resets_all_streaks_and_keeps_cooldown_and_budget(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 130)
    b.step(NewProcess(ME), 130.5)
    assert b.ladder.cooldown_seconds(0) == 60
    plateau(b, 131, 179)
    assert b.times() == [0, 120]
    plateau(b, 180, 180)
    assert b.times() == [0, 120, 180], "base cooldown, counted from the last request"
    assert b.ladder.budget_remaining() == 27


def test_new_process_restarts_sustain(bench: MakeBench) -> None:
    b = bench()
    b.watch(0, 9, 76)
    b.step(NewProcess(ME), 9.5)
    b.watch(10, 19, 76)
    assert b.ladder.held == "none"
    b.see(20, 76)
    assert b.ladder.held == "normal"


@pytest.mark.parametrize(("quiet", "cooldown"), [(599, 480), (600, 60)])
def test_streaks_are_forgotten_after_a_quiet_max_cooldown(bench: MakeBench, quiet: float, cooldown: float) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 150)
    assert b.ladder.cooldown_seconds(0) == 480
    b.see(200, 60)
    b.see(200 + quiet, 60)
    assert b.ladder.cooldown_seconds(0) == cooldown


def test_streaks_are_forgotten_even_if_the_next_reading_rises(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 130)
    b.see(131, 60)
    b.watch(132, 800, None)
    assert b.see(801, 76) is not None
    assert b.sent[-1][1].level == "normal", "no escalation: the streak is of another day"


def test_streaks_are_not_forgotten_while_something_is_sent(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    plateau(b, 0, 130)
    b.see(131, 60)
    for at in (400, 900):
        b.step(Manual("normal"), at)
        b.answer(at + 0.5)
        b.watch(at + 1, at + 20, 60)
    b.see(1400, 60)
    assert b.ladder.cooldown_seconds(0) == 240

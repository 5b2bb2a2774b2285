"""One request: verdict, in flight, two levels, budget, what is suppressed. Percent of a limit of 100 MiB."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.policy.events import RequestFailed, Suppressed, Verdict
from memory_watchdog.policy.settings import LadderSettings

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, MIB, NORMAL, Bench, observe

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


# ---- verdict


def test_growth_during_a_slow_answer_does_not_hide_a_reclaim(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    for at in range(1, 21):
        b.see(at, 76 + at / 2)  # 86 when the answer comes
    b.answer(20.5)
    b.watch(21, 31, 80)
    verdict = b.noted(Verdict)[0]
    assert (verdict.kind, verdict.reclaimed_bytes) == ("effective", 6 * MIB)


def test_memory_that_comes_straight_back_is_not_reclaimed(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 4, 71)
    b.watch(6, 11, 76)
    assert b.verdicts() == ["ineffective"]
    assert b.noted(Verdict)[0].reclaimed_bytes == 0


def test_cleanup_that_takes_longer_than_settle_is_judged_from_its_answer(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.watch(1, 25, 76)
    b.answer(25.5)
    b.watch(26, 30, 76)
    b.watch(31, 35, 71)
    assert b.verdicts() == []
    b.see(36, 71)
    assert b.verdicts() == ["effective"]


@pytest.mark.parametrize(("low", "kind"), [(75.0, "effective"), (75.01, "ineffective")])
def test_min_reclaim_is_a_share_of_the_limit(bench: MakeBench, low: float, kind: str) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 11, low)
    assert b.verdicts() == [kind]


def test_no_observation_in_the_second_half_is_inconclusive(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 5, 60)
    b.watch(6, 11, None)
    assert b.verdicts() == ["inconclusive"]
    assert b.ladder.cooldown_seconds(0) == 60
    assert b.ladder.budget_remaining() == 29


def test_the_claim_is_not_believed(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.step(Outcome("w-1", OutcomeKind.DONE, 0.5, claimed_bytes=50 * MIB), 0.5)
    b.watch(1, 11, 76)
    assert b.verdicts() == ["ineffective"]


# ---- in flight, two levels


def test_nothing_is_decided_on_what_was_seen_before_the_outcome(bench: MakeBench) -> None:
    b = bench(replace(AT_ONCE, settle_seconds=0.0))
    b.see(0, 76)
    b.answer(61)
    assert b.step(observe(61, 90), 61.2) is None
    assert b.step(observe(61.1, 90), 61.3) is not None


def test_late_outcome_too_is_waited_for(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.watch(1, 79, 76)
    assert isinstance(b.noted(RequestFailed)[0], RequestFailed)
    b.answer(120)  # the sender had hung
    assert b.step(observe(119.9, 76), 120.5) is None
    assert b.step(observe(121, 76), 121) is not None


def test_a_lower_level_never_delays_a_higher_one(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.see(2, 90)
    assert b.levels() == ["normal", "aggressive"]
    assert [note.reason for note in b.noted(Verdict)] == ["superseded by a request at level aggressive"]
    assert b.ladder.cooldown_seconds(0) == 60, "inconclusive changes no streak"


def test_nothing_is_sent_while_in_flight_not_even_a_rise(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.watch(1, 34, 95)
    assert b.times() == [0]
    assert b.suppressed() == ["in_flight"]
    b.see(35, 95)
    assert b.noted(RequestFailed)[0].reason is Reason.TIMEOUT
    assert b.times() == [0]
    b.see(36, 95)
    assert b.times() == [0, 36], "the rise goes through settle and hold"


def test_same_level_waits_for_the_verdict_even_past_its_cooldown(bench: MakeBench) -> None:
    b = bench(replace(AT_ONCE, settle_seconds=90.0))
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 90, 76)
    assert b.times() == [0]
    b.watch(91, 130, 76)
    assert b.times() == [0, 120], "at the verdict the streak is 1, so the cooldown is 120 s"


def test_goes_on_below_enter_only_while_it_helps(bench: MakeBench) -> None:
    b = bench(PATIENT)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 59, 73)
    assert b.verdicts() == ["effective"]
    b.see(60, 73)
    assert b.times() == [0, 60]
    b.answer(60.5)
    b.watch(61, 600, 73)
    assert b.verdicts() == ["effective", "ineffective"]
    assert b.times() == [0, 60], "between exit and enter, and it no longer helps"
    assert "cooldown" in b.suppressed()


def test_effective_verdict_of_an_earlier_episode_does_not_count(bench: MakeBench) -> None:
    b = bench(PATIENT)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 11, 69)
    assert b.verdicts() == ["effective"]
    b.see(100, 76)
    b.answer(100.5)
    b.see(101, 69)
    b.see(102, 80)
    b.see(103, 73)  # held again, second episode after that request: its verdict belongs to the episode before
    b.watch(104, 400, 73)
    assert b.times() == [0, 100]


# ---- budget, suppressed


def test_a_quarter_of_the_budget_is_kept_for_the_highest_cleanup_level(bench: MakeBench) -> None:
    always = replace(QUICK, cooldown_seconds=20.0)
    settings = LadderSettings((always, AGGRESSIVE), max_cooldown_seconds=0.0, escalate_after=99, budget_actions=8)
    b = bench(settings)
    plateau(b, 0, 300)
    assert b.times() == [0, 20, 40, 60, 80, 100]
    assert b.suppressed()[-1] == "budget"
    assert b.ladder.budget_remaining() == 2
    plateau(b, 301, 500, 90)
    assert b.levels()[6:] == ["aggressive", "aggressive"]
    assert b.ladder.budget_remaining() == 0
    plateau(b, 501, 3601, 90)
    assert len(b.sent) == 9, "the first place is free again after an hour"


def test_effective_gives_its_place_back_and_inconclusive_keeps_it(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    assert b.ladder.budget_remaining() == 29
    b.answer(0.5)
    b.watch(1, 11, 60)
    assert b.ladder.budget_remaining() == 30


def test_suppressed_is_counted_once_a_reason_until_something_is_sent(bench: MakeBench) -> None:
    b = bench(ALONE)
    plateau(b, 0, 119)
    assert b.suppressed() == ["in_flight", "cooldown"]
    plateau(b, 120, 200)
    assert b.suppressed() == ["in_flight", "cooldown"] * 2


def test_suppressed_is_counted_anew_when_the_held_level_changes(bench: MakeBench) -> None:
    b = bench(ALONE)
    plateau(b, 0, 50)
    b.see(51, 60)
    plateau(b, 52, 60)
    assert b.suppressed() == ["in_flight", "cooldown", "cooldown"]
    assert {note.level for note in b.noted(Suppressed)} == {"normal"}


# ---- what is asked for


def test_target_bytes_bring_used_below_the_exit(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    decision = b.see(0, 76)
    assert decision is not None
    assert decision.target_bytes == 6 * MIB + 1
    assert (decision.used_bytes, decision.limit_bytes) == (76 * MIB, 100 * MIB)

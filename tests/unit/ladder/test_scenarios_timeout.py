"""Requests that time out or lose their process. Percent of a limit of 100 MiB."""

from __future__ import annotations

from dataclasses import replace

from memory_watchdog.observation import OutcomeKind, Reason
from memory_watchdog.policy.events import NewProcess, RequestFailed

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, ME, NORMAL, Bench

QUICK = replace(NORMAL, sustain_seconds=0.0)
AT_ONCE = replace(DEFAULTS, levels=(QUICK, AGGRESSIVE))
ALONE = replace(DEFAULTS, levels=(QUICK,))
PATIENT = replace(AT_ONCE, escalate_after=99)


# ---- timeouts


def time_out(b: Bench, used: float = 76) -> None:
    """A request at 0 that times out at 30; settle until 40."""
    b.see(0, used)
    b.watch(1, 29, used)
    b.answer(30, OutcomeKind.TIMEOUT)
    b.watch(31, 41, used)


def test_timeout_holds_back_and_repeats_with_the_same_id_after_an_answer(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    assert b.verdicts() == ["ineffective"]
    b.watch(42, 300, 76)
    assert b.times() == [0]
    assert b.suppressed().count("unanswered") == 1
    b.see(301, 76, answered_at=300.5)
    assert b.times() == [0, 301]
    assert b.sent[1][1].request_id == b.sent[0][1].request_id == "w-1"
    assert b.ladder.budget_remaining() == 28


def test_answer_before_the_timeout_does_not_release(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    b.see(301, 76, answered_at=29.5)
    assert b.times() == [0]


def test_fall_releases_and_gives_a_new_id(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b, 79)
    b.watch(42, 199, 79)
    b.watch(200, 220, 76)
    assert b.times() == [0, 200]
    assert [decision.request_id for _, decision in b.sent] == ["w-1", "w-2"]


def test_fall_below_min_reclaim_does_not_release(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b, 79)
    b.watch(42, 300, 78.5)
    assert b.times() == [0]


def test_late_run_after_release_gives_a_new_id_too(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b, 79)
    b.see(60, 79, answered_at=59)
    b.watch(61, 130, 76)
    assert [decision.request_id for _, decision in b.sent] == ["w-1", "w-2"]


def test_without_statistics_released_after_twice_the_timeout(bench: MakeBench) -> None:
    b = bench(replace(ALONE, levels=(replace(QUICK, cooldown_seconds=20.0),), statistics_configured=False))
    time_out(b)
    b.watch(42, 89, 76)
    assert b.times() == [0]
    b.see(90, 76)
    assert b.times() == [0, 90]
    b = bench(replace(ALONE, statistics_configured=False, max_cooldown_seconds=45.0))
    time_out(b)
    b.watch(42, 200, 76)
    assert b.times()[1] == 75, "at the latest after max_cooldown"


def test_released_at_the_latest_after_max_cooldown(bench: MakeBench) -> None:
    b = bench(replace(AT_ONCE, max_cooldown_seconds=200.0))
    time_out(b)
    b.watch(42, 229, 76)
    assert b.times() == [0]
    b.see(230, 76)
    assert b.times() == [0, 230]


def test_released_by_another_outcome(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    b.see(42, 90)
    b.answer(43)
    b.watch(44, 54, 90)
    assert b.levels() == ["normal", "aggressive"]
    b.see(110, 90)
    assert b.levels() == ["normal", "aggressive", "aggressive"]


def test_connection_that_closed_is_no_answer(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    b.see(42, 90)
    b.answer(43, OutcomeKind.FAILED, Reason.CLOSED)
    b.watch(44, 300, 90)
    assert b.times() == [0, 42], "a rise goes through the hold once"
    assert b.suppressed()[-1] == "unanswered"


def test_rise_that_times_out_holds_its_own_level_back(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    b.see(42, 90)
    b.answer(102, OutcomeKind.TIMEOUT)
    b.watch(103, 500, 90)
    assert b.times() == [0, 42]
    b.see(501, 90, answered_at=500)
    assert [decision.request_id for _, decision in b.sent] == ["w-1", "w-2", "w-2"]


def test_timeout_counts_in_the_streak_unless_effective(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    assert b.ladder.cooldown_seconds(0) == 120
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(30, OutcomeKind.TIMEOUT)
    b.watch(31, 41, 71)
    assert b.verdicts() == ["effective"]
    assert b.ladder.cooldown_seconds(0) == 60
    assert [note.reason for note in b.noted(RequestFailed)] == [Reason.TIMEOUT]


def test_timeout_with_inconclusive_verdict_counts_in_the_streak(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(30, OutcomeKind.TIMEOUT)
    b.watch(31, 41, None)
    assert b.verdicts() == ["inconclusive"]
    assert b.ladder.cooldown_seconds(0) == 120


# ---- restart of the server


def test_restart_in_flight_is_target_gone(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.step(NewProcess(ME), 5)
    assert [note.reason for note in b.noted(RequestFailed)] == [Reason.TARGET_GONE]
    assert b.verdicts() == ["inconclusive"]
    b.answer(6, OutcomeKind.FAILED)
    assert len(b.noted(RequestFailed)) == 1
    b.watch(7, 59, 76)
    assert b.times() == [0]
    b.see(60, 76)
    assert b.times() == [0, 60]


def test_restart_during_settle_is_inconclusive(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(1)
    b.step(NewProcess(ME), 5)
    b.watch(6, 20, 30)
    assert b.verdicts() == ["inconclusive"]
    assert b.noted(RequestFailed) == []
    assert b.ladder.held == "none"


def test_restart_ends_the_hold(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    time_out(b)
    b.step(NewProcess(ME), 100)
    assert b.see(101, 76) is not None
    assert b.sent[-1][1].request_id == "w-2"

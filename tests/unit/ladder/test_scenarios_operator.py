"""What people do to a ladder: pause, requests by hand, dry run, reload, a restart of the watchdog itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.observation import OutcomeKind, Reason
from memory_watchdog.policy.events import (
    LevelChanged,
    Manual,
    NewProcess,
    Pause,
    Reloaded,
    RequestFailed,
    Resume,
    Suppressed,
    ThresholdsChanged,
    Trigger,
    Verdict,
)
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent, Size

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, ME, MIB, NORMAL, observe, through_json

QUICK = replace(NORMAL, sustain_seconds=0.0)
AT_ONCE = replace(DEFAULTS, levels=(QUICK, AGGRESSIVE))
DRY = replace(AT_ONCE, dry_run=True)


# ---- pause


def test_pause_holds_back_logs_rises_and_ends(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.step(Pause(100), 0)
    b.watch(1, 50, 76)
    b.watch(51, 99, 90)
    assert b.sent == []
    assert b.ladder.held == "aggressive"
    assert b.suppressed() == ["paused", "paused"]
    assert [note.after for note in b.noted(LevelChanged)] == ["normal", "aggressive"]
    b.see(100, 90)
    assert b.times() == [100]


def test_resume_ends_a_pause_early(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.step(Pause(1000), 0)
    b.see(1, 76)
    assert b.step(Resume(), 2) is None
    b.see(3, 76)
    assert b.times() == [3]


def test_pause_that_is_over_already_is_none(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(10, 60)
    b.step(Pause(10), 10)
    b.see(11, 76)
    assert b.times() == [11]


# ---- by hand


def test_manual_skips_cooldown_pause_and_budget(bench: MakeBench) -> None:
    b = bench(replace(AT_ONCE, budget_actions=1))
    b.see(0, 76)
    b.answer(0.5)
    b.step(Pause(1000), 1)
    decision = b.step(Manual("normal", "somebody"), 2)
    assert decision is not None
    assert (decision.trigger, decision.reason, decision.target_bytes) == (Trigger.MANUAL, "somebody", 6 * MIB + 1)
    assert [note.reason for note in b.noted(Verdict)] == ["superseded by a request at level normal"]
    assert b.ladder.budget_remaining() == 0


def test_manual_is_not_sent_while_in_flight(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    assert b.step(Manual("aggressive"), 1) is None
    assert b.step(Manual("aggressive"), 2) is None
    assert b.suppressed() == ["in_flight", "in_flight"], "each press of the button counts"
    assert b.noted(Suppressed)[0].trigger is Trigger.MANUAL


def test_manual_starts_the_cooldown_takes_a_place_and_raises_no_streak(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 60)
    assert b.step(Manual("normal"), 1) is not None
    assert b.ladder.budget_remaining() == 29
    b.answer(1.5, OutcomeKind.FAILED)
    b.watch(2, 60, 76)
    assert b.verdicts() == ["ineffective"]
    assert b.ladder.cooldown_seconds(0) == 60
    assert b.times() == [1]
    b.see(61, 76)
    assert b.times() == [1, 61]


def test_effective_manual_resets_streaks_and_gives_its_place_back(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 11, 76)
    b.step(Manual("aggressive"), 12)
    b.answer(12.5)
    b.watch(13, 23, 60)
    assert b.verdicts() == ["ineffective", "effective"]
    assert b.ladder.cooldown_seconds(0) == 60
    assert b.ladder.budget_remaining() == 29


def test_manual_without_a_fresh_reading_knows_no_used(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 60)
    decision = b.step(Manual("normal"), 100)
    assert decision is not None
    assert (decision.used_bytes, decision.limit_bytes, decision.target_bytes) == (None, None, None)
    b.see(101, 60)
    b.answer(101.5)
    b.watch(102, 112, 55)
    assert b.verdicts() == ["effective"]


def test_manual_waits_for_an_unanswered_request(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(30, OutcomeKind.TIMEOUT)
    assert b.step(Manual("normal"), 31) is None
    assert b.suppressed() == ["unanswered"]
    b.see(32, 76, answered_at=32)
    assert b.step(Manual("normal"), 33) is not None


def test_manual_is_suppressed_in_dry_run(bench: MakeBench) -> None:
    b = bench(DRY)
    b.see(0, 60)
    assert b.step(Manual("normal"), 1) is None
    assert b.suppressed() == ["dry_run"]
    assert b.ladder.budget_remaining() == 30


@pytest.mark.parametrize("name", ["none", "normalest", "shown"])
def test_manual_at_no_level_changes_nothing(bench: MakeBench, name: str) -> None:
    shown = LevelSettings("shown", Percent(95), Percent(90), cleanup_timeout_seconds=None)
    b = bench(replace(AT_ONCE, levels=(QUICK, AGGRESSIVE, shown)))
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 10, 70)
    with pytest.raises(ValueError, match=name):
        b.step(Manual(name), 20)
    assert b.verdicts() == []
    b.see(21, 70)
    assert b.verdicts() == ["effective"], "the verdict is not lost with the exception"


# ---- dry run


def test_dry_run_moves_a_shadow_and_counts_each(bench: MakeBench) -> None:
    b = bench(replace(DRY, budget_actions=4))
    b.watch(0, 700, 76)
    assert b.sent == []
    dry = [at for at, note in b.notes if isinstance(note, Suppressed) and note.reason == "dry_run"]
    assert dry == [0, 60, 120], "cooldown, and three quarters of the budget"
    assert b.ladder.budget_remaining() == 1


def test_shadow_is_dropped_when_dry_run_ends(bench: MakeBench) -> None:
    b = bench(DRY)
    b.watch(0, 10, 76)
    b.step(Reloaded(AT_ONCE), 11)
    assert b.ladder.budget_remaining() == 30
    b.see(12, 76)
    assert b.times() == [12]


def test_shadow_survives_a_reload_into_dry_run(bench: MakeBench) -> None:
    b = bench(DRY)
    b.watch(0, 10, 76)
    b.step(Reloaded(replace(DRY, settle_seconds=5.0)), 11)
    b.watch(12, 59, 76)
    assert b.suppressed().count("dry_run") == 1


def test_real_requests_count_in_dry_run_too(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.step(Reloaded(DRY), 1)
    b.watch(2, 130, 76)
    assert b.times() == [0]
    assert b.verdicts() == ["ineffective"]
    assert [at for at, note in b.notes if isinstance(note, Suppressed) and note.reason == "dry_run"] == [120]


# ---- reload


def test_held_level_that_is_renamed_away_becomes_the_highest_not_undercut(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 90)
    b.answer(0.5)
    b.step(Reloaded(replace(AT_ONCE, levels=(QUICK, replace(AGGRESSIVE, name="hard")))), 1)
    assert b.ladder.held == "hard"
    b.see(2, 90)
    assert b.times() == [0], "the verdict of the old level is still awaited"
    b.step(Reloaded(replace(AT_ONCE, levels=(LevelSettings("top", Percent(98), Percent(95)),))), 3)
    assert b.ladder.held == "none"


def test_request_in_flight_finishes_under_the_old_settings(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    slow = replace(QUICK, cleanup_timeout_seconds=300.0, min_reclaim=Percent(50))
    b.step(Reloaded(replace(AT_ONCE, levels=(slow, AGGRESSIVE), settle_seconds=100.0)), 1)
    b.watch(2, 34, 76)
    assert b.noted(RequestFailed) == []
    b.see(35, 76)
    assert [note.reason for note in b.noted(RequestFailed)] == [Reason.TIMEOUT]
    b.watch(36, 45, 72)
    assert b.verdicts() == ["effective"]


def test_what_remains_keeps_timers_streaks_and_budget(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 20, 76)
    longer = replace(QUICK, cooldown_seconds=40.0, enter=Percent(74))
    b.step(Reloaded(replace(AT_ONCE, levels=(longer, AGGRESSIVE))), 21)
    assert b.ladder.budget_remaining() == 29
    assert b.ladder.cooldown_seconds(0) == 80
    b.watch(22, 80, 74.5)
    assert b.times() == [0, 80]


def test_order_may_change(bench: MakeBench) -> None:
    a, z = LevelSettings("a", Percent(50), Percent(45)), LevelSettings("z", Percent(80), Percent(75))
    b = bench(LadderSettings((a, z)))
    b.see(0, 60)
    b.answer(0.5)
    assert b.ladder.held == "a"
    swapped = (replace(z, enter=Percent(50), exit=Percent(45)), replace(a, enter=Percent(80), exit=Percent(75)))
    b.step(Reloaded(LadderSettings(swapped)), 1)
    assert b.ladder.held == "a"
    b.see(2, 60)
    assert b.ladder.held == "z", "below a's new exit"
    b.watch(3, 59, 60)
    assert b.times() == [0], "a stands above z now, and delays it"


def test_changed_thresholds_act_at_the_next_observation(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 60)
    lower = replace(QUICK, enter=Percent(50), exit=Percent(45))
    assert b.step(Reloaded(replace(AT_ONCE, levels=(lower, AGGRESSIVE))), 1) is None
    assert b.ladder.held == "none"
    b.see(2, 60)
    assert b.ladder.held == "normal"


def test_crossed_thresholds_are_said_at_a_reload(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 60)
    same = replace(QUICK, exit=Percent(75))
    b.step(Reloaded(replace(AT_ONCE, levels=(same, AGGRESSIVE))), 1)
    assert b.noted(ThresholdsChanged)[-1].crossed == ("normal",)


def test_level_that_is_gone_holds_back_until_its_verdict_and_harms_nothing(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.step(Reloaded(replace(AT_ONCE, levels=(replace(QUICK, name="soft"), AGGRESSIVE))), 1)
    b.answer(2)
    b.watch(3, 12, 76)
    assert b.verdicts() == ["ineffective"]
    assert b.times() == [0, 12], "another level by name: no cooldown of its own yet"
    assert b.levels() == ["normal", "soft"]


# ---- restart of the watchdog


def test_restarted_watchdog_ends_what_was_in_flight() -> None:
    first = Ladder(AT_ONCE, "one")
    assert first.step(observe(0, 76), 0) is not None
    second = Ladder(AT_ONCE, "two", through_json(first.state))
    assert second.step(observe(34, 76), 34) is None
    assert not any(isinstance(note, RequestFailed) for note in second.notes)
    second.step(observe(35, 76), 35)
    assert isinstance(second.notes[0], RequestFailed)


def test_ids_of_different_runs_never_meet() -> None:
    saved = Ladder(AT_ONCE, "one")
    state = through_json(saved.state)
    first = saved.step(observe(0, 76), 0)
    second = Ladder(AT_ONCE, "two", state).step(observe(1, 76), 1)  # the state file was older than the request
    assert first is not None
    assert second is not None
    assert (first.request_id, second.request_id) == ("one-1", "two-1")


def test_restarted_watchdog_says_crossed_thresholds_again() -> None:
    crossed = replace(AT_ONCE, levels=(replace(QUICK, exit=Percent(75)), AGGRESSIVE))
    first = Ladder(crossed, "one")
    first.step(observe(0, 60), 0)
    second = Ladder(crossed, "two", through_json(first.state))
    assert [note.crossed for note in second.notes if isinstance(note, ThresholdsChanged)] == [("normal",)]


def test_pause_survives_a_restart() -> None:
    first = Ladder(AT_ONCE, "one")
    first.step(Pause(100), 0)
    second = Ladder(AT_ONCE, "two", through_json(first.state))
    assert second.step(observe(50, 90), 50) is None
    assert second.step(observe(100, 90), 100) is not None


def test_sizes_and_identity_survive_json() -> None:
    level = LevelSettings("only", Size(75 * MIB), Size(70 * MIB), min_reclaim=Size(MIB))
    ladder = Ladder(LadderSettings((level,)), "one")
    ladder.step(observe(0, 76, None), 0)
    ladder.step(NewProcess(ME), 1)
    assert ladder.step(observe(61, 76, None), 61) is not None
    assert ladder.state.request is not None
    assert ladder.state.request.min_reclaim == Size(MIB)
    through_json(ladder.state)

"""The held level: sustain, gaps, unknown readings, hysteresis, limits that change. Percent of a limit of 100 MiB."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.observation import LimitSource, Measure, OutcomeKind
from memory_watchdog.policy.events import LevelChanged, Suppressed, ThresholdsChanged
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent, Size

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, MIB, NORMAL, observe

AT_ONCE = replace(DEFAULTS, levels=(replace(NORMAL, sustain_seconds=0.0), AGGRESSIVE))


def test_sustain_takes_its_time_and_one_reading_below_starts_it_anew(bench: MakeBench) -> None:
    b = bench()
    b.watch(0, 9, 76)
    assert b.ladder.held == "none"
    b.see(9.5, 74)
    b.watch(10, 19, 76)
    assert b.ladder.held == "none"
    b.see(20, 76)
    assert b.ladder.held == "normal"
    assert b.times() == [20]


def test_highest_level_that_is_met_for_its_sustain_wins(bench: MakeBench) -> None:
    b = bench()
    b.see(0, 90)
    assert b.ladder.held == "aggressive"
    assert b.levels() == ["aggressive"]


def test_enter_is_met_by_equality_and_exit_is_not_undercut_by_it(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 75)
    assert b.ladder.held == "normal"
    b.see(1, 70)
    assert b.ladder.held == "normal"
    b.see(2, 70 - 1 / MIB)
    assert b.ladder.held == "none"


@pytest.mark.parametrize(("gap", "held"), [(15.0, "normal"), (15.1, "none")])
def test_gap_longer_than_stale_after_restarts_sustain(bench: MakeBench, gap: float, held: str) -> None:
    b = bench()
    b.see(0, 76)
    b.see(gap, 76)
    assert b.ladder.held == held
    b.see(gap + 9, 76)
    assert b.ladder.held == held
    b.see(gap + 10, 76)
    assert b.ladder.held == "normal"


@pytest.mark.parametrize("what", ["used", "limit"])
def test_unknown_readings_neither_meet_nor_break_sustain(bench: MakeBench, what: str) -> None:
    b = bench()
    b.see(0, 76)
    for at in range(1, 10):
        b.step(observe(at, None if what == "used" else 90, None if what == "limit" else 100), at)
    b.step(observe(10, None if what == "used" else 90, None if what == "limit" else 100), 10)
    assert b.ladder.held == "none"
    b.see(11, 76)
    assert b.ladder.held == "normal"
    assert b.times() == [11]


def test_unknown_readings_longer_than_stale_after_restart_sustain(bench: MakeBench) -> None:
    b = bench()
    b.see(0, 76)
    b.watch(1, 15, None)
    b.see(16, 76)
    assert b.ladder.held == "none"


def test_held_level_stays_while_unknown_and_nothing_is_sent(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 11, 76)
    b.watch(12, 700, None)
    assert b.ladder.held == "normal"
    assert b.times() == [0]
    assert b.suppressed().count("stale") == 1
    b.see(701, 76)
    assert b.times() == [0, 701]


def test_stale_is_not_said_at_a_level_that_sends_nothing(bench: MakeBench) -> None:
    shown = replace(NORMAL, sustain_seconds=0.0, cleanup_timeout_seconds=None)
    b = bench(replace(DEFAULTS, levels=(shown, AGGRESSIVE)))
    b.see(0, 76)
    b.watch(1, 20, None)
    assert b.ladder.held == "normal"
    assert b.noted(Suppressed) == []
    assert b.sent == []


def test_percent_without_a_limit_is_off_and_said(bench: MakeBench) -> None:
    b = bench(AT_ONCE, None)
    b.watch(0, 60, 1000)
    assert b.ladder.held == "none"
    assert b.sent == []
    assert b.suppressed() == []
    b.limit_mib = 1000
    b.see(61, 990)
    assert b.ladder.held == "aggressive"
    b.limit_mib = None
    b.see(62, 990)
    assert b.suppressed() == ["no_limit"]


def test_sizes_need_no_limit(bench: MakeBench) -> None:
    level = LevelSettings("only", Size(75 * MIB), Size(70 * MIB))
    b = bench(LadderSettings((level,)), None)
    b.see(0, 80)
    b.answer(1)
    b.watch(2, 11, 79.1)
    assert b.verdicts() == ["effective"]  # 0.9 MiB is 1 % of before, though not of a limit of 100 MiB


def test_alternating_reading_sends_once_a_minute_not_ten_times_a_second(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    for tick in range(600):
        if b.see(tick / 10, 75.1 if tick % 2 == 0 else 74.9):
            b.answer(tick / 10 + 0.05)
    assert b.times() == [0]
    assert len(b.noted(LevelChanged)) == 1


def test_alternating_around_the_exit_rises_and_falls_and_still_keeps_the_cooldown(bench: MakeBench) -> None:
    b = bench(replace(AT_ONCE, levels=(replace(AT_ONCE.levels[0], min_reclaim=Percent(10)), AGGRESSIVE)))
    for tick in range(600):
        if b.see(tick / 10, 75.1 if tick % 2 == 0 else 69.9):
            b.answer(tick / 10 + 0.05)
    assert b.times() == [0]
    assert len(b.noted(LevelChanged)) == 600


def test_fall_goes_to_the_highest_level_that_is_not_undercut_and_sends_nothing_then(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 90)
    b.answer(0.5)
    b.watch(1, 10, 90)
    b.see(11, 79)
    assert b.ladder.held == "normal"
    assert b.times() == [0]
    b.watch(12, 59, 79)
    assert b.times() == [0], "the request above delays the level below by the lower level's cooldown"
    b.see(60, 79)
    assert b.times() == [0, 60]
    b.see(61, 60)
    assert b.ladder.held == "none"


def test_fall_straight_to_none(bench: MakeBench) -> None:
    b = bench()
    b.see(0, 90)
    b.see(1, 69)
    assert [(note.before, note.after) for note in b.noted(LevelChanged)] == [
        ("none", "aggressive"),
        ("aggressive", "none"),
    ]


def test_limit_that_changes_moves_the_thresholds_and_spoils_the_verdict(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.limit_mib = 200
    b.see(1, 76)
    assert b.ladder.held == "none"
    b.watch(2, 11, 70)
    assert b.verdicts() == ["inconclusive"]
    assert [note.limit_bytes for note in b.noted(ThresholdsChanged)] == [100 * MIB, 200 * MIB]
    b.watch(12, 20, 151)
    assert b.ladder.held == "normal"


def test_change_after_the_settle_time_does_not_spoil_the_verdict(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 10, 71)
    b.limit_mib = 200
    b.see(11, 71)
    assert b.verdicts() == ["effective"]


@pytest.mark.parametrize("what", ["measure", "source", "limit"])
def test_change_of_measure_limit_or_source_is_inconclusive(bench: MakeBench, what: str) -> None:
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    for at in range(1, 12):
        other = at == 3
        seen = observe(
            at,
            60,
            101 if other and what == "limit" else 100,
            measure=Measure.RSS if other and what == "measure" else Measure.ANON,
            source=LimitSource.CGROUP if other and what == "source" else LimitSource.GIVEN,
        )
        b.step(seen, at)
    assert b.verdicts() == ["inconclusive"]
    assert b.ladder.cooldown_seconds(0) == 60


def test_crossed_thresholds_switch_the_level_off_and_are_said(bench: MakeBench) -> None:
    close = LevelSettings("close", Percent(75), Percent(74.99999), min_reclaim=Percent(1))
    b = bench(LadderSettings((close, replace(AGGRESSIVE, enter=Percent(90)))))
    b.see(0, 76)
    assert b.ladder.held == "close"
    b.answer(0.5)
    b.limit_mib = 100 / MIB  # a limit of 100 bytes: 75 % and 74.99999 % are 75 and 74; at 10 bytes both are 7
    b.see(1, 76 / MIB)
    assert b.ladder.held == "close"
    b.limit_mib = 10 / MIB
    b.see(2, 7 / MIB)
    assert b.ladder.held == "none"
    assert b.noted(ThresholdsChanged)[-1].crossed == ("close",)
    b.see(3, 9 / MIB)
    assert b.ladder.held == "aggressive"


def test_late_observation_changes_nothing(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(10, 60)
    b.step(observe(9, 99, 1000), 11)
    assert b.ladder.held == "none"
    assert b.sent == []
    assert len(b.noted(ThresholdsChanged)) == 1


def test_other_measure_is_no_growth(bench: MakeBench) -> None:
    """An effective cleanup, then another measure that reads higher: the cooldown is not cut short."""
    b = bench(AT_ONCE)
    b.see(0, 76)
    b.answer(0.5)
    b.watch(1, 11, 71)
    assert b.verdicts() == ["effective"]
    b.step(observe(12, 86, measure=Measure.RSS), 12)
    assert b.times() == [0]


def test_other_measure_is_no_fall(bench: MakeBench) -> None:
    b = bench(AT_ONCE)
    b.see(0, 79)
    b.answer(30, OutcomeKind.TIMEOUT)
    b.watch(31, 41, 79)
    for at in range(42, 200):
        b.step(observe(at, 76, measure=Measure.RSS), at)
    assert b.times() == [0]
    assert b.suppressed()[-1] == "unanswered"

"""What the ledger hands to a scrape: the numbers of one moment, and nothing that changes afterwards."""

from __future__ import annotations

import itertools

import pytest
from memory_watchdog.ledger import PEAK_SECONDS, Standing, Statistics, TargetLedger
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    Reading,
    Reason,
    Unavailable,
)
from memory_watchdog.policy.events import Decision, Suppressed, Suppression, Trigger, Verdict, VerdictKind

UNKNOWN = Unavailable(Reason.UNREADABLE)
DECISION = Decision("r-1", "normal", "normal", Trigger.THRESHOLD, "because", 10, 90, 100)
WALL = 1.7e9


def seen(at: float, used: Reading) -> Observation:
    return Observation(
        taken_at=at,
        measure=Measure.RSS,
        used=used,
        limit=Limit(100, LimitSource.GIVEN),
        identity=ProcessIdentity(1, 2),
        memory=UNKNOWN,
        report=UNKNOWN,
    )


def take(ledger: TargetLedger, at: float, used: Reading, level: str = "none") -> None:
    ledger.observe(seen(at, used), WALL + at, Standing(level=level), process_view="process", start_time_seconds=WALL)


@pytest.fixture
def ledger() -> TargetLedger:
    return TargetLedger("server")


def test_before_the_first_tick_nothing_is_seen(ledger: TargetLedger) -> None:
    snapshot = ledger.snapshot()
    assert (snapshot.seen, snapshot.seen_wall, snapshot.up, snapshot.measure) == (None, None, False, Measure.AUTO)
    assert (snapshot.peak_bytes, snapshot.trough_bytes, snapshot.tick_duration_seconds) == (None, None, None)


def test_a_snapshot_is_of_the_last_observation(ledger: TargetLedger) -> None:
    take(ledger, 1.0, 50)
    take(ledger, 2.0, 60, "normal")
    ledger.tick_took(0.25, late=False)
    ledger.statistics_read(Statistics(True, 0.5, None, WALL), None)
    snapshot = ledger.snapshot()
    assert snapshot.seen == seen(2.0, 60)
    assert (snapshot.seen_wall, snapshot.start_time_seconds, snapshot.measure) == (WALL + 2.0, WALL, Measure.RSS)
    assert (snapshot.up, snapshot.process_view, snapshot.standing.level) == (True, "process", "normal")
    assert snapshot.tick_duration_seconds == 0.25
    assert snapshot.statistics == Statistics(True, 0.5, None, WALL)


def test_up_means_that_something_was_read(ledger: TargetLedger) -> None:
    take(ledger, 1.0, UNKNOWN)
    assert not ledger.snapshot().up


def test_a_snapshot_does_not_change_afterwards(ledger: TargetLedger) -> None:
    take(ledger, 1.0, 50)
    before = ledger.snapshot()
    take(ledger, 2.0, 90)
    ledger.decided(DECISION, WALL)
    ledger.answered(DECISION, Outcome("r-1", OutcomeKind.DONE, 0.2, claimed_bytes=7), WALL)
    ledger.noted(Suppressed(Suppression.BUDGET, "normal", Trigger.THRESHOLD, ""), WALL)
    ledger.restarted()
    ledger.tick_took(0.1, late=True)
    counters = before.counters
    assert before.seen == seen(1.0, 50)
    assert not counters.cleanups
    assert not counters.claimed_bytes
    assert not counters.durations
    assert not counters.suppressed
    assert (counters.restarts, counters.ticks_late) == (0, 0)
    after = ledger.snapshot().counters
    assert after.cleanups["normal", Trigger.THRESHOLD] == 1
    assert after.durations["normal"].counts[1] == 1
    assert (after.claimed_bytes["normal"], after.suppressed[Suppression.BUDGET], after.restarts) == (7, 1, 1)
    assert after.ticks_late == 1


def test_the_peak_is_of_the_last_minute(ledger: TargetLedger) -> None:
    for at, used in ((0.0, 90), (10.0, 70), (20.0, 80), (30.0, 10)):
        take(ledger, at, used)
    assert ledger.snapshot().peak_bytes == 90
    take(ledger, PEAK_SECONDS + 0.5, 10)
    assert ledger.snapshot().peak_bytes == 80
    take(ledger, PEAK_SECONDS + 20.5, 20)
    assert ledger.snapshot().peak_bytes == 20


def test_the_peak_outlasts_an_unknown_reading_and_ends_with_its_minute(ledger: TargetLedger) -> None:
    take(ledger, 0.0, 90)
    take(ledger, 1.0, UNKNOWN)
    assert ledger.snapshot().peak_bytes == 90
    take(ledger, PEAK_SECONDS + 1.0, UNKNOWN)
    assert ledger.snapshot().peak_bytes is None


def test_the_trough_is_the_lowest_since_the_last_cleanup(ledger: TargetLedger) -> None:
    take(ledger, 0.0, 10)
    assert ledger.snapshot().trough_bytes is None, "there was no cleanup"
    ledger.answered(DECISION, Outcome("r-1", OutcomeKind.DONE, 0.2), WALL)
    assert ledger.snapshot().trough_bytes is None
    for at, used in ((1.0, 60), (2.0, 40), (3.0, 70)):
        take(ledger, at, used)
    assert ledger.snapshot().trough_bytes == 40
    ledger.answered(DECISION, Outcome("r-2", OutcomeKind.DONE, 0.2), WALL)
    take(ledger, 4.0, 65)
    assert ledger.snapshot().trough_bytes == 65
    ledger.restarted()
    take(ledger, 5.0, 5)
    assert ledger.snapshot().trough_bytes is None, "a new process was not cleaned up yet"


@pytest.mark.parametrize("interval", [0.1, 0.9999, 1.0, 1.0001])
def test_the_history_has_a_sample_a_second(ledger: TargetLedger, interval: float) -> None:
    ticks = round(60 / interval)
    for number in range(ticks + 1):
        take(ledger, number * interval, 50)
    times = [sample.taken_at for sample in ledger.samples()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.95 <= gap < 1.1 for gap in gaps)


def test_a_change_of_level_is_always_in_the_history(ledger: TargetLedger) -> None:
    take(ledger, 0.0, 50)
    take(ledger, 0.1, 80, "normal")
    assert [sample.level for sample in ledger.samples()] == ["none", "normal"]


def test_an_ineffective_cleanup_counts_only_where_it_was_answered(ledger: TargetLedger) -> None:
    for outcome in (OutcomeKind.DONE, OutcomeKind.TIMEOUT):
        ledger.noted(Verdict("r", "normal", "normal", VerdictKind.INEFFECTIVE, outcome, 3, "too little"), WALL)
    counters = ledger.snapshot().counters
    assert counters.ineffective["normal"] == 1
    assert counters.reclaimed_bytes["normal"] == 6

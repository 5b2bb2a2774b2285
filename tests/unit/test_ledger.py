"""The events of a ledger: one for each thing that happened, in words, bounded, and readable from other threads."""

from __future__ import annotations

import threading

import pytest
from memory_watchdog.ledger import MAX_EVENTS, Happening, TargetLedger
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.policy.events import (
    Decision,
    LevelChanged,
    Note,
    RequestFailed,
    Suppressed,
    Suppression,
    ThresholdsChanged,
    Trigger,
    Verdict,
    VerdictKind,
)

DECISION = Decision("r-1", "normal", "normal", Trigger.THRESHOLD, "used 80%", 5, 80, 100)


@pytest.fixture
def ledger() -> TargetLedger:
    return TargetLedger("t")


def test_a_request_from_decision_to_verdict(ledger: TargetLedger) -> None:
    ledger.decided(DECISION, 10.0)
    ledger.answered(DECISION, Outcome("r-1", OutcomeKind.DONE, 0.5, claimed_bytes=70), 10.5)
    ledger.noted(
        Verdict("r-1", "normal", "normal", VerdictKind.EFFECTIVE, OutcomeKind.DONE, 60, "60 B reclaimed"), 20.0
    )
    assert ledger.events() == (
        Happening(10.0, "cleanup", "used 80%", "r-1", "normal"),
        Happening(10.5, "done", "the server says it is done", "r-1", "normal"),
        Happening(20.0, "verdict", "effective: 60 B reclaimed", "r-1", "normal"),
    )
    counters = ledger.snapshot().counters
    assert counters.cleanups["normal", "threshold"] == 1
    assert counters.claimed_bytes["normal"] == 70
    assert counters.reclaimed_bytes["normal"] == 60
    assert counters.last_cleanup_wall["normal"] == 10.0
    assert sum(counters.durations["normal"].counts) == 1
    assert counters.ineffective["normal"] == 0


@pytest.mark.parametrize(
    ("note", "kind", "text", "level"),
    [
        (LevelChanged("none", "normal", 80, "why"), "level", "none -> normal: why", "normal"),
        (Suppressed(Suppression.BUDGET, "normal", Trigger.THRESHOLD, "spent"), "suppressed", "budget: spent", "normal"),
        (RequestFailed("r-1", "normal", Reason.TIMEOUT, "late"), "failure", "timeout: late", "normal"),
        (ThresholdsChanged(100, ()), "thresholds", "limit 100", None),
        (ThresholdsChanged(100, ("a", "b")), "thresholds", "limit 100; off, since they no longer ascend: a, b", None),
    ],
)
def test_each_note_is_an_event(ledger: TargetLedger, note: Note, kind: str, text: str, level: str | None) -> None:
    ledger.noted(note, 1.0)
    (event,) = ledger.events()
    assert (event.wall, event.kind, event.text, event.level) == (1.0, kind, text, level)


def test_a_claim_of_a_request_that_failed_counts_as_a_claim_and_not_as_reclaimed(ledger: TargetLedger) -> None:
    outcome = Outcome("r-1", OutcomeKind.FAILED, 0.5, Reason.ERROR_IN_ANSWER, "disk full", claimed_bytes=70)
    ledger.answered(DECISION, outcome, 10.5)
    assert ledger.events()[0].text == "disk full"
    assert ledger.snapshot().counters.claimed_bytes["normal"] == 70
    assert ledger.snapshot().counters.reclaimed_bytes["normal"] == 0


def test_events_are_bounded_and_the_young_ones_are_kept(ledger: TargetLedger) -> None:
    for number in range(MAX_EVENTS + 10):
        ledger.happened(float(number), "word", str(number))
    events = ledger.events()
    assert len(events) == MAX_EVENTS
    assert (events[0].text, events[-1].text) == ("10", str(MAX_EVENTS + 9))


def test_it_can_be_read_while_it_is_written(ledger: TargetLedger) -> None:
    """A dictionary that grows while it is copied raises RuntimeError; a lock is what keeps that from happening."""
    faults: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                ledger.snapshot()
                ledger.events()
        except RuntimeError as error:
            faults.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(2000):
        ledger.noted(RequestFailed("r", f"level {number}", Reason.TIMEOUT, ""), 1.0)
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []

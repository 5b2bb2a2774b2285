"""The last step: when it is due, what holds it back, what never counts. Percent of a limit of 100 MiB."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.observation import OutcomeKind, ProcessIdentity, Reason, Unavailable
from memory_watchdog.policy.events import (
    Manual,
    NewProcess,
    Pause,
    Restart,
    RestartDone,
    RestartEnded,
    RestartHeldBack,
    RestartOutcome,
)
from memory_watchdog.policy.restart import GRACE_SECONDS, USER_HZ
from memory_watchdog.policy.settings import LadderSettings, RestartSettings

from tests.unit.ladder.conftest import MakeBench
from tests.unit.ladder.simulator import AGGRESSIVE, DEFAULTS, ME, NORMAL, Bench, observe

RULES = RestartSettings(after=2, min_age_seconds=100.0, budget_actions=2, budget_per_seconds=10_000.0)
RESTARTS = replace(DEFAULTS, levels=(replace(NORMAL, sustain_seconds=0.0), AGGRESSIVE), restart=RULES)
AGE = ME.start_ticks / USER_HZ


class Steps:
    """A bench that keeps what the last step did, and looks once a second."""

    def __init__(self, bench: Bench, begins: float = AGE + 200) -> None:
        self.bench, self.at = bench, begins
        self.restarts: list[tuple[float, Restart]] = []

    def see(self, used: float | None, identity: ProcessIdentity = ME) -> bool:
        """One look; is a cleanup sent?"""
        self.at += 1
        seen = replace(observe(self.at, used, self.bench.limit_mib), identity=identity)
        sent = self.bench.step(seen, self.at) is not None
        if self.bench.ladder.restart is not None:
            self.restarts.append((self.at, self.bench.ladder.restart))
        return sent

    def plateau(self, seconds: float, used: float = 95, kind: OutcomeKind = OutcomeKind.DONE) -> None:
        """Memory that no cleanup brings down."""
        ends = self.at + seconds
        while self.at < ends:
            if self.see(used):
                self.bench.answer(self.at + 0.1, kind)

    def until_due(self, kind: OutcomeKind = OutcomeKind.DONE) -> Restart:
        """Such memory until the process is to be ended."""
        while not self.restarts:
            self.plateau(1, kind=kind)
        return self.restarts[-1][1]

    def end(self, outcome: RestartOutcome = RestartOutcome.ENDED) -> None:
        self.bench.step(RestartEnded(self.restarts[-1][1].request_id, outcome), self.at + 0.1)

    def held_back(self) -> list[RestartOutcome]:
        return [note.outcome for note in self.bench.noted(RestartHeldBack)]


@pytest.fixture
def steps(bench: MakeBench) -> Steps:
    return Steps(bench(RESTARTS))


def with_rules(settings: LadderSettings = RESTARTS, **changes: float) -> LadderSettings:
    return replace(settings, restart=replace(RULES, **changes))  # type: ignore[arg-type]


def test_it_is_due_after_so_many_cleanups_that_did_not_help(steps: Steps) -> None:
    restart = steps.until_due()
    assert (restart.identity, restart.limit_bytes) == (ME, 100 << 20)
    assert "2 cleanups in a row did not help" in restart.reason
    assert steps.bench.verdicts()[:2] == ["ineffective"] * 2
    steps.plateau(20)
    assert (len(steps.bench.sent), len(steps.restarts)) == (2, 1), "while it is ended nothing else is asked of it"


def test_without_the_key_no_process_is_ever_ended(bench: MakeBench) -> None:
    steps = Steps(bench(replace(RESTARTS, restart=None)))
    steps.plateau(5000)
    assert steps.restarts == []


@pytest.mark.parametrize("kind", [OutcomeKind.TIMEOUT, OutcomeKind.UNREACHED])
def test_a_busy_server_is_not_ended_for_being_busy(steps: Steps, kind: OutcomeKind) -> None:
    steps.plateau(5000, kind=kind)
    assert steps.restarts == []


def test_a_server_that_refuses_its_cleanup_counts(steps: Steps) -> None:
    steps.until_due(OutcomeKind.FAILED)
    assert steps.bench.verdicts() == ["ineffective"] * 2


def test_a_cleanup_that_helped_starts_the_count_anew(steps: Steps) -> None:
    steps.plateau(45)
    assert steps.bench.verdicts() == ["ineffective"]
    while not steps.see(95):
        pass
    steps.bench.answer(steps.at + 0.1)
    for _ in range(15):
        steps.see(82)
    assert steps.bench.verdicts() == ["ineffective", "effective"]
    steps.plateau(60)
    assert steps.restarts == []


def test_below_the_highest_level_nothing_is_ended(steps: Steps) -> None:
    steps.plateau(5000, used=80)
    assert steps.restarts == []


def test_a_young_process_is_left_alone(bench: MakeBench) -> None:
    steps = Steps(bench(with_rules(min_age_seconds=3000.0)))
    steps.plateau(1000)
    assert steps.restarts == []
    assert set(steps.held_back()) == {RestartOutcome.TOO_YOUNG}
    steps.plateau(3000)
    assert len(steps.restarts) == 1


def test_each_restart_doubles_the_age_that_is_needed_until_the_budget_is_spent(steps: Steps) -> None:
    steps.until_due()
    for number in range(3):
        if len(steps.restarts) > number:
            steps.end()
            born = steps.at
            young = ProcessIdentity(50 + number, round(born * USER_HZ))
            steps.bench.step(NewProcess(young), steps.at)
            while len(steps.restarts) == number + 1 and steps.at < born + 4000:
                if steps.see(95, young):
                    steps.bench.answer(steps.at + 0.1)
    first, second = (at for at, _ in steps.restarts)
    assert second - first >= 200
    assert RestartOutcome.NO_BUDGET in steps.held_back()


def test_pause_and_dry_run_hold_it_back(bench: MakeBench) -> None:
    steps = Steps(bench(RESTARTS))
    steps.plateau(45)
    while steps.bench.verdicts() != ["ineffective"] * 2:
        if steps.see(95):
            steps.bench.answer(steps.at + 0.1)
            steps.bench.step(Pause(steps.at + 500), steps.at)
    for _ in range(100):
        steps.see(95)
    assert (steps.restarts, steps.held_back()) == ([], [RestartOutcome.PAUSED])
    steps.plateau(600)
    assert len(steps.restarts) == 1

    shadow = Steps(bench(replace(RESTARTS, dry_run=True)))
    shadow.bench.ladder.state.held = AGGRESSIVE.name
    shadow.bench.ladder.state.levels[AGGRESSIVE.name].ineffective = 2
    shadow.plateau(100)
    assert (shadow.restarts, set(shadow.held_back())) == ([], {RestartOutcome.DRY_RUN})


def test_a_highest_level_without_cleanup_is_held_for_max_cooldown(bench: MakeBench) -> None:
    silent = replace(AGGRESSIVE, cleanup_timeout_seconds=None)
    settings = replace(RESTARTS, levels=(RESTARTS.levels[0], silent), max_cooldown_seconds=300.0)
    steps = Steps(bench(settings))
    begins = steps.at
    steps.plateau(290)
    assert steps.restarts == []
    steps.plateau(20)
    [(at, restart)] = steps.restarts
    assert at - begins >= 300
    assert "there is no cleanup for it" in restart.reason


def test_one_that_failed_must_be_shown_anew(steps: Steps) -> None:
    steps.until_due()
    steps.end(RestartOutcome.FAILED)
    assert [note.outcome for note in steps.bench.noted(RestartDone)] == [RestartOutcome.FAILED]
    steps.plateau(10)
    assert len(steps.restarts) == 1


def test_one_whose_end_is_never_told_is_given_up(steps: Steps) -> None:
    steps.until_due()
    steps.plateau(RULES.steps_seconds + GRACE_SECONDS + 5)
    [done] = steps.bench.noted(RestartDone)
    assert done.outcome is RestartOutcome.FAILED
    assert steps.bench.ladder.state.restart is None


def test_an_end_of_another_one_is_none(steps: Steps) -> None:
    steps.until_due()
    steps.bench.step(RestartEnded("foreign", RestartOutcome.ENDED), steps.at)
    assert steps.bench.noted(RestartDone) == []
    assert steps.bench.ladder.state.restart is not None


def test_a_process_that_only_the_server_tells_of_is_never_ended(bench: MakeBench) -> None:
    steps = Steps(bench(RESTARTS))
    for _ in range(400):
        steps.at += 1
        seen = observe(steps.at, 95)
        unseen = replace(seen, identity=Unavailable(Reason.NOT_CONFIGURED))
        if steps.bench.step(unseen, steps.at) is not None:
            steps.bench.answer(steps.at + 0.1)
        assert steps.bench.ladder.restart is None


def test_nobody_answers_while_it_is_ended_by_hand_either(steps: Steps) -> None:
    steps.until_due()
    assert steps.bench.step(Manual("normal"), steps.at) is None
    assert steps.bench.suppressed()[-1] == "in_flight"

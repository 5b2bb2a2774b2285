"""The keys that the ladder decides by: two configs that differ in one key, the same readings, different decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.config import load
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    Reason,
    Unavailable,
)
from memory_watchdog.parts import ladder_settings
from memory_watchdog.policy.events import Decision, LevelChanged, Note, Suppressed, Verdict
from memory_watchdog.policy.ladder import Ladder

from tests.integration.test_options import shows
from tests.support.target import MIB
from tests.support.watchdog import written

NOT_SEEN = Unavailable(Reason.NOT_CONFIGURED)
Used = Callable[[float], float]


class Story:
    """What a ladder decides: `decided` and `notes` with the time of each."""

    def __init__(self) -> None:
        self.decided: list[tuple[float, Decision]] = []
        self.notes: list[tuple[float, Note]] = []

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.decided]

    @property
    def levels(self) -> list[str]:
        return [decision.level for _, decision in self.decided]

    def held(self) -> list[tuple[float, str]]:
        return [(at, note.after) for at, note in self.notes if isinstance(note, LevelChanged)]

    def verdicts(self) -> list[tuple[float, str]]:
        return [(at, str(note.kind)) for at, note in self.notes if isinstance(note, Verdict)]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., Story]:
    """`tell(used, seconds, key=value, …)`: percent of 100 MiB each second; each request is answered at once."""

    def tell(used: Used, seconds: int = 600, *, every: int = 1, level: Any = None, **keys: Any) -> Story:
        normal = {"name": "normal", "enter": "75%", "exit": "70%", "cleanup": {"path": "/c"}} | (level or {})
        higher = {"name": "aggressive", "enter": "90%", "exit": "80%", "cleanup": {"path": "/c"}}
        target = {"url": "http://h", "limit": "100MiB", "interval": "1s", "levels": [normal, higher]} | keys
        settings = ladder_settings(
            load({"config.file": str(written(tmp_path, {"targets": [target]}))}, {}, tmp_path).targets[0]
        )
        ladder, story = Ladder(settings, "test"), Story()

        def take(event: Observation | Outcome, now: float) -> Decision | None:
            decision = ladder.step(event, now)
            story.notes.extend((now, note) for note in ladder.notes)
            return decision

        for at in range(0, seconds, every):
            limit = Limit(100 * MIB, LimitSource.GIVEN)
            seen = Observation(
                at, Measure.ANON, int(used(at) * MIB), limit, NOT_SEEN, NOT_SEEN, NOT_SEEN, server_answered_at=at
            )
            decision = take(seen, at)
            if decision is not None:
                story.decided.append((at, decision))
                take(Outcome(decision.request_id, OutcomeKind.DONE, 0.1), at + 0.1)
        return story

    return tell


def always(percent: float) -> Used:
    return lambda _: percent


@shows("targets.levels.enter")
def test_enter(tell: Any) -> None:
    assert tell(always(80), level={"enter": "79%"}, seconds=5).times == [0]
    assert tell(always(80), level={"enter": "81%"}, seconds=5).times == []
    assert tell(always(80), seconds=5, level={"enter": "60MiB", "exit": "50MiB", "min_reclaim": "1MiB"},
                levels=[{"name": "only", "enter": "81MiB", "exit": "1MiB"}]).held() == []  # fmt: skip


@shows("targets.levels.exit")
def test_exit(tell: Any) -> None:
    def used(at: float) -> float:
        return 80 if at < 3 else 72

    assert tell(used, level={"exit": "70%"}, seconds=10).held() == [(0, "normal")]
    assert tell(used, level={"exit": "74%"}, seconds=10).held() == [(0, "normal"), (3, "none")]


@shows("targets.levels.sustain")
def test_sustain(tell: Any) -> None:
    assert tell(always(80), seconds=20).times == [0]
    assert tell(always(80), level={"sustain": "7s"}, seconds=20).times == [7]


@shows("targets.levels.name")
def test_the_name_of_a_level(tell: Any) -> None:
    assert tell(always(80), seconds=5).levels == ["normal"]
    assert tell(always(80), level={"name": "gentle"}, seconds=5).levels == ["gentle"]


@shows("targets.levels.cooldown")
def test_cooldown(tell: Any) -> None:
    """An ineffective one doubles it."""
    assert tell(always(80), level={"cooldown": "60s"}, seconds=200, escalate_after=9).times == [0, 120]
    assert tell(always(80), level={"cooldown": "40s"}, seconds=200, escalate_after=9).times == [0, 80]


@shows("targets.levels.min_reclaim")
def test_min_reclaim(tell: Any) -> None:
    def used(at: float) -> float:
        return 80 if at < 2 else 77

    for enough, verdict in (("1%", "effective"), ("5%", "ineffective"), ("2MiB", "effective"), ("4MiB", "ineffective")):
        story = tell(used, level={"min_reclaim": enough}, seconds=15)
        assert [kind for _, kind in story.verdicts()] == [verdict], enough


@shows("targets.settle")
def test_settle(tell: Any) -> None:
    assert [at for at, _ in tell(always(80), seconds=40).verdicts()] == [11]
    assert [at for at, _ in tell(always(80), seconds=40, settle="20s").verdicts()] == [21]


@shows("targets.escalate_after")
def test_escalate_after(tell: Any) -> None:
    assert tell(always(80), escalate_after=1).levels[:2] == ["normal", "aggressive"]
    assert tell(always(80), escalate_after=3).levels[:4] == ["normal", "normal", "normal", "aggressive"]


@shows("targets.max_cooldown")
def test_max_cooldown(tell: Any) -> None:
    assert tell(always(80), 700, escalate_after=9).times == [0, 120, 360]
    assert tell(always(80), 700, escalate_after=9, max_cooldown="150s").times == [0, 120, 270, 420, 570]


@shows("targets.budget.actions", "targets.budget.per")
def test_budget(tell: Any) -> None:
    def sent(**budget: Any) -> int:
        quick = {"cooldown": "0s"}
        return len(tell(always(80), 1000, level=quick, settle="1s", escalate_after=99, budget=budget).times)

    assert sent(actions=4) == 3, "a quarter is kept for the highest level"
    assert sent(actions=8) == 6
    assert sent(actions=4, per="100s") == 30


@shows("targets.forecast.within", "targets.forecast.above")
def test_forecast(tell: Any) -> None:
    """A leak of a sixth of a percent a second, which began when the process was ten minutes old."""

    def used(at: float) -> float:
        return 20 + max(0, at - 600) / 6

    def first(**forecast: Any) -> tuple[float, str, int]:
        at, decision = tell(used, 1080, forecast=forecast).decided[0]
        return at, str(decision.trigger), int(used(at))

    soon, trigger, _ = first()
    assert trigger == "forecast"
    assert 900 <= soon <= 915, "180 s before the limit, at 1080 s, and the sustain of the first level"
    later, trigger, _ = first(within="160s")
    assert trigger == "forecast"
    assert 920 <= later <= 935
    _, trigger, share = first(above="72%")
    assert (trigger, share) == ("forecast", 72)
    assert first(within="1s")[1] == "threshold"


@shows("targets.stale_after")
def test_stale_after(tell: Any) -> None:
    """Readings five seconds apart: a gap for one, none for the other."""
    sustained = {"sustain": "10s"}
    assert tell(always(80), 60, every=5, level=sustained, stale_after="4s").times == []
    assert tell(always(80), 60, every=5, level=sustained, stale_after="6s").times == [10]
    assert tell(always(80), 60, every=5, level=sustained).times == [], "3 × interval where it is not set"


@shows("targets.dry_run")
def test_dry_run(tell: Any) -> None:
    assert tell(always(80), 5).times == [0]
    story = tell(always(80), 5, dry_run=True)
    assert story.times == []
    assert next(note.reason for _, note in story.notes if isinstance(note, Suppressed)) == "dry_run"

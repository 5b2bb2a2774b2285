"""No panel is empty: a real Prometheus scrapes real watchdogs, and every expression answers in its scenario."""

from __future__ import annotations

import json
import random
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from dashboards.generate import BOARDS, HERE
from dashboards.queries import by_target, rate, total_shown
from dashboards.scenarios import Needs, Scenario
from tests.support.dashboard_json import panels, variable_selectors
from tests.support.prometheus import backfill, running_prometheus
from tests.support.scenario_server import KINDS
from tests.support.scenarios import FAST, MODELLED, SLOW, TARGET, Pace, Stage, played, with_variables
from tests.support.wait import PATIENCE
from tests.support.watchdog import fetch

BEGINS = 1_790_000_010
HOURS = 2
FAILED_AT = random.Random(1).sample(range(60, HOURS * 3600 - 60), 100)


@dataclass(frozen=True)
class Question:
    """An expression where it stands, and the scenario that it names."""

    place: str
    expr: str
    scenario: Scenario
    needs: Needs
    instant: bool


def questions() -> Iterator[Question]:
    """Every expression of every panel and annotation."""
    for board in BOARDS:
        content = json.loads((HERE / f"{board.name}.json").read_text())
        shown = [
            (target["expr"], bool(target.get("instant"))) for panel in panels(content) for target in panel["targets"]
        ]
        shown += [(annotation["expr"], False) for annotation in content["annotations"].get("list", ())]
        for (expr, instant), (title, query) in zip(shown, board.queries, strict=True):
            assert expr == query.expr
            yield Question(f"{board.name}: {title}", expr, query.scenario, query.needs, instant)


def test_there_is_a_server_for_every_scenario() -> None:
    assert {str(scenario) for scenario in Scenario} == set(KINDS)


def unanswered(
    stage: Stage, asked: Sequence[Question], seconds: float, *, modelled: frozenset[Needs]
) -> list[Question]:
    """Those without a number at the deadline."""
    deadline = time.monotonic() + seconds * PATIENCE
    left = list(asked)
    while left and time.monotonic() < deadline:
        time.sleep(1)  # the scrape interval: nothing new comes sooner
        left = [
            each
            for each in left
            if not stage.values(each.expr, MODELLED if each.needs in modelled else each.scenario, instant=each.instant)
        ]
    return left


def variables_offer(stage: Stage) -> dict[str, set[str]]:
    """What each variable of each dashboard offers."""
    return {
        f"{board.name} {name}": set(stage.label_values(selector, label, ".+"))
        for board in BOARDS
        for name, selector, label in variable_selectors(json.loads((HERE / f"{board.name}.json").read_text()))
    }


def check(folder: Path, pace: Pace, seconds: float, modelled: frozenset[Needs]) -> None:
    with played(folder, pace) as stage:
        assert unanswered(stage, list(questions()), seconds, modelled=modelled) == []
        offered = {"job": {"memory-watchdog"}, "instance": {*KINDS, MODELLED}, "target": {TARGET}}
        assert variables_offer(stage) == {f"{board.name} {name}": offered[name] for board in BOARDS for name in offered}
        assert stage.values("memory_watchdog_nothing", ".+", instant=True) == []  # it would be seen


@pytest.mark.parametrize("points", [1000, 200, 100], ids=lambda points: f"{points} points")
def test_what_happens_once_is_counted_once(past: str, points: int) -> None:
    """Over two hours, scraped every 15 s: whatever the step, and so how far windows of rates overlap."""
    failures = 'memory_watchdog_cleanup_failures_total{job=~"$job", instance=~"$instance", target=~"$target"}'
    expr = with_variables(total_shown(by_target(rate(failures))), "calm", HOURS * 3600, 15, points)
    asked = urllib.parse.urlencode({"query": expr, "time": str(BEGINS + HOURS * 3600)})
    (answer,) = json.loads(fetch(f"{past}/api/v1/query?{asked}").text)["data"]["result"]
    assert float(answer["value"][1]) == pytest.approx(len(FAILED_AT), rel=0.06)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has seen some failures, at odd times."""
    folder = tmp_path_factory.mktemp("past")
    labels = '{job="memory-watchdog",instance="calm",target="t"}'
    samples = [
        f"memory_watchdog_cleanup_failures_total{labels} {sum(each <= at for each in FAILED_AT)} {BEGINS + at}"
        for at in range(0, HOURS * 3600 + 1, 15)
    ]
    backfill(folder, "\n".join(["# TYPE memory_watchdog_cleanup_failures counter", *samples, "# EOF\n"]))
    with running_prometheus(folder) as url:
        yield url


@pytest.mark.timeout(240)
def test_every_expression_has_an_answer_in_its_scenario(tmp_path: Path) -> None:
    check(tmp_path, FAST, 120, modelled=frozenset({Needs.MINUTES, Needs.CGROUP_V2}))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_takes_minutes_is_answered_by_a_real_leak(tmp_path: Path) -> None:
    check(tmp_path, SLOW, 600, modelled=frozenset({Needs.CGROUP_V2}))

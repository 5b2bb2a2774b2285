"""The rules keep to every check of the lint, and every check catches what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support import rule_lint, rule_texts  # noqa: F401 - their checks are registered by that
from tests.support.promql import parsed
from tests.support.promql_labels import labels_of
from tests.support.rule_checks import CHECKS, Rule, findings
from tools.mutate_rules import rule_files

PAUSED = "MemoryWatchdogPaused"
LIMIT_NEAR = "MemoryWatchdogLimitNear"
OOM_KILL = "MemoryWatchdogOomKill"
USED = "memory_watchdog_target_used_bytes"

Break = Callable[[list[Rule]], None]


def shipped() -> list[Rule]:
    return [rule for rules in rule_files().values() for rule in rules]


def test_the_rules_keep_to_every_check() -> None:
    assert findings(shipped()) == {}


def named(rules: list[Rule], name: str) -> Rule:
    return next(rule for rule in rules if name in (rule.get("alert"), rule.get("record")))


def asking(expr: str, name: str = PAUSED) -> Break:
    return lambda rules: named(rules, name).update(expr=expr)


def setting(key: str, value: Any, name: str = PAUSED) -> Break:
    return lambda rules: named(rules, name).update({key: value})


def without(key: str, name: str = PAUSED) -> Break:
    return lambda rules: named(rules, name).pop(key)


def text(key: str, value: str, name: str = PAUSED) -> Break:
    return lambda rules: named(rules, name)["annotations"].update({key: value})


def recording(name: str, expr: str) -> Break:
    return lambda rules: rules.append({"record": name, "expr": expr})


def again(rules: list[Rule]) -> None:
    rules.append(deepcopy(named(rules, PAUSED)))


def under_another_name(rules: list[Rule]) -> None:
    rules.append({**deepcopy(named(rules, PAUSED)), "alert": "MemoryWatchdogOther"})


def last(metric: str) -> str:
    return f"last_over_time({metric}[3m])"


BROKEN: list[tuple[str, Break]] = [
    ("a_comparison_is_there", asking(last("memory_watchdog_target_paused"))),
    ("a_comparison_is_there", asking(f"{last('memory_watchdog_target_paused')} == bool 1")),
    ("labels_hold_no_values", setting("labels", {"severity": "warning", "used": "{{ $value }}"})),
    ("labels_hold_no_values", setting("labels", {"severity": "urgent"})),
    ("labels_hold_no_values", without("labels")),
    ("annotations_are_complete", text("summary", "{{ $value | humanize }} is too much")),
    ("annotations_are_complete", text("description", "It is {{ $value }}")),
    ("annotations_are_complete", without("annotations")),
    ("links_lead_to_runbook_and_dashboard", text("runbook_url", "https://example.com/Other.md")),
    ("links_lead_to_runbook_and_dashboard", text("dashboard_url", "http://localhost:3000/d/memory-watchdog-target")),
    ("templates_name_labels_that_there_are", text("description", "level {{ $labels.level }}")),
    ("times_are_sensible", without("for")),
    ("times_are_sensible", setting("for", "10s")),
    ("times_are_sensible", setting("for", "2d")),
    ("times_are_sensible", setting("for", "1h", LIMIT_NEAR)),
    ("times_are_sensible", setting("keep_firing_for", "1h")),
    ("times_are_sensible", without("keep_firing_for", LIMIT_NEAR)),
    ("times_are_sensible", asking("increase(memory_watchdog_target_oom_kills_total[5m]) > 0", OOM_KILL)),
    ("regular_expressions_are_needed", asking(f"{last(USED + '{preset=~`native`}')} > 1")),
    ("regular_expressions_are_needed", asking(f"{last(USED + '{preset!~`native`}')} > 1")),
    ("regular_expressions_are_needed", asking(f"{last(USED + '{preset=~`.+`}')} > 1")),
    ("regular_expressions_are_needed", asking(f"{last(USED + '{preset=~`^a|b$`}')} > 1")),
    ("nothing_is_ranked", asking(f"topk(5, {last(USED)}) > 1")),
    ("nothing_is_ranked", asking(f"(bottomk(5, {last(USED)})) > 1")),
    ("targets_are_kept_apart", asking(f"sum ({last(USED)}) > 1")),
    ("targets_are_kept_apart", asking(f"max without (instance) ({last(USED)}) > 1")),
    ("targets_are_kept_apart", asking(f"sum by (job, instance, target) ({last(USED)}) > 1")),
    ("targets_are_kept_apart", asking(f"{last(USED)} > on (target) {last('memory_watchdog_target_limit_bytes')}")),
    ("sides_match", asking(f"{last(USED)} > {last('memory_watchdog_target_threshold_bytes')}")),
    ("sides_match", asking(f"{last(USED)} and on (job, instance, level) {last(USED)} > 1")),
    ("divisors_are_not_zero", asking(f"{last(USED)} / {last('memory_watchdog_target_limit_bytes')} > 1")),
    ("divisors_are_not_zero", asking(f"{last(USED)} / ({last('memory_watchdog_target_limit_bytes')} > -1) > 1")),
    ("divisors_are_not_zero", asking(f"{last(USED)} % 0 > 1")),
    ("nothing_is_there_twice", again),
    ("nothing_is_there_twice", under_another_name),
    ("metrics_exist", asking(f"{last('memory_watchdog_target_usage_bytes')} > 1")),
    ("metrics_exist", asking(f"increase({USED}[15m]) > 1")),
    ("metrics_exist", asking(f"{last('memory_watchdog_target_restarts_total')} > 1")),
    ("metrics_exist", asking(f"{last(USED + '{level=`normal`}')} > 1")),
    ("matched_values_exist", asking('increase(memory_watchdog_actions_suppressed_total{reason="buget"}[30m]) > 0')),
    ("matched_values_exist", asking('increase(memory_watchdog_restart_actions_total{outcome=~"no|failed"}[1h]) > 0')),
    ("no_scrape_is_named", asking('last_over_time(memory_watchdog_target_paused{job="memory-watchdog"}[3m]) == 1')),
    ("no_scrape_is_named", asking('last_over_time(memory_watchdog_target_paused{target!~"a|b"}[3m]) == 1')),
    ("a_scrape_may_be_missed", asking("memory_watchdog_target_paused == 1")),
    ("a_scrape_may_be_missed", asking("last_over_time(memory_watchdog_target_paused[1m]) == 1")),
    ("records_are_few_and_named", recording("target:memory_watchdog_used_bytes:last", last(USED))),
    ("records_are_few_and_named", setting("record", "used", "target:memory_watchdog_used_limit:ratio")),
    (
        "records_are_few_and_named",
        asking("increase(memory_watchdog_component_hits_total[1h])", "target:memory_watchdog_restarts:increase1h"),
    ),
]


@pytest.mark.parametrize(("check", "damage"), BROKEN)
def test_every_check_catches_what_breaks_it(check: str, damage: Break) -> None:
    rules = deepcopy(shipped())
    damage(rules)
    assert check in findings(rules)


def test_every_check_has_an_example() -> None:
    assert {check for check, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("time()", None),
        ("vector(1) == 1", ""),
        ("absent(up)", ""),
        ("sum(up)", ""),
        ("sum by (job, target) (up)", "job"),
        ("-sum without (job) (up)", "instance"),
        ("up + on (job) group_left (version) memory_watchdog_build_info", "job instance version"),
        ("memory_watchdog_build_info + on (job) group_right () up", "job instance"),
        ("up + on (job) memory_watchdog_build_info", "job"),
        ("up and on (job) memory_watchdog_build_info", "job instance"),
        ("up + ignoring (version, python) memory_watchdog_build_info", "job instance"),
        ("1 - rate(memory_watchdog_target_restarts_total[5m])", "job instance target"),
    ],
)
def test_labels_are_worked_out(expr: str, labels: str | None) -> None:
    found = labels_of(parsed(expr), {})
    assert found == (None if labels is None else frozenset(labels.split()))

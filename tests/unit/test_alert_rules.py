"""The alert rules as promtool judges them: valid, tested in four cases each, and with no number that no test pins."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.mutate_rules import (
    ALERTS,
    CASES,
    NEVER_ENDS,
    Mutant,
    file_of_tests,
    is_noticed,
    mutants,
    rule_files,
    unnoticed,
)

NAMES = [rule["alert"] for rules in rule_files().values() for rule in rules if "alert" in rule]
TESTS = sorted(path.name for path in (ALERTS / "tests").glob("*.yaml"))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_promtool_has_nothing_to_say_about_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(ALERTS.glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_file_of_tests_every_alert_and_of_nothing_else() -> None:
    assert len(NAMES) >= 15
    assert sorted(["recording.yaml", *(f"{name}.yaml" for name in NAMES)]) == TESTS


@pytest.mark.parametrize("name", [name for name in NAMES if name != NEVER_ENDS])
def test_every_alert_is_tested_in_four_cases(name: str) -> None:
    groups = yaml.safe_load(file_of_tests(name).read_text())["tests"]
    for case in CASES:
        (asked,) = [group for group in groups if group["name"] == case]
        assert states_asked_for(asked), case
    fires = next(group for group in groups if group["name"] == "fires")
    before, after = (test["exp_alerts"] for test in fires["alert_rule_test"][:2])
    assert not before
    assert after[0]["exp_annotations"].keys() == {"summary", "description", "runbook_url", "dashboard_url"}


def states_asked_for(group: dict[str, Any]) -> list[Any]:
    """What a case asks: of alerts with their texts, or of which are firing."""
    return [*group.get("alert_rule_test", ()), *group.get("promql_expr_test", ())]


def test_the_dead_mans_switch_is_shown_to_fire_at_four_times_with_data_and_without() -> None:
    groups = yaml.safe_load(file_of_tests(NEVER_ENDS).read_text())["tests"]
    assert [bool(group["input_series"]) for group in groups] == [True, False]
    for group in groups:
        assert len({test["eval_time"] for test in group["alert_rule_test"]}) == 4
        assert all(len(test["exp_alerts"]) == 1 for test in group["alert_rule_test"])


@pytest.mark.parametrize("name", TESTS)
def test_the_rules_do_what_their_tests_say(name: str) -> None:
    done = promtool("test", "rules", ALERTS / "tests" / name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_threshold_and_every_time_matters() -> None:
    left = unnoticed(list(mutants()))
    assert [(mutant.alert, mutant.change) for mutant in left] == []


def test_what_does_not_matter_is_told(tmp_path: Path) -> None:
    """A mutant that is the rule itself passes its tests."""
    mutant = next(mutants())
    (rule,) = [
        rule for rules in rule_files().values() for rule in rules if rule.get("alert") == mutant.alert
    ]  # fmt: skip
    assert is_noticed(mutant, tmp_path)
    assert not is_noticed(Mutant(mutant.alert, "nothing", mutant.likely, rule, mutant.records), tmp_path)

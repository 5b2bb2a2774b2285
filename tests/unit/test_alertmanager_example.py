"""Alertmanager's example as `amtool` judges it, and where each alert goes by it."""

from __future__ import annotations

import subprocess

import pytest

from tools.mutate_rules import ALERTS, NEVER_ENDS, rule_files

EXAMPLE = ALERTS / "alertmanager.yml"
RECEIVERS = {"critical": "paging", "warning": "chat", "info": "chat", "none": "heartbeat"}
SEVERITIES = {
    rule["alert"]: rule["labels"]["severity"] for rules in rule_files().values() for rule in rules if "alert" in rule
} | {"MemoryWatchdogUrgent": "critical"}


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def routed(receiver: str, *labels: str) -> subprocess.CompletedProcess[str]:
    return amtool("config", "routes", "test", f"--config.file={EXAMPLE}", f"--verify.receivers={receiver}", *labels)


def test_amtool_has_nothing_to_say_about_the_example() -> None:
    done = amtool("check-config", str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " - 3 receivers" in done.stdout


@pytest.mark.parametrize("name", SEVERITIES)
def test_every_alert_goes_where_its_severity_says(name: str) -> None:
    done = routed(RECEIVERS[SEVERITIES[name]], f"alertname={name}", f"severity={SEVERITIES[name]}", "target=retrieval")
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_receiver_would_be_noticed() -> None:
    assert routed("chat", "alertname=MemoryWatchdogLimitNear", "severity=critical").returncode == 1


def test_only_what_needs_somebody_now_pages() -> None:
    by_severity = {severity: [name for name in SEVERITIES if SEVERITIES[name] == severity] for severity in RECEIVERS}
    assert by_severity["critical"] == ["MemoryWatchdogLimitNear", "MemoryWatchdogUrgent"]
    assert by_severity["none"] == [NEVER_ENDS]

"""The firing alerts, on every dashboard: an alert leads to a dashboard, and from there to its runbook."""

from __future__ import annotations

from dashboards.board import Row
from dashboards.queries import Query, of_watchdog
from dashboards.scenarios import Scenario
from dashboards.tables import RUNBOOK_LINK, TARGET_LINK, Column, Table

FIRES = of_watchdog("ALERTS", 'alertstate="firing"')

FIRING = Row(
    "Alerts",
    (
        Table(
            title="Firing alerts", width=24, height=6, unit="none", first="Active for",
            description="Alerts of the chosen watchdogs that fire now, the one that has been active longest first. A "
            "click on its name opens its runbook: what it means and what to do. Empty is good.",
            queries=(
                Query(
                    f"(time() - {of_watchdog('ALERTS_FOR_STATE')}) and ignoring (alertstate) {FIRES}",
                    scenario=Scenario.LEAK,
                ),
            ),
            columns=(
                Column("alertname", "Alert", 390, link=RUNBOOK_LINK),
                Column("severity", "Severity", 110),
                Column("target", "Target", 200, link=TARGET_LINK),
                Column("instance", "Instance", 300),
                Column("Value", "Active for", 130, "s", decimals=0),
            ),
        ),
    ),
)  # fmt: skip

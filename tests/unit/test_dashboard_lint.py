"""The dashboards keep to every rule, and every rule catches what breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from dashboards.generate import BOARDS, HERE
from tests.support.dashboard_json import RULES, panels
from tests.support.dashboard_lint import findings

Dashboard = dict[str, Any]
Break = Callable[[Dashboard], None]


def committed(name: str) -> Dashboard:
    content: Dashboard = json.loads((HERE / f"{name}.json").read_text())
    return content


@pytest.mark.parametrize("name", [board.name for board in BOARDS])
def test_the_dashboards_keep_to_every_rule(name: str) -> None:
    assert findings(committed(name)) == {}


def variable(dashboard: Dashboard, name: str) -> Dashboard:
    found: Dashboard = next(each for each in dashboard["templating"]["list"] if each["name"] == name)
    return found


def panel(dashboard: Dashboard, kind: str = "timeseries") -> Dashboard:
    return next(each for each in panels(dashboard) if each["type"] == kind)


def setting(name: str, key: str, value: Any) -> Break:
    """A variable with another value of that key."""
    return lambda dashboard: variable(dashboard, name).update({key: value})


def asking(expr: str) -> Break:
    """A panel whose first query is another one, of one series."""

    def change(dashboard: Dashboard) -> None:
        target = panel(dashboard)["targets"][0]
        target["expr"], target["legendFormat"] = expr, "bad"

    return change


def with_panel(key: str, value: Any, kind: str = "timeseries") -> Break:
    return lambda dashboard: panel(dashboard, kind).update({key: value})


def with_dashboard(key: str, value: Any) -> Break:
    return lambda dashboard: dashboard.update({key: value})


def with_unit(value: str | None) -> Break:
    return lambda dashboard: panel(dashboard)["fieldConfig"]["defaults"].update({"unit": value})


def with_column_unit(dashboard: Dashboard) -> None:
    override = panel(dashboard, "table")["fieldConfig"]["overrides"][0]
    override["properties"].append({"id": "unit", "value": "bites"})


def with_target(key: str, value: Any) -> Break:
    return lambda dashboard: panel(dashboard)["targets"][0].update({key: value})


def with_the_same_letter(dashboard: Dashboard) -> None:
    targets = panel(dashboard)["targets"]
    targets.append(deepcopy(targets[0]))


def with_the_same_legend(dashboard: Dashboard) -> None:
    targets = panel(dashboard)["targets"]
    targets.append(deepcopy(targets[0]) | {"refId": "Z"})


def of_grafanas_data_source(dashboard: Dashboard) -> None:
    dashboard["annotations"]["list"][0]["datasource"] = {"type": "grafana", "uid": "-- Grafana --"}


def with_colour(value: Any) -> Break:
    return lambda dashboard: panel(dashboard)["fieldConfig"]["defaults"].update({"color": value})


def moved(**position: int) -> Break:
    return lambda dashboard: panel(dashboard)["gridPos"].update(position)


def with_column(width: int | None) -> Break:
    def change(dashboard: Dashboard) -> None:
        properties = panel(dashboard, "table")["fieldConfig"]["overrides"][0]["properties"]
        found = next(each for each in properties if each["id"] == "custom.width")
        if width is None:
            properties.remove(found)
        else:
            found["value"] = width

    return change


USED = 'memory_watchdog_target_used_bytes{job=~"$job", instance=~"$instance", target=~"$target"}'
SENT = 'memory_watchdog_cleanups_total{job=~"$job", instance=~"$instance", target=~"$target"}'
BUCKETS = SENT.replace("cleanups_total", "cleanup_duration_seconds_bucket")

BAD: list[tuple[str, Break]] = [
    ("data_source_is_a_variable", setting("datasource", "name", "ds")),
    ("data_source_is_a_variable", setting("datasource", "label", "Prometheus")),
    ("data_source_is_a_variable", setting("datasource", "query", "loki")),
    ("data_source_is_a_variable", lambda dashboard: dashboard["templating"]["list"].pop(0)),
    ("choices_are_variables", setting("target", "name", "server")),
    ("choices_are_variables", setting("job", "allValue", ".*")),
    ("choices_are_variables", setting("instance", "multi", False)),
    ("choices_are_variables", setting("instance", "label", "instance")),
    ("choices_are_variables", setting("target", "includeAll", False)),
    ("choices_are_variables", setting("target", "datasource", {"type": "prometheus", "uid": "abc"})),
    ("variables_follow_the_time", setting("target", "refresh", 1)),
    ("variable_queries_parse", setting("job", "query", "label_values(memory_watchdog_build_info{, job)")),
    ("variable_queries_parse", setting("job", "query", "metrics(memory.*)")),
    ("variable_queries_parse", setting("job", "query", "label_values(memory_watchdog_build_info, namespace)")),
    ("variable_queries_parse", setting("instance", "query", "label_values(memory_watchdog_build_info, instance)")),
    ("dashboard_is_ours", with_dashboard("editable", True)),
    ("dashboard_is_ours", with_dashboard("uid", None)),
    ("dashboard_is_ours", with_dashboard("tags", [])),
    ("dashboard_is_ours", with_dashboard("graphTooltip", 0)),
    ("dashboard_is_ours", lambda dashboard: dashboard["links"][0].update({"keepTime": False})),
    ("panels_have_title_and_description", with_panel("title", "")),
    ("panels_have_title_and_description", with_panel("description", "Memory.")),
    ("panels_have_a_unit", with_unit(None)),
    ("panels_have_a_unit", with_unit("mebibytes")),
    ("panels_have_a_unit", with_column_unit),
    ("panels_have_queries", with_panel("targets", [])),
    ("panels_have_queries", with_the_same_letter),
    ("panels_have_queries", with_panel("datasource", {"type": "prometheus", "uid": "abc"})),
    ("panels_have_queries", with_target("datasource", None)),
    ("panels_have_queries", of_grafanas_data_source),
    ("panels_are_of_known_types", with_panel("type", "graph")),
    ("panels_are_of_known_types", with_panel("id", 2)),
    ("expressions_parse", asking(f"sum({USED}")),
    ("expressions_parse", asking(f"rate({USED})")),
    ("selectors_carry_the_choices", asking(USED.replace('job=~"$job", ', ""))),
    ("selectors_carry_the_choices", asking(USED.replace('instance=~"$instance"', 'instance="$instance"'))),
    ("selectors_carry_the_choices", asking(USED.replace(', target=~"$target"', ""))),
    ("rates_use_the_rate_interval", asking(f"rate({SENT}[5m])")),
    ("rates_use_the_rate_interval", asking(f"increase({SENT}[$__range])")),
    ("rates_use_the_rate_interval", asking(f"max_over_time({USED}[1h])")),
    ("counters_are_in_rates", asking(SENT)),
    ("counters_are_in_rates", asking(f"max_over_time({SENT}[$__range])")),
    ("counters_are_in_rates", asking(f"histogram_quantile(0.9, {BUCKETS})")),
    ("metrics_exist", asking(USED.replace("used_bytes", "memory_bytes"))),
    ("metrics_exist", asking(f"rate({USED}[$__rate_interval])")),
    ("metrics_exist", asking(USED.replace("}", ', level="normal"}'))),
    ("legends_name_what_there_is", with_target("legendFormat", "{{targets}}")),
    ("legends_name_what_there_is", with_the_same_legend),
    ("colours_have_a_meaning", with_colour({"mode": "fixed", "fixedColor": "red"})),
    ("colours_have_a_meaning", with_colour({"mode": "palette-classic"})),
    ("grid_is_full", moved(x=1)),
    ("grid_is_full", moved(w=30)),
    ("grid_is_full", moved(w=3)),
    ("colours_have_a_meaning", with_colour({})),
    ("titles_fit_at_1280_pixels", with_panel("title", "Longest without a look", "stat")),
    ("tables_fit_at_1280_pixels", with_column(900)),
    ("tables_fit_at_1280_pixels", with_column(None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), BAD)
def test_each_rule_catches_what_breaks_it(name: str, change: Break) -> None:
    dashboard = committed("target")
    change(dashboard)
    assert name in findings(dashboard)


def test_there_is_a_bad_example_for_every_rule() -> None:
    assert {name for name, _ in BAD} == RULES.keys()

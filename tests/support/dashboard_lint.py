"""What must hold for every dashboard: the offline rules of Grafana's dashboard linter, and conventions of our own.

Covers: variables, panels, data sources, units, expressions, counters, rates, metrics.
Leaves to others: legends, colours and the grid (`dashboard_looks`), whether an expression has an answer
(`test_dashboards_live`), what a rule file must keep to.

A rule is a function from a dashboard's JSON to what is wrong with it; no dashboard is excepted from any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.models import units

from dashboards.board import TAG, UIDS
from tests.support import dashboard_looks  # noqa: F401 - its rules are registered by that
from tests.support.dashboard_json import RULES, Dashboard, choices, expressions, panels, rule, variable_selectors
from tests.support.promql import COUNTS, RANGE_SECONDS, RATE_INTERVAL_SECONDS, Selector, parsed, selectors

PANEL_TYPES = {"timeseries", "stat", "gauge", "bargauge", "table", "text", "state-timeline", "status-history"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOICES = ("job", "instance", "target")
UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
RATES = {"rate", "irate", "increase"}


def findings(dashboard: Dashboard) -> dict[str, list[str]]:
    """What each rule that is broken says."""
    said = {name: list(check(dashboard)) for name, check in RULES.items()}
    return {name: words for name, words in said.items() if words}


def _selectors(dashboard: Dashboard) -> Iterator[tuple[str, Selector]]:
    """All selectors in expressions that can be parsed."""
    for place, expr in expressions(dashboard):
        try:
            found = list(selectors(parsed(expr)))
        except ValueError:
            continue  # `expressions_parse` says so
        yield from ((place, selector) for selector in found)


@rule
def data_source_is_a_variable(dashboard: Dashboard) -> Iterator[str]:
    """One variable `datasource`, labelled `Data source`, for Prometheus."""
    found = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"]
    if [(each["name"], each.get("label"), each.get("query")) for each in found] != [
        ("datasource", "Data source", "prometheus")
    ]:
        yield f"data source variables: {[each['name'] for each in found]}"


@rule
def choices_are_variables(dashboard: Dashboard) -> Iterator[str]:
    """`job`, `instance`, `target`: queries with several values and All as `.+`."""
    by_name = {variable["name"]: variable for variable in choices(dashboard)}
    if tuple(by_name) != CHOICES:
        yield f"the variables are {tuple(by_name)}"
    for name, variable in by_name.items():
        wanted = {"label": name.title(), "datasource": SOURCE, "multi": True, "includeAll": True, "allValue": ".+"}
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield f"{name}: {key} is {variable.get(key)!r}"


@rule
def variables_follow_the_time(dashboard: Dashboard) -> Iterator[str]:
    """What can be chosen is asked again when the time range changes."""
    for variable in choices(dashboard):
        if variable.get("refresh") != 2:
            yield f"{variable['name']}: refresh is {variable.get('refresh')}"


@rule
def variable_queries_parse(dashboard: Dashboard) -> Iterator[str]:
    """Label values of a metric that there is; each variable depends on those before it."""
    asked = {name: (selector, label) for name, selector, label in variable_selectors(dashboard)}
    for index, variable in enumerate(choices(dashboard)):
        name = variable["name"]
        if name not in asked:
            yield f"{name}: no label_values(…)"
            continue
        selector, label = asked[name]
        try:
            found = list(selectors(parsed(selector)))
        except ValueError as error:
            yield f"{name}: {error}"
            continue
        wanted = {f'{each}=~"${each}"' for each in CHOICES[:index]}
        for each in found:
            if each.metric is None or label not in each.metric.labels:
                yield f"{name}: {each.name} has no label {label}"
            if each.matchers != wanted:
                yield f"{name}: the matchers are {sorted(each.matchers)}"


@rule
def dashboard_is_ours(dashboard: Dashboard) -> Iterator[str]:
    """Fixed uid, tag, not editable, shared crosshair, links that keep time and variables."""
    if dashboard.get("uid") not in UIDS.values():
        yield f"the uid is {dashboard.get('uid')}"
    if dashboard.get("editable") is not False:
        yield "it can be edited"
    if TAG not in dashboard.get("tags", ()):
        yield "the tag is missing"
    if dashboard.get("graphTooltip") != 1:
        yield "no shared crosshair"
    links = [link for link in dashboard.get("links", ()) if link["type"] == "dashboards" and link["tags"] == [TAG]]
    if not any(link["keepTime"] and link["includeVars"] for link in links):
        yield "no link to the others that keeps time and variables"


@rule
def panels_have_title_and_description(dashboard: Dashboard) -> Iterator[str]:
    """Both, and a description long enough to say how to read the panel."""
    for panel in panels(dashboard):
        if not panel.get("title") or len(panel.get("description", "")) < 30:
            yield f"panel {panel.get('id')}: {panel.get('title')!r}, {panel.get('description')!r}"


@rule
def panels_have_a_unit(dashboard: Dashboard) -> Iterator[str]:
    """One that Grafana knows, for all values and for those with one of their own."""
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        own = [
            each["value"] for override in config["overrides"] for each in override["properties"] if each["id"] == "unit"
        ]
        for unit in (config["defaults"].get("unit"), *own):
            if unit not in UNITS:
                yield f"{panel.get('title')}: unit {unit!r}"


@rule
def panels_have_queries(dashboard: Dashboard) -> Iterator[str]:
    """At least one, all by the data source of the variable, each with a letter of its own."""
    for panel in panels(dashboard):
        targets = panel.get("targets", [])
        if not targets:
            yield f"{panel.get('title')}: no query"
        if len({target["refId"] for target in targets}) < len(targets):
            yield f"{panel.get('title')}: two queries have one letter"
        for holder in (panel, *targets):
            if holder.get("datasource") != SOURCE:
                yield f"{panel.get('title')}: data source {holder.get('datasource')}"
    for annotation in dashboard["annotations"].get("list", ()):
        if annotation.get("datasource") != SOURCE:
            yield f"annotation {annotation['name']}: data source {annotation.get('datasource')}"


@rule
def panels_are_of_known_types(dashboard: Dashboard) -> Iterator[str]:
    """Those that every Grafana since 10 draws alike; no two have the same number or title."""
    seen: set[Any] = set()
    for panel in panels(dashboard):
        if panel["type"] not in PANEL_TYPES:
            yield f"{panel.get('title')}: type {panel['type']}"
        for key in (panel.get("id"), panel.get("title")):
            if key in seen:
                yield f"twice: {key}"
            seen.add(key)


@rule
def expressions_parse(dashboard: Dashboard) -> Iterator[str]:
    """PromQL, once the variables are replaced."""
    for place, expr in expressions(dashboard):
        try:
            parsed(expr)
        except ValueError as error:
            yield f"{place}: {error}: {expr}"


@rule
def selectors_carry_the_choices(dashboard: Dashboard) -> Iterator[str]:
    """`job` and `instance` everywhere, `target` wherever the metric has it."""
    for place, selector in _selectors(dashboard):
        has_target = selector.metric is not None and "target" in selector.metric.labels
        for name in CHOICES if has_target else CHOICES[:2]:
            if f'{name}=~"${name}"' not in selector.matchers:
                yield f"{place}: {selector.name} without {name}"


@rule
def rates_use_the_rate_interval(dashboard: Dashboard) -> Iterator[str]:
    """Ranges are Grafana's: a fixed one is empty or wrong at another scrape interval."""
    for place, selector in _selectors(dashboard):
        if selector.range_seconds is None:
            continue
        allowed = {RATE_INTERVAL_SECONDS} if selector.function in RATES else {RATE_INTERVAL_SECONDS, RANGE_SECONDS}
        if selector.range_seconds not in allowed:
            yield f"{place}: {selector.function}({selector.name}[{selector.range_seconds:g}s])"


@rule
def counters_are_in_rates(dashboard: Dashboard) -> Iterator[str]:
    """What only counts up says nothing by itself: judged by its name, as others have to."""
    for place, selector in _selectors(dashboard):
        if selector.name.endswith(("_total", "_bucket", "_count", "_sum")) and selector.function not in RATES:
            yield f"{place}: {selector.name} outside of rate and increase"


@rule
def metrics_exist(dashboard: Dashboard) -> Iterator[str]:
    """Each is exported, has the labels that are matched, and only what counts is in a rate."""
    for place, selector in _selectors(dashboard):
        if selector.metric is None:
            yield f"{place}: {selector.name} is not exported"
            continue
        if selector.function in RATES and selector.metric.kind not in COUNTS:
            yield f"{place}: {selector.function} of {selector.name}, a {selector.metric.kind}"
        for label in {re.split(r"[!=]", matcher)[0] for matcher in selector.matchers} - selector.metric.labels:
            yield f"{place}: {selector.name} has no label {label}"

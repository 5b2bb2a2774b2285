"""A dashboard around its panels: variables, links, annotations, and its JSON.

Covers: what the three have in common, and the round trip that shows that the library dropped nothing.
Leaves to others: the panels themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from memory_watchdog.web.families import PREFIX

from dashboards.colours import Colour
from dashboards.panels import DATA_SOURCE, Panel
from dashboards.queries import TARGET, WATCHDOG, Query

TAG = "memory-watchdog"
UIDS = {name: f"memory-watchdog-{name}" for name in ("fleet", "target", "watchdog")}
RUNBOOKS = "runbooks"
"""The variable that says where the runbooks lie: the folder docs/runbooks, wherever it is served."""
RUNBOOKS_URL = "https://git.example.com/memory-watchdog/docs/runbooks"
ALL = models.VariableOption(selected=True, text="All", value="$__all")


class RoundTripError(Exception):
    """The library read its own output back as something else: a field was dropped."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, from left to right and on."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Events as vertical lines. The query's value is when each happened, in milliseconds."""

    name: str
    query: Query
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()
    one_target: bool = False
    """Begin with the first target rather than with all of them."""

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, from top to bottom."""
        for row in self.rows:
            yield from row.panels

    @property
    def queries(self) -> Iterator[tuple[str, Query]]:
        """Every expression with the title of where it stands."""
        for panel in self.panels:
            for query in panel.queries:
                yield panel.title, query
        for annotation in self.annotations:
            yield annotation.name, annotation.query

    def build(self) -> models.Dashboard:
        """The dashboard as the library has it."""
        board = (
            dashboard.Dashboard(self.title)
            .uid(UIDS[self.name])
            .description(self.description)
            .tags([TAG])
            .readonly()
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .time("now-6h", "now")
            .refresh("30s")
            .timezone("browser")
            .variables(_variables(one_target=self.one_target))
            .annotations([_annotation(annotation) for annotation in self.annotations])
            .link(_link())
        )
        number = 0
        for row in self.rows:
            number += 1
            board.with_row(dashboard.Row(row.title).id(number))
            for panel in row.panels:
                number += 1
                board.with_panel(panel.build(number))
        return board.build()

    def text(self) -> str:
        """The JSON as it is committed. Raises RoundTripError where the library loses something on the way back."""
        built = json.loads(json.dumps(self.build(), cls=JSONEncoder))
        again = json.loads(json.dumps(models.Dashboard.from_json(built), cls=JSONEncoder))
        for place, before, after in differences(built, again):
            raise RoundTripError(f"{self.name}: {place} is {before!r}, and {after!r} when read back")
        return json.dumps(built, indent=2, ensure_ascii=False) + "\n"


def differences(before: Any, after: Any, place: str = "$") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, and what stands there in each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{place}[{index}]")
    elif before != after:
        yield place, before, after


def _variables(*, one_target: bool) -> list[Any]:
    prometheus = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        prometheus.current(models.VariableOption(selected=True, text="default", value="default")),
        _choice("job", "Job", f"{PREFIX}build_info", ()),
        _choice("instance", "Instance", f"{PREFIX}build_info", WATCHDOG[:1], first=one_target),
        _choice("target", "Target", f"{PREFIX}target_restarts_total", TARGET[:2], first=one_target),
        dashboard.TextBoxVariable(RUNBOOKS).label("Runbooks").default_value(RUNBOOKS_URL),
    ]


def _choice(
    name: str, label: str, metric: str, matchers: Sequence[str], *, first: bool = False
) -> dashboard.QueryVariable:
    """A label's values; `metric` is one that is there as soon as the watchdog runs."""
    selector = metric + (f"{{{', '.join(matchers)}}}" if matchers else "")
    query = f"label_values({selector}, {name})"
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .definition(query)
        .query({"query": query, "refId": f"Variable-{name}"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )
    return variable if first else variable.current(ALL)


def _annotation(annotation: Annotation) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(annotation.name)
        .datasource(DATA_SOURCE)
        .enable(True)
        .icon_color(annotation.query.colour or Colour.NEUTRAL)
        .expr(annotation.query.expr)
        .title_format(annotation.title)
        .text_format(annotation.text)
        .step("15s")
        .use_value_for_time(True)
    )


def _link() -> dashboard.DashboardLink:
    """One button for each of the others, with the time and the variables of this one."""
    return (
        dashboard.DashboardLink("Memory watchdog")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .target_blank(False)
    )

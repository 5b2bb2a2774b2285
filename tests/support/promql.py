"""What stands in a PromQL expression: selectors, the functions around them, and the metrics that there are.

Covers: Grafana's variables as durations that nobody would write, the parents of each selector, labels of a metric.
Leaves to others: what is wrong with an expression (`dashboard_lint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from memory_watchdog.web.families import FAMILIES, Kind

RATE_INTERVAL_SECONDS = 1931
RANGE_SECONDS = 86413
NUMBERS = {"$__interval_ms": 17000}
DURATIONS = {"$__rate_interval": RATE_INTERVAL_SECONDS, "$__range": RANGE_SECONDS, "$__interval": 17}

SCRAPE_LABELS = frozenset({"job", "instance"})
OTHERS = {
    "up": Kind.GAUGE,
    "scrape_duration_seconds": Kind.GAUGE,
    "process_resident_memory_bytes": Kind.GAUGE,
    "process_virtual_memory_bytes": Kind.GAUGE,
    "process_start_time_seconds": Kind.GAUGE,
    "process_open_fds": Kind.GAUGE,
    "process_max_fds": Kind.GAUGE,
    "process_cpu_seconds_total": Kind.COUNTER,
}
"""What Prometheus and its client library say of every process."""

ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
"""What Prometheus says of alerts. They have a target or not, so that none is asked for."""

COUNTS = (Kind.COUNTER, Kind.HISTOGRAM)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that the watchdog exports: its type and its labels."""

    kind: Kind
    labels: frozenset[str]


def _known() -> dict[str, Metric]:
    known = {name: Metric(kind, SCRAPE_LABELS) for name, kind in OTHERS.items()}
    known |= {name: Metric(Kind.GAUGE, SCRAPE_LABELS | {"alertname", "alertstate", "severity"}) for name in ALERTS}
    for family in FAMILIES:
        labels = SCRAPE_LABELS | set(family.labels)
        if family.kind is Kind.HISTOGRAM:
            known[f"{family.full_name}_bucket"] = Metric(family.kind, labels | {"le"})
            known |= {f"{family.full_name}_{part}": Metric(family.kind, labels) for part in ("sum", "count")}
        else:
            known[family.full_name] = Metric(family.kind, labels)
    return known


METRICS = _known()


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector where it stands: its matchers as written, its range, the function that takes it."""

    name: str
    matchers: frozenset[str]
    range_seconds: float | None
    function: str | None

    @property
    def metric(self) -> Metric | None:
        """None where we export no such metric."""
        return METRICS.get(self.name)


def parsed(expr: str) -> Any:
    """The expression's tree, its variables replaced. Raises ValueError where it is none."""
    for name, number in NUMBERS.items():
        expr = expr.replace(name, str(number))
    for name, seconds in DURATIONS.items():
        expr = re.sub(re.escape(name) + r"\b", f"{seconds}s", expr)
    return promql_parser.parse(expr)


def selectors(node: Any, function: str | None = None) -> Iterator[Selector]:
    """All selectors below `node`."""
    match node:
        case promql_parser.VectorSelector():
            yield _selector(node, None, function)
        case promql_parser.MatrixSelector():
            yield _selector(node.vector_selector, node.range.total_seconds(), function)
        case promql_parser.Call():
            for argument in node.args:
                yield from selectors(argument, node.func.name)
        case promql_parser.AggregateExpr():
            yield from selectors(node.expr)
        case promql_parser.BinaryExpr():
            yield from selectors(node.lhs)
            yield from selectors(node.rhs)
        case promql_parser.ParenExpr():
            yield from selectors(node.expr, function)
        case promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from selectors(node.expr)


def _selector(node: Any, seconds: float | None, function: str | None) -> Selector:
    return Selector(node.name or "", frozenset(str(matcher) for matcher in node.matchers.matchers), seconds, function)

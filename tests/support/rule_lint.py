"""What must hold for the expressions of all rules: the offline rules of cloudflare/pint, and conventions of our own.

Covers: comparisons, regular expressions, aggregations, divisions, matching, metrics and their labels, records.
Leaves to others: labels, texts and times (`rule_texts`), whether a rule does what it says (`alerts/tests`), dashboards
(`dashboard_lint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import promql_parser
from memory_watchdog.counters import HTTP_REASONS
from memory_watchdog.policy.events import RestartOutcome, Suppression

from tests.support.promql import COUNTS, METRICS, SCRAPE_LABELS, selectors
from tests.support.promql_labels import COMPARISONS, MismatchError, labels_of
from tests.support.rule_checks import Rules, all_selectors, check, everywhere, name_of, nodes_of

OF_TARGET = SCRAPE_LABELS | {"target"}
MOST_RECORDS = 8
RATES = {"rate", "irate", "increase"}
SHORTEST_RANGE_SECONDS = 180
"""Two scrapes a minute apart, one of them missed."""

VALUES: dict[tuple[str, str], set[str]] = {
    ("memory_watchdog_actions_suppressed_total", "reason"): set(Suppression),
    ("memory_watchdog_restart_actions_total", "outcome"): set(RestartOutcome),
    ("memory_watchdog_stats_failures_total", "reason"): set(HTTP_REASONS),
    ("memory_watchdog_target_threshold_bytes", "edge"): {"enter", "exit"},
}
"""What the labels that rules match can say."""


@check
def a_comparison_is_there(rules: Rules) -> Iterator[str]:
    """Without one an alert fires as long as the metric is there. One with `bool` compares nothing away."""
    for rule, tree in rules.alerts:
        compared = [
            node
            for node in nodes_of(tree)
            if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in COMPARISONS
        ]
        if not any(node.modifier is None or not node.modifier.return_bool for node in compared):
            yield name_of(rule)


@check
def regular_expressions_are_needed(rules: Rules) -> Iterator[str]:
    """A plain text is compared by `=`, and what takes everything is left out."""
    for rule, tree in (*rules.alerts, *rules.records):
        for node in nodes_of(tree):
            vector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
            if not isinstance(vector, promql_parser.VectorSelector):
                continue
            for matcher in vector.matchers.matchers:
                if matcher.op not in (promql_parser.MatchOp.Re, promql_parser.MatchOp.NotRe):
                    continue
                if re.escape(matcher.value) == matcher.value or matcher.value in (".*", ".+") or "^" in matcher.value:
                    yield f"{name_of(rule)}: {matcher}"


@check
def nothing_is_ranked(rules: Rules) -> Iterator[str]:
    """`topk` in an alert resolves what another one overtakes."""
    for name, node in everywhere(rules):
        if isinstance(node, promql_parser.AggregateExpr) and str(node.op) in ("topk", "bottomk"):
            yield name


@check
def targets_are_kept_apart(rules: Rules) -> Iterator[str]:
    """In a fleet all targets are called the same: what is about one keeps job, instance and target."""
    for rule, tree in (*rules.alerts, *rules.records):
        asked = [METRICS[each.name].labels for each in selectors(tree) if each.name in METRICS]
        wanted = OF_TARGET if any("target" in labels for labels in asked) else frozenset()
        if not wanted <= rules.labels(tree):
            yield f"{name_of(rule)}: {sorted(rules.labels(tree))}"
    for name, node in everywhere(rules):
        if isinstance(node, promql_parser.AggregateExpr) and str(getattr(node.modifier, "type", "")).endswith("By"):
            yield f"{name}: `by` drops labels of the scrape; `without` keeps them"


@check
def sides_match(rules: Rules) -> Iterator[str]:
    """Both sides of an operator have the labels by which they are matched."""
    for rule, tree in (*rules.alerts, *rules.records):
        try:
            labels_of(tree, rules.recorded)
        except MismatchError as error:
            yield f"{name_of(rule)}: {error}"
        except KeyError:
            continue  # `metrics_exist` says so


@check
def divisors_are_not_zero(rules: Rules) -> Iterator[str]:
    """0/0 is NaN, which no comparison holds for: a divisor is a number, or compared with `> 0`."""
    for name, node in everywhere(rules):
        if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) not in ("/", "%"):
            continue
        divisor = node.rhs
        while isinstance(divisor, promql_parser.ParenExpr):
            divisor = divisor.expr
        match divisor:
            case promql_parser.NumberLiteral():
                is_safe = divisor.val != 0
            case promql_parser.BinaryExpr():
                floor = divisor.rhs
                is_safe = str(divisor.op) == ">" and isinstance(floor, promql_parser.NumberLiteral) and floor.val >= 0
            case _:
                is_safe = False
        if not is_safe:
            yield f"{name}: {node.prettify()}"


@check
def metrics_exist(rules: Rules) -> Iterator[str]:
    """Each is exported or recorded, has the labels that are matched, and is counted if it is a counter and else not."""
    for name, selector in all_selectors(rules):
        kind = rules.metric_kind(selector.name)
        if kind is None:
            yield f"{name}: {selector.name} is not exported"
            continue
        if (kind in COUNTS) != (selector.function in RATES):
            yield f"{name}: {selector.function} of {selector.name}, a {kind}"
        known = rules.recorded.get(selector.name) or METRICS[selector.name].labels
        for label in {re.split(r"[!=]", matcher)[0] for matcher in selector.matchers} - known:
            yield f"{name}: {selector.name} has no label {label}"


@check
def no_scrape_is_named(rules: Rules) -> Iterator[str]:
    """What a job or an instance is called is the user's affair."""
    for name, selector in all_selectors(rules):
        yield from (
            f"{name}: {matcher}"
            for matcher in selector.matchers
            if re.split(r"[!=]", matcher)[0] in SCRAPE_LABELS | {"target"}
        )


@check
def a_scrape_may_be_missed(rules: Rules) -> Iterator[str]:
    """A failed scrape ends all series but `up`: what is looked at is the last of a range that holds at least two."""
    for name, selector in all_selectors(rules):
        if selector.name == "up" or selector.name in rules.recorded:
            continue
        if (selector.range_seconds or 0) < 180:
            yield f"{name}: {selector.name}"


@check
def records_are_few_and_named(rules: Rules) -> Iterator[str]:
    """At most eight series of each target, and their names say what is left and what was done."""
    records = list(rules.records)
    if len(records) > MOST_RECORDS:
        yield f"{len(records)} series"
    for rule, tree in records:
        if rules.labels(tree) != OF_TARGET:
            yield f"{name_of(rule)}: {sorted(rules.labels(tree))}"
        if not re.fullmatch(r"target:memory_watchdog_\w+:\w+", name_of(rule)):
            yield f"{name_of(rule)}: not level:metric:operation"


@check
def matched_values_exist(rules: Rules) -> Iterator[str]:
    """Another one matches nothing, or all of it."""
    for name, selector in all_selectors(rules):
        for matcher in selector.matchers:
            label, values = re.split(r"[!=]~?=?", matcher, maxsplit=1)
            known = VALUES.get((selector.name, label), set())
            for value in set(values.strip('~"').split("|")) - known:
                yield f"{name}: {label} {value} of {selector.name}"

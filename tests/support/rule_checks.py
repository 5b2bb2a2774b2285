"""The rules of all rule files as the lint sees them, and the checks that are asked of them.

Leaves to others: the checks themselves (`rule_lint` of expressions, `rule_texts` of what stands around them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser
from memory_watchdog.web.families import Kind

from tests.support.promql import METRICS, Selector, parsed, selectors
from tests.support.promql_labels import Labels, MismatchError, labels_of

Rule = dict[str, Any]
Check = Callable[["Rules"], Iterator[str]]
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules there are, and the labels of what they record."""

    all: tuple[Rule, ...]
    recorded: Mapping[str, Labels]

    @property
    def alerts(self) -> Iterator[tuple[Rule, Any]]:
        """Those that alert, each with its expression's tree."""
        return ((rule, tree_of(rule)) for rule in self.all if "alert" in rule)

    @property
    def records(self) -> Iterator[tuple[Rule, Any]]:
        """Those that record, likewise."""
        return ((rule, tree_of(rule)) for rule in self.all if "record" in rule)

    def metric_kind(self, name: str) -> Kind | None:
        """What is recorded is a gauge."""
        return Kind.GAUGE if name in self.recorded else METRICS[name].kind if name in METRICS else None

    def labels(self, node: Any) -> Labels:
        """The labels of an expression; none where it cannot be told, which `sides_match` and `metrics_exist` say."""
        try:
            return labels_of(node, self.recorded) or frozenset()
        except (MismatchError, KeyError):
            return frozenset()


def rules_of(rules: list[Rule]) -> Rules:
    """All rules, with what each record is worked out in their order."""
    recorded: dict[str, Labels] = {}
    for rule in rules:
        if "record" in rule:
            recorded[rule["record"]] = Rules((), recorded).labels(tree_of(rule))
    return Rules(tuple(rules), recorded)


def findings(rules: list[Rule]) -> dict[str, list[str]]:
    """What each check says."""
    said = {name: list(check(rules_of(rules))) for name, check in CHECKS.items()}
    return {name: words for name, words in said.items() if words}


def check(function: Check) -> Check:
    """Make the function a check, by its own name."""
    CHECKS[function.__name__] = function
    return function


def name_of(rule: Rule) -> str:
    """What a rule is called."""
    return str(rule.get("alert") or rule.get("record"))


def tree_of(rule: Rule) -> Any:
    """The tree of its expression."""
    return parsed(rule["expr"])


def nodes_of(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    yield node
    match node:
        case promql_parser.BinaryExpr():
            below = [node.lhs, node.rhs]
        case promql_parser.Call():
            below = list(node.args)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            below = [node.expr]
        case promql_parser.SubqueryExpr():
            below = [node.expr]
        case _:
            below = []
    for each in below:
        yield from nodes_of(each)


def everywhere(rules: Rules) -> Iterator[tuple[str, Any]]:
    """Every node of every expression, with the name of its rule."""
    for rule, tree in (*rules.alerts, *rules.records):
        yield from ((name_of(rule), node) for node in nodes_of(tree))


def all_selectors(rules: Rules) -> Iterator[tuple[str, Selector]]:
    """Every selector of every expression, likewise."""
    for rule, tree in (*rules.alerts, *rules.records):
        yield from ((name_of(rule), selector) for selector in selectors(tree))

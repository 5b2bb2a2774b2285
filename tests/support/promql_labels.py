"""Which labels an expression's series have, worked out from the catalogue of metrics without asking Prometheus.

Covers: aggregations, functions, matching of two sides, and sides that can never match.
Leaves to others: what is wrong with that (`rule_lint`), selectors by themselves (`promql`).

Labels that only some scrapes add (cluster, namespace, pod) are not among them: an expression that names them is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import promql_parser
from promql_parser import AggModifierType, LabelModifierType, ValueType, VectorMatchCardinality

from tests.support.promql import METRICS

SETS = {"and", "or", "unless"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}

Labels = frozenset[str]


class MismatchError(ValueError):
    """Two sides whose labels differ, with nothing that says by which to match: there is no answer, ever."""


def labels_of(node: Any, recorded: Mapping[str, Labels]) -> Labels | None:
    """The labels of each series; None for a scalar. Raises MismatchError, KeyError for a metric that nobody knows."""
    match node:
        case promql_parser.VectorSelector():
            name = str(node.name)
            return recorded[name] if name in recorded else METRICS[name].labels
        case promql_parser.MatrixSelector():
            return labels_of(node.vector_selector, recorded)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return labels_of(node.expr, recorded)
        case promql_parser.Call():
            return _of_call(node, recorded)
        case promql_parser.AggregateExpr():
            return _of_aggregation(node, labels_of(node.expr, recorded) or frozenset())
        case promql_parser.BinaryExpr():
            return _of_sides(node, labels_of(node.lhs, recorded), labels_of(node.rhs, recorded))
    return None


def _of_call(node: Any, recorded: Mapping[str, Labels]) -> Labels | None:
    if node.func.return_type == ValueType.Scalar:
        return None
    if node.func.name.startswith("absent") or node.func.name == "vector":
        return frozenset()
    of_arguments = [labels_of(argument, recorded) for argument in node.args]
    return next((labels for labels in of_arguments if labels is not None), None)


def _of_aggregation(node: Any, inner: Labels) -> Labels:
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    return inner & named if node.modifier.type == AggModifierType.By else inner - named


def _of_sides(node: Any, left: Labels | None, right: Labels | None) -> Labels | None:
    if left is None or right is None:
        return left if right is None else right
    matching = None if node.modifier is None else node.modifier.matching
    if matching is None:
        if left != right:
            raise MismatchError(f"{sorted(left)} {node.op} {sorted(right)}")
        return left
    named = frozenset(matching.labels)
    by = named if matching.type == LabelModifierType.Include else (left | right) - named
    if not (by <= left and by <= right):
        raise MismatchError(f"{sorted(left)} {node.op} {sorted(right)} by {sorted(by)}")
    if str(node.op) in SETS:
        return left
    match node.modifier.card:
        case VectorMatchCardinality.ManyToOne:
            return left | frozenset(node.modifier.group_labels or ())
        case VectorMatchCardinality.OneToMany:
            return right | frozenset(node.modifier.group_labels or ())
    return by

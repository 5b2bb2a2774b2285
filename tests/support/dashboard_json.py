"""A dashboard's JSON: where its panels, expressions and variables stand, and the rules that are asked of it.

Leaves to others: the rules themselves (`dashboard_lint`, `dashboard_looks`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Dashboard = dict[str, Any]
Rule = Callable[[Dashboard], Iterator[str]]
RULES: dict[str, Rule] = {}
"""What must hold, by the name of the function that says what does not."""


def rule(check: Rule) -> Rule:
    """Make the function a rule, by its own name."""
    RULES[check.__name__] = check
    return check


def panels(dashboard: Dashboard) -> Iterator[Dashboard]:
    """All panels, those in rows included, the rows themselves not."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def expressions(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression: those of panels, annotations and variables."""
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            yield f"{panel.get('title')} {target.get('refId')}", target.get("expr", "")
    for annotation in dashboard["annotations"].get("list", ()):
        yield f"annotation {annotation['name']}", annotation.get("expr", "")


def variable_selectors(dashboard: Dashboard) -> Iterator[tuple[str, str, str]]:
    """Name, selector and label of each variable that asks for label values."""
    for variable in choices(dashboard):
        text = variable["query"]["query"] if isinstance(variable["query"], dict) else variable["query"]
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
        if found is not None:
            yield variable["name"], found[1], found[2]


def choices(dashboard: Dashboard) -> Iterator[Dashboard]:
    """The variables that ask Prometheus."""
    return (variable for variable in dashboard["templating"]["list"] if variable["type"] == "query")

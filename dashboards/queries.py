"""Expressions: the matchers that each carries, and what is written once because many panels need it.

Covers: selectors, rates over `$__rate_interval`, joins by target, the record of a query.
Leaves to others: how an answer is drawn (`panels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memory_watchdog.web.families import PREFIX

from dashboards.colours import Colour
from dashboards.scenarios import Needs, Scenario

WATCHDOG = ('job=~"$job"', 'instance=~"$instance"')
"""Matchers of what a watchdog says of itself."""

TARGET = (*WATCHDOG, 'target=~"$target"')
"""Matchers of what it says of a target."""

BY_TARGET = "job, instance, target"
"""In a fleet all targets are called the same: the watchdog's instance tells them apart."""

HOUR = 3600

AROUND = "Each point counts what happened in the rate interval before it, so what happens once may show in several."
"""What a panel of events says of its numbers."""


class Look(StrEnum):
    """How a line is drawn."""

    LINE = "line"
    AREA = "area"
    DASHED = "dashed"
    DOTTED = "dotted"
    BARS = "bars"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, what its series are called, and where it is known to have an answer."""

    expr: str
    legend: str = ""
    colour: Colour | None = None
    look: Look = Look.LINE
    scenario: Scenario = Scenario.CALM
    needs: Needs = Needs.NOTHING


def of_target(name: str, *matchers: str) -> str:
    """A series of ours about a target; `name` is without the prefix."""
    return f"{PREFIX}{name}{{{', '.join((*TARGET, *matchers))}}}"


def of_watchdog(name: str, *matchers: str) -> str:
    """A series about the watchdog itself; `name` is the whole one."""
    return f"{name}{{{', '.join((*WATCHDOG, *matchers))}}}"


def rate(selector: str) -> str:
    """How fast a counter rises, per second."""
    return f"rate({selector}[$__rate_interval])"


def increase(selector: str) -> str:
    """How much a counter rose since the last point."""
    return f"increase({selector}[$__rate_interval])"


def by_target(expr: str, *labels: str) -> str:
    """The sum for each target, and for each value of further labels."""
    return f"sum by ({', '.join((BY_TARGET, *labels))}) ({expr})"


def mean_an_hour(counter: str) -> str:
    """How often an hour, as the mean over what the dashboard shows."""
    return f"avg_over_time({by_target(rate(counter))}[$__range:$__interval]) * {HOUR}"


def total_shown(rates: str) -> str:
    """How often over what the dashboard shows, from rates: each times the step, summed.

    A sum of `increase` over windows that only touch would lose what happens between the last sample of one window and
    the first of the next, with Grafana's windows of four scrapes a quarter of all.
    """
    return f"sum_over_time({rates}[$__range:$__interval]) * $__interval_ms / 1000"


def share_of(part: str, whole: str) -> str:
    """A part of a whole between 0 and 1; absent where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def where(expr: str, condition: str, *labels: str) -> str:
    """What the condition also has, for the same target."""
    return f"{expr} and on ({', '.join((BY_TARGET, *labels))}) ({condition})"


USED = of_target("target_used_bytes")
LIMIT = of_target("target_limit_bytes")
SHARE = share_of(USED, LIMIT)
LEVEL = of_target("target_level", 'level!="none"')
HELD = f"{LEVEL} == 1"
ENTER = of_target("target_threshold_bytes", 'edge="enter"')
HIGHEST = f"{ENTER} == on ({BY_TARGET}) group_left () max by ({BY_TARGET}) ({ENTER})"
"""The threshold of each target's highest level."""
HIGHEST_HELD = f"({HELD}) and on ({BY_TARGET}, level) ({HIGHEST})"

"""How every dashboard must look: legends, colours, the grid, what fits at 1280 pixels.

Leaves to others: what a dashboard asks (`dashboard_lint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dashboards.colours import Colour
from tests.support.dashboard_json import Dashboard, panels, rule
from tests.support.promql import SCRAPE_LABELS, parsed, selectors

PAGE_PIXELS = 1280 - 32  # what Grafana leaves of 1280 for the grid
BY_HEIGHT = "continuous-BlPu"
COLUMNS, GAP_PIXELS, FRAME_PIXELS = 24, 8, 18
LETTER_PIXELS, MARK_PIXELS = 6.6, 48  # titles are 14 pixels high; the mark is that of the description


@rule
def legends_name_what_there_is(dashboard: Dashboard) -> Iterator[str]:
    """Labels in a legend are the metric's; several queries are told apart by theirs."""
    for panel in panels(dashboard):
        if panel["type"] == "table":
            continue
        legends = [target.get("legendFormat", "") for target in panel.get("targets", ())]
        if len(legends) > 1 and (len(set(legends)) < len(legends) or not all(legends)):
            yield f"{panel['title']}: legends {legends}"
        for target, legend in zip(panel.get("targets", ()), legends, strict=True):
            try:
                found = list(selectors(parsed(target["expr"])))
            except ValueError:
                continue
            there = SCRAPE_LABELS.union(*(each.metric.labels for each in found if each.metric is not None))
            for label in set(re.findall(r"{{\s*(\w+)\s*}}", legend)) - there:
                yield f"{panel['title']}: {label} in the legend"


@rule
def colours_have_a_meaning(dashboard: Dashboard) -> Iterator[str]:
    """Only those of the palette: no name of a colour, no palette of Grafana's, no other number."""
    allowed = {str(colour) for colour in Colour}
    for panel in panels(dashboard):
        mode = panel["fieldConfig"]["defaults"].get("color", {}).get("mode")
        if mode not in {"fixed", "thresholds", BY_HEIGHT}:
            yield f"{panel.get('title')}: colours by {mode}, as Grafana likes"
    for place, key, value in _leaves(dashboard, "$"):
        if key in {"color", "fixedColor", "iconColor"} and value not in allowed:
            yield f"{place}: {value}"
        if (
            key == "mode"
            and isinstance(value, str)
            and value.startswith(("palette", "shades", "continuous"))
            and value != BY_HEIGHT
        ):
            yield f"{place}: {value}"


def _leaves(value: Any, place: str, key: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, f"{place}.{name}", name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{place}[{index}]", key)
    else:
        yield place, key, value


@rule
def grid_is_full(dashboard: Dashboard) -> Iterator[str]:
    """Nothing overlaps or sticks out, and no line has a hole."""
    taken: dict[tuple[int, int], Any] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        x, y = at.get("x", 0), at.get("y", 0)
        for cell in ((column, line) for column in range(x, x + at["w"]) for line in range(y, y + at["h"])):
            if cell in taken:
                yield f"{panel['title']} overlaps {taken[cell]}"
            if cell[0] >= COLUMNS:
                yield f"{panel['title']} sticks out"
            taken[cell] = panel["title"]
    lines = {line for _, line in taken}
    for line in sorted(lines):
        if sum(cell[1] == line for cell in taken) != COLUMNS:
            yield f"line {line} is not full"


@rule
def titles_fit_at_1280_pixels(dashboard: Dashboard) -> Iterator[str]:
    """A title that is cut off says nothing; beside it there is the mark of the description."""
    for panel in panels(dashboard):
        if len(panel.get("title", "")) * LETTER_PIXELS + MARK_PIXELS > _inside(panel):
            yield f"{panel['title']} is too long"


def _inside(panel: Dashboard) -> float:
    """The pixels that a panel has inside its frame."""
    return float((PAGE_PIXELS + GAP_PIXELS) * panel["gridPos"]["w"] / COLUMNS - GAP_PIXELS - FRAME_PIXELS)


@rule
def tables_fit_at_1280_pixels(dashboard: Dashboard) -> Iterator[str]:
    """Every column has a width, and together they are no wider than the panel."""
    for panel in panels(dashboard):
        if panel["type"] != "table":
            continue
        inside = _inside(panel)
        widths = [
            each["value"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "custom.width"
        ]
        if len(widths) < len(panel["fieldConfig"]["overrides"]):
            yield f"{panel['title']}: a column without a width"
        if sum(widths) > inside:
            yield f"{panel['title']}: {sum(widths)} pixels of {inside:.0f}"

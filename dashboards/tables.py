"""Tables: one row for each target, each column a query of its own.

Covers: merging the answers, names, units and widths of columns, links to the target's dashboard.
Leaves to others: what the columns show (`fleet`, `target`, `watchdog`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models.common import TableCellHeight
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue, MatcherConfig

from dashboards.board import RUNBOOKS, UIDS
from dashboards.colours import Colour
from dashboards.panels import REF_IDS, Panel, begun, fixed


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click on a value leads."""

    title: str
    url: str


TARGET_LINK = Link(
    "Show this target",
    f"/d/{UIDS['target']}?var-datasource=${{datasource}}&var-job=${{__data.fields.job}}"
    "&var-instance=${__data.fields.instance}&var-target=${__data.fields.target}&${__url_time_range}",
)
RUNBOOK_LINK = Link("Open the runbook", f"${{{RUNBOOKS}:raw}}/${{__data.fields.alertname}}.md")


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is called, how wide it is (pixels), how its values are shown.

    `field` is a label, or a query's letter.
    """

    field: str
    name: str
    width: int
    unit: str = ""
    gauge: bool = False
    steps: Sequence[tuple[float | None, Colour]] = ()
    link: Link | None = None
    decimals: int | None = None

    @property
    def source(self) -> str:
        """The field's name after the answers were merged."""
        return f"Value #{self.field}" if self.field in REF_IDS else self.field


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """Rows that share their labels; those with the highest value of the column `first` stand above."""

    columns: Sequence[Column]
    first: str
    descending: bool = True
    rows: int = 50

    def build(self, number: int) -> table.Panel:
        """The panel as the library has it."""
        panel = table.Panel()
        begun(panel, self, number, instant=True, table=True)
        panel.color_scheme(fixed(Colour.USED)).cell_height(TableCellHeight.SM).show_header(True)
        panel.footer(common.TableFooterOptions().show(False).reducer([]))
        first = next(column.source for column in self.columns if column.name == self.first)
        sort = {"field": first, "desc": self.descending}
        panel.transformations(
            [
                # A single answer keeps the name "Value"; merge gives it its letter.
                DataTransformerConfig(id_val="merge", options={}),
                DataTransformerConfig(
                    id_val="filterFieldsByName",
                    options={"include": {"names": [column.source for column in self.columns]}},
                ),
                DataTransformerConfig(
                    id_val="organize",
                    options={
                        "excludeByName": {},
                        "indexByName": {column.source: index for index, column in enumerate(self.columns)},
                        "renameByName": {},
                    },
                ),
                DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": [sort]}),
                DataTransformerConfig(id_val="limit", options={"limitField": self.rows}),
            ]
        )
        for column in self.columns:
            panel.with_override(MatcherConfig(id_val="byName", options=column.source), _properties(column))
        return panel


def _properties(column: Column) -> list[DynamicConfigValue]:
    values: dict[str, Any] = {"displayName": column.name, "custom.width": column.width}
    if column.unit:
        values["unit"] = column.unit
    if column.decimals is not None:
        values["decimals"] = column.decimals
    if column.steps:
        values["thresholds"] = {
            "mode": "absolute", "steps": [{"value": value, "color": str(colour)} for value, colour in column.steps]
        }  # fmt: skip
        values["color"] = {"mode": "thresholds"}
        values["custom.cellOptions"] = {"type": "color-text"}
    if column.gauge:
        values |= {
            "min": 0,
            "max": 1,
            "custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
        }
    if column.link is not None:
        values["links"] = [{"title": column.link.title, "url": column.link.url, "targetBlank": False}]
    return [DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]

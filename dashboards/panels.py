"""Panels: the conventions that all of them share, and one class for each type that is used.

Covers: data source, description, unit, legend, colours of single queries, thresholds, value texts.
Leaves to others: expressions (`queries`), tables (`tables`), what stands where (`fleet`, `target`, `watchdog`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as dashboard_models
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, MatcherConfig, Threshold, ValueMapping
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.colours import Colour
from dashboards.queries import Look, Query

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
REF_IDS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has. Width and height are those of Grafana's grid: 24 columns, rows of 38 pixels."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    width: int
    height: int = 8
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    steps: Sequence[tuple[float | None, Colour]] = ()
    """Thresholds: from this value on, in this colour; the first has None."""
    texts: dict[str, tuple[str, Colour]] = field(default_factory=dict)
    """What is shown in place of a value, and its colour."""

    def build(self, number: int) -> Builder[dashboard_models.Panel]:
        """The panel as the library has it."""
        raise NotImplementedError


class _Common(Protocol):
    """The methods of the library's builders that are the same for every type of panel."""

    def id(self, id_val: int) -> Any: ...
    def title(self, title: str) -> Any: ...
    def description(self, description: str) -> Any: ...
    def datasource(self, datasource: DataSourceRef) -> Any: ...
    def span(self, w: int) -> Any: ...
    def height(self, h: int) -> Any: ...
    def unit(self, unit: str) -> Any: ...
    def min(self, min_val: float) -> Any: ...
    def max(self, max_val: float) -> Any: ...
    def decimals(self, decimals: float) -> Any: ...
    def mappings(self, mappings: list[ValueMapping]) -> Any: ...
    def thresholds(self, thresholds: Builder[dashboard_models.ThresholdsConfig]) -> Any: ...
    def color_scheme(self, color: Builder[dashboard_models.FieldColor]) -> Any: ...
    def with_target(self, target: Any) -> Any: ...


def begun(builder: _Common, panel: Panel, number: int, *, instant: bool = False, table: bool = False) -> None:
    """Give a builder all that panels have in common."""
    builder.id(number)
    builder.title(panel.title)
    builder.description(panel.description)
    builder.datasource(DATA_SOURCE)
    builder.span(panel.width)
    builder.height(panel.height)
    builder.unit(panel.unit)
    if panel.minimum is not None:
        builder.min(panel.minimum)
    if panel.maximum is not None:
        builder.max(panel.maximum)
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.texts:
        builder.mappings([_texts(panel)])
    # Without any, the library's own default of red from 80 on would be taken.
    builder.thresholds(thresholds(panel.steps or [(None, Colour.USED)]))
    for ref_id, query in zip(REF_IDS, panel.queries, strict=False):
        target = (
            prometheus.Dataquery().ref_id(ref_id).datasource(DATA_SOURCE).expr(query.expr).legend_format(query.legend)
        )
        if table:
            target = target.format(PromQueryFormat.TABLE)
        builder.with_target(target.instant() if instant else target.range())


def thresholds(steps: Sequence[tuple[float | None, Colour]]) -> dashboard.ThresholdsConfig:
    """Steps in absolute values."""
    return (
        dashboard.ThresholdsConfig()
        .mode(dashboard_models.ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in steps])
    )


def fixed(colour: Colour) -> dashboard.FieldColor:
    """One colour for all."""
    return dashboard.FieldColor().mode(dashboard_models.FieldColorModeId.FIXED).fixed_color(colour)


def by_steps() -> dashboard.FieldColor:
    """The colour of the threshold that the value has reached."""
    return dashboard.FieldColor().mode(dashboard_models.FieldColorModeId.THRESHOLDS)


def by_height() -> dashboard.FieldColor:
    """For series that only their names tell apart: from blue to purple, the higher one goes.

    The blues are what is measured anyway. Grafana's palettes use red and green for mere names, and its shades of one
    colour lie too close to each other. Who sees no red tells these series apart by their height and the tooltip.
    """
    mode, highest = dashboard_models.FieldColorModeId.CONTINUOUS_BL_PU, dashboard_models.FieldColorSeriesByMode.MAX
    return dashboard.FieldColor().mode(mode).series_by(highest)


def _texts(panel: Panel) -> ValueMapping:
    results = {
        value: dashboard_models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(panel.texts.items())
    }
    return dashboard_models.ValueMap(options=results)


def reduced(how: str) -> common.ReduceDataOptions:
    """One number for each series: `lastNotNull`, `mean`, `max`, `sum`."""
    return common.ReduceDataOptions().calcs([how]).fields("").values(False)


LOOKS: dict[Look, dict[str, Any]] = {
    Look.LINE: {},
    Look.AREA: {"custom.fillOpacity": 25},
    Look.DASHED: {"custom.lineStyle": {"fill": "dash", "dash": [10, 10]}, "custom.fillOpacity": 0},
    Look.DOTTED: {"custom.lineStyle": {"fill": "dot", "dash": [2, 6]}, "custom.fillOpacity": 0},
    Look.BARS: {"custom.drawStyle": "bars", "custom.fillOpacity": 80, "custom.lineWidth": 0},
    Look.POINTS: {"custom.drawStyle": "points", "custom.showPoints": "always", "custom.pointSize": 6},
}


def style_of(query: Query) -> list[DynamicConfigValue]:
    """What a query's series look like, as an override."""
    values: dict[str, Any] = dict(LOOKS[query.look])
    if query.colour is not None:
        values["color"] = {"mode": "fixed", "fixedColor": str(query.colour)}
    return [DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeries(Panel):
    """Lines over time."""

    stacked: bool = False
    fill: int = 0

    def build(self, number: int) -> timeseries.Panel:
        """The panel as the library has it."""
        panel = timeseries.Panel()
        begun(panel, self, number)
        panel.color_scheme(by_height())
        panel.line_width(1 if self.stacked else 2).fill_opacity(70 if self.stacked else self.fill)
        panel.show_points(models.VisibilityMode.AUTO).point_size(4).axis_soft_min(0)
        panel.span_nulls(False)
        panel.legend(_legend())
        panel.tooltip(
            common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING)
        )
        if self.stacked:
            panel.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL).group("A"))
        for ref_id, query in zip(REF_IDS, self.queries, strict=False):
            style = style_of(query)
            if style:
                panel.with_override(MatcherConfig(id_val="byFrameRefID", options=ref_id), style)
        return panel


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).placement(models.LegendPlacement.BOTTOM)
    return legend.display_mode(models.LegendDisplayMode.LIST).calcs([])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """A number, or one for each series."""

    height: int = 4
    instant: bool = False
    spark: bool = False
    absent: str = ""
    """What is shown where there is no number, if that is no fault."""

    def build(self, number: int) -> stat.Panel:
        """The panel as the library has it."""
        panel = stat.Panel()
        begun(panel, self, number, instant=self.instant)
        if self.absent:
            panel.no_value(self.absent)
        panel.color_scheme(by_steps()).reduce_options(reduced("lastNotNull"))
        panel.color_mode(models.BigValueColorMode.VALUE).justify_mode(models.BigValueJustifyMode.AUTO)
        panel.graph_mode(models.BigValueGraphMode.AREA if self.spark else models.BigValueGraphMode.NONE)
        panel.text_mode(models.BigValueTextMode.AUTO)  # with its name where there are several
        return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge(Panel):
    """A share of a whole."""

    height: int = 4

    def build(self, number: int) -> gauge.Panel:
        """The panel as the library has it."""
        panel = gauge.Panel()
        begun(panel, self, number)
        panel.color_scheme(by_steps()).reduce_options(reduced("lastNotNull"))
        panel.show_threshold_labels(False).show_threshold_markers(False)
        return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class BarGauge(Panel):
    """Numbers side by side, as bars."""

    reduce: str = "lastNotNull"
    instant: bool = False

    def build(self, number: int) -> bargauge.Panel:
        """The panel as the library has it."""
        panel = bargauge.Panel()
        begun(panel, self, number, instant=self.instant)
        panel.color_scheme(by_steps()).reduce_options(reduced(self.reduce))
        panel.orientation(models.VizOrientation.HORIZONTAL).display_mode(models.BarGaugeDisplayMode.BASIC)
        panel.value_mode(models.BarGaugeValueMode.TEXT).show_unfilled(True)
        panel.text(common.VizTextDisplayOptions().title_size(14).value_size(18)).no_value("none")
        panel.sizing(models.BarGaugeSizing.MANUAL).min_viz_width(8).min_viz_height(16).max_viz_height(36)
        panel.name_placement(models.BarGaugeNamePlacement.TOP)
        for ref_id, query in zip(REF_IDS, self.queries, strict=False):
            # A name of its own is shown also where there is only one bar.
            name = DynamicConfigValue(
                id_val="displayName", value=re.sub(r"{{(\w+)}}", r"${__field.labels.\1}", query.legend)
            )
            panel.with_override(MatcherConfig(id_val="byFrameRefID", options=ref_id), [name, *style_of(query)])
        return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTimeline(Panel):
    """What held when: a row for each series, a colour for each state."""

    def build(self, number: int) -> statetimeline.Panel:
        """The panel as the library has it."""
        panel = statetimeline.Panel()
        begun(panel, self, number)
        panel.color_scheme(by_steps()).show_value(models.VisibilityMode.NEVER).merge_values(True)
        panel.row_height(0.8).fill_opacity(90).line_width(0)
        panel.legend(_legend())
        panel.tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.SINGLE))
        return panel

"""How panels look: colours that colour-blind people tell apart, always with a sign or a word beside them; tables, numbers, lines.

The colours are those of Okabe and Ito's palette.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TableCellHeight,
    TableColoredBackgroundCellOptions,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PURPLE, GREY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#8C8C8C",
)
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

Builder = TypeVar("Builder", bargauge.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)


@dataclass(frozen=True, slots=True)
class Told:
    """What a panel says of itself: its title, what it shows and what that means, and what it shows where nothing was found."""

    title: str
    description: str
    nothing: str = "No data"


def panel(made: Builder, told: Told, width: int, height: int) -> Builder:
    """A panel, with what all have."""
    said = made.title(told.title).description(told.description).no_value(told.nothing)
    return said.datasource(SOURCE).span(width).height(height)


# ---- queries -----------------------------------------------------------------------------------------------------------------


def query(expr: str, name: str = "A", legend: str = "") -> prometheus.Dataquery:
    """What is common to all."""
    asked = prometheus.Dataquery().expr(expr).ref_id(name).datasource(SOURCE).editor_mode(QueryEditorMode.CODE)
    return asked.legend_format(legend) if legend else asked


def rows(expr: str, name: str = "A") -> prometheus.Dataquery:
    """What is found now, a row for each series."""
    return query(expr, name).instant().format(PromQueryFormat.TABLE)


def now(expr: str, legend: str = "", name: str = "A") -> prometheus.Dataquery:
    """What is found now."""
    return query(expr, name, legend).instant().format(PromQueryFormat.TIME_SERIES)


def course(expr: str, legend: str = "", name: str = "A") -> prometheus.Dataquery:
    """What was found in the time that is shown."""
    return query(expr, name, legend).range().format(PromQueryFormat.TIME_SERIES)


# ---- words and signs ---------------------------------------------------------------------------------------------------------


def words(said: Mapping[float, tuple[str, str]], unknown: str = "· unknown") -> list[ValueMapping]:
    """Values as texts and colours; and a text for no value."""
    results = {
        f"{value:g}": ValueMappingResult(text=text, color=color, index=n) for n, (value, (text, color)) in enumerate(said.items())
    }
    nothing = ValueMappingResult(text=unknown, color=GREY, index=len(said))
    return [ValueMap(results), SpecialValueMap(DashboardSpecialValueMapOptions(SpecialValueMatch.NULL_AND_NAN, nothing))]


YES_NO = {1.0: ("✓ yes", BLUE), 0.0: ("✗ no", RED)}


def steps(base: str, *further: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Colours from a value on."""
    made = [Threshold(color=base, value=None), *(Threshold(color=color, value=value) for value, color in further)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def coloured(mode: FieldColorModeId, color: str = "") -> dashboard.FieldColor:
    """How values or series get their colours."""
    made = dashboard.FieldColor().mode(mode)
    return made.fixed_color(color) if color else made


BACKGROUND = DynamicConfigValue("custom.cellOptions", TableColoredBackgroundCellOptions())


# ---- kinds of panels ---------------------------------------------------------------------------------------------------------


def number(told: Told, expr: str, unit: str = "short", bad: str = "", link: str = "", width: int = 4) -> stat.Panel:
    """One number. `bad` is its colour from 1 on."""
    made = stat.Panel().with_target(now(expr)).unit(unit).graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
    made = made.color_scheme(coloured(FieldColorModeId.THRESHOLDS)).thresholds(steps(BLUE, *([(1, bad)] if bad else [])))
    made = made.mappings(words({}, "?"))
    return panel(made.data_links([to(link)]) if link else made, told, width, 4)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the label it comes from, its heading, and how it looks."""

    label: str
    heading: str
    unit: str = ""
    width: int = 0
    words: Mapping[float, tuple[str, str]] | None = None
    links: Sequence[tuple[str, str]] = ()

    def properties(self) -> list[DynamicConfigValue]:
        wanted: list[DynamicConfigValue] = []
        if self.unit:
            wanted.append(DynamicConfigValue("unit", self.unit))
        if self.width:
            wanted.append(DynamicConfigValue("custom.width", self.width))
        if self.words is not None:
            wanted += [DynamicConfigValue("mappings", words(self.words)), BACKGROUND]
        if self.links:
            wanted.append(DynamicConfigValue("links", [{"title": title, "url": url} for title, url in self.links]))
        return wanted


def listing(
    told: Told, expr: str, columns: Sequence[Column], width: int, height: int, sort: str = "", *, desc: bool = False
) -> table.Panel:
    """A table of what one query finds, with these columns, and none besides."""
    made = table.Panel().with_target(rows(expr)).unit("none").cell_height(TableCellHeight.SM).filterable(True)
    made = made.with_transformation(_arranged([column.label for column in columns], {one.label: one.heading for one in columns}))
    for column in columns:
        if properties := column.properties():
            made = made.override_by_name(column.heading, properties)
    if sort:
        made = made.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc)])
    return panel(made, told, width, height)


def _arranged(order: Sequence[str], names: Mapping[str, str]) -> DataTransformerConfig:
    options = {
        "includeByName": dict.fromkeys(order, True),
        "indexByName": {label: place for place, label in enumerate(order)},
        "renameByName": dict(names),
        "excludeByName": {},
    }
    return DataTransformerConfig("organize", options=options)


def matrix(
    told: Told, expr: str, column: str, columns: Mapping[str, str], links: Sequence[tuple[str, str]], width: int, height: int
) -> table.Panel:
    """Hosts by what a label says; `columns` are its values with their headings, in order."""
    made = table.Panel().with_target(rows(expr)).unit("none").cell_height(TableCellHeight.SM).mappings(words(YES_NO))
    made = made.cell_options(TableColoredBackgroundCellOptions()).align(common_models.FieldTextAlignment.CENTER)
    corner = f"instance\\{column}"
    grouped = {"columnField": column, "rowField": "instance", "valueField": "Value", "emptyValue": "null"}
    made = made.with_transformation(DataTransformerConfig("groupingToMatrix", options=grouped))
    made = made.with_transformation(_arranged([corner, *columns], {corner: "Host", **columns}))
    first = Column("Host", "Host", width=180, links=links).properties()
    plain = [
        DynamicConfigValue("custom.cellOptions", common_models.TableAutoCellOptions()),
        DynamicConfigValue("custom.align", "left"),
    ]
    made = made.override_by_name("Host", [*first, *plain, DynamicConfigValue("custom.filterable", True)])
    return panel(made.sort_by([common.TableSortByFieldState().display_name("Host")]), told, width, height)


def bars(told: Told, expr: str, legend: str, unit: str, width: int, height: int, most: float | None = None) -> bargauge.Panel:
    """A bar for each series, with its value."""
    made = bargauge.Panel().with_target(now(expr, legend)).unit(unit).min(0).orientation(VizOrientation.HORIZONTAL)
    made = made.display_mode(BarGaugeDisplayMode.BASIC).color_scheme(coloured(FieldColorModeId.FIXED, BLUE)).thresholds(steps(BLUE))
    return panel(made if most is None else made.max(most), told, width, height)


def lines(
    told: Told, *targets: prometheus.Dataquery, unit: str, width: int, height: int, stacked: bool = False
) -> timeseries.Panel:
    """Series over time; their legend is a table with the last value, so that no colour need be known."""
    made = timeseries.Panel().unit(unit).min(0).fill_opacity(60 if stacked else 0).line_width(1 if stacked else 2)
    made = made.targets(list(targets)).color_scheme(coloured(FieldColorModeId.SHADES, BLUE))
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.RIGHT)
        .calcs(["lastNotNull", "max"])
    )
    made = made.legend(legend.show_legend(True)).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)) if stacked else made
    return panel(made, told, width, height)


def named(made: timeseries.Panel, names: Sequence[str]) -> timeseries.Panel:
    """Known series in colours of their own, dashed where the colours begin again."""
    strokes = itertools.product(("solid", "dash"), (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY))
    for name, (stroke, color) in zip(names, strokes, strict=False):
        style = {"fill": stroke, **({"dash": [8, 6]} if stroke == "dash" else {})}
        fixed = {"mode": "fixed", "fixedColor": color}
        made = made.override_by_name(name, [DynamicConfigValue("color", fixed), DynamicConfigValue("custom.lineStyle", style)])
    return made


# ---- links -------------------------------------------------------------------------------------------------------------------

_KEPT = "${datasource:queryparam}&${job:queryparam}&${group:queryparam}&${__url_time_range}"


def to(uid: str, host: str = "") -> dashboard.DashboardLink:
    """A link to another dashboard."""
    return dashboard.DashboardLink(uid).url(address(uid, host))


def address(uid: str, host: str = "") -> str:
    """Of another dashboard, with what was chosen here; `host` is what names one there."""
    return f"/d/{uid}?{_KEPT}" + (f"&var-instance={host}" if host else "&${instance:queryparam}")

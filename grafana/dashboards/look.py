"""How panels look: colours that colour-blind people tell apart, always with a sign or a word beside them; tables, numbers, lines.

The colours are those of Okabe and Ito's palette.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    FieldTextAlignment,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TableAutoCellOptions,
    TableBarGaugeCellOptions,
    TableCellHeight,
    TableColoredBackgroundCellOptions,
    TooltipDisplayMode,
    VisibilityMode,
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

PALE = "#D9D9D9"
BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PURPLE, GREY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#767676",
)
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

Builder = TypeVar("Builder", bargauge.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)


@dataclass(frozen=True, slots=True)
class Told:
    """What a panel says of itself: its title, what it shows and what that means, what it says where nothing is; its size."""

    title: str
    description: str
    nothing: str = "No data"
    width: int = 24
    height: int = 9


def panel(made: Builder, told: Told) -> Builder:
    """A panel, with what all have."""
    said = made.title(told.title).description(told.description).no_value(told.nothing)
    return said.datasource(SOURCE).span(told.width).height(told.height)


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
    nothing = ValueMappingResult(text=unknown, color=PALE, index=len(said))
    return [ValueMap(results), SpecialValueMap(DashboardSpecialValueMapOptions(SpecialValueMatch.NULL_AND_NAN, nothing))]


YES_NO = {1.0: ("✓ yes", BLUE), 0.0: ("✗ no", RED)}
HAS = {1.0: ("✓ yes", BLUE), 0.0: ("○ no", GREY)}
STATES = {1.0: ("✓ yes", BLUE), 0.0: ("○ no", GREY), -1.0: ("✗ lost", RED)}


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


def _small(told: Told) -> Told:
    """Six stand beside each other, if not said otherwise."""
    return replace(told, width=4 if told.width == 24 else told.width, height=4)


def number(told: Told, expr: str, unit: str = "short", bad: str = "", link: str = "") -> stat.Panel:
    """One number. `bad` is its colour from 1 on; `link` where a click leads."""
    made = stat.Panel().with_target(now(expr)).unit(unit).graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
    made = made.color_scheme(coloured(FieldColorModeId.THRESHOLDS)).thresholds(steps(BLUE, *([(1, bad)] if bad else [])))
    made = made.mappings(words({}, "?"))
    return panel(made.data_links([dashboard.DashboardLink("More").url(link)]) if link else made, _small(told))


def verdict(told: Told, expr: str, said: Mapping[float, tuple[str, str]] = YES_NO) -> stat.Panel:
    """A yes or a no."""
    made = stat.Panel().with_target(now(expr)).unit("none").graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
    return panel(made.mappings(words(said)).thresholds(steps(GREY)), _small(told))


def fact(told: Told, expr: str, legend: str) -> stat.Panel:
    """What labels say, in large."""
    made = (
        stat.Panel()
        .with_target(now(expr, legend))
        .unit("none")
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.NONE)
    )
    return panel(made.text_mode(BigValueTextMode.NAME).thresholds(steps(GREY)), _small(told))


def timeline(
    told: Told, expr: str, legend: str, names: Mapping[str, str], said: Mapping[float, tuple[str, str]] = YES_NO
) -> statetimeline.Panel:
    """What was said when, in words with colours; `names` of series that are known."""
    made = statetimeline.Panel().with_target(course(expr, legend)).unit("none").mappings(words(said)).thresholds(steps(GREY))
    made = made.show_value(VisibilityMode.AUTO).merge_values(True).row_height(0.85).fill_opacity(85).line_width(0)
    made = made.legend(common.VizLegendOptions().show_legend(False)).color_scheme(coloured(FieldColorModeId.THRESHOLDS))
    for name, shown in names.items():
        made = made.override_by_name(name, [DynamicConfigValue("displayName", shown)])
    return panel(made, told)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the label it comes from, its heading, and how it looks. `share`: as a bar from 0 to 1; `most`: greater
    numbers are bad."""

    label: str
    heading: str
    unit: str = ""
    width: int = 0
    words: Mapping[float, tuple[str, str]] | None = None
    links: Sequence[tuple[str, str]] = ()
    share: bool = False
    most: float | None = None

    def properties(self) -> list[DynamicConfigValue]:
        wanted: list[DynamicConfigValue] = []
        if self.unit:
            wanted.append(DynamicConfigValue("unit", self.unit))
        if self.width:
            wanted.append(DynamicConfigValue("custom.width", self.width))
        if self.words is not None:
            wanted += [DynamicConfigValue("mappings", words(self.words)), BACKGROUND]
        if self.most is not None:
            scale = [Threshold(color=BLUE, value=None), Threshold(color=RED, value=self.most)]
            wanted.append(DynamicConfigValue("thresholds", {"mode": ThresholdsMode.ABSOLUTE, "steps": scale}))
        if self.share:
            bar = TableBarGaugeCellOptions(BarGaugeDisplayMode.BASIC)
            color = {"mode": "fixed", "fixedColor": BLUE}
            options = {"custom.cellOptions": bar, "unit": "percentunit", "min": 0, "max": 1, "color": color}
            wanted += [DynamicConfigValue(name, value) for name, value in options.items()]
        if self.links:
            wanted.append(DynamicConfigValue("links", [{"title": title, "url": url} for title, url in self.links]))
        return wanted


def listing(
    told: Told,
    asked: str | Mapping[str, str],
    columns: Sequence[Column],
    sort: str = "",
    *,
    desc: bool = False,
    join: str = "",
) -> table.Panel:
    """A table of what a query finds, with these columns, and none besides; or of what several find, joined by a label.

    The value's own column is `Value`, with several queries `Value #` and the query's name.
    """
    made = table.Panel().unit("none").cell_height(TableCellHeight.SM).filterable(True)
    for name, expr in ({"A": asked} if isinstance(asked, str) else asked).items():
        made = made.with_target(rows(expr, name))
    if join:
        made = made.with_transformation(DataTransformerConfig("joinByField", options={"byField": join, "mode": "outer"}))
    made = made.with_transformation(_arranged([column.label for column in columns], {one.label: one.heading for one in columns}))
    for column in columns:
        if properties := column.properties():
            made = made.override_by_name(column.heading, properties)
    if sort:
        made = made.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc)])
    return panel(made, told)


def _arranged(order: Sequence[str], names: Mapping[str, str]) -> DataTransformerConfig:
    options = {
        "includeByName": dict.fromkeys(order, True),
        "indexByName": {label: place for place, label in enumerate(order)},
        "renameByName": dict(names),
        "excludeByName": {},
    }
    return DataTransformerConfig("organize", options=options)


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix: the label of its rows, with its heading, and that of its columns, with theirs in order where they are known.

    `unknown` stands where nothing is known; `words` are those of single columns, by their headings.
    """

    row: str
    heading: str
    column: str
    columns: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()
    unknown: str = "· unknown"
    words: Mapping[str, Mapping[float, tuple[str, str]]] = field(default_factory=dict)


def matrix(told: Told, expr: str, grid: Grid, said: Mapping[float, tuple[str, str]] = YES_NO, unit: str = "none") -> table.Panel:
    """What is said by two labels, in words with colours."""
    made = table.Panel().with_target(rows(expr)).unit(unit).cell_height(TableCellHeight.SM).mappings(words(said, grid.unknown))
    made = made.cell_options(TableColoredBackgroundCellOptions()).align(FieldTextAlignment.CENTER).thresholds(steps(GREY))
    corner = f"{grid.row}\\{grid.column}"
    grouped = {"columnField": grid.column, "rowField": grid.row, "valueField": "Value", "emptyValue": "null"}
    made = made.with_transformation(DataTransformerConfig("groupingToMatrix", options=grouped))
    if grid.columns:
        made = made.with_transformation(_arranged([corner, *grid.columns], {corner: grid.heading, **grid.columns}))
    else:
        named = {"excludeByName": {}, "indexByName": {}, "renameByName": {corner: grid.heading}}
        made = made.with_transformation(DataTransformerConfig("organize", options=named))
    for column, own in grid.words.items():
        made = made.override_by_name(column, [DynamicConfigValue("mappings", words(own, grid.unknown))])
    plain = {"custom.cellOptions": TableAutoCellOptions(), "custom.align": "left", "custom.filterable": True, "custom.width": 180}
    first = [*(DynamicConfigValue(name, value) for name, value in plain.items()), *Column("", "", links=grid.links).properties()]
    made = made.override_by_name(grid.heading, first)
    return panel(made.sort_by([common.TableSortByFieldState().display_name(grid.heading)]), told)


def bars(told: Told, expr: str, legend: str, unit: str, names: Mapping[str, str] | None = None) -> bargauge.Panel:
    """A bar for each series, with its value."""
    made = bargauge.Panel().with_target(now(expr, legend)).unit(unit).min(0).orientation(VizOrientation.HORIZONTAL)
    made = made.display_mode(BarGaugeDisplayMode.BASIC).color_scheme(coloured(FieldColorModeId.FIXED, BLUE)).thresholds(steps(BLUE))
    for name, shown in (names or {}).items():
        made = made.override_by_name(name, [DynamicConfigValue("displayName", shown)])
    return panel(made.max(1) if unit == "percentunit" else made, told)


POINTS = 288
"""How many points lines have at most, however wide they are: a day's are five minutes apart."""


def lines(told: Told, *targets: prometheus.Dataquery, unit: str, stacked: bool = False) -> timeseries.Panel:
    """Series over time; their legend is a table with the last value, so that no colour need be known."""
    made = (
        timeseries.Panel()
        .unit(unit)
        .max_data_points(POINTS)
        .min(0)
        .fill_opacity(60 if stacked else 0)
        .line_width(1 if stacked else 2)
    )
    made = made.targets(list(targets)).color_scheme(coloured(FieldColorModeId.SHADES, BLUE))
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.RIGHT)
        .calcs(["lastNotNull", "max"])
    )
    made = made.legend(legend.show_legend(True)).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)) if stacked else made
    return panel(made, told)


def named(made: timeseries.Panel, names: Sequence[str]) -> timeseries.Panel:
    """Known series in colours of their own, dashed where the colours begin again."""
    strokes = itertools.product(("solid", "dash"), (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY))
    for name, (stroke, color) in zip(names, strokes, strict=False):
        style = {"fill": stroke, **({"dash": [8, 6]} if stroke == "dash" else {})}
        fixed = {"mode": "fixed", "fixedColor": color}
        made = made.override_by_name(name, [DynamicConfigValue("color", fixed), DynamicConfigValue("custom.lineStyle", style)])
    return made

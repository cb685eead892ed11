"""What a panel's table holds: the answers to its queries after its transformations, done as Grafana does them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.dashboards.watching import Series

Cell: TypeAlias = str | float | None
Row: TypeAlias = dict[str, Cell]
Panel: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Columns in their order, and rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Look:
    """How the values of a series or column are shown: what is said for all of a panel, and for this name besides."""

    unit: str = "none"
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unknown: tuple[str, str] | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()

    @property
    def cell(self) -> str:
        """The kind of a table's cell."""
        return str(self.custom.get("cellOptions", {}).get("type", "auto"))


def look(panel: Panel, name: str) -> Look:
    config = panel["fieldConfig"]
    defaults = config["defaults"]
    properties = {
        one["id"]: one["value"]
        for override in config["overrides"]
        if override["matcher"] == {"id": "byName", "options": name}
        for one in override["properties"]
    }
    custom = dict(defaults.get("custom") or {}) | {
        key.removeprefix("custom."): value for key, value in properties.items() if key.startswith("custom.")
    }
    words: dict[str, tuple[str, str]] = {}
    unknown = None
    for mapping in properties.get("mappings", defaults.get("mappings") or []):
        if mapping["type"] == "value":
            words |= {value: (said["text"], said["color"]) for value, said in mapping["options"].items()}
        else:
            unknown = (mapping["options"]["result"]["text"], mapping["options"]["result"]["color"])
    steps = properties.get("thresholds", defaults.get("thresholds") or {"steps": [{"color": "#767676", "value": None}]})["steps"]
    return Look(properties.get("unit", defaults.get("unit", "none")), words, unknown, custom, properties, steps)


def table(panel: Panel, answers: Mapping[str, Sequence[Series]]) -> Table:
    """Of a panel's answers, by the names of its queries."""
    frames: list[list[Row]] = [
        [{**one.labels, "Value" if len(answers) == 1 else f"Value #{name}": one.value} for one in found]
        for name, found in answers.items()
    ]
    rows: Sequence[Row] = frames[0] if len(frames) == 1 else []
    columns: Sequence[str] = sorted({name for row in rows for name in row})
    for transformation in panel.get("transformations", ()):
        options = transformation["options"]
        if transformation["id"] == "joinByField":
            rows = _joined(frames, options["byField"])
        elif transformation["id"] == "groupingToMatrix":
            columns, rows = _matrix(rows, options)
        else:
            columns, rows = _arranged(columns, rows, options)
    return Table(columns, _sorted(rows, panel["options"].get("sortBy") or []))


def _joined(frames: Sequence[Sequence[Row]], by: str) -> list[Row]:
    joined: dict[Cell, Row] = {}
    for frame in frames:
        for row in frame:
            joined.setdefault(row.get(by), {}).update(row)
    return list(joined.values())


def _matrix(rows: Sequence[Row], options: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    row_field, column_field = options["rowField"], options["columnField"]
    corner = f"{row_field}\\{column_field}"
    made: dict[Cell, Row] = {}
    for row in rows:
        made.setdefault(row[row_field], {corner: row[row_field]})[str(row[column_field])] = row[options["valueField"]]
    columns = list(dict.fromkeys(str(row[column_field]) for row in rows))
    return [corner, *columns], [dict.fromkeys(columns) | row for row in made.values()]


def _arranged(columns: Sequence[str], rows: Sequence[Row], options: Mapping[str, Any]) -> tuple[list[str], list[Row]]:
    names, places = options["renameByName"], options["indexByName"]
    kept = sorted(places, key=lambda name: int(places[name])) if places else columns
    there = [name for name in kept if any(name in row for row in rows)]
    return [names.get(name, name) for name in there], [{names.get(name, name): row.get(name) for name in there} for row in rows]


def _sorted(rows: Sequence[Row], by: Sequence[Mapping[str, Any]]) -> list[Row]:
    arranged = list(rows)
    for one in by:
        name = one["displayName"]
        arranged.sort(key=lambda row: (row.get(name) is None, *_key(row.get(name))), reverse=bool(one.get("desc")))
    return arranged


def _key(cell: Cell) -> tuple[float, str]:
    return (cell, "") if isinstance(cell, float) else (0.0, str(cell))


def said(value: float, unit: str, now: float) -> str:
    """A number in a unit."""
    if unit == "dateTimeFromNow":
        ago = now - value / 1000
        return f"{ago:.0f} s ago" if ago < 120 else f"{ago / 60:.0f} min ago"
    if unit.startswith("suffix:"):
        return f"{value:g} {unit.removeprefix('suffix:')}"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.4g}" if value != int(value) else f"{int(value)}"

"""Dashboards drawn as pages, from what their queries were answered: roughly as a Grafana would, and said not to be one. Pure."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tests.dashboards.frames import Cell, Look, Panel, look, said, table
from tests.dashboards.watching import Series

WIDTH = 1400
COLUMN = (WIDTH - 16) / 24
ROW = 38
NOTICE = "Drawn from the same queries, not a Grafana screenshot. The fleet is simulated; what happens to it happens within minutes."

Answers = Mapping[str, Sequence[Series]]

STYLE = (Path(__file__).parent / "drawing.css").read_text()


def page(dashboard: Panel, answers: Mapping[int, Answers], chosen: Mapping[str, str], until: int) -> str:
    """The whole of it down to a number of rows; `answers` by the panels' numbers."""
    named = {"model": chosen.get("CPU model", ""), "odd": chosen.get("Compare", ""), "like": chosen.get("Beside", "")}
    parts = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["y"] < until:
            box = f"left: {8 + place['x'] * COLUMN:.1f}px; top: {62 + place['y'] * ROW}px; width: {place['w'] * COLUMN - 8:.1f}px"
            title = escape(re.sub(r"\$(\w+)", lambda found: named[found[1]], panel["title"]))
            height = place["h"] * ROW - 8
            if panel["type"] == "row":
                parts.append(f'<div class="row" style="{box}">{title}</div>')
            else:
                inner = _drawn(panel, answers[panel["id"]], place["w"] * COLUMN - 8, height - 32)
                parts.append(f'<section class="panel" style="{box}; height: {height}px"><h2>{title}</h2>{inner}</section>')
    said_of = "".join(f"<span><b>{escape(name)}</b>{escape(value)}</span>" for name, value in chosen.items())
    head = f'<header><div class="vars">{said_of}</div><h1>{escape(dashboard["title"])}</h1><p>{escape(NOTICE)}</p></header>'
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}{"".join(parts)}'


def height(dashboard: Panel, until: int) -> int:
    """In pixels."""
    ends: Iterator[int] = (one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"] if one["gridPos"]["y"] < until)
    return 62 + max(ends) * ROW


def _drawn(panel: Panel, answers: Answers, width: float, high: float) -> str:
    kinds: Mapping[str, Callable[[Panel, Answers, float, float], str]] = {
        "stat": _stat,
        "table": _table,
        "bargauge": _bars,
        "timeseries": _lines,
        "state-timeline": _timeline,
    }
    if not any(answers.values()):
        return f'<div class="nothing">{escape(panel["fieldConfig"]["defaults"]["noValue"])}</div>'
    return kinds[panel["type"]](panel, answers, width, high)


def _legend(panel: Panel, name: str, series: Series) -> str:
    (form,) = {target.get("legendFormat", "") for target in panel["targets"] if target["refId"] == name}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), form)


def _shown(panel: Panel, name: str) -> str:
    return str(look(panel, name).properties.get("displayName", name))


# ---- numbers and tables ------------------------------------------------------------------------------------------------------


def _stat(panel: Panel, answers: Answers, _width: float, _height: float) -> str:
    shown = look(panel, "")
    found = answers["A"]
    if panel["options"]["textMode"] == "name":
        return f'<div class="number word">{escape(", ".join(_legend(panel, "A", one) for one in found))}</div>'
    text, color = _worded(found[0].value, shown)
    if not color:
        color = _reached(shown.steps, found[0].value)
    size = "number" if len(text) < 6 else "number word"
    return f'<div class="{size}" style="color: {color}">{escape(text)}</div>'


def _reached(steps: Sequence[Mapping[str, Any]], value: Cell) -> str:
    """The colour of the last step that a value reaches."""
    reached = [step["color"] for step in steps if step["value"] is None or (isinstance(value, float) and value >= step["value"])]
    return str(reached[-1])


def _worded(value: Cell, shown: Look) -> tuple[str, str]:
    """The text and the colour of a cell; no colour where none is said."""
    if value is None:
        return shown.unknown or ("", "")
    if not isinstance(value, float):
        return value, ""
    return shown.words.get(f"{value:g}", (said(value, shown.unit, time.time()), ""))


def _table(panel: Panel, answers: Answers, width: float, high: float) -> str:
    found = table(panel, answers)
    fitting = int((high - 26) // 24)
    matrix = any(one["id"] == "groupingToMatrix" for one in panel["transformations"])
    head = "".join(f"<th>{escape(name)}</th>" for name in found.columns)
    looks = {name: look(panel, name) for name in found.columns}
    shown = found.rows if len(found.rows) <= fitting else found.rows[: fitting - 1]
    body = "".join("<tr>" + "".join(_cell(name, row.get(name), looks[name]) for name in found.columns) + "</tr>" for row in shown)
    more = f'<div class="more">… {len(found.rows) - len(shown)} more</div>' if len(shown) < len(found.rows) else ""
    return f'<table class="{"matrix" if matrix else ""}"><tr>{head}</tr>{body}</table>{more}'


def _cell(name: str, value: Cell, shown: Look) -> str:
    text, color = _worded(value, shown)
    if name == "Host" and text:
        return f"<td><a>{escape(text)}</a></td>"
    if shown.cell == "color-background":
        filled = _filled(color or _reached(shown.steps, value), known=value is not None)
        return f'<td class="word" style="{filled}">{escape(text)}</td>'
    if shown.cell == "gauge" and isinstance(value, float):
        inner = f'<i><b style="width: {100 * value:.1f}%"></b></i><em>{escape(text)}</em>'
        return f'<td style="min-width: 150px"><div class="bar" style="padding: 0">{inner}</div></td>'
    return f"<td>{escape(text)}</td>"


def _filled(color: str, *, known: bool) -> str:
    return f"background: {color}; color: #fff" if known else "background: #f4f5f5; color: #6a737d"


# ---- bars and courses --------------------------------------------------------------------------------------------------------


def _bars(panel: Panel, answers: Answers, _width: float, high: float) -> str:
    shown = look(panel, "")
    values = [(_shown(panel, _legend(panel, "A", one)), one.value) for one in answers["A"]]
    most = panel["fieldConfig"]["defaults"].get("max") or max(value for _, value in values)
    pitch = min((high - 6) / len(values), 40)
    return "".join(
        f'<div class="bar" style="height: {pitch:.1f}px"><span>{escape(name)}</span>'
        f'<i><b style="width: {100 * value / most:.1f}%"></b></i>'
        f"<em>{escape(said(value, shown.unit, 0))}</em></div>"
        for name, value in values
    )


SHADES = ("#0072B2", "#56B4E9", "#8C8C8C", "#004a75", "#a6d3f0")


def _lines(panel: Panel, answers: Answers, width: float, high: float) -> str:
    named = [(_legend(panel, name, one), one) for name, found in answers.items() for one in found]
    stacked = (panel["fieldConfig"]["defaults"]["custom"].get("stacking") or {}).get("mode") == "normal"
    unit = look(panel, "").unit
    times = sorted({at for _, one in named for at, _ in one.samples})
    curves = [(name, _over(one, times)) for name, one in named]
    tops = _piled([values for _, values in curves]) if stacked else [values for _, values in curves]
    most = _round(max([value for values in tops for value in values if value is not None], default=1))
    legend, legend_width = _legend_table(panel, curves, unit), 225
    wide, tall = width - legend_width - 66, high - 30
    paths = []
    for number, ((name, _), tops_of) in reversed(list(enumerate(zip(curves, tops, strict=True)))):
        color, dash = _stroke(panel, name, number)
        points = " ".join(
            f"{54 + wide * (at - times[0]) / max(times[-1] - times[0], 1):.1f},{8 + tall * (1 - value / most):.1f}"
            for at, value in zip(times, tops_of, strict=True)
            if value is not None
        )
        if stacked:
            points = f"54,{8 + tall} {points} {54 + wide},{8 + tall}"
        paint = (
            f'fill="{color}" stroke="#fff"'
            if stacked
            else f'fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        )
        paths.append(f'<polyline points="{points}" {paint}/>')
    axes = _axes(wide, tall, most, unit, times)
    return f'<div class="chart"><svg width="{wide + 66:.0f}" height="{high:.0f}">{axes}{"".join(paths)}</svg>{legend}</div>'


def _round(most: float) -> float:
    """The next number up that divides well by four."""
    scale: float = 10.0 ** math.floor(math.log10(most or 1))
    return next(nice * scale for nice in (1, 2, 4, 6, 8, 10, 20) if nice * scale >= most or nice == 20)


def _over(series: Series, times: Sequence[float]) -> list[float | None]:
    values = dict(series.samples)
    return [values.get(at) for at in times]


def _piled(curves: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    piled: list[list[float | None]] = []
    for curve in curves:
        below = piled[-1] if piled else [0.0] * len(curve)
        piled.append([(one or 0.0) + (under or 0.0) for one, under in zip(curve, below, strict=True)])
    return piled


def _stroke(panel: Panel, name: str, number: int) -> tuple[str, str]:
    properties = look(panel, name).properties
    if "color" not in properties:
        return SHADES[number % len(SHADES)], ""
    return properties["color"]["fixedColor"], " ".join(map(str, properties["custom.lineStyle"].get("dash", ())))


def _axes(wide: float, tall: float, most: float, unit: str, times: Sequence[float]) -> str:
    parts = []
    for step in range(5):
        high = 8 + tall * (1 - step / 4)
        parts.append(f'<line x1="54" x2="{54 + wide:.0f}" y1="{high:.1f}" y2="{high:.1f}" stroke="#eef0f2"/>')
        parts.append(f'<text x="48" y="{high + 4:.1f}" text-anchor="end">{escape(said(round(most * step / 4, 4), unit, 0))}</text>')
    return "".join(parts) + _clock(times, 54, wide, 8 + tall + 16)


def _clock(times: Sequence[float], left: float, wide: float, high: float) -> str:
    count = max(2, int(wide // 110))
    parts = []
    for step in range(count + 1):
        at = times[0] + (times[-1] - times[0]) * step / count
        anchor = "start" if step == 0 else "end" if step == count else "middle"
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        parts.append(f'<text x="{left + wide * step / count:.1f}" y="{high:.1f}" text-anchor="{anchor}">{clock}</text>')
    return "".join(parts)


def _legend_table(panel: Panel, curves: Sequence[tuple[str, Sequence[float | None]]], unit: str) -> str:
    rows = []
    for number, (name, values) in enumerate(curves):
        color, dash = _stroke(panel, name, number)
        known = [value for value in values if value is not None]
        line = f'<line x1="0" x2="22" y1="4" y2="4" stroke="{color}" stroke-width="4" stroke-dasharray="{dash}"/>'
        sign = f'<svg width="22" height="8">{line}</svg>'
        last, most = (escape(said(value, unit, 0)) for value in (known[-1], max(known)))
        rows.append(f"<tr><td>{sign} {escape(name)}</td><td>{last}</td><td>{most}</td></tr>")
    return f'<div class="legend"><table><tr><th>Name</th><th>Last</th><th>Max</th></tr>{"".join(rows)}</table></div>'


def _timeline(panel: Panel, answers: Answers, width: float, high: float) -> str:
    found = [(_shown(panel, _legend(panel, "A", one)), one) for one in answers["A"]]
    times = sorted({at for _, one in found for at, _ in one.samples})
    left = 12 + 7 * max(len(name) for name, _ in found)
    wide, pitch = width - left - 20, min((high - 26) / len(found), 34)
    span = max(times[-1] - times[0], 1)
    parts = []
    for number, (name, one) in enumerate(found):
        top = 4 + number * pitch
        parts.append(f'<text x="{left - 8}" y="{top + pitch / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for begin, end, value in _stretches(one):
            text, color = _worded(value, look(panel, ""))
            x, length = left + wide * (begin - times[0]) / span, wide * (end - begin) / span
            parts.append(f'<rect x="{x:.1f}" y="{top + 1.5:.1f}" width="{length:.1f}" height="{pitch - 3:.1f}" fill="{color}"/>')
            if length > 44:
                parts.append(f'<text x="{x + 8:.1f}" y="{top + pitch / 2 + 4:.1f}" style="fill: #fff">{escape(text)}</text>')
    clock = _clock(times, left, wide, 4 + len(found) * pitch + 15)
    return f'<svg width="{width:.0f}" height="{high:.0f}">{"".join(parts)}{clock}</svg>'


def _stretches(series: Series) -> list[tuple[float, float, float]]:
    """Begin, end and value of what stayed the same; a gap of more than ten seconds is one."""
    made: list[tuple[float, float, float]] = []
    for at, value in series.samples:
        if made and at - made[-1][1] < 10:
            begin, _, before = made[-1]
            made[-1] = (begin, at, before)
            if before == value:
                continue
        made.append((at, at, value))
    return made

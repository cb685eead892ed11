"""A fleet's history as promtool's test file: the series that its rules read, and what is expected of the alerts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import yaml
from prometheus_client.core import Metric
from tests.fleet.fleet import Fleet

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""

Check: TypeAlias = Mapping[str, object]
"""What promtool is to find, without the time."""

STEP = 60.0
"""Seconds between two scrapes, and between two evaluations, unless said otherwise."""


@cache
def read_by(rules: Path) -> frozenset[str]:
    """The names of the metrics that the expressions of rules look at."""
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    return frozenset(name for rule in group["rules"] for name in re.findall(r"\b(?:domcaps_[a-z_]+|up)\b", rule["expr"]))


def history(fleet: Fleet, until: float, names: frozenset[str], step: float = STEP) -> dict[Series, str]:
    """What is scraped, in promtool's notation, of the metrics named.

    promtool refuses more than 10,000 samples in a query, which a real Prometheus does not. So two kinds of samples are left out
    that join with nothing: the values of hosts with one driver, and what is lacking for things that were never lost.
    """
    found: dict[Series, list[tuple[int, float]]] = {}
    readings = {name: _Reading(fleet.labels(name), names) for name in fleet.worlds}
    for now, hosts in fleet.play(until, step):
        for name, host in hosts.items():
            for series, value in readings[name].of(host.scrape(now), host.libvirt is not None):
                found.setdefault(series, []).append((int(now // step), value))
    last = int(until // step)
    related = _related(found)
    return {series: " ".join(_notation(values, last)) for series, values in found.items() if related(series)}


class _Reading:
    """One target's scrapes as series. A family that is the very same object is read once."""

    def __init__(self, target: Mapping[str, str], names: frozenset[str]) -> None:
        self._target, self._names = target, names
        self._known: dict[int, tuple[Metric, list[tuple[Series, float]]]] = {}

    def of(self, scraped: tuple[Metric, ...] | None, compared: bool) -> Iterator[tuple[Series, float]]:
        """`compared`: there is a second driver."""
        yield _series("up", self._target), float(scraped is not None)
        known, self._known = self._known, {}
        for family in scraped or ():
            if family.name in self._names and (compared or family.name != "domcaps_supported"):
                kept = known.get(id(family))
                self._known[id(family)] = kept if kept is not None else (family, list(self._samples(family)))
                yield from self._known[id(family)][1]

    def _samples(self, family: Metric) -> Iterator[tuple[Series, float]]:
        return ((_series(sample.name, {**sample.labels, **self._target}), sample.value) for sample in family.samples)


def _related(found: Iterable[Series]) -> Callable[[Series], bool]:
    """Is it of something that its host lost once, of a firmware without its file, or of a host that has two drivers?"""
    lost = {_place(labels) for name, labels in map(_read, found) if name == "domcaps_lost_timestamp_seconds"}
    compared = {labels["instance"] for _, labels in map(_read, found) if labels.get("driver") == "libvirt"}

    def related(series: Series) -> bool:
        name, labels = _read(series)
        if name != "domcaps_unmet_prerequisite" or labels["instance"] in compared:
            return True
        return _place(labels) in lost or labels["prerequisite"].startswith("firmware-file")

    return related


def _place(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in ("instance", "element", "enum", "value"))


def _read(series: Series) -> tuple[str, dict[str, str]]:
    return series[0], dict(series[1])


def _series(name: str, labels: Mapping[str, str]) -> Series:
    return name, tuple(sorted((label, value) for label, value in labels.items() if value))


def _notation(values: list[tuple[int, float]], last: int) -> Iterator[str]:
    """`_` where there was no scrape yet, `stale` where there is no such sample any more; equal steps in one word."""
    missing = 0
    for start, first, step, count in _runs(values):
        if start > missing:
            yield from (["stale"] if missing else []) + _gap(start - missing - bool(missing))
        yield f"{first:.12g}{step:+.12g}x{count - 1}"
        missing = start + count
    if missing <= last:
        yield "stale"


def _gap(length: int) -> list[str]:
    return [f"_x{length}"] if length else []


def _runs(values: list[tuple[int, float]]) -> Iterator[tuple[int, float, float, int]]:
    """Start, first value, step, and how many."""
    place = 0
    while place < len(values):
        start, first = values[place]
        count, step = 1, 0.0
        while place + count < len(values) and values[place + count][0] == start + count:
            found = values[place + count][1] - values[place + count - 1][1]
            if count > 1 and found != step:
                break
            step = found
            count += 1
        yield start, first, step if count > 1 else 0.0, count
        place += count


def firing(alerts: Iterable[tuple[str, str]]) -> Check:
    """Exactly these alerts fire, as (alert, host); "" for one about several hosts."""
    return {
        "expr": 'max by (alertname, instance) (ALERTS{alertstate="firing"})',
        "exp_samples": [{"labels": _printed("", _labels(*one)), "value": 1} for one in sorted(alerts)],
    }


def document(
    rules: Path,
    series: Mapping[Series, str],
    expressions: Mapping[float, Check] = MappingProxyType({}),
    alerts: Mapping[float, Iterable[Check]] = MappingProxyType({}),
    step: float = STEP,
) -> str:
    """promtool's file: what is expected at which time, in seconds, of expressions and of alerts."""
    inputs = [{"series": _printed(name, dict(labels)), "values": values} for (name, labels), values in series.items()]
    test = {
        "interval": f"{int(step)}s",
        "input_series": inputs,
        "promql_expr_test": [{**check, "eval_time": f"{int(time)}s"} for time, check in expressions.items()],
        "alert_rule_test": [{**check, "eval_time": f"{int(time)}s"} for time, checks in alerts.items() for check in checks],
    }
    return json.dumps({"rule_files": [str(rules)], "evaluation_interval": f"{int(step)}s", "tests": [test]})


def _labels(alert: str, host: str) -> dict[str, str]:
    return {"alertname": alert, **({"instance": host} if host else {})}


def _printed(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{', '.join(f'{label}={json.dumps(value)}' for label, value in labels.items())}}}"

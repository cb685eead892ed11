"""What the dashboards' panels and the rules ask, with the recording rules and without them, and how long a store takes for it.

A panel without the recording rules asks what they would have recorded: each recorded name gives way to its rules' expressions,
unless these need their own past (losses, which are sorted into kinds one after the other).
"""

from __future__ import annotations

import importlib
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from tests.bench.stores import Store, TooLong, Vector, vector
from tests.bench.targets import percentile

GRAFANA = Path(__file__).parents[2] / "grafana"
DAY = 86_400
WIDE = 1440
"""How many points a panel has room for that is as wide as a screen; Grafana asks for as many, where the panel says no less."""
_SELECTOR = r"\b{name}\b(?:\{{[^}}]*\}})?"
_METRIC_ALONE = re.compile(r"\b((?:domcaps[_:][a-z_]+|up)\b)(?!\{)")
_METRIC = re.compile(r"\b((?:domcaps[_:][a-z_]+|up)\b)\{")
_SLOW = 5.0
"""Seconds from which on a query is not repeated as often as wished."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A query, and where it stands; `points`: how many of a day, 0: of the moment."""

    place: str
    expr: str
    points: int = 0

    @property
    def range(self) -> bool:
        return self.points > 0

    @property
    def extrapolates(self) -> bool:
        """Prometheus guesses what rate and increase would have been at the ends of their time; others may not."""
        return re.search(r"\b(rate|increase)\(", self.expr) is not None

    @property
    def step(self) -> int:
        """Seconds between two points."""
        return DAY // self.points


@dataclass
class Timed:
    """What became of a query: seconds of each time, the store's CPU seconds, how many series it gave, or why it failed."""

    ask: Ask
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    series: int = 0
    failure: str = ""

    def __str__(self) -> str:
        if self.failure:
            return f"{'':>32} {self.failure[:80]}"
        taken = sorted(one * 1e3 for one in self.seconds)
        return f"{taken[0]:>8.0f} {statistics.median(taken):>7.0f} {percentile(taken, 95):>7.0f} {self.cpu * 1e3:>7.0f}"

    @property
    def p95(self) -> float:
        return percentile(sorted(self.seconds), 95) if self.seconds else float("inf")


def rule_files() -> list[Path]:
    """The rules that a Prometheus loads: alerts with their recordings, and the dashboards' own."""
    return [GRAFANA / "alerts" / "domcaps.rules.yml", *sorted((GRAFANA / "dashboards").glob("*.rules.yml"))]


def rules() -> list[Mapping[str, Any]]:
    return [rule for file in rule_files() for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def recordings() -> Iterator[tuple[Mapping[str, Any], int]]:
    """Those that record, in their order, with how many minutes are between two evaluations."""
    for group in (group for file in rule_files() for group in yaml.safe_load(file.read_text())["groups"]):
        for rule in group["rules"]:
            if "record" in rule:
                yield rule, int(group.get("interval", "1m").removesuffix("m"))


def panels(host: str, model: str = "EPYC") -> list[Ask]:
    """All panels' queries, of the whole fleet where they may be, else of that host; none where there are no dashboards yet."""
    if find_spec("grafana.dashboards") is None:
        return []
    found = importlib.import_module("grafana.dashboards.queries")
    made = []
    for one in found.queries(GRAFANA / "dashboards"):
        points = (one.points or WIDE) if one.kind == "range" else 0
        chosen = host if 'instance="$instance"' in one.expr else ".+"
        expr = found.substitute(one.expr, job="domcaps", host=chosen, model=model, step=DAY // (points or WIDE))
        made.append(Ask(f"{one.dashboard.rpartition('/')[2].strip()}: {one.panel}", expr, points))
    return made


def asked_by_rules() -> list[Ask]:
    """What Prometheus evaluates each minute."""
    return [Ask(f"rule: {rule.get('record') or rule['alert']}", rule["expr"]) for rule in rules()]


# ---- without the recording rules ---------------------------------------------------------------------------------------------


def bare(asks: Iterable[Ask]) -> Iterator[Ask]:
    """Those that name recorded series, without them."""
    recorded = _replaceable(rules())
    for ask in asks:
        expr = _bared(ask.expr, recorded)
        if expr != ask.expr:
            yield Ask(ask.place, expr, ask.points)


def _replaceable(found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By recorded name the expression that makes it, of those that do not need their own past; innermost first."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for rule in found:
        if "record" in rule:
            by_name.setdefault(rule["record"], []).append(rule)
    kept = {name: made for name, made in by_name.items() if not any(name in rule["expr"] for rule in made)}
    expressions: dict[str, str] = {}
    for name, made in kept.items():
        expressions[name] = _bared("(" + "\nor ".join(map(_labelled, made)) + ")", expressions)
    return expressions


def _labelled(rule: Mapping[str, Any]) -> str:
    expr = f"({rule['expr']})"
    for label, text in rule.get("labels", {}).items():
        expr = f'label_replace({expr}, "{label}", "{text}", "", "")'
    return expr


def _bared(expr: str, recorded: Mapping[str, str]) -> str:
    """Which hosts are looked at is asked of what takes a recorded name's place; which values are not, for the work is the same."""
    for name, made in recorded.items():
        selector = _SELECTOR.format(name=re.escape(name))
        while found := re.search(selector, expr):
            place = "".join(f"{one}," for one in re.findall(r'\b(?:job|group|instance)=~?"[^"]*"', found[0]))
            put = _METRIC.sub(rf"\1{{{place}", _METRIC_ALONE.sub(r"\1{}", made)) if place else made
            expr = expr[: found.start()] + put + expr[found.end() :]
    return expr


# ---- asking ------------------------------------------------------------------------------------------------------------------


def timed(store: Store, asks: Iterable[Ask], repeat: int) -> list[Timed]:
    """Each asked so often, one after the other."""
    return [_timed(store, ask, repeat) for ask in asks]


def _timed(store: Store, ask: Ask, repeat: int) -> Timed:
    found, used = Timed(ask), store.cpu()
    for number in range(repeat):
        began = time.perf_counter()
        try:
            data = answer(store, ask, time.time())
        except (TooLong, ValueError) as error:
            found.failure = " ".join(str(error).split())
            return found
        found.seconds.append(time.perf_counter() - began)
        found.series = len(data["result"]) if isinstance(data["result"], list) else 1
        if found.seconds[-1] > _SLOW and number:
            break
    found.cpu = (store.cpu() - used) / len(found.seconds)
    return found


def answer(store: Store, ask: Ask, at: float) -> Any:
    if ask.range:
        return store.api("query_range", query=ask.expr, start=at - DAY, end=at, step=ask.step)
    return store.api("query", query=ask.expr, time=at)


def differing(one: Store, other: Store, asks: Iterable[Ask], at: float) -> list[tuple[Ask, str]]:
    """Instant queries that two stores answer differently at a time, with what is different."""
    found = []
    for ask in asks:
        if not ask.range:
            try:
                said = difference(vector(answer(one, ask, at)), vector(answer(other, ask, at)))
            except (TooLong, ValueError) as error:
                said = " ".join(str(error).split())[:200]
            if said:
                found.append((ask, said))
    return found


def difference(one: Vector, other: Vector) -> str:
    """Empty where they are alike: the same labels, and values that differ by a billionth at most."""
    ours, theirs = one.keys() - other.keys(), other.keys() - one.keys()
    if ours or theirs:
        return f"{len(one)} and {len(other)} series; {dict(min(ours or theirs))} in {'the first' if ours else 'the second'} only"
    unlike = [labels for labels, value in one.items() if not _alike(value, other[labels])]
    return f"{len(unlike)} of {len(one)} values: {one[unlike[0]]} and {other[unlike[0]]} of {dict(unlike[0])}" if unlike else ""


def _alike(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= 1e-9 * max(abs(one), abs(other)) or (one != one and other != other)

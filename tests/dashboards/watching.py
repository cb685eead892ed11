"""A real Prometheus with the rules, that has scraped the fleet of `demo` and one real exporter; asked as a Grafana asks it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana.alerts.rules import OLD_ENOUGH
from grafana.dashboards.queries import Kind
from tests.dashboards.demo import fleet
from tests.endtoend import Serving, eventually, free_port
from tests.endtoend import serving as exporting
from tests.fleet.serve import Site, serving
from tests.test_alerts_end_to_end import prometheus_argv, running

GRAFANA = Path(__file__).parent.parent.parent / "grafana"
RULES = (GRAFANA / "alerts" / "domcaps.rules.yml", GRAFANA / "dashboards" / "domcaps-dashboards.rules.yml")
REAL = "this-machine"
"""The name of the machine that this runs on, which no group is told of."""


@dataclass(frozen=True)
class Series:
    """One series of an answer, with the times and values of its samples."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """The last one."""
        return self.samples[-1][1]


@dataclass(frozen=True)
class Watched:
    """A Prometheus, and since when it watches."""

    url: str
    since: float

    def ask(self, expr: str, kind: Kind = "instant") -> list[Series]:
        """What a panel is answered; an error is raised with what Prometheus says of it."""
        now = time.time()
        if kind == "instant":
            found = self.api("query", query=expr, time=f"{now}")["result"]
            return [Series(one["metric"], (_sample(one["value"]),)) for one in found]
        found = self.api("query_range", query=expr, start=f"{self.since}", end=f"{now}", step="1")["result"]
        return [Series(one["metric"], tuple(map(_sample, one["values"]))) for one in found]

    def api(self, path: str, **query: str) -> Any:
        """The `data` of an answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}\n{query}") from error


def _sample(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


@contextmanager
def watching(folder: Path, pace: float, every: int = 3) -> Iterator[Watched]:
    """When everything has happened, `pace` seconds apart, and was recorded; scraped `every` so many seconds."""
    plan = fleet(pace)
    site = Site(plan)
    with ExitStack() as stack:
        real, address = stack.enter_context(exporting()), stack.enter_context(serving(site))
        real.scrape()
        _configure(folder, address, real, every)
        listening = f"127.0.0.1:{free_port()}"
        stack.enter_context(running(folder, prometheus_argv(folder, listening)))
        watched = Watched(f"http://{listening}", time.time())
        hosts = len(plan.worlds) + 1
        assert eventually(lambda: _seen(watched) == hosts, 60), (folder / "prometheus.log").read_text()
        for event in plan.events:
            time.sleep(pace)  # whenever the one before it happened: each is to be scraped
            site.happen(event.host, event.change)
        time.sleep(4 + 2 * every + pace)
        yield watched


def _seen(watched: Watched) -> int:
    """Hosts that were scraped, and judged by the rules, twice."""
    try:
        return len(watched.ask('count by (instance) (count_over_time(domcaps:capability{capability="uefi"}[1m]) >= 2)'))
    except (OSError, AssertionError):
        return 0


def _configure(folder: Path, fleet_at: str, real: Serving, every: int) -> None:
    """In a hurry: every few seconds, and losses make a wave as soon as there are enough of them."""
    texts = [
        path.read_text().replace(f"> {OLD_ENOUGH}", "> 1").replace("for: 3m", "for: 2s").replace("interval: 4m", "interval: 1s")
        for path in RULES
    ]
    names = [folder / path.name for path in RULES]
    for name, text in zip(names, texts, strict=True):
        name.write_text(text)
    subprocess.run(["promtool", "check", "rules", *names], check=True, capture_output=True)
    relabelled = [{"target_label": "instance", "replacement": REAL}]
    jobs = [
        {"job_name": "domcaps", "http_sd_configs": [{"url": f"http://{fleet_at}/targets", "refresh_interval": "5s"}]},
        {"job_name": "real", "static_configs": [{"targets": [real.address]}], "relabel_configs": relabelled},
    ]
    times = {"scrape_interval": f"{every}s", "scrape_timeout": f"{every}s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": times, "rule_files": list(map(str, names)), "scrape_configs": jobs})
    )

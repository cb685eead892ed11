"""The configurations in grafana/prometheus: as promtool sees them, and what they do in a real Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.bench.stores import crowded
from tests.endtoend import eventually
from tests.fleet.crowd import Crowd, crowd, samples
from tests.fleet.promtool import read_by
from tests.test_prometheus import Prometheus, prometheus_of

GRAFANA = Path(__file__).parent.parent / "grafana"
FILES = tuple(file.name for file in sorted((GRAFANA / "prometheus").glob("*.yml")) if not file.name.startswith("domcaps-"))
RULES = GRAFANA / "alerts" / "domcaps.rules.yml"
HOSTS = 12

Needs = Callable[[str, object, str], None]


@pytest.mark.parametrize("name", FILES)
def test_promtool_finds_nothing_to_blame(name: str, needs: Needs, tmp_path: Path) -> None:
    needs("promtool", shutil.which("promtool"), "it checks the configuration")
    for file in (*(GRAFANA / "prometheus").iterdir(), RULES, GRAFANA / "dashboards" / "domcaps-dashboards.rules.yml"):
        shutil.copy(file, tmp_path)
    agent = ("--agent",) if name == "agent.yml" else ()
    done = subprocess.run(["promtool", "check", "config", *agent, name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- in a real Prometheus ----------------------------------------------------------------------------------------------------


def job(file: str, address: str, **changed: object) -> dict[str, Any]:
    """The job of a file, of a crowd."""
    (found,) = yaml.safe_load((GRAFANA / "prometheus" / file).read_text())["scrape_configs"]
    del found["file_sd_configs"]
    return {**found, "http_sd_configs": [{"url": f"http://{address}/"}], **changed}


@dataclass(frozen=True)
class Scraping:
    """A Prometheus that scrapes a crowd in several ways, and one above it."""

    crowd: Crowd
    prometheus: Prometheus
    above: Prometheus

    @property
    def limit(self) -> int:
        """What the largest hosts do not keep to."""
        return max(samples(self.crowd).values()) - 1


@pytest.fixture(scope="module")
def scraping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraping]:
    one = crowd(HOSTS)
    with ExitStack() as stack:
        folder, upper = tmp_path_factory.mktemp("shard"), tmp_path_factory.mktemp("above")
        address = stack.enter_context(crowded(HOSTS))
        limit = max(samples(one).values()) - 1
        jobs = [
            job("few-series.yml", address),
            job("hosts.yml", address, job_name="limited", sample_limit=limit),
            *(quarter(address, str(number)) for number in range(4)),
        ]
        hurried = {"scrape_interval": "4s", "scrape_timeout": "4s", "evaluation_interval": "1s"}
        told = {"global": hurried, "rule_files": [str(RULES)], "scrape_configs": jobs}
        prometheus = stack.enter_context(prometheus_of(folder, told))
        federation = yaml.safe_load((GRAFANA / "prometheus" / "federate.yml").read_text())["scrape_configs"]
        federation[0] |= {"static_configs": [{"targets": [prometheus.url.removeprefix("http://")]}], "scrape_timeout": "4s"}
        above = stack.enter_context(prometheus_of(upper, {"global": hurried, "scrape_configs": federation}))
        assert eventually(lambda: len(above.query("domcaps:loss")) and len(prometheus.query("up offset 4s")) == 3 * HOSTS, 60)
        yield Scraping(one, prometheus, above)


def quarter(address: str, number: str) -> dict[str, Any]:
    """A shard as a job of its own: only its relabelling is looked at."""
    nothing = [{"source_labels": ["__name__"], "regex": "nothing", "action": "keep"}]
    found = job("shard.yml", address, job_name=f"shard-{number}", metric_relabel_configs=nothing)
    found["relabel_configs"][1]["regex"] = number
    return found


@pytest.mark.slow
def test_a_host_that_sends_more_than_it_may_costs_only_itself(scraping: Scraping) -> None:
    up = {labels["instance"]: value for labels, value in scraping.prometheus.query('up{job="limited"}')}
    assert up == {host: count <= scraping.limit for host, count in samples(scraping.crowd).items()}
    assert set(up.values()) == {0, 1}
    (kept,) = scraping.prometheus.query('count(count by (instance) (domcaps_supported{job="limited"}))')
    assert kept[1] == sum(up.values())
    errors = {one["lastError"] for one in scraping.prometheus.api("targets")["activeTargets"] if one["labels"]["job"] == "limited"}
    assert errors == {"", "sample limit exceeded"}


@pytest.mark.slow
def test_few_series_are_less_than_a_hundred_and_enough_for_the_alerts(scraping: Scraping) -> None:
    kept = scraping.prometheus.query('count by (instance) ({job="domcaps",__name__!~"domcaps:.+|ALERTS.*"})')
    assert len(kept) == HOSTS
    assert max(value for _, value in kept) < 100
    there = {labels["__name__"] for labels, _ in scraping.prometheus.query('count by (__name__) ({job="domcaps"})')}
    whole = {labels["__name__"] for labels, _ in scraping.prometheus.query('count by (__name__) ({job="limited"})')}
    assert (read_by(RULES) & whole) - there == {"domcaps_supported"}


@pytest.mark.slow
def test_each_group_is_in_one_shard_and_every_host_in_one(scraping: Scraping) -> None:
    found = scraping.prometheus.query('count by (instance, group, job) (up{job=~"shard-.+"})')
    assert {labels["instance"] for labels, _ in found} == set(scraping.crowd.kinds)
    assert len(found) == HOSTS
    assert len({(labels["group"], labels["job"]) for labels, _ in found}) == len(set(scraping.crowd.groups.values()))


@pytest.mark.slow
def test_the_one_above_has_what_the_rules_recorded_and_nothing_of_what_was_scraped(scraping: Scraping) -> None:
    for expr in ('domcaps:loss{job="domcaps"}', 'up{job="domcaps"}', "domcaps:wave"):
        below, above = (labelled(told.query(expr)) for told in (scraping.prometheus, scraping.above))
        assert below == above
        assert below
    names = {labels["__name__"] for labels, _ in scraping.above.query('count by (__name__) ({job!="domcaps-federate"})')}
    assert {name for name in names if not name.startswith("domcaps:")} <= {"up", "ALERTS"}


def labelled(found: list[tuple[dict[str, str], float]]) -> set[tuple[tuple[str, str], ...]]:
    """Without the job, which what has none gets from the one that takes it."""
    return {tuple(sorted({**labels, "job": ""}.items())) for labels, _ in found}

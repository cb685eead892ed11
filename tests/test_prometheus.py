"""A real Prometheus scrapes a real exporter that asks a real QEMU."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from tests.endtoend import EMULATOR, MACHINE, NAME, Samples, Serving, eventually, free_port, serving

TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
BOTH = pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])

Needs = Callable[[str, object, str], None]


@pytest.fixture(scope="module")
def exporter() -> Iterator[Serving]:
    if not EMULATOR:
        pytest.skip(f"needs {NAME}: there is nothing to scrape")
    with serving() as running:
        running.scrape()  # the first one starts QEMU, which may take longer than a scrape of every few seconds has
        yield running


def version() -> tuple[int, ...]:
    """Prometheus'; empty where there is none."""
    if shutil.which("prometheus") is None:
        return ()
    said = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    return tuple(map(int, match.groups())) if match else ()


PROTOCOLS = ("", "OpenMetricsText1.0.0", "PrometheusText0.0.4") if version() >= (2, 49) else ("",)
"""What the jobs ask for; empty: what this Prometheus asks for of its own, OpenMetrics."""


@dataclass(frozen=True)
class Prometheus:
    url: str
    log: Path

    def api(self, path: str, **query: str) -> Any:
        """The `data` of an answer; None while there is none."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=5) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except OSError:
            return None

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """An instant vector."""
        found = self.api("query", query=expression) or {"result": []}
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]


@pytest.fixture(scope="module")
def prometheus(exporter: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped every job at least twice."""
    with scraping(exporter, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@contextmanager
def scraping(exporter: Serving, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped every job at least twice."""
    with prometheus_of(folder, configuration(exporter.address)) as server:
        twice = "count_over_time(up[1m]) >= 2"
        assert eventually(lambda: len(server.query(twice)) == len(PROTOCOLS), 30), server.log.read_text()
        yield server


@contextmanager
def prometheus_of(folder: Path, configured: object, *flags: str) -> Iterator[Prometheus]:
    """A Prometheus that was just started, so configured; its files are in the folder."""
    if not version():
        pytest.skip("needs prometheus: it scrapes the exporter")
    (folder / "prometheus.yml").write_text(json.dumps(configured))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    argv = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}", *flags]
    server = Prometheus(f"http://{address}", folder / "log")
    with server.log.open("w") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield server
    finally:
        process.terminate()
        process.wait()


def configuration(target: str) -> dict[str, object]:
    jobs = (
        {"job_name": name or "own", "static_configs": [{"targets": [target]}], **({"scrape_protocols": [name]} if name else {})}
        for name in PROTOCOLS
    )
    return {"global": {"scrape_interval": "3s", "scrape_timeout": "3s"}, "scrape_configs": list(jobs)}


def parsed(exporter: Serving, accept: str) -> Samples:
    answer = exporter.ask("/metrics", Accept=accept)
    assert answer.headers["content-type"].startswith(accept.replace(";", "; "))
    parse = openmetrics_families if accept == OPENMETRICS else text_families
    found = Samples.of(parse(answer.body.decode()))
    assert found.about_documents()
    return found


# ---- Prometheus --------------------------------------------------------------------------------------------------------------


def test_every_job_is_up_and_was_scraped_without_an_error(prometheus: Prometheus) -> None:
    targets = prometheus.api("targets")["activeTargets"]
    assert [(one["health"], one["lastError"]) for one in targets] == [("up", "")] * len(PROTOCOLS)
    assert [value for _, value in prometheus.query("min_over_time(up[1m])")] == [1] * len(PROTOCOLS)
    assert not re.findall(r"(?i)level=(?:warn|error).*", prometheus.log.read_text())


def test_a_value_can_be_asked_for_with_its_whole_identity(prometheus: Prometheus) -> None:
    found = prometheus.query('domcaps_supported{driver="qemu",element="disk",enum="bus",value="virtio"}')
    assert len(found) >= len(PROTOCOLS)
    for labels, value in found:
        assert value == 1
        assert (labels["emulator"], labels["arch"], labels["machine"]) == (EMULATOR, NAME.rpartition("-")[2], MACHINE)
        assert labels["virttype"] in ("kvm", "qemu")


def test_prometheus_takes_every_sample_that_is_offered(prometheus: Prometheus, exporter: Serving) -> None:
    offered = len(parsed(exporter, OPENMETRICS))
    assert {value for _, value in prometheus.query("scrape_samples_scraped")} == {offered}
    assert {value for _, value in prometheus.query("scrape_samples_post_metric_relabeling")} == {offered}


def test_the_series_that_prometheus_keeps_are_those_that_are_offered(prometheus: Prometheus, exporter: Serving) -> None:
    kept = prometheus.query('{__name__=~"domcaps_.*", emulator!=""}')
    scraped = Counter(
        tuple(sorted((name, text) for name, text in labels.items() if name not in ("job", "instance"))) for labels, _ in kept
    )
    offered = {tuple(sorted({**one.labels, "__name__": one.name}.items())) for one in parsed(exporter, TEXT).about_documents()}
    without_empty = {tuple((name, text) for name, text in labels if text) for labels in offered}
    assert scraped == dict.fromkeys(without_empty, len(PROTOCOLS))


def test_the_exposition_does_not_grow_from_scrape_to_scrape(prometheus: Prometheus) -> None:
    assert {value for _, value in prometheus.query("changes(scrape_samples_scraped[1m])")} == {0}


# ---- promtool and the parsers ------------------------------------------------------------------------------------------------


@pytest.fixture
def blamed(exporter: Serving, needs: Needs) -> Callable[[str], list[str]]:
    """What promtool has to say of an exposition, in lines."""
    needs("promtool", shutil.which("promtool"), "it checks the exposition")

    def check(accept: str) -> list[str]:
        body = exporter.ask("/metrics", Accept=accept).body.decode()
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr  # 3: it could be read, and has faults
        return [*done.stdout.splitlines(), *done.stderr.splitlines()]

    return check


def test_promtool_finds_nothing_to_blame(blamed: Callable[[str], list[str]]) -> None:
    assert blamed(TEXT) == []


def test_promtool_misses_in_openmetrics_only_what_it_looks_for_under_the_names_of_text(blamed: Callable[[str], list[str]]) -> None:
    """It reads text only, where the help of a counter belongs to the name with `_total`."""
    assert [line for line in blamed(OPENMETRICS) if not line.endswith("_total no help text")] == []


@BOTH
def test_no_sample_is_there_twice(exporter: Serving, accept: str) -> None:
    seen = Counter((one.name, *sorted(one.labels.items())) for one in parsed(exporter, accept))
    assert seen.most_common(1)[0][1] == 1


def test_both_formats_say_the_same(exporter: Serving) -> None:
    text, openmetrics = (parsed(exporter, accept) for accept in (TEXT, OPENMETRICS))
    assert text.about_documents() == openmetrics.about_documents()
    assert {(one.name, *one.labels) for one in text} == {(one.name, *one.labels) for one in openmetrics}

"""One exporter that asks many hosts' libvirts: what those that hang cost the others, and the scrape configuration for it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.bench.targets import Asked, Round, exporting, measured, named, scraping
from tests.endtoend import children, eventually
from tests.test_prometheus import Prometheus, prometheus_of

FOLDER = Path(__file__).parent.parent / "grafana" / "prometheus"


def test_a_healthy_target_takes_no_longer_while_others_hang(tmp_path: Path) -> None:
    every = named(host=10, hung=6, slow=2, dead=2)
    healthy, others = every[:10], every[10:]

    async def ask() -> tuple[list[Asked], list[Asked], list[Asked]]:
        async with scraping(exporter) as scraper:
            await scraper.round(healthy, 0)
            alone = [await scraper.ask(target) for target in healthy]
            waiting = [asyncio.create_task(scraper.ask(target)) for target in others]
            await asyncio.sleep(0.5)
            beside = [await scraper.ask(target) for target in healthy]
            assert not any(task.done() for task in waiting[:6])
            return alone, beside, list(await asyncio.gather(*waiting))

    with exporting(tmp_path, every, timeout=7) as exporter:
        alone, beside, hindered = asyncio.run(ask())
    assert all(one.answered for one in (*alone, *beside))
    assert {one.kind for one in hindered if one.answered} == {"slow"}
    assert median(beside) < 2 * median(alone) + 0.1


def median(asked: list[Asked]) -> float:
    return statistics.median(one.seconds for one in asked)


# ---- two hundred -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_hundred_targets_are_asked_by_one_process_and_ten_that_hang_delay_none(tmp_path: Path) -> None:
    every = named(host=170, hung=10, slow=10, dead=10)
    with exporting(tmp_path, every, timeout=7) as exporter:
        asyncio.run(measured(exporter, "first answers", every[:170], 9))
        done = asyncio.run(measured(exporter, "all", every, 7))
        assert eventually(lambda: not children(exporter.process.pid))  # of those that hung none is left
    assert {one.status for one in done.asked} == {200}
    assert {one.kind for one in done.asked if one.answered} == {"host", "slow"}
    assert all(one.answered for one in done.asked if one.kind in ("host", "slow"))
    assert percentile_of(done, "host", 95) < percentile_of(done, "hung", 0)
    assert done.peak.children <= 60
    assert done.peak.threads <= 100
    assert done.memory < 500


def percentile_of(done: Round, kind: str, percent: int) -> float:
    taken = sorted(one.seconds for one in done.asked if one.kind == kind)
    return taken[len(taken) * percent // 100]


# ---- the scrape configuration ------------------------------------------------------------------------------------------------


def configuration(folder: Path, address: str, names: tuple[str, ...]) -> Any:
    """The file as it is, with this exporter and these targets put in, in a hurry and without the rules."""
    found = yaml.safe_load((FOLDER / "targets.yml").read_text().replace("exporter:19177", address))
    del found["rule_files"]
    found["global"]["scrape_interval"] = "4s"
    found["scrape_configs"][0]["scrape_timeout"] = "4s"
    targets = [{"targets": [name], "labels": {"group": f"rack-{number}"}} for number, name in enumerate(names)]
    (folder / "domcaps-targets.yml").write_text(yaml.safe_dump(targets))
    return found


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Prometheus]:
    names = named(host=2, hung=1, dead=1)
    with ExitStack() as stack:
        exporter = stack.enter_context(exporting(tmp_path, names, timeout=1))
        yield stack.enter_context(prometheus_of(tmp_path, configuration(tmp_path, exporter.address, names)))


@pytest.mark.slow
def test_prometheus_asks_every_target_by_its_name_and_the_series_are_that_hosts(watched: Prometheus) -> None:
    success = 'domcaps_probe_success{job="domcaps"}'
    assert eventually(lambda: len(watched.query(success)) == 4, 30)
    found = {(labels["instance"], labels["group"]): value for labels, value in watched.query(success)}
    assert found == {("host-0", "rack-0"): 1, ("host-1", "rack-1"): 1, ("hung-0", "rack-2"): 0, ("dead-0", "rack-3"): 0}
    assert {value for _, value in watched.query("up")} == {1}
    documented = watched.query("count by (instance) (domcaps_supported)")
    assert {labels["instance"] for labels, _ in documented} == {"host-0", "host-1"}
    reasons = {(labels["instance"], labels["reason"]) for labels, _ in watched.query("domcaps_probe_failures_total > 0")}
    assert reasons == {("hung-0", "timeout"), ("dead-0", "refused")}
    assert eventually(lambda: bool(watched.query("process_resident_memory_bytes")), 30)  # the exporter's own turn comes last
    assert {labels["job"] for labels, _ in watched.query("process_resident_memory_bytes")} == {"domcaps-exporter"}

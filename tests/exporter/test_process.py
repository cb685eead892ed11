from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric

from domcaps_exporter.process import Process


def theirs() -> Iterable[Metric]:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry.collect()


def described(families: Iterable[Metric]) -> set[tuple[str, str, str]]:
    return {(family.name, family.type, family.documentation) for family in families}


def test_the_families_are_prometheus_clients() -> None:
    process = Process()
    assert described([*process.constant, *process.families()]) == described(theirs())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: its /proc tells them")
def test_the_figures_are_prometheus_clients() -> None:
    process = Process()
    ours = {sample.name: sample.value for family in process.families() for sample in family.samples if not sample.labels}
    other = {sample.name: sample.value for family in theirs() for sample in family.samples if sample.name in ours}
    assert len(ours) == 6
    assert ours == pytest.approx(other, rel=0.05)

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from domcaps_exporter.exposition import TEXT_0
from domcaps_exporter.process import Process


def theirs() -> bytes:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return generate_latest(registry)


def samples(exposition: bytes) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in exposition.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def words(exposition: bytes) -> list[str]:
    """Everything but the values."""
    return [line if line.startswith("#") else line.rpartition(" ")[0] for line in exposition.decode().splitlines()]


def test_the_families_are_prometheus_clients() -> None:
    assert words(Process().plain(TEXT_0)) == words(theirs())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: its /proc tells them")
def test_the_figures_are_prometheus_clients_and_of_now() -> None:
    process, kept = Process(), bytearray()
    before = samples(process.plain(TEXT_0))
    kept.extend(bytes(200 << 20))
    ours, other = samples(process.plain(TEXT_0)), samples(theirs())
    assert ours["process_resident_memory_bytes"] > before["process_resident_memory_bytes"] + (100 << 20)
    assert {name: value for name, value in ours.items() if name.startswith("process_")} == pytest.approx(
        {name: value for name, value in other.items() if name.startswith("process_")}, rel=0.05, abs=0.05
    )
    assert ours['python_gc_collections_total{generation="2"}'] == other['python_gc_collections_total{generation="2"}']


def test_without_a_descriptor_left_it_still_says_what_it_can() -> None:
    process = Process()
    with no_descriptors():
        said = samples(process.plain(TEXT_0))
    assert 'python_gc_collections_total{generation="0"}' in said
    assert "process_open_fds" not in said


@contextmanager
def no_descriptors() -> Iterator[None]:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)

"""/probe: which targets there are, what each is asked, and what one that hangs costs the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.exporter.test_web import REPORT, Client, Got, answering, failing, hanging, run, service_of

from domcaps_exporter.config import ConfigError, Wish
from domcaps_exporter.errors import ProbeRefused, SettingError
from domcaps_exporter.model import Driver, Outcome
from domcaps_exporter.service import Service
from domcaps_exporter.targets import Target, targets
from domcaps_exporter.web import serve

HOUR = {"X-Prometheus-Scrape-Timeout-Seconds": "60"}


@asynccontextmanager
async def served(found: Mapping[str, Target]) -> AsyncIterator[Client]:
    """An exporter of one QEMU, and of these targets."""
    stop, urls, service = asyncio.Event(), asyncio.Queue[str](), service_of(answering("qemu", REPORT))
    server = asyncio.create_task(
        serve(service, ["127.0.0.1:0"], "/metrics", stop, lambda at: urls.put_nowait(at[0]), targets=found)
    )
    url = (await urls.get()).rstrip("/")
    async with aiohttp.ClientSession() as session:
        yield Client(session, url)
    stop.set()
    await server


def probed(target: str, found: Mapping[str, Target], headers: Mapping[str, str] | None = None) -> Got:
    async def ask() -> Got:
        async with served(found) as client:
            return await client.get(f"/probe{target}", headers)

    return run(ask())


def one(driver: Driver, timeout: float = 5) -> Target:
    return Target(service_of(driver), timeout)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_target_is_answered_with_its_own_metrics_only() -> None:
    got = probed("?target=there", {"there": one(answering("libvirt", REPORT)), "else": one(answering("libvirt"))})
    assert (got.status, got.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'domcaps_probe_success{driver="libvirt"} 1.0' in got.body
    assert b'driver="libvirt",element="hostdev"' in got.body
    assert b'driver="qemu"' not in got.body
    assert not [name for name in (b"process_", b"python_", b"domcaps_exporter_build_info", b"domcaps_plugin") if name in got.body]


def test_a_target_that_fails_says_so() -> None:
    got = probed("?target=there", {"there": one(failing("libvirt", ProbeRefused("no route")))})
    assert got.status == 200
    assert b'domcaps_probe_success{driver="libvirt"} 0.0' in got.body
    assert b'domcaps_probe_failures_total{driver="libvirt",reason="refused"} 1.0' in got.body
    assert b"domcaps_supported" not in got.body


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", b"one target is asked for: /probe?target=NAME"),
        ("?target=there&target=there", b"one target is asked for"),
        ("?target=", b"no such target"),
        ("?target=nowhere", b"no such target"),
        ("?target=qemu%2Bssh://evil/system", b"no such target"),
        ("?target=<b>", b"no such target"),
    ],
)
def test_anything_but_a_configured_name_is_a_bad_request_that_is_not_repeated(query: str, said: bytes) -> None:
    got = probed(query, {"there": one(answering("libvirt", REPORT))})
    assert (got.status, got.body[: len(said)]) == (400, said)
    assert b"evil" not in got.body
    assert b"<" not in got.body


def test_without_targets_every_probe_is_a_bad_request() -> None:
    assert probed("?target=there", {}).status == 400


def test_a_target_takes_no_longer_than_it_may(release: threading.Event) -> None:
    began = time.monotonic()
    got = probed("?target=slow", {"slow": one(hanging("libvirt", release), 0.2)}, HOUR)
    assert 0.2 <= time.monotonic() - began < 10
    assert b'domcaps_probe_failures_total{driver="libvirt",reason="timeout"} 1.0' in got.body


def test_a_target_takes_no_longer_than_the_scraper_waits(release: threading.Event) -> None:
    began = time.monotonic()
    got = probed("?target=slow", {"slow": one(hanging("libvirt", release), 60)}, {"X-Prometheus-Scrape-Timeout-Seconds": "0.4"})
    assert time.monotonic() - began < 10
    assert b'domcaps_probe_success{driver="libvirt"} 0.0' in got.body


def test_a_slow_target_delays_no_other_and_no_scrape(release: threading.Event) -> None:
    begun = threading.Event()
    found = {"slow": one(hanging("libvirt", release, begun), 60), "quick": one(answering("libvirt", REPORT))}

    async def ask() -> list[int]:
        async with served(found) as client:
            slow = [asyncio.create_task(client.get("/probe?target=slow", HOUR)) for _ in range(20)]
            assert await asyncio.to_thread(begun.wait, 10)
            others = [await client.get(path) for path in ("/probe?target=quick", "/metrics")]
            assert not any(task.done() for task in slow)
            release.set()
            return [got.status for got in (*others, *await asyncio.gather(*slow))]

    assert run(ask()) == [200] * 22


def test_many_who_ask_a_hanging_target_cost_one_thread(release: threading.Event) -> None:
    asking: list[float] = []

    class Counted(Target):
        async def probe(self, patience: float) -> Sequence[Outcome]:
            asking.append(patience)
            return await super().probe(patience)

    async def ask() -> int:
        begun = threading.Event()
        async with served({"slow": Counted(service_of(hanging("libvirt", release, begun)), 60)}) as client:
            before = set(threading.enumerate())
            waiting = [asyncio.create_task(client.get("/probe?target=slow", HOUR)) for _ in range(20)]
            while len(asking) < 20 or not begun.is_set():
                await asyncio.sleep(0.005)
            started = set(threading.enumerate()) - before
            release.set()
            await asyncio.gather(*waiting)
            return len(started)

    assert run(ask()) == 1


# ---- configured --------------------------------------------------------------------------------------------------------------


def brought(section: Mapping[str, object]) -> Iterable[Driver]:
    """A plugin that knows `uris` and `mode`."""
    for key in section.keys() - {"uris", "mode"}:
        raise SettingError(key, "no such key; allowed: uris, mode")
    if section["uris"] == ["nonsense"]:
        raise SettingError("uris", "found 'nonsense'")
    return [Driver("libvirt", lambda host: {}, lambda facts: ())]


def service(name: str, driver: Driver, timeout: float) -> Service:
    return service_of(driver)


def test_each_target_has_its_own_time_or_that_of_every_probe() -> None:
    found = targets(None, {"a": Wish("x", 3.0), "b": Wish("y", section={"mode": "z"})}, brought, service, 30.0)
    assert {name: target.timeout for name, target in found.items()} == {"a": 3.0, "b": 30.0}


def test_a_targets_service_is_told_its_name_for_the_log() -> None:
    told: list[tuple[str, float]] = []

    def serviced(name: str, driver: Driver, timeout: float) -> Service:
        told.append((name, timeout))
        return service_of(driver)

    targets(None, {"a": Wish("x", 3.0), "b": Wish("y")}, brought, serviced, 30.0)
    assert told == [("a", 3.0), ("b", 30.0)]


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        (Wish("qemu:///system", None, {"timout": "3s"}), "targets.a.timout: no such key; allowed: uri, timeout, mode"),
        (Wish("nonsense"), "targets.a.uri: found 'nonsense'"),
        (Wish("x", section={"colour": "red"}), "targets.a.colour: no such key"),
    ],
)
def test_what_the_driver_thinks_of_a_target_names_the_target(wish: Wish, complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"domcaps.yaml: {complaint}"):
        targets(Path("domcaps.yaml"), {"a": wish}, brought, service, 30.0)


def test_targets_without_the_driver_that_asks_them_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"targets\.a: no installed plugin brings the driver libvirt"):
        targets(None, {"a": Wish("x")}, lambda section: [Driver("acme", lambda host: {}, lambda facts: ())], service, 30.0)

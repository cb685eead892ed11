"""The server over real sockets: paths, headers, patience, and an end within a second."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
import pytest
from lxml import etree
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from tests.endtoend import swift

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.errors import HypervisorAbsent, ProbeRefused
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import (
    ABSENT,
    Document,
    Driver,
    Element,
    Enum,
    Facts,
    Host,
    Identity,
    Outcome,
    Report,
    Unmet,
    Verdict,
    question,
)
from domcaps_exporter.probing import Watch
from domcaps_exporter.service import Service
from domcaps_exporter.web import serve

T = TypeVar("T")

GUEST = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
VIDEO = Element("video", (("supported", "yes"),), children=(Enum("modelType", ("vga", "<script>alert(1)</script>")),))
REPORT = Report(
    GUEST,
    Verdict("guest", "", "", True),
    Document("kvm", "x86_64", GUEST.emulator, "pc-q35-10.0", 4096, (Element("devices", children=(VIDEO,)),)),
    (Verdict("hostdev", "pciBackend", "vfio", False, (Unmet("iommu-groups", "refuses"), Unmet("<b>", "accepts"))),),
    notes=("nobody could say & tell",),
)


def answering(name: str, *reports: Report) -> Driver:
    return Driver(name, lambda host: {question("uname"): ABSENT}, lambda facts: reports)


def failing(name: str, error: Exception) -> Driver:
    def probe(host: Host) -> Facts:
        raise error

    return Driver(name, probe, lambda facts: ())


def hanging(name: str, until: threading.Event, begun: threading.Event | None = None) -> Driver:
    """One whose probe hangs; `begun` says that it does."""

    def probe(host: Host) -> Facts:
        if begun is not None:
            begun.set()
        until.wait(30)
        return {}

    return Driver(name, probe, lambda facts: ())


def service_of(*drivers: Driver, plugins: tuple[Plugin, ...] = ()) -> Service:
    def host(deadline: float) -> Host:
        return RealHost(deadline, Paths(), Store())

    return Service([Watch(driver, host, 20) for driver in drivers], plugins)


@dataclass(frozen=True)
class Got:
    """A response, read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Asks one server; nothing is unpacked on the way."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url = session, url

    async def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Got:
        async with self._session.request(method, self.url + path, headers=headers) as response:
            return Got(response.status, response.headers, await response.read())


@asynccontextmanager
async def served(service: Service, address: str = "127.0.0.1:0", telemetry_path: str = "/metrics") -> AsyncIterator[Client]:
    stop, urls = asyncio.Event(), asyncio.Queue[str]()
    server = asyncio.create_task(serve(service, [address], telemetry_path, stop, lambda found: urls.put_nowait(found[0])))
    url = (await urls.get()).rstrip("/")
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept", "Accept-Encoding"]) as session:
        yield Client(session, url)
    stop.set()
    await server


def asked(
    path: str, *drivers: Driver, headers: Mapping[str, str] | None = None, method: str = "GET", plugins: tuple[Plugin, ...] = ()
) -> Got:
    async def ask() -> Got:
        async with served(service_of(*(drivers or (answering("qemu", REPORT),)), plugins=plugins)) as client:
            return await client.get(path, headers, method)

    return run(ask())


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 20))


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets hung probes go at the end of a test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_scrape_gets_metrics_in_the_exact_type_it_asked_for() -> None:
    plain = asked("/metrics")
    assert (plain.status, plain.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"domcaps_vcpus_max{" in plain.body
    exact = asked("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"})
    assert exact.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    assert {family.name for family in read_openmetrics(exact.body.decode())} > {"domcaps_supported", "domcaps_probe_failures"}  # type: ignore[no-untyped-call]  # theirs


def test_gzip_is_sent_to_those_who_accept_it_and_caches_are_told() -> None:
    packed = asked("/metrics", headers={"Accept-Encoding": "gzip"})
    assert (packed.headers["Content-Encoding"], packed.body[:3]) == ("gzip", b"\x1f\x8b\x08")
    assert packed.headers["Vary"] == "Accept, Accept-Encoding"
    plain = asked("/metrics", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert plain.body.startswith(b"# HELP")


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=abc", ";;;q=;=,;", "é", ","])
def test_a_nonsensical_wish_is_answered_in_plain_text(accept: str) -> None:
    got = asked("/metrics", headers={"Accept": accept})
    assert (got.status, got.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


def test_collect_asks_the_named_drivers_only_and_refuses_unknown_ones_with_the_known() -> None:
    drivers = (answering("qemu", REPORT), answering("xen", replace(REPORT, identity=replace(GUEST, virttype="xen"))))
    one = asked("/metrics?collect[]=xen", *drivers).body
    assert b'driver="xen"' in one
    assert b'driver="qemu"' not in one
    both = asked("/metrics?collect[]=xen&collect[]=qemu", *drivers).body
    assert b'driver="qemu"' in both
    unknown = asked("/metrics?collect[]=<evil>", *drivers)
    assert (unknown.status, unknown.body) == (400, b"collect[] takes these drivers: qemu, xen\n")


@pytest.mark.parametrize(("timeout", "least", "most"), [("1", 0.5, 0.95), ("0.4", 0.2, 0.4)])
def test_a_scrape_is_answered_before_the_scraper_gives_up(
    release: threading.Event, timeout: str, least: float, most: float
) -> None:
    async def ask() -> float:
        async with served(service_of(hanging("slow", release), answering("qemu", REPORT))) as client:
            await client.get("/-/healthy")
            began = time.monotonic()
            got = await client.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": timeout})
            assert b'domcaps_probe_success{driver="slow"} 0.0' in got.body
            assert b'domcaps_probe_success{driver="qemu"} 1.0' in got.body
            return time.monotonic() - began

    assert swift(lambda: run(ask()), most, least)


@pytest.mark.parametrize("nonsense", ["abc", "nan", "inf", "-1", "0", ""])
def test_a_nonsensical_timeout_is_ignored(nonsense: str) -> None:
    assert asked("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": nonsense}).status == 200


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_is_answered_while_a_probe_hangs(release: threading.Event, path: str) -> None:
    async def ask() -> Got:
        begun = threading.Event()
        async with served(service_of(hanging("slow", release, begun))) as client:
            scrape = asyncio.create_task(client.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "15"}))
            assert await asyncio.to_thread(begun.wait, 10)
            got = await client.get(path)
            assert not scrape.done()
            release.set()
            await scrape
            return got

    assert run(ask()).status == 200


def test_documents_are_listed_with_their_identity_and_links_that_work() -> None:
    async def ask() -> tuple[Got, Got]:
        async with served(service_of(answering("qemu", REPORT))) as client:
            listed = await client.get("/documents")
            return listed, await client.get(json.loads(listed.body)[0]["links"]["xml"])

    listed, document = run(ask())
    assert listed.headers["Content-Type"].startswith("application/json")
    assert json.loads(listed.body) == [
        {
            "id": "qemu-x86_64-q35-kvm",
            "driver": "qemu",
            "emulator": "/usr/bin/qemu-system-x86_64",
            "arch": "x86_64",
            "machine": "q35",
            "virttype": "kvm",
            "links": {"xml": "/documents/qemu-x86_64-q35-kvm.xml"},
            "notes": ["nobody could say & tell"],
        }
    ]
    assert (document.status, document.headers["Content-Type"]) == (200, "application/xml")
    assert etree.fromstring(document.body).findtext("machine") == "pc-q35-10.0"


def test_a_document_that_is_not_there_is_404_and_503_while_its_driver_gives_no_answer() -> None:
    assert asked("/documents/qemu-nothing.xml").status == 404
    assert asked("/documents/xen-nothing.xml", failing("xen", HypervisorAbsent("no /dev/xen"))).status == 404
    refused = asked("/documents/qemu-x86_64-q35-kvm.xml", failing("qemu", ProbeRefused("cannot execute")))
    assert (refused.status, refused.body) == (503, b"qemu: refused: cannot execute\n")


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "/documents/", "/documents/../../etc/passwd", "/-/", "/documents/a/b.xml"]
)
def test_other_paths_are_404_in_one_plain_line(path: str) -> None:
    got = asked(path)
    assert got.status == 404
    assert got.headers["Content-Type"].startswith("text/plain")
    assert got.body.count(b"\n") == 1


@pytest.mark.parametrize("path", ["/", "/metrics", "/documents", "/documents/qemu-x86_64-q35-kvm.xml", "/-/healthy", "/-/ready"])
def test_other_methods_are_405_with_what_is_allowed_and_head_works(path: str) -> None:
    refused = asked(path, method="POST")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD")
    head = asked(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/-/healthy"])
def test_no_answer_says_what_serves_it(path: str) -> None:
    assert "Server" not in asked(path).headers


class Broken(Service):
    """A service with a fault of our own."""

    async def scrape(self, patience: float, drivers: Collection[str] | None = None) -> tuple[Outcome, ...]:
        raise RuntimeError("a secret")


def test_an_error_of_our_own_is_plain_and_the_next_request_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> tuple[Got, Got]:
        async with served(Broken([], [])) as client:
            return await client.get("/metrics"), await client.get("/-/healthy")

    failed, next_one = run(ask())
    assert (failed.status, failed.body) == (500, b"the exporter failed; its log says why\n")
    assert next_one.status == 200
    assert "a secret" in caplog.text


def test_what_is_no_http_is_400_and_leaves_no_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> bytes:
        async with served(service_of()) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rpartition(":")[2]))
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nNo Header\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    with caplog.at_level("INFO"):
        assert run(ask()).startswith(b"HTTP/1.1 400 ")
    assert caplog.text == ""


def test_the_page_shows_what_there_is_and_what_is_missing_and_runs_nothing() -> None:
    refused = Plugin("acme", "1", "does not import: <i>")
    got = asked("/", answering("qemu", REPORT), failing("xen", HypervisorAbsent("no /dev/xen")), plugins=(refused,))
    text = got.body.decode().replace("<wbr>", "")
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    assert got.headers["Content-Security-Policy"].startswith("default-src 'self'; style-src 'sha256-")
    for shown in (
        "/documents/qemu-x86_64-q35-kvm.xml",
        "hostdev <small>pciBackend</small>",
        "iommu-groups",
        "no /dev/xen",
        "nobody could say &amp; tell",
    ):
        assert shown in text
    assert not any(hostile in text for hostile in ("<script", "<b>", "<i>"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    etree.fromstring(got.body, etree.HTMLParser(recover=False))


def test_metrics_can_live_elsewhere() -> None:
    async def ask() -> tuple[int, int, bytes]:
        async with served(service_of(answering("qemu", REPORT)), telemetry_path="/other") as client:
            return (await client.get("/other")).status, (await client.get("/metrics")).status, (await client.get("/")).body

    found, gone, page = run(ask())
    assert (found, gone) == (200, 404)
    assert b'href="/other"' in page


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("localhost:{port}", "http://127.0.0.1:{port}"),
    ],
)
def test_an_address_is_listened_on_as_written_and_shown_as_one_to_open(address: str, url: str) -> None:
    port = free_port()

    async def ask() -> tuple[str, int]:
        async with served(service_of(), address.format(port=port)) as client:
            return client.url, (await client.get("/-/ready")).status

    assert run(ask()) == (url.format(port=port), 200)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:", "::1:80", "127.0.0.1:x", "127.0.0.1:99999", "nowhere.invalid:0", "127.0.0.1:²"]
)
def test_an_address_that_means_nothing_is_refused_by_name(address: str) -> None:
    with pytest.raises(OSError, match="cannot listen on ") as refused:
        run(listened(address))
    assert address in str(refused.value)


def test_an_address_in_use_is_refused_by_name_and_leaves_no_other_open() -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            run(listened(f"127.0.0.1:{free}", f"127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", free)):
        pass


async def listened(*addresses: str) -> None:
    await serve(service_of(), addresses, "/metrics", asyncio.Event(), unexpected)


def unexpected(urls: object) -> None:
    raise AssertionError(urls)


def test_the_end_comes_within_a_second_also_while_a_scrape_waits_for_a_hung_probe(release: threading.Event) -> None:
    async def ask() -> float:
        stop, urls, begun = asyncio.Event(), asyncio.Queue[str](), threading.Event()
        service = service_of(hanging("slow", release, begun))
        server = asyncio.create_task(serve(service, ["127.0.0.1:0"], "/metrics", stop, lambda found: urls.put_nowait(found[0])))
        async with aiohttp.ClientSession() as session:
            scrape = asyncio.create_task(session.get(await urls.get() + "metrics"))
            assert await asyncio.to_thread(begun.wait, 10)
            began = time.monotonic()
            stop.set()
            await server
            took = time.monotonic() - began
            with pytest.raises(aiohttp.ClientError):
                await scrape
        return took

    assert swift(lambda: run(ask()), 1)

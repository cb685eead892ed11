"""Scrapes of drivers that answer, fail, are not there, or hang; and what is kept from one scrape to the next."""

from __future__ import annotations

import asyncio
import gc
import platform
import time
from concurrent.futures import Future
from dataclasses import replace
from threading import Event

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from domcaps_exporter import HypervisorAbsent, question
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.exposition import OPENMETRICS, TEXT_0
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.metrics import Options, exposed
from domcaps_exporter.model import REASONS, Document, Driver, Facts, Failure, Host, Identity, Outcome, Report, Verdict
from domcaps_exporter.notices import Notices
from domcaps_exporter.probing import Watch
from domcaps_exporter.service import Service, catalogue

REPORT = Report(
    Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm"),
    Verdict("guest", "", "", True),
    Document("kvm", "x86_64", "/usr/bin/qemu-system-x86_64", "pc-q35-10.0", 4096),
    tuple(Verdict("video", "modelType", f"model-{number}", number % 2 == 0) for number in range(400)),
)
ABSENT = Outcome("xen", failure=Failure("absent", "no /dev/xen"), started=1.0, finished=1001.0)
GOOD = Outcome("qemu", (REPORT,), duration=0.25, started=1.0, finished=1000.0)
BAD = Outcome("qemu", failure=Failure("refused", "cannot execute"), duration=0.5, started=2.0, finished=1002.0)


class Answering:
    """A watch whose probes end at once, in what `outcome` is at the time; one without an outcome hangs."""

    def __init__(self, name: str, outcome: Outcome | None) -> None:
        self.driver = Driver(name, lambda host: {}, lambda facts: ())
        self.outcome, self.late, self.joined = outcome, False, 0
        self.hanging: Future[Outcome] = Future()
        self.hanging.set_running_or_notify_cancel()

    def join(self) -> Future[Outcome]:
        self.joined += 1
        if self.outcome is None:
            return self.hanging
        future: Future[Outcome] = Future()
        future.set_result(self.outcome)
        return future

    def overdue(self) -> bool:
        return self.late

    def silent(self, waited: float) -> Outcome:
        return Outcome(self.driver.name, failure=Failure("timeout", f"no answer within {waited:g} s"), finished=time.time())


def scraped(service: Service, patience: float = 5.0) -> dict[str, Outcome]:
    return {outcome.driver: outcome for outcome in asyncio.run(service.scrape(patience))}


def own(service: Service) -> dict[tuple[str, ...], float]:
    """One scrape's samples: name and label values -> value."""
    outcomes = asyncio.run(service.scrape(0.05))
    text = b"".join(service.metrics(outcomes, OPENMETRICS, False)).decode()
    return {
        (sample.name, *(text for _, text in sorted(sample.labels.items()))): sample.value
        for family in read_openmetrics(text)  # type: ignore[no-untyped-call]  # theirs
        for sample in family.samples
    }


def test_every_driver_has_an_outcome_in_the_order_they_came() -> None:
    outcomes = scraped(Service([Answering("qemu", GOOD), Answering("xen", ABSENT)], []))
    assert outcomes == {"qemu": GOOD, "xen": ABSENT}
    assert list(outcomes) == ["qemu", "xen"]


def test_scrapes_leave_nothing_to_the_garbage_collector() -> None:
    """What they leave is freed at once: cycles would wait for a collection of everything, and hold memory until then."""

    def answer(host: Host) -> Facts:
        return {one: host.ask(one) for one in (question("uname"), question("read", "/nowhere"))}

    def fail(_: Host) -> Facts:
        raise HypervisorAbsent("no /dev/xen")

    drivers = (Driver("qemu", answer, lambda facts: (REPORT,)), Driver("xen", fail, lambda facts: ()))
    service = Service([Watch(driver, lambda deadline: RealHost(deadline, Paths(), Store()), 5.0) for driver in drivers], [])

    async def scrapes(count: int) -> None:
        for _ in range(count):
            service.metrics(await service.scrape(5.0), OPENMETRICS, True)

    asyncio.run(scrapes(3))
    gc.collect()
    gc.disable()
    try:
        asyncio.run(scrapes(20))
        assert gc.collect() < 20  # asyncio.run's own, once
    finally:
        gc.enable()


def test_only_the_drivers_named_are_asked() -> None:
    qemu, xen = Answering("qemu", GOOD), Answering("xen", ABSENT)
    service = Service([qemu, xen], [])
    assert asyncio.run(service.scrape(1, {"xen"})) == (ABSENT,)
    assert (qemu.joined, xen.joined) == (0, 1)


def test_a_hanging_driver_costs_the_scrape_its_patience_and_the_others_nothing() -> None:
    began = time.monotonic()
    outcomes = scraped(Service([Answering("slow", None), Answering("qemu", GOOD)], []), patience=0.2)
    assert 0.2 <= time.monotonic() - began < 10
    assert outcomes["qemu"] is GOOD
    assert outcomes["slow"].failure == Failure("timeout", "no answer within 0.2 s")


def test_what_one_scrape_gives_up_another_still_gets() -> None:
    slow = Answering("qemu", None)
    service = Service([slow], [])

    async def two() -> tuple[tuple[Outcome, ...], tuple[Outcome, ...]]:
        patient = asyncio.create_task(service.scrape(5))
        hasty = await service.scrape(0.01)
        slow.hanging.set_result(GOOD)
        return hasty, await patient

    hasty, patient = asyncio.run(two())
    assert hasty[0].failure is not None
    assert patient == (GOOD,)


def test_a_loss_is_told_though_another_scrape_gave_up_on_the_probe_that_found_it() -> None:
    """Who gives up asked after the probe began, and knows nothing of what it will find."""
    told, free = b"yes", Event()

    def probe(_: Host) -> Facts:
        free.wait(60)
        return {question("exists", "/dev/vfio"): told}

    def describe(facts: Facts) -> tuple[Report, ...]:
        return (replace(REPORT, verdicts=(Verdict("hostdev", "pciBackend", "vfio", b"yes" in facts.values()),)),)

    watch = Watch(Driver("qemu", probe, describe), lambda deadline: RealHost(deadline, Paths(), Store()), 60)
    service = Service([watch], [])

    async def given_up() -> None:
        free.clear()
        patient = asyncio.create_task(service.scrape(60))
        await asyncio.sleep(0.05)
        (hasty,) = await service.scrape(0.01)
        assert hasty.failure is not None
        free.set()
        (found,) = await patient
        assert found.failure is None

    asyncio.run(given_up())
    told = b"no"
    asyncio.run(given_up())
    asyncio.run(service.scrape(60))
    assert [loss.key for loss in service.chronicle.losses] == [("hostdev", "pciBackend", "vfio")]


def test_an_overdue_probe_is_not_waited_for() -> None:
    slow = Answering("slow", None)
    slow.late = True
    began = time.monotonic()
    assert scraped(Service([slow], []), patience=20)["slow"].failure is not None
    assert time.monotonic() - began < 10
    assert slow.joined == 0


def test_a_service_without_drivers_still_has_metrics() -> None:
    service = Service([], [])
    assert own(service)["domcaps_exporter_build_info", platform.python_version(), service.version] == 1


def test_an_unchanged_scrape_gets_the_very_same_bytes_without_writing_them_again() -> None:
    qemu = Answering("qemu", GOOD)
    service = Service([qemu], [])
    first = service.body(asyncio.run(service.scrape(1)))
    qemu.outcome = replace(GOOD, started=3.0, finished=1003.0)
    second = service.body(asyncio.run(service.scrape(1)))
    assert second is first
    assert second.pieces(TEXT_0) is first.pieces(TEXT_0)
    qemu.outcome = replace(GOOD, reports=(replace(REPORT),))
    assert service.body(asyncio.run(service.scrape(1))) is not first


def test_choices_of_drivers_keep_their_bytes_apart() -> None:
    service = Service([Answering("qemu", GOOD), Answering("xen", ABSENT)], [])
    every = service.body(asyncio.run(service.scrape(1)))
    none = service.body(asyncio.run(service.scrape(1, {"xen"})))
    assert every.plain(TEXT_0)
    assert not none.plain(TEXT_0)
    assert service.body(asyncio.run(service.scrape(1))) is every


def test_a_driver_beyond_the_series_limit_fails_and_comes_back_when_it_is_smaller() -> None:
    qemu = Answering("qemu", GOOD)
    service = Service([qemu], [], series_limit=100)
    for _ in range(2):
        failure = scraped(service)["qemu"].failure
        assert failure is not None
        assert failure.reason == "limit"
    qemu.outcome = replace(GOOD, reports=(replace(REPORT, verdicts=()),))
    assert scraped(service)["qemu"].failure is None


def test_a_driver_beyond_the_series_limit_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    service = Service([Answering("qemu", GOOD)], [], series_limit=10, notices=Notices())
    for _ in range(3):
        own(service)
    assert [one.getMessage() for one in caplog.records] == ["probe failed"]


def test_a_good_probe_is_success_with_its_time_and_series() -> None:
    said = own(Service([Answering("qemu", GOOD)], []))
    assert said["domcaps_probe_success", "qemu"] == 1
    assert said["domcaps_probe_duration_seconds", "qemu"] == 0.25
    assert said["domcaps_probe_last_success_timestamp_seconds", "qemu"] == 1000
    assert said["domcaps_series", "qemu"] == len(exposed(GOOD, 10_000, Options()).samples)


def test_a_failed_probe_is_no_zero_of_the_documents_but_a_counted_reason() -> None:
    qemu = Answering("qemu", GOOD)
    service = Service([qemu], [])
    own(service)
    qemu.outcome = BAD
    said = own(service)
    assert not any(name == "domcaps_supported" for name, *_ in said)
    assert said["domcaps_probe_success", "qemu"] == 0
    assert said["domcaps_probe_failures_total", "qemu", "refused"] == 1
    assert said["domcaps_probe_last_success_timestamp_seconds", "qemu"] == 1000
    assert said["domcaps_series", "qemu"] == 0


def test_one_failure_that_several_scrapes_share_counts_once_and_the_next_counts_again() -> None:
    qemu = Answering("qemu", BAD)
    service = Service([qemu], [])
    own(service)
    assert own(service)["domcaps_probe_failures_total", "qemu", "refused"] == 1
    qemu.outcome = replace(BAD, started=9.0, finished=1009.0)
    assert own(service)["domcaps_probe_failures_total", "qemu", "refused"] == 2


def test_a_failure_that_a_slow_scrape_brings_late_was_counted_and_ends_no_later_success() -> None:
    qemu = Answering("qemu", BAD)
    service = Service([qemu], [])
    own(service)
    qemu.outcome = replace(GOOD, started=9.0, finished=1009.0)
    own(service)
    for late in (BAD, replace(GOOD, started=1.5, finished=1001.5)):
        qemu.outcome = late
        said = own(service)
        assert said["domcaps_probe_failures_total", "qemu", "refused"] == 1
        assert said["domcaps_probe_last_success_timestamp_seconds", "qemu"] == 1009


def test_every_reason_starts_at_zero() -> None:
    said = own(Service([Answering("qemu", GOOD)], []))
    assert {said["domcaps_probe_failures_total", "qemu", reason] for reason in REASONS} == {0}


def test_a_hypervisor_that_never_was_here_raises_no_alarm_and_one_that_left_does() -> None:
    xen = Answering("xen", ABSENT)
    service = Service([xen], [])
    said = own(service)
    assert ("domcaps_probe_success", "xen") not in said
    assert said["domcaps_probe_failures_total", "xen", "absent"] == 0
    xen.outcome = replace(GOOD, driver="xen")
    own(service)
    xen.outcome = ABSENT
    said = own(service)
    assert said["domcaps_probe_success", "xen"] == 0
    assert said["domcaps_probe_failures_total", "xen", "absent"] == 1


def test_who_gives_up_on_a_driver_does_not_make_its_hypervisor_one_that_was_here() -> None:
    xen = Answering("xen", None)
    service = Service([xen], [])
    assert own(service)["domcaps_probe_success", "xen"] == 0
    xen.outcome = ABSENT
    said = own(service)
    assert ("domcaps_probe_success", "xen") not in said
    assert said["domcaps_probe_failures_total", "xen", "timeout"] == 1
    assert said["domcaps_probe_failures_total", "xen", "absent"] == 0


def test_plugins_are_told_whether_they_loaded_or_not() -> None:
    said = own(Service([], [Plugin("qemu", "0.1.0"), Plugin("acme", "2", "does not import"), Plugin("qemu", "0.1.0")]))
    assert said["domcaps_plugin_info", "qemu", "0.1.0"] == 1
    assert (said["domcaps_plugin_loaded", "qemu"], said["domcaps_plugin_loaded", "acme"]) == (1, 0)


def test_the_documents_and_the_exporter_itself_have_no_family_in_common() -> None:
    service = Service([Answering("qemu", GOOD)], [Plugin("qemu", "1")])
    outcomes = asyncio.run(service.scrape(1))
    text = b"".join(service.metrics(outcomes, TEXT_0, False)).decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert {"process_cpu_seconds_total", "python_info", "domcaps_supported", "domcaps_exporter_build_info"} <= set(types)


@pytest.mark.parametrize(
    ("reports", "ids"),
    [
        ([REPORT], ["qemu-x86_64-q35-kvm"]),
        ([replace(REPORT, document=None)], []),
        ([replace(REPORT, identity=Identity("/usr/sbin/bhyve", "x86_64", "", "bhyve"))], ["qemu-x86_64-bhyve"]),
        (
            [REPORT, replace(REPORT, identity=replace(REPORT.identity, emulator="/usr/libexec/qemu-kvm"))],
            ["qemu-x86_64-q35-kvm-926803a9", "qemu-x86_64-q35-kvm-3c76bc41"],
        ),
    ],
)
def test_documents_have_short_ids_and_longer_ones_only_where_two_would_be_the_same(reports: list[Report], ids: list[str]) -> None:
    found = catalogue([Outcome("qemu", tuple(reports))])
    assert list(found) == ids
    assert all(entry.xml().startswith(b"<domainCapabilities>") for entry in found.values())

"""One probe in the air per driver, whatever drivers do."""

import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from domcaps_exporter import (
    Driver,
    Facts,
    Host,
    HypervisorAbsent,
    Identity,
    ProbeRefused,
    ProbeTimeout,
    Question,
    Report,
    UnreadableAnswer,
    Verdict,
    question,
)
from domcaps_exporter.errors import ContractError, DomcapsError, ProbeError
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import REASONS, Failure, Outcome
from domcaps_exporter.probing import Watch

FACTS: Facts = {question("uname"): b"Linux"}
LOGGER = "domcaps_exporter.probing"


def report(machine: str = "q35") -> Report:
    return Report(Identity("/usr/bin/qemu", "x86_64", machine, "kvm"), Verdict("guest", "", "", True))


def port(deadline: float) -> Host:
    return RealHost(deadline, Paths(), Store())


def watch(
    probe: Callable[[Host], Facts] = lambda _: FACTS,
    describe: Callable[[Facts], Iterable[Report]] = lambda _: [report()],
    timeout: float = 30,
    clock: Callable[[], float] = time.monotonic,
) -> Watch:
    return Watch(Driver("acme", probe, describe), port, timeout, clock)


def asked(watched: Watch) -> Outcome:
    return watched.join().result(10)


def reason(outcome: Outcome) -> str:
    assert outcome.failure is not None
    return outcome.failure.reason


class Gate:
    """A probe that hangs until a test lets it go, and counts how often it was started."""

    def __init__(self) -> None:
        self.started, self.open = threading.Semaphore(0), threading.Semaphore(0)
        self.probes = 0
        self.threads: set[int] = set()

    def probe(self, _: Host) -> Facts:
        self.probes += 1
        self.threads.add(threading.get_ident())
        self.started.release()
        self.open.acquire()
        return {question("probe"): str(self.probes).encode()}


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_outcome_has_the_reports_and_the_facts_they_were_read_from() -> None:
    before = time.time()
    outcome = asked(watch())
    assert (outcome.driver, outcome.reports, outcome.failure, outcome.facts) == ("acme", (report(),), None, FACTS)
    assert before <= outcome.finished <= time.time()
    assert 0 <= outcome.duration < 10


def test_a_probe_is_told_its_deadline() -> None:
    deadlines: list[float] = []

    def probe(host: Host) -> Facts:
        deadlines.append(host.deadline)
        return FACTS

    outcome = asked(watch(probe, timeout=7))
    assert deadlines == [outcome.started + 7]


# ---- one probe in the air ----------------------------------------------------------------------------------------------------


def test_no_answer_is_older_than_its_scrape() -> None:
    gate = Gate()
    watched = watch(gate.probe)
    first = watched.join()
    gate.started.acquire()
    late = time.monotonic()
    second = watched.join()
    assert second is not first
    gate.open.release(2)
    assert first.result(10).facts == {question("probe"): b"1"}
    assert second.result(10).facts == {question("probe"): b"2"}
    assert second.result().started >= late


def test_scrapes_that_come_during_a_probe_share_the_next_one() -> None:
    gate = Gate()
    watched = watch(gate.probe)
    watched.join()
    gate.started.acquire()
    later = [watched.join() for _ in range(100)]
    gate.open.release(2)
    assert {future.result(10).facts[question("probe")] for future in later} == {b"2"}
    assert len({id(future) for future in later}) == 1
    assert gate.probes == 2


def test_a_hung_driver_costs_one_thread_however_often_it_is_asked() -> None:
    gate = Gate()
    watched = watch(gate.probe)
    watched.join()
    gate.started.acquire()
    threads = threading.active_count()
    for _ in range(1000):
        watched.join()
    assert threading.active_count() == threads
    assert gate.probes == 1
    gate.open.release(2)
    watched.join().result(10)


def test_one_thread_flies_all_probes_and_ends_with_its_watch() -> None:
    flown: list[threading.Thread] = []

    def probe(_: Host) -> Facts:
        flown.append(threading.current_thread())
        return FACTS

    watched = watch(probe)
    asked(watched)
    asked(watched)
    assert flown[0] is flown[1]
    assert flown[0].is_alive()
    del watched
    gc.collect()
    flown[0].join(10)
    assert not flown[0].is_alive()


def test_a_watch_that_is_not_resident_leaves_no_thread_waiting() -> None:
    gate = Gate()
    watched = Watch(Driver("acme", gate.probe, lambda _: [report()]), port, 30, resident=False)
    for _ in range(3):
        landing = watched.join()
        gate.started.acquire()
        (flying,) = [one for one in threading.enumerate() if one.ident in gate.threads and one.is_alive()]
        gate.open.release()
        assert landing.result(10).failure is None
        flying.join(10)
        assert not flying.is_alive()


def test_nobody_can_cancel_what_others_wait_for() -> None:
    gate = Gate()
    watched = watch(gate.probe)
    futures = [watched.join()]
    gate.started.acquire()
    futures.append(watched.join())
    assert not any(future.cancel() for future in futures)
    gate.open.release(2)
    assert all(future.result(10).failure is None for future in futures)


def test_a_watch_at_rest_starts_anew() -> None:
    watched = watch()
    assert asked(watched).started < asked(watched).started


def test_many_scrapes_at_once_never_have_two_probes_at_once() -> None:
    busy, crowded = threading.Lock(), threading.Event()

    def probe(_: Host) -> Facts:
        if not busy.acquire(blocking=False):
            crowded.set()
            return FACTS
        time.sleep(0.001)
        busy.release()
        return FACTS

    watched = watch(probe)
    late: list[float] = []

    def scrape() -> None:
        for _ in range(25):
            joined = time.monotonic()
            late.append(asked(watched).started - joined)

    scrapers = [threading.Thread(target=scrape) for _ in range(8)]
    for scraper in scrapers:
        scraper.start()
    for scraper in scrapers:
        scraper.join()
    assert not crowded.is_set()
    assert min(late) >= 0
    assert len(late) == 200


def test_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    watched = watch(gate.probe)
    first = watched.join()
    gate.started.acquire()

    def raises(_: Future[Outcome]) -> None:
        raise RuntimeError("event loop is closed")

    first.add_done_callback(raises)
    second = watched.join()
    gate.open.release(2)
    assert second.result(10).failure is None
    assert "event loop is closed" in caplog.text


# ---- time --------------------------------------------------------------------------------------------------------------------


def test_a_probe_is_overdue_when_it_is_older_than_its_timeout() -> None:
    gate, clock = Gate(), Clock()
    watched = watch(gate.probe, timeout=10, clock=clock)
    assert not watched.overdue()
    first = watched.join()
    clock.now += 10
    assert not watched.overdue()
    clock.now += 0.1
    assert watched.overdue()
    gate.open.release()
    first.result(10)
    assert not watched.overdue()


def test_a_good_answer_after_the_timeout_is_a_good_answer() -> None:
    gate, clock = Gate(), Clock()
    watched = watch(gate.probe, timeout=10, clock=clock)
    first = watched.join()
    gate.started.acquire()
    clock.now += 25
    gate.open.release()
    assert first.result(10).failure is None
    assert first.result().duration == 25


def test_who_cannot_wait_any_longer_has_a_timeout_that_says_how_long_the_probe_runs() -> None:
    gate, clock = Gate(), Clock()
    watched = watch(gate.probe, clock=clock)
    watched.join()
    clock.now += 60
    outcome = watched.silent(9.5)
    assert reason(outcome) == "timeout"
    assert outcome.failure is not None
    assert outcome.failure.text == "no answer within 9.5 s; its probe has been running for 60.0 s"
    assert (outcome.driver, outcome.duration, outcome.started) == ("acme", 9.5, clock.now - 9.5)
    gate.open.release()


# ---- the same again ----------------------------------------------------------------------------------------------------------


def test_the_same_facts_give_the_very_same_reports() -> None:
    described: list[Facts] = []

    def describe(facts: Facts) -> list[Report]:
        described.append(facts)
        return [report()]

    watched = watch(lambda _: dict(FACTS), describe)
    assert asked(watched).reports is asked(watched).reports
    assert len(described) == 1


def test_other_facts_are_described_again() -> None:
    answers = iter([b"1", b"2", b"1"])
    watched = watch(lambda _: {question("uname"): next(answers)}, lambda facts: [report(str(facts[question("uname")]))])
    assert [asked(watched).reports[0].identity.machine for _ in range(3)] == ["b'1'", "b'2'", "b'1'"]


def test_a_failed_probe_between_does_not_make_the_same_facts_new() -> None:
    turns = iter([0, 1, 0])
    watched = watch(lambda _: {question("uname"): str(1 // (1 - next(turns))).encode()})
    first, failed, second = (asked(watched) for _ in range(3))
    assert reason(failed) == "crashed"
    assert failed.reports == ()
    assert first.reports is second.reports


def test_facts_that_the_driver_changes_afterwards_stay_as_they_were() -> None:
    mine = {question("uname"): b"1"}

    def probe(_: Host) -> Facts:
        return mine

    watched = watch(probe)
    first = asked(watched)
    mine[question("uname")] = b"2"
    assert first.facts == {question("uname"): b"1"}
    assert asked(watched).reports is not first.reports


# ---- what drivers can do wrong -----------------------------------------------------------------------------------------------


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


class OwnReason(ProbeError):
    """A stranger's leaf with a reason that no metric knows."""

    reason = "sulking"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (HypervisorAbsent("no qemu"), ("absent", "no qemu")),
        (ProbeTimeout("slow"), ("timeout", "slow")),
        (UnreadableAnswer("qmp: not JSON"), ("unreadable", "qmp: not JSON")),
        (ProbeRefused(), ("refused", "ProbeRefused")),
        (ContractError("acme", "no facts"), ("contract", "no facts")),
        (ProbeError("vague"), ("crashed", "ProbeError: vague")),
        (OwnReason("why"), ("crashed", "OwnReason: why")),
        (DomcapsError("what"), ("crashed", "DomcapsError: what")),
        (ValueError("bad"), ("crashed", "ValueError: bad")),
        (FileNotFoundError(2, "gone"), ("crashed", "FileNotFoundError: [Errno 2] gone")),
        (OSError(24, "Full"), ("refused", "the exporter is short of what a probe takes: [Errno 24] Full")),
        (BlockingIOError(11, "not yet"), ("crashed", "BlockingIOError: [Errno 11] not yet")),
        (SystemExit(3), ("crashed", "SystemExit: 3")),
        (KeyboardInterrupt(), ("crashed", "KeyboardInterrupt: ")),
        (GeneratorExit(), ("crashed", "GeneratorExit: ")),
        (MemoryError(), ("crashed", "MemoryError: ")),
        (StopIteration(), ("crashed", "StopIteration: ")),
        (Mute(), ("crashed", "Mute: (its text cannot be had)")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("place", ["probe", "describe"])
def test_whatever_a_driver_raises_has_one_reason(place: str, raised: BaseException, expected: tuple[str, str]) -> None:
    def fail(_: object) -> Iterator[Report]:
        raise raised

    def fail_to_probe(_: Host) -> Facts:
        raise raised

    watched = watch(fail_to_probe) if place == "probe" else watch(describe=fail)
    outcome = asked(watched)
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.text) == expected
    assert outcome.failure.reason in REASONS
    assert outcome.reports == ()
    assert asked(watched).failure == outcome.failure


def test_endless_recursion_is_a_crash() -> None:
    def probe(host: Host) -> Facts:
        return probe(host)

    assert reason(asked(watch(probe))) == "crashed"


def test_a_host_that_cannot_be_made_is_a_crash() -> None:
    def no_port(_: float) -> Host:
        raise OSError("no host")

    watched = Watch(Driver("acme", lambda _: FACTS, lambda _: [report()]), no_port, 30)
    assert reason(asked(watched)) == "crashed"


def test_a_childs_last_words_are_quoted_and_a_long_text_is_cut() -> None:
    def probe(_: Host) -> Facts:
        error = UnreadableAnswer("monitor closed")
        error.add_note("qemu said: no such accelerator" + "!" * 100_000)
        raise error

    failure = asked(watch(probe)).failure
    assert failure is not None
    assert failure.text.startswith("monitor closed; qemu said: no such accelerator!")
    assert len(failure.text) == 2000


async def coroutine(_: object = None) -> Facts:
    return FACTS


async def async_generator(_: object = None) -> AsyncIterator[Report]:
    yield report()


@pytest.mark.parametrize(
    ("handed", "words"),
    [
        (lambda: None, "probe gave None"),
        (lambda: [question("uname")], "probe gave a list"),
        (coroutine, "probe gave a coroutine"),
        (lambda: {("uname", ()): b""}, "a tuple where a Question belongs"),
        (lambda: {Question("uname"): "Linux"}, "answered 'uname' with a str"),
        (lambda: {Question("uname"): None}, "answered 'uname' with None"),
    ],
)
def test_what_is_no_facts_is_a_breach_of_contract(handed: Callable[[], Facts], words: str) -> None:
    outcome = asked(watch(lambda _: handed()))
    assert outcome.failure is not None
    assert outcome.failure.reason == "contract"
    assert words in outcome.failure.text
    gc.collect()  # a coroutine left open would complain here


@pytest.mark.parametrize(
    ("handed", "words"),
    [
        (lambda: None, "describe gave None"),
        (coroutine, "describe gave a coroutine"),
        (async_generator, "describe gave a async_generator"),
        (lambda: "report", "a str where a Report"),
        (lambda: [report(), None], "None where a Report"),
        (lambda: [report(), report("pc"), report()], "two reports of /usr/bin/qemu x86_64 q35 kvm"),
        (lambda: [replace(report(), notes=None)], "a report's notes are None, not a tuple of texts"),  # type: ignore[arg-type]
        (lambda: [replace(report(), notes="no KVM")], "a report's notes are a str, not"),  # type: ignore[arg-type]
        (lambda: [replace(report(), notes=(["no KVM"],))], "among a report's notes is a list, not"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_reports_is_a_breach_of_contract(handed: Callable[[], list[Report]], words: str) -> None:
    outcome = asked(watch(describe=lambda _: handed()))
    assert outcome.failure is not None
    assert outcome.failure.reason == "contract"
    assert words in outcome.failure.text
    gc.collect()


def test_a_describe_that_fails_late_gives_no_reports_at_all() -> None:
    def describe(_: Facts) -> Iterator[Report]:
        yield report()
        raise ValueError("late")

    outcome = asked(watch(describe=describe))
    assert (reason(outcome), outcome.reports) == ("crashed", ())


# ---- the log -----------------------------------------------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, dict[str, str]]]:
    """Level, message and fields."""
    return [(one.levelname, one.getMessage(), vars(one)["fields"]) for one in caplog.records if one.name == LOGGER]


def test_a_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    turns = iter([1, 0, 0, 0, 1, 1])
    watched = watch(lambda _: {question("uname"): str(1 // next(turns)).encode()})
    for _ in range(6):
        asked(watched)
    failed, again = logged(caplog)
    assert failed[:2] == ("WARNING", "probe failed")
    assert failed[2].pop("error").startswith("ZeroDivisionError: ")
    assert failed[2] == {"driver": "acme", "reason": "crashed"}
    assert again == ("INFO", "probe answers again", {"driver": "acme"})


def test_a_target_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def probe(_: Host) -> Facts:
        raise ProbeRefused("no such host")

    caplog.set_level(logging.INFO, LOGGER)
    asked(Watch(Driver("acme", probe, lambda _: []), port, 30, resident=False, target="elsewhere"))
    fields = {"driver": "acme", "target": "elsewhere", "reason": "refused", "error": "no such host"}
    assert logged(caplog) == [("WARNING", "probe failed", fields)]


def test_an_absent_hypervisor_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    def probe(_: Host) -> Facts:
        raise HypervisorAbsent("no qemu")

    caplog.set_level(logging.DEBUG, LOGGER)
    asked(watch(probe))
    assert [record.levelname for record in caplog.records if record.name == LOGGER] == ["DEBUG"]


def test_a_driver_slower_than_its_scrapes_is_not_logged_at_every_scrape(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    gate, clock = Gate(), Clock()
    watched = watch(gate.probe, clock=clock)
    for _ in range(5):
        future = watched.join()
        gate.started.acquire()
        clock.now += 12
        watched.silent(10)
        gate.open.release()
        future.result(10)
    assert len([record for record in caplog.records if record.name == LOGGER]) == 1


WITHOUT_THREADS = """
import resource
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import Driver
from domcaps_exporter.probing import Watch
watch = Watch(Driver("acme", lambda host: {}, lambda facts: ()), lambda deadline: RealHost(deadline, Paths(), Store()), 5)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 20), before[1]))  # no room for a thread's stack
print(watch.join().result(10).failure)
resource.setrlimit(resource.RLIMIT_AS, before)
print(watch.join().result(10).failure)
"""


def test_a_probe_for_which_there_is_no_thread_is_refused_and_the_next_one_tries_again() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_THREADS], capture_output=True, text=True, timeout=30, check=True)
    short = Failure("refused", "the exporter is short of what a probe takes: can't start new thread")
    assert done.stdout.splitlines() == [str(short), "None"]

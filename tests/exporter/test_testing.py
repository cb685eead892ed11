"""The kit for drivers' authors: a good driver breaks nothing, and every broken promise is a sentence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from domcaps_exporter import (
    Document,
    Driver,
    Element,
    Enum,
    Facts,
    Host,
    HypervisorAbsent,
    Identity,
    ProbeError,
    Report,
    Unmet,
    UnreadableAnswer,
    Verdict,
    question,
)
from domcaps_exporter.testing import conform, host_of, this_host
from domcaps_exporter.view import View

PROGRAM, DEVICE = question("which", "acmevm"), question("exists", "/dev/acme")
HERE = host_of({PROGRAM: b"/bin/acmevm"})
DISK = Element("devices", children=(Element("disk", (("supported", "yes"),), children=(Enum("bus", ("virtio",)),)),))
LACKING = Verdict("disk", "bus", "acme", False, (Unmet("dev-acme", "refuses"),))
GOOD = Report(
    Identity("/bin/acmevm", "x86_64", "", "acme"),
    Verdict("guest", "", "", True),
    Document("acme", "x86_64", "/bin/acmevm", children=(DISK,)),
    (Verdict("disk", "bus", "virtio", True), LACKING),
)


def probe(host: Host) -> Facts:
    facts = {one: host.ask(one) for one in (PROGRAM, DEVICE)}
    if not isinstance(facts[PROGRAM], bytes):
        raise HypervisorAbsent("no acmevm")
    return facts


def describe(facts: Facts) -> Iterable[Report]:
    there = View(facts).there(DEVICE)
    known = replace(LACKING, supported=there, unmet=LACKING.unmet if there is False else ())
    return [replace(GOOD, verdicts=(GOOD.verdicts[0], known))]


def faults(driver: Driver, seconds: float = 30) -> str:
    return "\n".join(conform(driver, HERE, seconds=seconds))


def test_a_good_driver_breaks_nothing() -> None:
    assert conform(Driver("acme", probe, describe), HERE) == []


def test_a_driver_that_was_not_seen_has_not_passed() -> None:
    (fault,) = conform(Driver("acme", probe, describe), this_host())
    assert fault == "acme: nothing can be seen of it without a recording: its probe says absent: no acmevm"


def test_where_there_is_no_hypervisor_a_recording_will_do() -> None:
    facts = {PROGRAM: b"/bin/acmevm", DEVICE: b"device"}
    assert conform(Driver("acme", probe, describe), host_of({}), [facts]) == []
    assert conform(Driver("acme", probe, lambda _: 1 // 0), host_of({}), [facts]) == [  # type: ignore[arg-type, return-value]
        "acme: its describe fails: ZeroDivisionError: integer division or modulo by zero"
    ]


def test_a_name_that_cannot_be_a_label_is_all_there_is_to_say() -> None:
    assert conform(Driver("Acme VM", probe, describe), HERE) == ["a driver's name is like 'acme_2' (a-z, 0-9, _), not 'Acme VM'"]


# ---- probes ------------------------------------------------------------------------------------------------------------------


def test_a_probe_that_ignores_its_deadline() -> None:
    def hanging(_: Host) -> Facts:
        time.sleep(4)
        return {}

    said = faults(Driver("acme", hanging, describe), 0.1)
    assert "its probe goes on for over 1 s beyond its deadline where the host answers nothing in time" in said
    assert "its probe had not ended 1 s after its deadline of 0.1 s" in said


def test_a_probe_that_cannot_do_without_answers() -> None:
    def proud(host: Host) -> Facts:
        try:
            return probe(host)
        except ProbeError as error:
            raise ValueError("late") from error

    assert "where the host answers nothing in time, its probe fails: crashed: ValueError: late" in faults(
        Driver("acme", proud, describe)
    )


@pytest.mark.parametrize(
    ("leaving", "words"), [("process", "sleep"), ("thread", "the thread left"), ("file", "leaves the open file")]
)
def test_a_probe_that_leaves_something_behind(leaving: str, words: str, tmp_path: Path) -> None:
    left: list[object] = []
    over = threading.Event()

    def untidy(host: Host) -> Facts:
        facts = probe(host)
        if leaving == "process" and not left:
            left.append(subprocess.Popen(["sleep", "60"]))
        elif leaving == "thread" and not left:
            left.append(threading.Thread(target=over.wait, name="left", daemon=True))
            assert isinstance(left[0], threading.Thread)
            left[0].start()
        elif leaving == "file" and not left:
            left.append((tmp_path / "left").open("w"))
        return facts

    try:
        assert words in faults(Driver("acme", untidy, describe))
    finally:
        over.set()
        for one in left:
            if isinstance(one, subprocess.Popen):
                one.kill()
                one.wait()
            elif not isinstance(one, threading.Thread):
                getattr(one, "close")()  # noqa: B009  one of several kinds


def test_a_probe_whose_answers_never_stand_still() -> None:
    numbers = count()
    restless = Driver("acme", lambda host: {**probe(host), question("time"): str(next(numbers)).encode()}, describe)
    assert faults(restless) == "acme: another probe of a host that stood still finds another answer to time"


def test_a_probe_that_answers_only_once() -> None:
    asked: list[Host] = []

    def shy(host: Host) -> Facts:
        facts = probe(host)
        asked.append(host)
        if len(asked) > 1:
            raise LookupError
        return facts

    assert "its probe answers once, and not when it is asked again" in faults(Driver("acme", shy, describe))


def test_a_probe_that_gives_no_facts() -> None:
    lying = Driver("acme", lambda host: {one: answer and "yes" for one, answer in probe(host).items()}, describe)  # type: ignore[misc]
    assert "its probe fails: contract: probe answered 'which acmevm' with a str, not bytes or a Refusal" in faults(lying)


# ---- reports -----------------------------------------------------------------------------------------------------------------


def told(*reports: Report) -> str:
    return faults(Driver("acme", probe, lambda _: reports))


@pytest.mark.parametrize(
    ("reports", "sentence"),
    [
        ([GOOD, GOOD], "its describe fails: describe gave two reports of /bin/acmevm x86_64  acme"),
        ([replace(GOOD, identity=Identity("/bin/acmevm", "", "", "acme"))], "its label arch is empty"),
        (
            [replace(GOOD, identity=Identity("/bin/acmevm", "x86_64", "acme-4.2", "acme"), canonical="acme-4.2")],
            "its machine acme-4.2 is called by a version, which the next upgrade changes",
        ),
        (
            [replace(GOOD, identity=Identity("/bin/acmevm", "x86_64", "board7.1.3", "acme"), version="7.1.3")],
            "the version 7.1.3 stands in its labels, and the next upgrade changes it",
        ),
        (
            [replace(GOOD, document=Document("kvm", "x86_64"))],
            "its document is about kvm guests, and its label virttype says acme",
        ),
        (
            [replace(GOOD, document=Document("acme", "x86_64", "\0"))],
            "its document is another one once it was written as XML and read",
        ),
        (
            [replace(GOOD, guest=Verdict("kvm", "", "", True))],
            "its verdict on the guest is about kvm; the element is 'guest', enum and value are empty",
        ),
        ([replace(GOOD, guest=Verdict("guest", "", "", False))], "guest is impossible, and nothing says what it lacks"),
        (
            [replace(GOOD, verdicts=(replace(LACKING, unmet=()),))],
            "disk bus acme is impossible, and nothing says what it lacks",
        ),
        (
            [replace(GOOD, verdicts=(replace(LACKING, supported=True),))],
            "disk bus acme lacks dev-acme, and is not impossible",
        ),
        (
            [replace(GOOD, verdicts=(replace(LACKING, unmet=(Unmet("no device", "refuses"),)),))],
            "disk bus acme lacks 'no device'; a prerequisite is one word, such as dev-vfio",
        ),
        (
            [replace(GOOD, verdicts=(replace(LACKING, unmet=(Unmet("dev-acme", "yes"),)),))],  # type: ignore[arg-type]
            "disk bus acme says that libvirt 'yes' what it lacks; it refuses or accepts",
        ),
        (
            [replace(GOOD, verdicts=(replace(LACKING, value="virtio"),))],
            "disk bus virtio is in the document, though libvirt is said to refuse it",
        ),
        ([replace(GOOD, verdicts=(LACKING, LACKING))], "disk bus acme is judged 2 times"),
        ([replace(GOOD, verdicts=(None,))], "its reports are not what their types say: AttributeError"),  # type: ignore[arg-type]
        ([replace(GOOD, document=Document("acme", "x86_64", children=(5,)))], "its reports are not what"),  # type: ignore[arg-type]
        ([replace(GOOD, host_features=5)], "its reports cannot be shown: a report that cannot be shown: TypeError"),  # type: ignore[arg-type]
    ],
)
def test_a_report_that_breaks_a_promise_is_named(reports: list[Report], sentence: str) -> None:
    assert sentence in told(*reports)


# ---- describe ----------------------------------------------------------------------------------------------------------------


def forgetful() -> Callable[[Facts], Iterable[Report]]:
    numbers = count()
    return lambda _: [replace(GOOD, version=str(next(numbers)))]


def looking(facts: Facts) -> Iterator[Report]:
    with Path("/dev/null").open() as file:
        file.read()
    yield from describe(facts)


def changing(facts: Facts) -> Iterable[Report]:
    facts[DEVICE] = b"device"  # type: ignore[index]
    return describe(facts)


def by_order(facts: Facts) -> Iterable[Report]:
    return [replace(GOOD, version=str(next(iter(facts))))]


def careless(facts: Facts) -> Iterable[Report]:
    program = facts[PROGRAM]
    assert isinstance(program, bytes)
    return [replace(GOOD, path=program.decode())]


def gullible(facts: Facts) -> Iterable[Report]:
    """Takes what it may not look at for what is not there."""
    there = isinstance(facts.get(DEVICE), bytes)
    return [replace(GOOD, verdicts=(Verdict("disk", "bus", "acme", True) if there else LACKING,))]


def endless(facts: Facts) -> Iterator[Report]:
    yield from describe(facts)
    time.sleep(3)


class Own(str):
    """A type that no other process knows."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("understand", "sentence"),
    [
        (forgetful(), "its describe says something else of the same facts the second time"),
        (looking, "its describe is not pure: it does open /dev/null"),
        (changing, "its describe changes the facts, or depends on their order: TypeError"),
        (by_order, "its describe says something else of the same facts the second time"),
        (careless, "its describe fails where which acmevm is answered with nonsense: crashed: UnicodeDecodeError"),
        (careless, "its describe fails where which acmevm is answered with 'denied': crashed: AssertionError"),
        (lambda _: [replace(GOOD, version=Own("1"))], "its reports cannot be handed to another process: it holds a "),
    ],
)
def test_a_description_that_breaks_a_promise_is_named(understand: Callable[[Facts], Iterable[Report]], sentence: str) -> None:
    assert sentence.replace(" crashed:", "") in faults(Driver("acme", probe, understand))


def test_what_may_not_be_known_is_no_fact() -> None:
    there = host_of({PROGRAM: b"/bin/acmevm", DEVICE: b"device"})
    assert conform(Driver("acme", probe, gullible), there) == [
        "acme: /bin/acmevm x86_64 acme: disk bus acme becomes impossible where the answer to exists /dev/acme is denied"
    ]


def test_a_description_that_does_not_end() -> None:
    assert "its describe fails: it does not end" in faults(Driver("acme", probe, endless), 0.2)


def test_nonsense_may_be_called_unreadable() -> None:
    def strict(facts: Facts) -> Iterable[Report]:
        if facts[PROGRAM] != b"/bin/acmevm":
            raise UnreadableAnswer("which acmevm: makes no sense")
        return describe(facts)

    assert faults(Driver("acme", probe, strict)) == ""


def test_a_good_driver_is_told_of_in_no_other_way_and_of_a_bad_one_every_crash(tmp_path: Path) -> None:
    acme = Path(__file__).parent.parent / "thirdparty" / "domcaps-acme"
    code = """
import sys
from domcaps_acme import ACMEVM, domcaps_drivers
from domcaps_exporter.testing import conform, host_of
(driver,) = domcaps_drivers()
print(conform(driver, host_of({ACMEVM: b"/usr/bin/acmevm"})))
"""
    for appended, errors in (("", ""), ("\nreports = None\n", "TypeError: 'NoneType' object is not callable")):
        (tmp_path / "domcaps_acme.py").write_text((acme / "domcaps_acme" / "__init__.py").read_text() + appended)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout == "[]\n", errors in done.stderr) == (not appended, True)
        assert bool(done.stderr) == bool(appended)

"""What the bhyve driver makes of answers, right and wrong, without a host."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domcaps_bhyve import domcaps_drivers
from domcaps_bhyve.describe import reports
from domcaps_bhyve.probe import Bhyve
from domcaps_bhyve.settings import Wanted, wanted
from domcaps_bhyve.table import AFTER_CPU, BEYOND, OS
from domcaps_bhyve.world import KLDSTAT, KNOBS
from domcaps_exporter import (
    ABSENT,
    Answer,
    Facts,
    Question,
    Refusal,
    Report,
    SettingError,
    Settings,
    UnreadableAnswer,
    document,
    question,
)
from domcaps_exporter.rules import vocabulary
from domcaps_exporter.truths import values
from domcaps_exporter.view import View

BHYVE = "/usr/sbin/bhyve"
FIRMWARE = question("list", "/foo")
KERNEL = (
    ("kern.ostype", "FreeBSD"),
    ("kern.osrelease", "14.1-RELEASE"),
    ("hw.machine_arch", "amd64"),
    ("hw.vmm.maxcpu", "4"),
    ("hw.vmm.vmx.initialized", "1"),
)
MODULES = (
    b"Id Refs Address            Size     Name\n 1 2 0xffffffff80200000 1f3c6c0  kernel\n 2 1 0xffffffff82200000 28f0 vmm.ko\n"
)
VOCABULARY = frozenset(vocabulary((*OS, *AFTER_CPU, *BEYOND)))


def said(*arguments: str) -> Question:
    return question("said", BHYVE, *arguments)


def words(status: int = 0, stdout: str = "", stderr: str = "") -> bytes:
    return json.dumps({"status": status, "stdout": stdout, "stderr": stderr}).encode()


def facts(devices: Iterable[str] = (), lpc: Iterable[str] = ()) -> dict[Question, Answer]:
    """A FreeBSD 14 with such a bhyve, and two files in its firmware folder."""
    return {
        question("which", "bhyve"): BHYVE.encode(),
        KNOBS: "".join(f"{name}: {value}\n" for name, value in KERNEL).encode(),
        KLDSTAT: MODULES,
        said("-s", "help"): words(stdout="".join(f"{name}\n" for name in ("ahci", "virtio-blk", *devices))),
        said("-l", "help"): words(stdout="".join(f"{name}\n" for name in ("com1", *lpc))),
        said("-h"): words(stderr="Usage: bhyve [-aCDeHhPSuWwxY]\n  [-c [[cpus=]numcpus][,sockets=n]] [-k config_file] vmname\n"),
        FIRMWARE: b"bar\0baz",
    }


def described(known: Facts, profile: tuple[int, int] = (11, 3)) -> Report:
    (report,) = Bhyve(Wanted(firmware_dir="/foo", profile=profile)).describe(known)
    return report


# ---- libvirt's answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "devices", "lpc"), [("basic", (), ()), ("uefi", (), ("bootrom",)), ("fbuf", ("fbuf", "xhci"), ("bootrom",))]
)
def test_libvirts_own_documents_are_written_byte_for_byte(name: str, devices: tuple[str, ...], lpc: tuple[str, ...]) -> None:
    folder = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    if not folder:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS names no folder")
    expected = (Path(folder) / "domaincapsdata" / f"bhyve_{name}.x86_64.xml").read_bytes()
    found = described(facts(devices, lpc)).document
    assert found is not None
    assert document.write(found) == expected


def test_the_random_device_is_in_the_xml_since_libvirt_11_3() -> None:
    known = facts(("virtio-rnd",))
    texts = [document.write(found) for found in (described(known, profile).document for profile in ((9, 0), (11, 3))) if found]
    assert [b"<rng " in text for text in texts] == [False, True]
    rng = texts[1].partition(b"<rng ")[2].partition(b"</rng>")[0]
    assert b"".join(rng.split()) == (
        b"supported='yes'><enumname='model'><value>virtio</value></enum><enumname='backendModel'><value>random</value></enum>"
    )


def test_the_profile_is_the_installed_libvirts() -> None:
    known = facts(("virtio-rnd",))
    known[question("resolve", "/usr/local/lib/libvirt.so.0")] = b"/usr/local/lib/libvirt.so.0.9000.0"
    (report,) = Bhyve(Wanted()).describe(known)
    assert report.document is not None
    assert b"<rng " not in document.write(report.document)
    assert values(report)["rng", "model", "virtio"] is True


def test_what_the_xml_cannot_say_is_in_the_metrics() -> None:
    report = described(facts(("nvme", "passthru", "virtio-9p")))
    assert report.document is not None
    assert not {b"nvme", b"filesystem", b"<vcpu"} & set(document.write(report.document).split())
    assert values(report)["disk", "bus", "nvme"] is True
    assert values(report)["filesystem", "driverType", "path"] is True
    assert report.told is not None
    assert report.told.vcpus_max == 4


# ---- answers that are wrong or not there -------------------------------------------------------------------------------------


def test_every_row_is_decided_or_unknown_and_nothing_else_is_told() -> None:
    assert frozenset(values(described(facts()))) >= VOCABULARY


@pytest.mark.parametrize("missing", facts())
def test_what_was_not_answered_makes_nothing_true(missing: Question) -> None:
    whole = values(described(facts(("passthru", "fbuf"), ("bootrom", "tpm"))))
    known: dict[Question, Answer] = {**facts(("passthru", "fbuf"), ("bootrom", "tpm")), missing: Refusal("error", "no")}
    for report in Bhyve(Wanted(firmware_dir="/foo", profile=(11, 3))).describe(known):
        assert all(truth is not True or whole[key] is True for key, truth in values(report).items())
        assert report.guest.supported in (True, None)


def test_a_bhyve_that_did_not_answer_has_a_note_and_no_document() -> None:
    report = described({**facts(), said("-l", "help"): Refusal("error", "Resource deadlock avoided")})
    assert (report.document, report.verdicts) == (None, ())
    assert report.notes == (f"{BHYVE}: Resource deadlock avoided",)


def test_a_firmware_folder_that_may_not_be_looked_at_is_unknown() -> None:
    report = described({**facts((), ("bootrom",)), FIRMWARE: Refusal("denied")})
    assert values(report)["loader", "type", "pflash"] is None
    absent = described({**facts((), ("bootrom",)), FIRMWARE: ABSENT})
    assert values(absent)["loader", "type", "pflash"] is False


@pytest.mark.parametrize("asked", [one for one in facts() if one.kind in ("said", "run", "within")])
@given(
    nonsense=st.one_of(st.binary(max_size=60), st.builds(words, st.integers(-9, 70), st.text(max_size=20), st.text(max_size=20)))
)
@settings(max_examples=40)
def test_nonsense_is_understood_or_unreadable_and_names_its_question(asked: Question, nonsense: bytes) -> None:
    bhyve = Bhyve(Wanted(firmware_dir="/foo", profile=(11, 3)))
    try:
        bhyve.describe({**facts(), asked: nonsense})
    except UnreadableAnswer as error:
        assert str(error).startswith(str(asked))  # noqa: PT017  either is right


def test_a_host_of_which_nothing_is_known_is_only_asked_for_a_bhyve() -> None:
    view = View({})
    assert not list(reports(view, Wanted()))
    assert view.missed == {question("which", "bhyve"), question("exec", BHYVE)}


# ---- settings ----------------------------------------------------------------------------------------------------------------


def test_an_empty_section_is_the_default() -> None:
    assert wanted({}, "auto") == Wanted()


def test_everything_can_be_said() -> None:
    section = {"emulator": "/opt/bhyve", "firmware_dir": "/opt/firmware/"}
    assert wanted(section, "11.3") == Wanted("/opt/bhyve", "/opt/firmware", (11, 3))


def test_the_readmes_example_is_understood() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(drivers:.*?)```", readme, re.DOTALL)
    assert wanted(yaml.safe_load(example)["drivers"]["bhyve"], "auto") == Wanted(emulator=BHYVE)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"machines": ["q35"]}, "machines: no such key; allowed: emulator, firmware_dir"),
        ({"emulator": "bhyve"}, "emulator: found 'bhyve', expected an absolute path"),
        ({"firmware_dir": ["/x"]}, "firmware_dir: found .*expected an absolute path"),
        ({"emulator": ""}, "emulator: found '', expected"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        domcaps_drivers(Settings(drivers={"bhyve": section}))

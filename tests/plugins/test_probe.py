"""The driver against emulators that misbehave, and against the real one: every process is a real process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.endtoend import run
from tests.live import kvmless
from tests.plugins import standins
from tests.plugins.standins import SCRAPE, Hosts, Watched

from domcaps_exporter import (
    Answer,
    ProbeRefused,
    ProbeTimeout,
    Question,
    Report,
    Unmet,
    UnreadableAnswer,
    document,
    question,
    recording,
)
from domcaps_exporter.contract import words_of
from domcaps_exporter.errors import ProbeError
from domcaps_exporter.model import ABSENT, Refusal
from domcaps_exporter.patience import FIRST
from domcaps_exporter.rootfs import Paths
from domcaps_qemu.probe import KVM_OPENS, KVM_WORKS, TAINTED, Qemu
from domcaps_qemu.processor import MAP_FOLDER
from domcaps_qemu.settings import Wanted

SHORT = 2.0
"""Seconds that a probe of an emulator which never answers may take."""


def driver(*emulators: str, clock: Callable[[], float] = time.monotonic) -> Qemu:
    """Its guests are run by root, who may use /dev/kvm on any machine that has one."""
    return Qemu(Wanted(emulators=emulators, profile=(9, 0), guest_user="root"), clock)


def reported(qemu: Qemu, hosts: Hosts, seconds: float = 30) -> list[Report]:
    return list(qemu.describe(qemu.probe(hosts(seconds))))


def failed(*emulators: str, seconds: float = 30) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        driver(*emulators).probe(Hosts()(seconds))
    return caught.value


# ---- emulators that misbehave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["never-answers", "greets-only", "half"])
def test_an_emulator_that_does_not_answer_is_a_timeout(tmp_path: Path, behaviour: str) -> None:
    started = time.monotonic()
    failure = failed(standins.emulator(tmp_path, behaviour), seconds=SHORT)
    assert isinstance(failure, ProbeTimeout)
    assert "QMP replies missing" in str(failure)
    assert time.monotonic() - started < SHORT + 5
    assert not standins.left_behind(str(tmp_path))


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("garbage", "I am no QEMU"),
        ("endless-line", "more than"),
        ("endless-events", "more than"),
        ("refuses-capabilities", "CommandNotFound"),
    ],
)
def test_an_emulator_that_makes_no_sense_is_unreadable(tmp_path: Path, behaviour: str, words: str) -> None:
    failure = failed(standins.emulator(tmp_path, behaviour))
    assert isinstance(failure, UnreadableAnswer)
    assert words in str(failure)
    assert not standins.left_behind(str(tmp_path))


@pytest.mark.parametrize("behaviour", ["half-and-gone", "gone", "killed"])
def test_an_emulator_that_goes_away_is_a_refusal(tmp_path: Path, behaviour: str) -> None:
    failure = failed(standins.emulator(tmp_path, behaviour))
    assert isinstance(failure, ProbeRefused)
    assert "hung up" in str(failure)
    assert not standins.left_behind(str(tmp_path))


def test_what_an_emulator_said_before_it_went_is_told(tmp_path: Path) -> None:
    assert "said: qemu: no such accelerator" in words_of(failed(standins.emulator(tmp_path, "gone")))


def test_a_machine_that_the_real_one_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    path = standins.wrapper(tmp_path, f"{standins.real_qemu()} -nosuchoption")
    assert "-nosuchoption: invalid option" in words_of(failed(path))


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"#!/no/such/interpreter\n"], ids=["no program", "no interpreter"])
def test_a_file_that_cannot_be_executed_is_a_refusal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "qemu-system-x86_64"
    path.write_bytes(content)
    path.chmod(0o755)
    failure = failed(str(path))
    assert isinstance(failure, ProbeRefused)
    assert "cannot be started" in str(failure)


def test_a_configured_emulator_that_may_not_be_executed_is_a_guest_that_cannot_run(tmp_path: Path) -> None:
    path = Path(standins.emulator(tmp_path, "gone"))
    path.chmod(0o644)
    report = next(one for one in reported(driver(str(path)), Hosts()) if one.identity.emulator == str(path))
    assert report.guest.supported is False
    assert report.guest.unmet == (Unmet("emulator", "refuses"),)
    assert report.identity.machine == "q35"
    assert not report.verdicts


def test_an_emulator_in_a_folder_that_may_not_be_entered_is_a_refusal(tmp_path: Path) -> None:
    hosts = Hosts()
    path = standins.emulator(tmp_path, "gone")
    hosts.otherwise[question("exec", path)] = Refusal("denied")
    Path(path).chmod(0o644)
    with pytest.raises(ProbeRefused, match="Permission denied"):
        driver(path).probe(hosts())


@pytest.mark.parametrize("behaviour", ["late", "eventful"])
def test_an_emulator_that_greets_late_or_chatters_is_understood(tmp_path: Path, behaviour: str) -> None:
    real = standins.real_qemu()
    told = reported(driver(standins.emulator(tmp_path, behaviour)), Hosts())
    plain = reported(driver(real), Hosts())
    assert told[0].document is not None
    assert [one.verdicts for one in told] == [one.verdicts for one in plain]
    assert not standins.left_behind(str(tmp_path))


@pytest.mark.parametrize("behaviour", ["never-answers", "garbage", "senseless", "gone", "killed", "endless-events"])
def test_a_broken_emulator_does_not_cost_the_other_its_report(tmp_path: Path, behaviour: str) -> None:
    real, broken, started = standins.real_qemu(), standins.emulator(tmp_path, behaviour), time.monotonic()
    reports = reported(driver(broken, real), Hosts())
    assert time.monotonic() - started < SCRAPE
    whole = [one for one in reports if one.identity.emulator == real]
    parts = [one for one in reports if one.identity.emulator == broken]
    assert whole
    assert all(one.document is not None and one.guest.supported is not None for one in whole)
    assert parts
    assert all(one.document is None and one.guest.supported is not True and not one.verdicts for one in parts)
    assert all(any(broken in note for note in one.notes) for one in parts)
    assert not standins.left_behind(str(tmp_path))


def test_an_emulator_whose_answers_make_no_sense_is_unreadable_where_there_is_no_other(tmp_path: Path) -> None:
    qemu = driver(standins.emulator(tmp_path, "senseless"))
    facts = qemu.probe(Hosts()())
    with pytest.raises(UnreadableAnswer, match=r"^qmp .*/qemu-system-x86_64 .* TypeError"):
        qemu.describe(facts)


def test_an_emulator_is_asked_again_once_it_is_repaired(tmp_path: Path) -> None:
    real, hosts = standins.real_qemu(), Hosts()
    qemu = driver(standins.emulator(tmp_path, "gone"))
    with pytest.raises(ProbeRefused):
        qemu.probe(hosts())
    standins.wrapper(tmp_path, real)
    assert reported(qemu, hosts)[0].document is not None


# ---- nonsense that passes ----------------------------------------------------------------------------------------------------


class Clock:
    """One that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_emulator_that_made_no_sense_once_is_asked_again_later_though_its_file_is_the_same(tmp_path: Path) -> None:
    mood, hosts, clock = tmp_path / "mood", Hosts(), Clock()
    real = standins.real_qemu()
    mood.touch()
    path = standins.moody(tmp_path / "moody", "senseless", mood)
    qemu = driver(path, real, clock=clock)
    assert {one.document is not None for one in reported(qemu, hosts) if one.identity.emulator == path} == {False}
    mood.unlink()
    assert path not in probed(qemu, hosts).launched
    clock.now = FIRST
    whole = [one for one in reported(qemu, hosts) if one.identity.emulator == path]
    clock.now += FIRST  # what it was asked in a second process is doubted when that is looked at
    whole = [one for one in reported(qemu, hosts) if one.identity.emulator == path]
    assert whole
    assert all(one.document is not None for one in whole)
    clock.now += 24 * 3600
    assert not probed(qemu, hosts).launched


def test_an_emulator_in_a_folder_whose_name_is_no_utf_8_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"bin\xff")
    folder.mkdir()
    (folder / "qemu-system-x86_64").symlink_to(standins.real_qemu())
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    hosts = Hosts()
    hosts.otherwise.clear()
    (told,) = {one.identity.emulator for one in reported(Qemu(Wanted(archs=("x86_64",))), hosts) if one.document is not None}
    assert told == str(folder / "qemu-system-x86_64")
    assert [run("show", f"--format={form}").code for form in ("xml", "json", "metrics", "table")] == [0] * 4


@pytest.mark.parametrize("asked", ["qom-list-types", "query-machines", "query-qmp-schema", "query-command-line-options"])
@pytest.mark.parametrize("behaviour", ["fails", "lists nothing,"])
def test_a_list_that_qemu_did_not_give_once_is_no_list_of_nothing(tmp_path: Path, behaviour: str, asked: str) -> None:
    mood, hosts, clock = tmp_path / "mood", Hosts(), Clock()
    mood.touch()
    qemu = driver(standins.moody(tmp_path / "moody", f"'{behaviour} {asked}'", mood), clock=clock)
    with pytest.raises(UnreadableAnswer, match=asked):
        reported(qemu, hosts)
    mood.unlink()
    with pytest.raises(UnreadableAnswer, match=asked):
        reported(qemu, hosts)
    clock.now += FIRST
    assert all(one.document is not None for one in reported(qemu, hosts))


def test_an_emulator_that_never_makes_sense_is_started_less_and_less(tmp_path: Path) -> None:
    hosts, clock = Hosts(), Clock()
    qemu = driver(standins.emulator(tmp_path, "senseless"), clock=clock)
    started = []
    for minute in range(16):
        clock.now = 60.0 * minute
        started += [minute] if probed(qemu, hosts).launched else []
    assert started == [0, 1, 3, 7, 15]


@pytest.mark.parametrize("says", ["", '{"features": ["tpm-2', "{}"], ids=["nothing", "half", "something else"])
def test_a_program_beside_qemu_that_made_no_sense_once_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mood, hosts, clock = tmp_path / "mood", Hosts(), Clock()
    mood.write_text(says)
    swtpm_setup(tmp_path, "")
    (tmp_path / "swtpm_setup").write_text(f"#!/bin/sh\necho asked >>{tmp_path}/asked\ncat {mood}\n")
    qemu = driver(standins.real_qemu(), clock=clock)
    for _ in range(2):
        assert supported(reported(qemu, hosts), "tpm", "backendVersion", "2.0") == {None}
    mood.write_text('{"features": ["tpm-2.0"]}')
    clock.now = FIRST
    for _ in range(2):
        assert supported(reported(qemu, hosts), "tpm", "backendVersion", "2.0") == {True}
    assert (tmp_path / "asked").read_text().split() == ["asked"] * 2


def test_a_device_that_was_busy_once_is_asked_for_again_later_and_one_that_is_not_there_is_not(tmp_path: Path, tree: Tree) -> None:
    mood, clock = tmp_path / "mood", Clock()
    mood.touch()
    path = standins.moody(tmp_path / "moody", "busy", mood)
    qemu = driver(path, clock=clock)
    assert "qemu:query-sev-capabilities" in lacking(reported(qemu, tree.hosts), "sev")
    clock.now += FIRST
    assert not probed(qemu, tree.hosts).launched
    tree.put("dev/sev")
    probed(qemu, tree.hosts)
    clock.now += FIRST
    assert probed(qemu, tree.hosts).launched == [path]
    clock.now += FIRST
    assert not probed(qemu, tree.hosts).launched


def lacking(reports: Sequence[Report], value: str) -> set[str]:
    """What a launch security lacks."""
    found = (one for report in reports for one in report.verdicts if (one.element, one.value) == ("launchSecurity", value))
    return {need.prerequisite for one in found for need in one.unmet}


def test_a_cpu_map_that_was_half_written_is_read_again_later(tree: Tree, needs: Callable[[str, object, str], None]) -> None:
    needs("libvirt's CPU map", Path(MAP_FOLDER, "index.xml").exists(), "one of its files is cut")
    copy, clock = tree.root / MAP_FOLDER.lstrip("/"), Clock()
    shutil.copytree(MAP_FOLDER, copy)
    file = copy / "x86_features.xml"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    qemu = driver(standins.real_qemu(), clock=clock)
    assert supported(reported(qemu, tree.hosts), "cpu", "mode", "host-model") == set()
    with file.open("a") as rest:  # the folder knows nothing of it
        rest.write(whole[len(whole) // 2 :])
    clock.now = FIRST
    assert supported(reported(qemu, tree.hosts), "cpu", "mode", "host-model") != set()


# ---- the real one ------------------------------------------------------------------------------------------------------------


def test_the_real_emulator_is_described() -> None:
    real = standins.real_qemu()
    told = reported(driver(real), Hosts())
    version = subprocess.run([real, "--version"], capture_output=True, text=True, check=True).stdout
    assert {one.identity.machine for one in told} == {"q35"}
    assert all(one.version in version and one.version for one in told)
    assert all(document.read(document.write(one.document)) == one.document for one in told if one.document is not None)
    usable = [one for one in told if one.guest.supported is True]
    assert usable
    assert all(one.document is not None and one.verdicts and one.canonical.startswith("pc-q35-") for one in usable)


def test_an_unchanged_host_launches_nothing_and_gives_the_same_facts() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    facts, second = qemu.probe(hosts()), hosts()
    assert qemu.probe(second) is facts
    assert not second.launched


def test_facts_are_understood_alike_by_a_driver_that_never_probed() -> None:
    real = standins.real_qemu()
    qemu = driver(real)
    facts = qemu.probe(Hosts()())
    assert qemu.describe(facts) == driver(real).describe(dict(facts)) == driver(real).describe(facts)


def test_facts_mean_the_same_after_a_probe_that_failed() -> None:
    real = standins.real_qemu()
    qemu, hosts = driver(real), Hosts()
    facts = qemu.probe(hosts())
    before = tuple(qemu.describe(facts))
    with pytest.raises(ProbeTimeout):
        qemu.probe(hosts(-1))
    assert tuple(qemu.describe(facts)) == before


def test_another_wrapper_under_the_same_name_is_another_emulator(tmp_path: Path) -> None:
    real, hosts = standins.real_qemu(), Hosts()
    path = standins.wrapper(tmp_path, real, "one")
    qemu = driver(path)
    qemu.probe(hosts())
    standins.wrapper(tmp_path, real, "another")
    second, third = hosts(), hosts()
    qemu.probe(second)
    qemu.probe(third)
    assert path in second.launched
    assert not third.launched


def test_the_program_behind_a_wrapper_is_watched_too(tmp_path: Path) -> None:
    real, hosts = standins.real_qemu(), Hosts()
    qemu = driver(standins.wrapper(tmp_path, real))
    qemu.probe(hosts())
    second, third = hosts(), hosts()
    qemu.probe(second)
    assert question("program", os.path.realpath(real)) in second.asked
    hosts.otherwise[question("program", os.path.realpath(real))] = b"another file"
    qemu.probe(third)
    assert third.launched


def test_a_symbolic_link_that_leads_elsewhere_is_another_emulator(tmp_path: Path) -> None:
    real, hosts = standins.real_qemu(), Hosts()
    link = tmp_path / "qemu-system-x86_64"
    link.symlink_to(real)
    qemu = driver(str(link))
    qemu.probe(hosts())
    link.unlink()
    link.symlink_to(standins.wrapper(tmp_path / "other", real))
    second = hosts()
    qemu.probe(second)
    assert second.launched


def test_two_names_of_one_emulator_are_one(tmp_path: Path) -> None:
    real = standins.real_qemu()
    link = tmp_path / "qemu-system-x86_64"
    link.symlink_to(real)
    assert {one.identity.emulator for one in reported(driver(str(link), real), Hosts())} == {str(link)}


# ---- a host that changes -----------------------------------------------------------------------------------------------------


def supported(reports: list[Report], element: str, enum: str, value: str) -> set[bool | None]:
    wanted = element, enum, value
    return {one.supported for report in reports for one in report.verdicts if (one.element, one.enum, one.value) == wanted}


DESCRIPTOR = """{"interface-types": ["uefi"], "features": [], "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
"mapping": {"device": "flash", "mode": "stateless", "executable": {"filename": "/usr/share/firmware.fd", "format": "raw"}}}"""


class Tree:
    """A host's files below a folder: one firmware, no VFIO. What QEMU says comes from the real one."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.put("usr/share/qemu/firmware/50-uefi.json", DESCRIPTOR)
        self.put("usr/share/firmware.fd")
        self.put("dev/kvm")
        (folder / "sys/kernel/iommu_groups").mkdir(parents=True)
        self.hosts = Hosts(Paths(str(folder), "/proc", str(folder / "sys")))

    def put(self, path: str, content: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def test_firmware_that_goes_is_seen_by_the_next_probe(tree: Tree) -> None:
    qemu = driver(standins.real_qemu())
    first = reported(qemu, tree.hosts)
    (tree.root / "usr/share/firmware.fd").unlink()
    second = reported(qemu, tree.hosts)
    (tree.root / "usr/share/qemu/firmware/50-uefi.json").unlink()
    third = reported(qemu, tree.hosts)
    assert [supported(one, "os", "firmware", "efi") for one in (first, second, third)] == [{True}, {False}, {False}]
    assert ("/usr/share/firmware.fd", False) in second[0].loaders
    unmet = next(one.unmet for one in third[0].verdicts if one.value == "efi")
    assert "firmware-descriptor" in [one.prerequisite for one in unmet]


def test_a_descriptor_that_changes_is_seen_by_the_next_probe(tree: Tree) -> None:
    qemu = driver(standins.real_qemu())
    assert supported(reported(qemu, tree.hosts), "os", "firmware", "bios") == {False}
    tree.put("usr/share/qemu/firmware/50-uefi.json", DESCRIPTOR.replace('"uefi"', '"bios"'))
    assert supported(reported(qemu, tree.hosts), "os", "firmware", "bios") == {True}


def test_vfio_that_comes_is_seen_by_the_next_probe(tree: Tree) -> None:
    qemu = driver(standins.real_qemu())
    before = reported(qemu, tree.hosts)
    tree.put("dev/vfio/vfio")
    (tree.root / "sys/kernel/iommu_groups/0").mkdir()
    (tree.root / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    after = reported(qemu, tree.hosts)
    assert supported(before, "hostdev", "pciBackend", "vfio") == {False}
    assert supported(after, "hostdev", "pciBackend", "vfio") == {True}


def test_what_a_qemu_refuses_to_start_with_is_no_yes_though_libvirt_lists_it(tree: Tree) -> None:
    things = ("graphics", "type", "egl-headless"), ("tpm", "backendModel", "passthrough")
    qemu = driver(standins.real_qemu())
    before = reported(qemu, tree.hosts)
    tree.put("dev/tpm0")
    tree.put("dev/dri/renderD128")
    after = reported(qemu, tree.hosts)
    assert [supported(before, *one) for one in things] == [{False}, {False}]
    assert [supported(after, *one) for one in things] == [{True}, {True}]
    assert [one.document for one in before] == [one.document for one in after]


def swtpm_setup(folder: Path, says: str) -> None:
    """Programs by swtpm's names; what the one that sets them up says of itself."""
    folder.mkdir(exist_ok=True)
    for name, body in (("swtpm", ""), ("swtpm_ioctl", ""), ("swtpm_setup", f"echo '{says}'")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


def test_a_program_that_comes_before_another_in_the_path_is_asked_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}:{os.environ['PATH']}")
    swtpm_setup(tmp_path / "second", '{"features": ["tpm-1.2"]}')
    assert supported(reported(qemu, hosts), "tpm", "backendVersion", "1.2") == {True}
    swtpm_setup(tmp_path / "first", '{"features": ["tpm-2.0"]}')
    assert supported(reported(qemu, hosts), "tpm", "backendVersion", "1.2") == {False}


def test_a_program_beside_qemu_that_makes_no_sense_costs_its_own_values_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    swtpm_setup(tmp_path, "a warning before the answer")
    told = reported(driver(standins.real_qemu()), Hosts())
    assert supported(told, "tpm", "backendVersion", "2.0") == {None}
    assert supported(told, "disk", "bus", "virtio") == {True}


def test_a_program_beside_qemu_that_hangs_costs_its_own_values_and_three_seconds_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hanging_swtpm_setup(tmp_path)
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    first, waited = timed(qemu, hosts)
    assert 2.9 < waited < SCRAPE
    assert not standins.left_behind(str(tmp_path))
    assert supported(first, "tpm", "backendVersion", "2.0") == {None}
    assert supported(first, "disk", "bus", "virtio") == {True}
    assert all(any("swtpm_setup --print-capabilities: no answer in time" in note for note in one.notes) for one in first)
    again, waited = timed(qemu, hosts)
    assert waited < 2.9
    assert again == first
    recording.save(tmp_path / "recorded", "qemu", qemu.probe(hosts()))
    assert list(qemu.describe(recording.load(tmp_path / "recorded")[1])) == first
    swtpm_setup(tmp_path, '{"features": ["tpm-2.0"]}')
    assert supported(reported(qemu, hosts), "tpm", "backendVersion", "2.0") == {True}


def test_a_program_beside_qemu_that_hangs_leaves_a_short_probe_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hanging_swtpm_setup(tmp_path)
    told = reported(driver(standins.real_qemu()), Hosts(), seconds=5)
    assert supported(told, "tpm", "backendVersion", "2.0") == {None}
    assert supported(told, "disk", "bus", "virtio") == {True}


def hanging_swtpm_setup(folder: Path) -> None:
    """It neither ends nor closes its output, nor does what it has started."""
    swtpm_setup(folder, "")
    (folder / "swtpm_setup").write_text(f"#!/bin/sh\nsleep 1000 & exec sh -c 'sleep 1000; : {folder}'\n")


def timed(qemu: Qemu, hosts: Hosts) -> tuple[list[Report], float]:
    """The reports, and the seconds that they took."""
    started = time.monotonic()
    return reported(qemu, hosts), time.monotonic() - started


ARCH_CAPABILITIES = question("msr", "10a")


def test_a_qemu_without_kvm_has_libvirt_read_the_processors_registers(
    tmp_path: Path, needs: Callable[[str, object, str], None]
) -> None:
    needs(kvmless.NAME, kvmless.REAL.exists(), "one without KVM is made of it")
    needs("libvirt's CPU map", Path(MAP_FOLDER, "index.xml").exists(), "it names registers")
    hosts, qemu = Hosts(), Qemu(Wanted(emulators=(kvmless.made(tmp_path),), virttypes=("qemu",), profile=(11, 3)))
    hosts.otherwise[ARCH_CAPABILITIES] = b"0000000000000000"
    without = host_models(qemu, hosts)
    hosts.otherwise[ARCH_CAPABILITIES] = b"0000000000000001"
    assert host_models(qemu, hosts) == without  # it was remembered: nothing that it depends on has changed
    hosts.otherwise[question("program", "/dev/cpu/0/msr")] = b"another"
    (having,) = host_models(qemu, hosts)
    assert without == [{*having} - {"rdctl-no"}]
    assert "rdctl-no" in having


def test_registers_that_may_not_be_read_leave_the_host_model_unknown(
    tmp_path: Path, needs: Callable[[str, object, str], None]
) -> None:
    needs(kvmless.NAME, kvmless.REAL.exists(), "one without KVM is made of it")
    needs("libvirt's CPU map", Path(MAP_FOLDER, "index.xml").exists(), "it names registers")
    hosts, qemu = Hosts(), Qemu(Wanted(emulators=(kvmless.made(tmp_path),), virttypes=("qemu",), profile=(11, 3)))
    hosts.otherwise[ARCH_CAPABILITIES] = Refusal("denied")
    told = reported(qemu, hosts)
    assert supported(told, "cpu", "mode", "host-model") == set()
    assert supported(told, "cpu", "mode", "custom") == {True}
    assert all(any("registers" in note for note in one.notes) for one in told)


def host_models(qemu: Qemu, hosts: Hosts) -> list[set[str]]:
    """The features that each document's host model has or lacks."""
    cpus = (one.document.cpu for one in reported(qemu, hosts) if one.document is not None)
    modes = (cpu.mode("host-model") for cpu in cpus if cpu is not None)
    models = (mode.host_model for mode in modes if mode is not None)
    return [{feature.name for feature in model.features} for model in models if model is not None]


def test_what_files_alone_decide_launches_nothing_again(tree: Tree) -> None:
    qemu = driver(standins.real_qemu())
    qemu.probe(tree.hosts())
    tree.put("dev/vfio/vfio")
    second = tree.hosts()
    qemu.probe(second)
    assert not second.launched


def test_another_access_to_kvm_has_the_emulator_asked_again() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    qemu.probe(hosts())
    access = question("access", "/dev/kvm", "rw", "")
    hosts.otherwise[access] = b"no" if hosts().ask(access) == b"yes" else b"yes"
    second = hosts()
    qemu.probe(second)
    assert second.launched


UNTAINTED, FOREIGN = b"0\n", b"4096\n"
WITH_KVM = {TAINTED: UNTAINTED, KVM_WORKS: b"yes"}


def probed(qemu: Qemu, hosts: Hosts) -> Watched:
    """The host of one more probe, which knows what became of it."""
    host = hosts()
    qemu.probe(host)
    return host


class InTurn(dict[Question, Answer]):
    """Answers, of which one is another each time: the next of these, and the last of them for ever."""

    def __init__(self, asked: Question, *answers: Answer) -> None:
        super().__init__({asked: answers[-1]})
        self._asked, self._answers = asked, list(answers)

    def __getitem__(self, asked: Question) -> Answer:
        return self._answers.pop(0) if asked == self._asked and len(self._answers) > 1 else super().__getitem__(asked)


@pytest.fixture
def kvm() -> None:
    if guests(driver(standins.real_qemu()), Hosts()) != ["kvm True True"]:
        pytest.skip("needs KVM: QEMU is to use it")


@pytest.mark.usefixtures("kvm")
def test_no_virtual_machine_is_made_where_nothing_can_have_taken_the_processor() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    hosts.otherwise |= WITH_KVM
    assert KVM_WORKS in probed(qemu, hosts).asked
    again = probed(qemu, hosts)
    assert KVM_WORKS not in again.asked
    assert TAINTED in again.asked
    assert not again.launched


@pytest.mark.usefixtures("kvm")
@pytest.mark.parametrize("tainted", [FOREIGN, b"12289\n", b"what?\n", Refusal("denied"), ABSENT], ids=str)
def test_kvm_is_tried_each_time_where_a_foreign_module_may_have_taken_the_processor(tainted: Answer) -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    hosts.otherwise |= WITH_KVM | {TAINTED: tainted}
    probed(qemu, hosts)
    again = probed(qemu, hosts)
    assert KVM_WORKS in again.asked
    assert not again.launched
    hosts.otherwise[KVM_WORKS] = Refusal("error", "Device or resource busy")
    assert probed(qemu, hosts).launched


def test_the_emulator_is_asked_again_once_a_foreign_module_was_loaded() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    hosts.otherwise |= WITH_KVM
    probed(qemu, hosts)
    hosts.otherwise[TAINTED] = FOREIGN
    assert probed(qemu, hosts).launched


def test_kvm_that_did_not_work_is_tried_each_time() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    hosts.otherwise |= WITH_KVM | {KVM_WORKS: Refusal("error", "Cannot allocate memory")}
    probed(qemu, hosts)
    hosts.otherwise[KVM_WORKS] = b"yes"
    assert probed(qemu, hosts).launched


def test_the_emulator_is_asked_again_once_kvm_does_not_open_though_its_node_is_there() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    hosts.otherwise |= WITH_KVM | {KVM_OPENS: b"1"}
    probed(qemu, hosts)
    hosts.otherwise[KVM_OPENS] = ABSENT
    assert probed(qemu, hosts).launched


def test_kvm_that_failed_while_the_emulator_was_asked_has_it_asked_again() -> None:
    qemu, hosts = driver(standins.real_qemu()), Hosts()
    busy = Refusal("error", "Device or resource busy")
    turns = InTurn(KVM_WORKS, b"yes", busy, busy, b"yes")
    turns |= {**hosts.otherwise, TAINTED: UNTAINTED}
    hosts.otherwise = turns
    probed(qemu, hosts)
    assert probed(qemu, hosts).launched


def test_what_an_emulator_says_that_does_without_a_kvm_which_works_is_not_remembered(tmp_path: Path) -> None:
    qemu, hosts = driver(standins.wrapper(tmp_path, standins.real_qemu(), more="-machine accel=tcg")), Hosts()
    hosts.otherwise |= WITH_KVM
    probed(qemu, hosts)
    assert probed(qemu, hosts).launched
    hosts.otherwise[KVM_WORKS] = ABSENT
    probed(qemu, hosts)
    assert not probed(qemu, hosts).launched


@pytest.mark.usefixtures("kvm")
def test_what_another_emulator_says_that_uses_kvm_is_remembered_all_the_same(tmp_path: Path) -> None:
    real, without = standins.real_qemu(), standins.wrapper(tmp_path, standins.real_qemu(), more="-machine accel=tcg")
    qemu, hosts = driver(without, real), Hosts()
    hosts.otherwise |= WITH_KVM
    probed(qemu, hosts)
    assert set(probed(qemu, hosts).launched) == {without}


HIDE_KVM = """
import subprocess, sys
from tests.plugins.test_probe import driver, guests
from tests.plugins.standins import SCRAPE, Hosts
qemu, hosts = driver(sys.argv[1]), Hosts()
print(guests(qemu, hosts))
subprocess.run(["mount", "--bind", "/dev/null", "/dev/kvm"], check=True)
print(guests(qemu, hosts))
subprocess.run(["umount", "/dev/kvm"], check=True)
print(guests(qemu, hosts))
"""


def guests(qemu: Qemu, hosts: Hosts) -> list[str]:
    """The kinds of guest that can run, and those that have a document."""
    told = reported(qemu, hosts)
    return [f"{one.identity.virttype} {one.guest.supported} {one.document is not None}" for one in told]


def test_kvm_that_stops_working_is_seen_by_the_next_probe_and_so_is_its_return() -> None:
    real = standins.real_qemu()
    if guests(driver(real), Hosts()) != ["kvm True True"]:
        pytest.skip("needs KVM: it is taken away")
    argv = ["unshare", "-m", sys.executable, "-c", HIDE_KVM, real]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a mount namespace: /dev/kvm is hidden in it")
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == [
        "['kvm True True']",
        "['kvm False False', 'qemu True True']",
        "['kvm True True']",
    ]


SHORT_OF_DESCRIPTORS = """
import os, resource, sys, time
from tests.plugins.standins import Hosts
from tests.plugins.test_probe import driver, known
from domcaps_exporter.model import Driver
from domcaps_exporter.probing import Watch
hosts, (soft, hard) = Hosts(), resource.getrlimit(resource.RLIMIT_NOFILE)
qemu = driver(sys.argv[1])
watch = Watch(Driver("qemu", qemu.probe, qemu.describe), lambda deadline: hosts(deadline - time.monotonic()), 30)
lowest = os.dup(0)
os.close(lowest)
shorts = []
for more in range(0, 16, 2):
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    shorts.append(watch.join().result())
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
whole = known(watch.join().result().reports)
print(shorts[0].failure.reason, {short.failure.reason for short in shorts if short.failure}, len(whole) > 100)
print([item for short in shorts for item in known(short.reports) - whole])
"""


def known(reports: Sequence[Report]) -> set[tuple[object, ...]]:
    """What is not unknown, of each kind of guest."""
    verdicts = ((report.identity.virttype, one) for report in reports for one in (report.guest, *report.verdicts))
    return {(virttype, one.element, one.enum, one.value, one.supported) for virttype, one in verdicts if one.supported is not None}


def test_what_an_exporter_is_short_of_descriptors_for_is_unknown_and_is_asked_when_there_are_some() -> None:
    argv = [sys.executable, "-c", SHORT_OF_DESCRIPTORS, standins.real_qemu()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == ["refused {'refused'} True", "[]"]


# ---- all of them -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kvm", [True, False], ids=["as it is", "without KVM"])
def test_every_installed_emulator_is_described(kvm: bool, needs: Callable[[str, object, str], None]) -> None:
    installed = sorted(str(path) for path in Path("/usr/bin").glob("qemu-system-*") if os.access(path, os.X_OK))
    needs("qemu-system-*", installed, "each is asked")
    hosts = Hosts()
    if not kvm:
        hosts.otherwise[question("access", "/dev/kvm", "rw", "")] = b"no"
    reports = reported(Qemu(Wanted(emulators=tuple(installed), virttypes=("qemu",))), hosts, seconds=120)
    inodes = {Path(path).stat().st_ino for path in installed}
    assert len({one.identity.emulator for one in reports}) == len(inodes)
    assert all(one.guest.supported is bool(one.verdicts) for one in reports)
    assert all(one.verdicts or one.document is None for one in reports)
    assert {need.prerequisite for one in reports for need in one.guest.unmet} <= {"qemu-tcg"}
    assert all(document.read(document.write(one.document)) == one.document for one in reports if one.document is not None)

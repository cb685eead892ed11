"""The Xen driver on recorded hosts: libvirt's words byte for byte, and the truth beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plugins.recorded_xen import DATA, HOSTS, VERSIONS, RecordedHost, domu, error, limits, understood

from domcaps_exporter import ABSENT, Question, Refusal, Report, Truth, UnreadableAnswer, document, question
from domcaps_exporter.metrics import Options, exposed
from domcaps_exporter.model import DENIED, Outcome
from domcaps_exporter.recording import load, save
from domcaps_exporter.view import View
from domcaps_xen.describe import reports
from domcaps_xen.device_model import KIND, SPICE
from domcaps_xen.settings import LOADERS, MACHINES, Wanted

XL = question("within", "3", "/usr/sbin/xl", "info")
PV_ONLY, HVM, VTD = (f"xen420-trixie-{kind}-libvirt113" for kind in ("pv", "hvm", "vtd"))
PCIBACK = "xen417-bookworm-pciback"
ARM = "xen417-bookworm-arm64"


def told(report: Report, element: str, enum: str, value: str) -> Truth:
    """The verdict on a value."""
    (found,) = (one.supported for one in report.verdicts if (one.element, one.enum, one.value) == (element, enum, value))
    return found


def lacks(report: Report, element: str, enum: str, value: str) -> set[str]:
    """What is missing for a value."""
    return {
        lack.prerequisite
        for one in report.verdicts
        for lack in one.unmet
        if (one.element, one.enum, one.value) == (element, enum, value)
    }


def pci(report: Report) -> Truth:
    return told(report, "hostdev", "pciBackend", "xen")


def written(report: Report) -> bytes:
    assert report.document is not None
    return document.write(report.document)


# ---- libvirt's words ---------------------------------------------------------------------------------------------------------

ANSWERS = sorted(DATA.glob("*/virsh-domcapabilities-*.out"))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda path: f"{path.parent.name}-{path.stem[22:]}")
def test_a_document_is_what_libvirt_said_on_that_host_to_the_byte(answer: Path) -> None:
    machine, arch = answer.stem.removeprefix("virsh-domcapabilities-").split("-")
    version = VERSIONS[answer.parent.name.rpartition("libvirt")[2]]
    host = understood(RecordedHost(answer.parent.name), Wanted(archs=(arch,), profile=version))
    virsh = b"\n" if version > (9, 0) else b"\n\n"  # virsh adds empty lines
    assert written(host.reports[machine]) + virsh == answer.read_bytes()


def test_every_kind_of_answer_was_compared() -> None:
    assert len(ANSWERS) == 6 * 3 * 2


@pytest.mark.parametrize("machine", ["xenpv", "xenfv"])
def test_a_document_is_what_libvirts_own_test_expects(machine: str) -> None:
    corpus = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    if not corpus:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS names no folder")
    expected = (Path(corpus) / "domaincapsdata" / f"libxl-{machine}.xml").read_bytes()
    wanted = Wanted(loaders=tuple(reversed(LOADERS)), profile=(11, 3))  # the test gives them in the other order
    assert written(understood(RecordedHost(HVM), wanted).reports[machine]) == expected


def test_libvirts_words_do_not_depend_on_the_host() -> None:
    documents = [understood(RecordedHost(name)).reports for name in HOSTS if name != ARM]
    for machine in MACHINES:
        assert len({written(one[machine]) for one in documents}) == 1


def test_the_words_are_the_installed_libvirts_and_the_metrics_are_not() -> None:
    host = RecordedHost(HVM)
    newest = understood(host).reports["xenpv"]
    host.otherwise[question("resolve", "/usr/lib64/libvirt.so.0")] = b"/usr/lib64/libvirt.so.0.11003.0"
    older = understood(host).reports["xenpv"]
    assert b"<console" in written(newest)
    assert b"<console" not in written(older)
    assert older.told == newest.told
    assert older.verdicts == newest.verdicts


def test_an_arm_host_differs_by_the_architecture_only() -> None:
    arm, x86 = (understood(RecordedHost(name)).reports for name in (ARM, HVM))
    for machine in MACHINES:
        assert written(arm[machine]) == written(x86[machine]).replace(b"<arch>x86_64", b"<arch>aarch64")


# ---- which guests run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        (PV_ONLY, {"xenpv": True, "xenpvh": False, "xenfv": False}),
        (HVM, {"xenpv": True, "xenpvh": True, "xenfv": True}),
        (VTD, {"xenpv": True, "xenpvh": True, "xenfv": True}),
        ("xen417-bookworm-hvm-libvirt90", {"xenpv": True, "xenpvh": True, "xenfv": True}),
        ("xen417-bookworm-hvm", {"xenpv": True, "xenpvh": True, "xenfv": False}),  # no device model was installed
        (ARM, {"xenpv": True, "xenpvh": True, "xenfv": False}),
    ],
)
@pytest.mark.parametrize("root", [True, False], ids=["root", "anybody"])
def test_guests_run_that_the_hypervisor_offers(name: str, runs: dict[str, bool], root: bool) -> None:
    host = understood(RecordedHost(name, root=root))
    assert {machine: report.guest.supported for machine, report in host.reports.items()} == runs


def test_a_guest_that_cannot_run_says_what_it_lacks() -> None:
    unmet = understood(RecordedHost(PV_ONLY)).reports["xenfv"].guest.unmet
    assert [(one.prerequisite, one.libvirt) for one in unmet] == [
        ("xen-hvm", "accepts"),
        ("xen-paging", "accepts"),
        ("firmware-file", "accepts"),
        ("device-model", "accepts"),
    ]


def test_pv_guests_are_gone_where_xen_was_built_without_them() -> None:
    host = RecordedHost(HVM)
    said = host.text("xl-info.out")
    host.otherwise[XL] = said.replace("virt_caps              : pv ", "virt_caps              : ").encode()
    assert understood(host).reports["xenpv"].guest.supported is False


def test_a_xen_that_did_not_say_pv_yet_runs_pv_guests_all_the_same() -> None:
    host = RecordedHost(HVM)
    said = host.text("xl-info.out").replace("virt_caps              : pv hvm", "virt_caps              : hvm")
    host.otherwise[XL] = said.replace("xen_minor              : 20", "xen_minor              : 11").encode()
    assert understood(host).reports["xenpv"].guest.supported is True


def test_guests_with_hardware_virtualisation_need_a_kind_of_paging() -> None:
    host = RecordedHost(HVM)
    host.otherwise[XL] = host.text("xl-info.out").replace("pv hvm hap", "pv hvm").encode()
    found = understood(host).reports
    assert [one.prerequisite for one in found["xenpvh"].guest.unmet] == ["xen-paging"]
    assert found["xenpv"].guest.supported is True


def test_pvh_guests_need_xen_4_10() -> None:
    host = RecordedHost(HVM)
    host.otherwise[XL] = host.text("xl-info.out").replace("xen_minor              : 20", "xen_minor              : 9").encode()
    assert understood(host).reports["xenpvh"].guest.supported is False


@pytest.mark.parametrize(
    ("path", "prerequisite"),
    [("/usr/lib/xen-4.20/boot/hvmloader", "firmware-file:hvmloader"), ("/usr/libexec/xen-qemu-system-i386", "device-model")],
)
def test_hvm_guests_need_their_loader_and_a_device_model(path: str, prerequisite: str) -> None:
    host = RecordedHost(HVM)
    host.otherwise[question("exists", path)] = ABSENT
    found = understood(host).reports
    assert [one.prerequisite for one in found["xenfv"].guest.unmet] == [prerequisite]
    assert found["xenpvh"].guest.supported is True


def test_without_a_toolstack_no_guest_runs() -> None:
    host = RecordedHost(HVM)
    host.otherwise |= {question("which", "xl"): ABSENT, question("exists", "/usr/lib/xen-4.20"): ABSENT}
    assert {report.guest.supported for report in understood(host).reports.values()} == {False}


# ---- passthrough -------------------------------------------------------------------------------------------------------------


def test_pci_passthrough_needs_an_iommu_and_pciback() -> None:
    vtd, hvm, pciback = (understood(RecordedHost(name)).reports["xenpv"] for name in (VTD, HVM, PCIBACK))
    assert pci(vtd) is True
    assert lacks(hvm, "hostdev", "pciBackend", "xen") == {"iommu", "xen-pciback"}
    assert lacks(pciback, "hostdev", "pciBackend", "xen") == {"iommu"}


def test_an_iommu_alone_does_not_do() -> None:
    host = RecordedHost(VTD)
    host.otherwise[question("exists", "/sys/bus/pci/drivers/pciback")] = ABSENT
    assert lacks(understood(host).reports["xenfv"], "hostdev", "pciBackend", "xen") == {"xen-pciback"}


@pytest.mark.parametrize("name", ["xen417-bookworm-vtd-limits", "xen417-bookworm-pciback-limits"])
def test_passthrough_is_told_as_xl_create_was_seen_to_decide(name: str) -> None:
    created, found = limits(name), understood(RecordedHost(name)).reports
    assert pci(found["xenpv"]) == created["pvpci"]
    assert pci(found["xenpvh"]) == created["pvhpci"]


@pytest.mark.parametrize("name", ["xen417-bookworm-vtd-limits", "xen417-bookworm-pciback-limits"])
def test_as_many_vcpus_are_told_as_xl_create_was_seen_to_accept(name: str) -> None:
    created, found = limits(name), understood(RecordedHost(name)).reports
    maximum = {machine: report.told.vcpus_max for machine, report in found.items() if report.told is not None}
    assert (created["pvh128"], created["pvh129"]) == (True, False)
    assert created["pv513"]  # libvirt's 512 is no limit of Xen's
    assert maximum == {"xenpv": 512, "xenpvh": 128, "xenfv": 128}


def test_on_arm_guests_run_that_xl_create_was_seen_to_make() -> None:
    created, found = limits(ARM), understood(RecordedHost(ARM)).reports
    told_of = {machine: report.guest.supported for machine, report in found.items()}
    assert told_of == {"xenpv": created["pv"], "xenpvh": created["pvh"], "xenfv": created["hvm"]}


def test_on_arm_nobody_says_how_many_vcpus_the_interrupt_controller_allows() -> None:
    assert {report.told.vcpus_max for report in understood(RecordedHost(ARM)).reports.values() if report.told is not None} == {None}


def test_whoever_may_not_ask_xl_does_not_know_of_an_iommu() -> None:
    report = understood(RecordedHost(VTD, root=False)).reports["xenpv"]
    assert pci(report) is None
    assert any("xl info" in note for note in report.notes)


def test_but_knows_that_there_is_no_passthrough_without_pciback() -> None:
    assert pci(understood(RecordedHost(HVM, root=False)).reports["xenpv"]) is False


def test_xl_is_not_asked_where_it_would_be_refused() -> None:
    assert XL not in understood(RecordedHost(VTD, root=False)).facts
    assert XL in understood(RecordedHost(VTD)).facts


# ---- devices and firmware ----------------------------------------------------------------------------------------------------


def test_devices_are_what_the_device_model_has() -> None:
    report = understood(RecordedHost(HVM)).reports["xenfv"]
    assert {value: told(report, "graphics", "type", value) for value in ("sdl", "vnc", "spice")} == {
        "sdl": False,
        "vnc": True,
        "spice": True,
    }
    assert told(report, "video", "modelType", "cirrus") is True
    assert told(report, "hostdev", "subsysType", "usb") is True


def test_a_machine_means_the_device_models_versioned_one() -> None:
    older, newer = (understood(RecordedHost(name)).reports["xenfv"] for name in ("xen417-bookworm-hvm-libvirt90", HVM))
    assert (older.canonical, newer.canonical) == ("xenfv-3.1", "xenfv-3.1")


def test_a_device_model_without_spice_is_believed() -> None:
    host = RecordedHost(HVM)
    host.otherwise[question(KIND, "/usr/libexec/xen-qemu-system-i386", SPICE)] = error(SPICE)
    assert told(understood(host).reports["xenfv"], "graphics", "type", "spice") is False


def test_a_device_model_that_cannot_be_asked_leaves_devices_unknown_and_says_why() -> None:
    host = RecordedHost(HVM)
    asked = [one for one in understood(host).facts if one.kind == KIND]
    host.otherwise |= dict.fromkeys(asked, Refusal("error", "it hung up"))
    report = understood(host).reports["xenfv"]
    assert told(report, "graphics", "type", "vnc") is None
    assert report.guest.supported is None
    assert "it hung up" in report.notes


def test_pv_and_pvh_guests_have_no_emulated_devices() -> None:
    for machine in ("xenpv", "xenpvh"):
        report = understood(RecordedHost(HVM)).reports[machine]
        assert told(report, "disk", "bus", "ide") is False
        assert told(report, "disk", "bus", "xen") is True
        assert told(report, "video", "modelType", "vga") is False
        assert lacks(report, "video", "modelType", "vga") == {"machine:xenfv"}


def test_loaders_are_told_where_they_are_and_where_libvirt_thinks_they_are() -> None:
    assert dict(understood(RecordedHost(HVM)).reports["xenfv"].loaders) == {
        "/usr/lib/xen/boot/ovmf.bin": False,
        "/usr/lib/xen/boot/hvmloader": False,
        "/usr/lib/xen-4.20/boot/hvmloader": True,
        "/usr/share/ovmf/OVMF.fd": True,
    }


@pytest.mark.parametrize(
    ("there", "ovmf", "model"),
    [
        (
            {"/usr/libexec/xen", "/usr/libexec/xen/boot/hvmloader", "/usr/bin/qemu-system-i386", "/usr/share/edk2/xen/OVMF.fd"},
            "/usr/share/edk2/xen/OVMF.fd",
            "/usr/bin/qemu-system-i386",
        ),
        (
            {
                "/usr/libexec/xen",
                "/usr/libexec/xen/boot/hvmloader",
                "/usr/lib64/xen/bin/qemu-system-i386",
                "/usr/share/edk2/OVMF.fd",
            },
            "/usr/share/edk2/OVMF.fd",
            "/usr/lib64/xen/bin/qemu-system-i386",
        ),
        (
            {
                "/usr/lib/xen",
                "/usr/lib/xen/boot/hvmloader",
                "/usr/lib/xen/bin/qemu-system-i386",
                "/usr/share/qemu/ovmf-x86_64-xen-4m.bin",
            },
            "/usr/share/qemu/ovmf-x86_64-xen-4m.bin",
            "/usr/lib/xen/bin/qemu-system-i386",
        ),
        (
            {
                "/usr/local/lib/xen",
                "/usr/local/lib/xen/boot/hvmloader",
                "/usr/local/lib/xen/bin/qemu-system-i386",
                "/usr/local/lib/xen/boot/ovmf.bin",
            },
            "/usr/local/lib/xen/boot/ovmf.bin",
            "/usr/local/lib/xen/bin/qemu-system-i386",
        ),
    ],
    ids=["Fedora", "XCP-ng", "SUSE", "upstream"],
)
def test_other_distributions_layouts_are_found(there: set[str], ovmf: str, model: str) -> None:
    host = RecordedHost(HVM)
    host.files = frozenset(there)
    found = understood(host).reports["xenfv"]
    assert found.guest.supported is True
    assert dict(found.loaders)[ovmf] is True
    assert found.path == model
    assert told(found, "loader", "type", "pflash") is True


def test_a_toolstack_and_a_device_model_of_ones_own_are_settings() -> None:
    host = RecordedHost(HVM)
    host.files = frozenset({"/opt/xen", "/opt/xen/boot/hvmloader", "/opt/xen/boot/seabios.bin", "/opt/qemu"})
    found = understood(host, Wanted(toolstack="/opt/xen", device_model="/opt/qemu")).reports["xenfv"]
    assert (found.guest.supported, found.path) == (True, "/opt/qemu")


def test_hvm_guests_need_a_bios_or_uefi() -> None:
    host = RecordedHost(HVM)
    host.otherwise[question("exists", "/usr/share/seabios/bios-256k.bin")] = ABSENT
    report = understood(host).reports["xenfv"]
    assert report.guest.supported is True
    assert told(report, "loader", "type", "rom") is False
    host.otherwise[question("exists", "/usr/share/ovmf/OVMF.fd")] = ABSENT
    assert [one.prerequisite for one in understood(host).reports["xenfv"].guest.unmet] == ["firmware-file"]


def test_xens_own_disks_need_a_backend() -> None:
    host = RecordedHost("xen417-bookworm-hvm")
    assert told(understood(host).reports["xenpv"], "disk", "bus", "xen") is False
    release = host.text("uname.out").split()[2]
    host.otherwise[question("read", f"/lib/modules/{release}/modules.dep")] = b"kernel/drivers/block/xen-blkback/xen-blkback.ko:\n"
    assert told(understood(host).reports["xenpv"], "disk", "bus", "xen") is True


# ---- dom0 or domU ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xen417-bookworm-hvm", "xen420-trixie-hvm-domu"])
@pytest.mark.parametrize("xenfs", [True, False], ids=["with xenfs", "without"])
def test_a_guest_of_xen_has_nothing_to_report(name: str, xenfs: bool) -> None:
    told_there = {question("read", path): text for path, text in domu(name).items()}
    facts = told_there | ({} if xenfs else {question("read", "/proc/xen/capabilities"): ABSENT})
    assert not list(reports(View(facts), Wanted()))


@pytest.mark.parametrize("name", HOSTS)
def test_the_control_domain_is_known_without_xenfs(name: str) -> None:
    host = RecordedHost(name)
    host.otherwise[question("read", "/proc/xen/capabilities")] = ABSENT
    assert understood(host).reports


# ---- whatever a host says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_a_recorded_host_makes_series_and_can_be_recorded_again(name: str, tmp_path: Path) -> None:
    found = understood(RecordedHost(name))
    shown = exposed(Outcome("xen", tuple(found.reports.values())), 10_000, Options())
    assert shown.failure is None
    assert len(shown.samples) > 10
    save(tmp_path / "recording", "xen", found.facts)
    driver, facts = load(tmp_path / "recording")
    assert driver == "xen"
    again = list(reports(View(facts), Wanted()))
    assert again == list(found.reports.values())


NONSENSE = {
    XL: b"Xen? What Xen?",
    question("read", "/proc/xen/capabilities"): b"\xff\x00!",
    question("read", "/sys/hypervisor/properties/capabilities"): b"no guests",
    question("read", "/sys/hypervisor/properties/features"): b"a lot",
    question("within", "3", "/usr/libexec/xen-qemu-system-i386", "-display", "help"): b"Help yourself!",
    question(KIND, "/usr/libexec/xen-qemu-system-i386", SPICE): b"[]",
    question(KIND, "/usr/libexec/xen-qemu-system-i386", "query-machines"): b'{"return": [{"name": 5}]}',
}


@pytest.mark.parametrize("asked", NONSENSE, ids=str)
def test_nonsense_is_unreadable_and_names_the_question(asked: Question) -> None:
    host = RecordedHost(HVM)
    host.otherwise[asked] = NONSENSE[asked]
    with pytest.raises(UnreadableAnswer) as caught:
        understood(host)
    assert str(caught.value).startswith(str(asked))


FACTS = understood(RecordedHost(VTD)).facts


@settings(max_examples=150)
@given(
    changed=st.dictionaries(
        st.sampled_from(sorted(FACTS)),
        st.one_of(st.just(ABSENT), st.just(DENIED), st.just(Refusal("error", "x")), st.none(), st.binary(max_size=30)),
        max_size=6,
    )
)
def test_whatever_is_answered_is_understood_or_unreadable(changed: dict[Question, bytes | Refusal | None]) -> None:
    facts = {one: changed.get(one, answer) for one, answer in FACTS.items()}
    held = {one: answer for one, answer in facts.items() if answer is not None}
    try:
        found = list(reports(View(held), Wanted()))
    except UnreadableAnswer:
        return
    assert exposed(Outcome("xen", tuple(found)), 10_000, Options()).failure is None

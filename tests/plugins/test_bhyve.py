"""The bhyve driver on stand-ins for FreeBSD's programs: seven releases, three architectures. Every process is a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.plugins.freebsd import FIRMWARE, KERNEL, STARTING, VMM, FreeBsd
from tests.plugins.standins import SCRAPE

from domcaps_bhyve.probe import Bhyve
from domcaps_bhyve.settings import Wanted
from domcaps_exporter import HypervisorAbsent, ProbeRefused, ProbeTimeout, Report, Truth, UnreadableAnswer, document
from domcaps_exporter.patience import FIRST
from domcaps_exporter.truths import elements, loaders, unmet, values

AMD64 = ("10.4", "12.1", "12.2", "13.0", "13.2", "14.0", "15.0")

Make = Callable[..., FreeBsd]


@pytest.fixture
def freebsd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(release: str = "13.2", arch: str = "amd64", firmware: bool = True) -> FreeBsd:
        host = FreeBsd(tmp_path, release, arch)
        monkeypatch.setenv("PATH", f"{host.path}:{os.environ['PATH']}")
        for name in ("BHYVE_UEFI.fd", "BHYVE_UEFI_VARS.fd", "README") if firmware else ():
            host.file(f"{FIRMWARE}/{name}")
        return host

    return make


def told(host: FreeBsd, wanted: Wanted | None = None) -> Report:
    bhyve = Bhyve(wanted or Wanted())
    (report,) = bhyve.describe(bhyve.probe(host()))
    return report


def held(report: Report, element: str, enum: str) -> dict[str, Truth]:
    return {value: truth for (one, other, value), truth in values(report).items() if (one, other) == (element, enum)}


def lacking(report: Report, element: str, enum: str = "", value: str = "") -> dict[str, str]:
    return {row[3]: row[4] for row in unmet(report) if row[:3] == (element, enum, value)}


# ---- what each release has ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """What every release for amd64 comes to, on the same host with all that it may need."""
    host = FreeBsd(tmp_path_factory.mktemp("releases"))
    for path in (f"{FIRMWARE}/BHYVE_UEFI.fd", f"{FIRMWARE}/BHYVE_UEFI_VARS.fd"):
        host.file(path)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", host.environment["PATH"])
        for release in AMD64:
            host.upgrade(release)
            found[release] = told(host)
    return found


@pytest.mark.parametrize("release", AMD64)
def test_every_release_is_understood_and_starts_guests(reports: Mapping[str, Report], release: str) -> None:
    report = reports[release]
    assert report.guest.supported is True
    assert not report.notes
    assert (report.identity.arch, report.identity.machine, report.identity.virttype) == ("x86_64", "", "bhyve")
    assert held(report, "disk", "bus")["virtio"] is True
    assert held(report, "rng", "model") == {"virtio": True}


@pytest.mark.parametrize(
    ("element", "enum", "value", "since"),
    [
        ("graphics", "type", "vnc", "12.1"),
        ("video", "modelType", "gop", "12.1"),
        ("disk", "bus", "nvme", "12.1"),
        ("controller", "scsiModel", "virtio-scsi", "12.1"),
        ("cpu", "topology", "cores", "12.1"),
        ("filesystem", "driverType", "path", "13.0"),
        ("sound", "model", "ich7", "13.0"),
        ("input", "bus", "virtio", "13.2"),
        ("nvram", "template", "yes", "13.2"),
        ("tpm", "model", "tpm-crb", "14.0"),
        ("loader", "type", "pflash", "10.4"),
        ("clock", "offset", "utc", "10.4"),
    ],
)
def test_a_value_is_true_since_its_release_and_false_before(
    reports: Mapping[str, Report], element: str, enum: str, value: str, since: str
) -> None:
    truths = {release: held(report, element, enum)[value] for release, report in reports.items()}
    assert truths == {release: AMD64.index(release) >= AMD64.index(since) for release in AMD64}


def test_a_bhyve_that_lists_is_asked_thrice_and_one_that_does_not_is_asked_for_each_device(freebsd: Make) -> None:
    host = freebsd("12.1")
    first = host()
    Bhyve(Wanted()).probe(first)
    assert first.started("bhyve") == 3


def test_a_bhyve_that_cannot_list_is_asked_for_each_device(freebsd: Make) -> None:
    host = freebsd("10.4")
    first = host()
    Bhyve(Wanted()).probe(first)
    assert first.started("bhyve") > 15
    assert all("," in asked.args[-1] for asked in first.asked if asked.args[1:2] == ("-s",) and asked.args[-1] != "help")


@pytest.mark.parametrize("arch", ["aarch64", "riscv64"])
def test_other_architectures_have_no_lpc_no_framebuffer_and_no_xml(freebsd: Make, arch: str) -> None:
    host = freebsd("15.0", arch)
    host.kernel({**KERNEL, "hw.machine_arch": arch, "hw.vmm.maxcpu": "4"})
    report = told(host)
    assert (report.identity.arch, report.guest.supported, report.document) == (arch, True, None)
    assert held(report, "graphics", "type") == {"vnc": False}
    assert held(report, "tpm", "model") == {"tpm-crb": False}
    assert held(report, "hostdev", "subsysType") == {"pci": False}
    assert held(report, "gic", "version") == {"3": arch == "aarch64"}
    assert elements(report)["loader"] is True
    assert held(report, "loader", "type") == {"pflash": None}
    assert report.told is not None
    assert report.told.vcpus_max == 4


def test_uboot_in_its_place_is_firmware_for_aarch64(freebsd: Make) -> None:
    host = freebsd("15.0", "aarch64")
    host.file("usr/local/share/u-boot/u-boot-bhyve-arm64/u-boot.bin")
    assert held(told(host), "loader", "type") == {"pflash": True}


# ---- the kernel --------------------------------------------------------------------------------------------------------------


def test_without_vmm_no_guest_runs_and_the_reason_is_told(freebsd: Make) -> None:
    host = freebsd()
    host.kernel(KERNEL)
    report = told(host)
    assert report.guest.supported is False
    assert lacking(report, "guest") == {"vmm-ko": "accepts"}
    assert report.document is not None, "libvirt answers all the same"
    assert report.document.vcpus_max is None


def test_vmm_comes_and_goes_from_probe_to_probe_and_bhyve_is_not_asked_again(freebsd: Make) -> None:
    host, bhyve = freebsd(), Bhyve(Wanted())
    assert bhyve.describe(bhyve.probe(host()))[0].guest.supported is True
    host.kernel(KERNEL)
    second = host()
    assert bhyve.describe(bhyve.probe(second))[0].guest.supported is False
    assert second.started("bhyve") == 0


def test_an_unchanged_host_gets_the_same_facts_and_starts_no_bhyve(freebsd: Make) -> None:
    host, bhyve = freebsd(), Bhyve(Wanted())
    facts = bhyve.probe(host())
    second = host()
    assert bhyve.probe(second) is facts
    assert bhyve.describe(facts) is bhyve.describe(facts)
    assert (second.started("bhyve"), second.started("sysctl"), second.started("kldstat")) == (0, 1, 1)


def test_another_bhyve_is_asked_again(freebsd: Make) -> None:
    host, bhyve = freebsd("13.2"), Bhyve(Wanted())
    assert held(bhyve.describe(bhyve.probe(host()))[0], "tpm", "model") == {"tpm-crb": False}
    host.upgrade("14.0")
    assert held(bhyve.describe(bhyve.probe(host()))[0], "tpm", "model") == {"tpm-crb": True}


def test_a_processor_whose_virtualization_did_not_come_up_runs_nothing(freebsd: Make) -> None:
    host = freebsd()
    host.kernel({**KERNEL, **VMM, "hw.vmm.vmx.initialized": "0", "hw.vmm.svm.features": "0"})
    assert lacking(told(host), "guest") == {"hardware-virtualization": "accepts"}


def test_an_amd_host_needs_no_unrestricted_guest(freebsd: Make) -> None:
    host = freebsd()
    host.kernel(
        {**KERNEL, **VMM, "hw.vmm.vmx.initialized": "0", "hw.vmm.svm.features": "0x1", "hw.vmm.vmx.cap.unrestricted_guest": "0"}
    )
    report = told(host)
    assert report.guest.supported is True
    assert held(report, "loader", "type") == {"pflash": True}


def test_an_intel_processor_without_unrestricted_guest_has_one_vcpu_and_no_uefi(freebsd: Make) -> None:
    host = freebsd()
    host.kernel({**KERNEL, **VMM, "hw.vmm.vmx.cap.unrestricted_guest": "0"})
    report = told(host)
    assert report.told is not None
    assert report.told.vcpus_max == 1
    assert lacking(report, "loader", "type", "pflash") == {"unrestricted-guest": "accepts"}


def test_vcpus_are_the_kernels_limit_and_sixteen_before_it_told(freebsd: Make) -> None:
    host = freebsd()
    assert (report := told(host)).told is not None
    assert report.told.vcpus_max == 8
    host.kernel({**KERNEL, **{name: value for name, value in VMM.items() if name not in ("hw.vmm.maxcpu", "hw.vmm.maxvmms")}})
    assert (report := told(host)).told is not None
    assert report.told.vcpus_max == 16


def test_a_device_goes_through_where_all_three_prerequisites_are_there(freebsd: Make) -> None:
    host = freebsd()
    host.kernel({**KERNEL, **VMM, "hw.vmm.iommu.initialized": "1", "hw.vmm.ppt.devices": "2"})
    report = told(host)
    assert held(report, "hostdev", "pciBackend") == {"ppt": True}
    assert elements(report)["hostdev"] is True
    assert report.document is not None
    assert b"<hostdev supported='no'/>" in document.write(report.document)


@pytest.mark.parametrize(
    ("knobs", "supported", "prerequisites"),
    [
        ({"hw.vmm.ppt.devices": "0"}, False, {"ppt-device"}),
        ({"hw.vmm.iommu.enable": "0", "hw.vmm.ppt.devices": "1"}, False, {"iommu"}),
        ({"hw.vmm.iommu.initialized": "0", "hw.vmm.ppt.devices": "1"}, None, set()),
    ],
)
def test_what_passthrough_lacks_is_named_and_an_iommu_that_was_never_tried_is_unknown(
    freebsd: Make, knobs: dict[str, str], supported: Truth, prerequisites: set[str]
) -> None:
    host = freebsd()
    host.kernel({**KERNEL, **VMM, **knobs})
    report = told(host)
    assert held(report, "hostdev", "subsysType") == {"pci": supported}
    assert set(lacking(report, "hostdev", "subsysType", "pci")) == prerequisites


def test_devices_of_ppt_are_counted_by_pciconf_where_the_kernel_does_not_count(freebsd: Make) -> None:
    host = freebsd()
    knobs = {**KERNEL, **VMM, "hw.vmm.iommu.initialized": "1"}
    del knobs["hw.vmm.ppt.devices"]
    host.kernel(knobs, devices=["hostb0@pci0:0:0:0", "ppt0@pci0:1:0:0"])
    assert held(told(host), "hostdev", "subsysType") == {"pci": True}
    host.kernel(knobs, devices=["hostb0@pci0:0:0:0"])
    assert held(told(host), "hostdev", "subsysType") == {"pci": False}


def test_devices_behind_a_backend_need_its_node(freebsd: Make) -> None:
    host = freebsd("14.0")
    assert lacking(told(host), "tpm", "backendModel", "passthrough") == {"dev-tpm0": "refuses"}
    assert held(told(host), "disk", "bus")["scsi"] is False
    host.file("dev/tpm0")
    host.file("dev/cam/ctl")
    report = told(host)
    assert held(report, "tpm", "backendModel") == {"passthrough": True, "external": None}
    assert held(report, "disk", "bus")["scsi"] is True


def test_a_knob_that_is_no_number_is_unreadable_and_names_its_question(freebsd: Make) -> None:
    host = freebsd()
    host.kernel({**KERNEL, **VMM, "hw.vmm.maxcpu": "many"})
    with pytest.raises(Exception, match=r"run sysctl -i .*hw\.vmm\.maxcpu: 'many' is no number"):
        told(host)


# ---- firmware ----------------------------------------------------------------------------------------------------------------


def test_firmware_that_is_not_installed_is_lacking_though_libvirt_goes_along(freebsd: Make) -> None:
    report = told(freebsd(firmware=False))
    assert lacking(report, "loader", "type", "pflash") == {"firmware-file": "accepts"}
    assert elements(report)["loader"] is True
    assert report.document is not None
    assert b"<loader supported='yes'>" in document.write(report.document)


def test_variables_alone_are_no_firmware(freebsd: Make) -> None:
    host = freebsd(firmware=False)
    host.file(f"{FIRMWARE}/BHYVE_UEFI_VARS.fd")
    report = told(host)
    assert held(report, "loader", "type") == {"pflash": False}
    assert not report.loaders


def test_libvirt_lists_whatever_lies_in_the_firmware_folder(freebsd: Make) -> None:
    report = told(freebsd())
    assert set(loaders(report)) == {f"/{FIRMWARE}/{name}" for name in ("BHYVE_UEFI.fd", "BHYVE_UEFI_VARS.fd", "README")}


def test_the_firmware_folder_can_be_set(freebsd: Make) -> None:
    host = freebsd(firmware=False)
    host.file("opt/firmware/OTHER.fd")
    report = told(host, Wanted(firmware_dir="/opt/firmware"))
    assert held(report, "loader", "type") == {"pflash": True}


# ---- what is not there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["kldstat", "pciconf"])
def test_a_program_beside_bhyve_that_hangs_costs_its_own_values_and_three_seconds_once(freebsd: Make, program: str) -> None:
    host = freebsd()
    told_nothing = {name: value for name, value in VMM.items() if name != "hw.vmm.ppt.devices"}
    host.kernel({**KERNEL, **told_nothing, "hw.vmm.iommu.initialized": "1"}, devices=["ppt0@pci0:1:0:0"])
    host.install(program, "sleep 1000")
    bhyve, started = Bhyve(Wanted()), time.monotonic()
    (report,) = bhyve.describe(bhyve.probe(host()))
    assert 2.9 < time.monotonic() - started < SCRAPE
    assert report.document is not None
    assert report.guest.supported is True  # the kernel's knobs tell as well that vmm.ko is loaded
    assert held(report, "hostdev", "subsysType") == {"pci": None if program == "pciconf" else True}
    assert any(f"{program}" in note and "no answer in time" in note for note in report.notes)
    again, started = host(), time.monotonic()
    assert bhyve.describe(bhyve.probe(again)) == (report,)
    assert (again.started(program), time.monotonic() - started < 2.9) == (0, True)


def test_a_sysctl_that_hangs_is_no_answer_at_all(freebsd: Make) -> None:
    host = freebsd()
    host.install("sysctl", "sleep 1000")
    with pytest.raises(ProbeTimeout):
        Bhyve(Wanted()).probe(host(seconds=1))


def test_without_a_bhyve_the_driver_is_silent_and_starts_nothing(freebsd: Make) -> None:
    host = freebsd()
    Path(host.bhyve).unlink()
    probed = host()
    with pytest.raises(HypervisorAbsent, match="no bhyve in PATH"):
        Bhyve(Wanted()).probe(probed)
    assert not [asked for asked in probed.asked if asked.kind in STARTING]


def test_a_bhyve_elsewhere_than_on_freebsd_is_left_alone(freebsd: Make) -> None:
    host = freebsd()
    host.kernel({**KERNEL, "kern.ostype": "DragonFly"})
    probed = host()
    with pytest.raises(HypervisorAbsent, match="FreeBSD only"):
        Bhyve(Wanted()).probe(probed)
    assert probed.started("bhyve") == 0


def test_a_configured_bhyve_that_is_not_there_is_absent(freebsd: Make) -> None:
    with pytest.raises(HypervisorAbsent, match="no /opt/bhyve"):
        told(freebsd(), Wanted(emulator="/opt/bhyve"))


def test_a_kernel_that_does_not_tell_is_a_refusal(freebsd: Make) -> None:
    host = freebsd()
    host.install("sysctl", "sh -c 'echo no >&2; exit 3'")
    with pytest.raises(ProbeRefused, match="exit status 3: no"):
        told(host)


def test_a_bhyve_that_cannot_be_started_is_a_refusal(freebsd: Make) -> None:
    host = freebsd()
    Path(host.bhyve).write_bytes(b"\x7fELF, of another system")
    with pytest.raises(ProbeRefused, match="Exec format error"):
        told(host)


@pytest.mark.parametrize("command", ["true", "echo", "false", "sh -c 'echo Segmentation fault >&2; kill -11 $$'"])
def test_a_bhyve_that_talks_nonsense_is_unreadable(freebsd: Make, command: str) -> None:
    host = freebsd()
    host.install("bhyve", command)
    with pytest.raises(Exception, match=r"said .*/bhyve -[slh]") as caught:
        told(host)
    assert getattr(caught.value, "reason", "") == "unreadable"


def test_a_bhyve_that_was_killed_once_is_asked_again_later(freebsd: Make, tmp_path: Path) -> None:
    host, mood, now = freebsd(), tmp_path / "mood", 0.0
    mood.touch()
    plain = (host.path / "bhyve").read_text().splitlines()[1]
    host.install("bhyve", f"sh -c '[ ! -e {mood} ] || kill -9 $$; {plain}' sh \"$@\"")
    bhyve = Bhyve(Wanted(), lambda: now)
    for _ in range(2):
        with pytest.raises(UnreadableAnswer, match="exit status -9"):
            bhyve.describe(bhyve.probe(host()))
    mood.unlink()
    now, asked = FIRST, host()
    assert bhyve.describe(bhyve.probe(asked))[0].guest.supported is True
    assert asked.started("bhyve") == 3
    again = host()
    bhyve.probe(again)
    assert again.started("bhyve") == 0


def test_nonsense_can_be_recorded(freebsd: Make, tmp_path: Path) -> None:
    host = freebsd()
    host.install("bhyve", "echo a riddle")
    command(host, "record", "bhyve", str(tmp_path / "recording"))
    assert any("a riddle" in file.read_text() for file in (tmp_path / "recording").iterdir())


# ---- the command -------------------------------------------------------------------------------------------------------------


def command(host: FreeBsd, *words: str) -> bytes:
    argv = [str(Path(sys.executable).with_name("domcaps-exporter")), "--path.rootfs", str(host.root), *words]
    return subprocess.run(argv, env=host.environment, check=True, capture_output=True, timeout=60).stdout


def test_a_host_is_recorded_and_replayed_elsewhere(freebsd: Make, tmp_path: Path) -> None:
    host, folder = freebsd("14.0"), tmp_path / "recording"
    assert b"answers" in command(host, "record", "bhyve", str(folder))
    assert any("virtio-9p" in file.read_text() for file in folder.iterdir())
    xml = command(host, "--driver.bhyve", "--no-driver.qemu", "show", "--format", "xml")
    Path(host.bhyve).unlink()
    assert command(host, "--replay", str(folder), "show", "--format", "xml") == xml
    assert b"<domain>bhyve</domain>" in xml
    metrics = command(host, "--replay", str(folder), "show", "--format", "metrics").decode()
    assert f'domcaps_vcpus_max{{arch="x86_64",driver="bhyve",emulator="{host.bhyve}",machine="",virttype="bhyve"}} 8.0' in metrics

"""The Xen driver's probe on a host made of files, with a real QEMU as device model and a stand-in for xl."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tests.plugins import standins
from tests.plugins.recorded_xen import DATA
from tests.plugins.standins import SCRAPE, Hosts

from domcaps_exporter import HypervisorAbsent, ProbeRefused, Report, Settings, UnreadableAnswer, question
from domcaps_exporter.model import DENIED
from domcaps_exporter.patience import FIRST
from domcaps_exporter.rootfs import Paths
from domcaps_xen import domcaps_drivers
from domcaps_xen.probe import Xen
from domcaps_xen.settings import Wanted

HVM = DATA / "xen420-trixie-hvm-libvirt113"


class Dom0:
    """A control domain made of files. `xl` counts its runs in the file `asked`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.write("proc/xen/capabilities", "control_d\n")
        self.write("proc/sys/kernel/random/boot_id", "1\n")
        self.write("sys/hypervisor/type", "xen\n")
        self.write("sys/hypervisor/properties/features", "001e28e0\n")
        self.write("sys/hypervisor/properties/capabilities", "xen-3.0-x86_64 hvm-3.0-x86_64 \n")
        self.write("dev/xen/privcmd", "")
        self.write("usr/lib/xen-4.20/boot/hvmloader", "")
        self.xl(f"cat {HVM}/xl-info.out")
        monkeypatch.setenv("PATH", f"{folder}/path:/usr/bin:/bin")
        self.hosts = Hosts(Paths(rootfs=str(folder), procfs=str(folder / "proc"), sysfs=str(folder / "sys")))
        self.hosts.otherwise[question("uname")] = b"Linux\x006.12\x00x86_64"

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def xl(self, command: str) -> None:
        """What xl does."""
        self.write("path/xl", f"#!/bin/sh\necho asked >>{self.folder}/asked\n{command}\n")
        (self.folder / "path/xl").chmod(0o755)

    @property
    def asked(self) -> int:
        """How often xl was run."""
        file = self.folder / "asked"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def device_model(self, program: str) -> Wanted:
        """The settings with this device model, which is there on the host as well."""
        self.write(program.lstrip("/"), "")
        return Wanted(device_model=program)


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dom0:
    return Dom0(tmp_path, monkeypatch)


def reported(xen: Xen, dom0: Dom0, seconds: float = 30) -> dict[str, Report]:
    return {one.identity.machine: one for one in xen.describe(xen.probe(dom0.hosts(seconds)))}


def vnc(report: Report) -> bool | None:
    return next(one.supported for one in report.verdicts if (one.enum, one.value) == ("type", "vnc"))


def test_a_real_device_model_is_asked_over_its_monitor(dom0: Dom0) -> None:
    program = standins.wrapper(dom0.folder / "models", standins.real_qemu(), more=f"-name {dom0.folder}")
    found = reported(Xen(dom0.device_model(program)), dom0)
    assert found["xenpv"].guest.supported is True
    assert vnc(found["xenpv"]) is True
    assert found["xenpv"].version == "4.20.5-pre"
    assert not standins.left_behind(str(dom0.folder))


def test_an_unchanged_host_gives_the_same_facts_and_starts_nothing(dom0: Dom0) -> None:
    xen = Xen(dom0.device_model(standins.real_qemu()))
    first, host = xen.probe(dom0.hosts()), dom0.hosts()
    assert xen.probe(host) is first
    assert not host.launched
    assert dom0.asked == 1


def test_what_xl_says_changes_with_the_boot(dom0: Dom0) -> None:
    xen = Xen(Wanted())
    assert reported(xen, dom0)["xenpvh"].guest.supported is True
    dom0.xl(f"cat {DATA}/xen420-trixie-pv-libvirt113/xl-info.out")
    dom0.write("proc/sys/kernel/random/boot_id", "2\n")
    assert reported(xen, dom0)["xenpvh"].guest.supported is False
    assert dom0.asked == 2


def test_a_replaced_device_model_is_asked_again(dom0: Dom0) -> None:
    path = standins.wrapper(dom0.folder / "models", standins.real_qemu())
    xen = Xen(dom0.device_model(path))
    shutil.copy(path, dom0.folder / path.lstrip("/"))
    xen.probe(dom0.hosts())
    standins.wrapper(dom0.folder / "models", standins.real_qemu(), note="new")
    host = dom0.hosts()
    xen.probe(host)
    assert host.launched == [path]


@pytest.mark.parametrize("behaviour", ["garbage", "gone", "half", "never-answers"])
def test_a_broken_device_model_costs_its_devices_only(dom0: Dom0, behaviour: str) -> None:
    program = standins.emulator(dom0.folder / "models", behaviour)
    started = time.monotonic()
    found = reported(Xen(dom0.device_model(program)), dom0, seconds=5)
    assert found["xenpv"].guest.supported is True
    assert vnc(found["xenpv"]) is None
    assert any(program in note for note in found["xenpv"].notes)
    assert time.monotonic() - started < 5
    assert not standins.left_behind(program)


def test_a_device_model_that_hangs_whatever_it_is_asked_leaves_a_scrape_time_for_the_rest(dom0: Dom0) -> None:
    program = dom0.folder / "models/qemu-system-i386"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    started = time.monotonic()
    found = reported(Xen(dom0.device_model(str(program))), dom0)
    assert time.monotonic() - started < SCRAPE
    assert found["xenpv"].guest.supported is True
    assert vnc(found["xenpv"]) is None


def test_an_xl_that_hangs_costs_what_it_alone_tells_and_three_seconds_once(dom0: Dom0) -> None:
    dom0.xl("exec sleep 1000")
    xen, started = Xen(Wanted()), time.monotonic()
    first = reported(xen, dom0)
    assert 2.9 < time.monotonic() - started < SCRAPE
    assert first["xenpvh"].guest.supported is None  # PVH needs a Xen whose version the files here do not tell
    assert first["xenpv"].guest.supported is True
    assert any("xl info: no answer in time" in note for note in first["xenpv"].notes)
    started = time.monotonic()
    assert reported(xen, dom0) == first
    assert (dom0.asked, time.monotonic() - started < 2.9) == (1, True)
    dom0.xl(f"cat {HVM}/xl-info.out")
    assert reported(xen, dom0)["xenpvh"].guest.supported is True


def test_a_device_model_that_hangs_over_its_displays_has_told_all_else_also_where_xl_hangs(dom0: Dom0) -> None:
    program = dom0.folder / "models/qemu-system-i386"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$2" != help ] || exec sleep 1000\nexec {standins.real_qemu()} "$@"\n')
    program.chmod(0o755)
    dom0.xl("exec sleep 1000")
    wanted, started = dom0.device_model(str(program)), time.monotonic()
    found = reported(Xen(wanted), dom0)
    assert time.monotonic() - started < SCRAPE
    assert vnc(found["xenpv"]) is True
    assert any("-display help: no answer in time" in note for note in found["xenpv"].notes)
    assert not standins.left_behind(str(program))


def test_an_xl_that_fails_leaves_what_everybody_may_read(dom0: Dom0) -> None:
    dom0.xl("echo 'cannot init xl context' >&2; exit 1")
    dom0.write("sys/hypervisor/version/major", "4\n")
    dom0.write("sys/hypervisor/version/minor", "20\n")
    dom0.write("sys/hypervisor/version/extra", ".0\n")
    report = reported(Xen(Wanted()), dom0)["xenpvh"]
    assert (report.guest.supported, report.version) == (True, "4.20.0")
    assert any("cannot init xl context" in note for note in report.notes)


@pytest.mark.parametrize("says", ["", "host : dom0\nxen_ma"], ids=["nothing", "half"])
def test_an_xl_that_made_no_sense_once_is_asked_again_later(dom0: Dom0, says: str) -> None:
    dom0.write("mood", says)
    dom0.xl(f"cat {dom0.folder}/mood")
    now = 0.0
    xen = Xen(Wanted(), lambda: now)
    for _ in range(2):
        with pytest.raises(UnreadableAnswer, match="xl info: KeyError"):
            reported(xen, dom0)
    shutil.copy(HVM / "xl-info.out", dom0.folder / "mood")
    now = FIRST
    for _ in range(2):
        assert reported(xen, dom0)["xenpvh"].guest.supported is True
    assert dom0.asked == 2


def test_an_xl_that_was_not_told_all_once_is_asked_again_later_and_what_it_told_counts(dom0: Dom0) -> None:
    whole = (HVM / "xl-info.out").read_text()
    dom0.write("mood", "".join(line for line in whole.splitlines(keepends=True) if not line.startswith("virt_caps")))
    dom0.xl(f"cat {dom0.folder}/mood")
    now = 0.0
    xen = Xen(Wanted(), lambda: now)
    for _ in range(2):
        found = reported(xen, dom0)["xenpv"]
        assert found.version == "4.20.5-pre"
        assert any("only `xl info`" in note for note in found.notes)
    dom0.write("mood", whole)
    now = FIRST
    assert not reported(xen, dom0)["xenpv"].notes
    assert dom0.asked == 2


def test_a_host_without_xen_is_none(dom0: Dom0) -> None:
    shutil.rmtree(dom0.folder / "proc/xen")
    shutil.rmtree(dom0.folder / "sys/hypervisor")
    with pytest.raises(HypervisorAbsent, match="does not run on Xen"):
        Xen(Wanted()).probe(dom0.hosts())
    assert dom0.asked == 0


def test_a_domu_says_that_it_is_one(dom0: Dom0) -> None:
    dom0.write("proc/xen/capabilities", "")
    with pytest.raises(HypervisorAbsent, match="domU"):
        Xen(Wanted()).probe(dom0.hosts())


def test_a_host_that_hides_which_domain_it_is_refuses(dom0: Dom0) -> None:
    hidden = ("/proc/xen/capabilities", "/sys/hypervisor/properties/features")
    dom0.hosts.otherwise |= dict.fromkeys((question("read", path) for path in hidden), DENIED)
    with pytest.raises(ProbeRefused, match="control domain"):
        Xen(Wanted()).probe(dom0.hosts())


def test_the_plugin_brings_one_driver() -> None:
    (driver,) = domcaps_drivers(Settings(drivers={"xen": {"machines": ["xenfv"]}}))
    assert driver.name == "xen"

"""Every driver of this project keeps the promises that strangers' drivers are held to. A new driver adds a test of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.endtoend import REAL_QEMU
from tests.plugins.freebsd import FIRMWARE, FreeBsd
from tests.plugins.recorded_xen import HOSTS, RecordedHost, understood

from domcaps_exporter import Driver, Facts, Settings, question
from domcaps_exporter.drivers import installed, muster
from domcaps_exporter.host import Paths
from domcaps_exporter.testing import conform, host_of, this_host
from domcaps_exporter.view import View
from domcaps_libvirt.describe import reports
from domcaps_libvirt.settings import wanted

DATA = Path(__file__).parents[1] / "data"
NOTHING = host_of({})


def driver(name: str, **section: object) -> Driver:
    """As its plugin brings it, with this section of the configuration."""
    (found,) = (one for one in muster(Settings({name: section}), installed()).drivers if one.name == name)
    return found


def test_every_driver_is_looked_at_here() -> None:
    ours = {one.name for one in muster(Settings(), installed()).drivers}
    assert ours >= {"qemu", "xen", "bhyve", "libvirt"}


@REAL_QEMU
def test_qemu_keeps_its_promises() -> None:
    assert conform(driver("qemu")) == []


@REAL_QEMU
def test_qemu_keeps_its_promises_where_all_is_asked_for() -> None:
    everything = driver("qemu", beyond=True, machine_types=True, host_features="all", virttypes=["kvm", "qemu"])
    assert conform(everything) == []


@pytest.mark.parametrize("host", HOSTS)
def test_xen_keeps_its_promises(host: str) -> None:
    assert conform(driver("xen"), NOTHING, [understood(RecordedHost(host)).facts]) == []


@pytest.mark.parametrize("release", ["12.1", "15.0"])
def test_bhyve_keeps_its_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    host = FreeBsd(tmp_path, release)
    host.file(f"{FIRMWARE}/BHYVE_UEFI.fd")
    monkeypatch.setenv("PATH", host.environment["PATH"])
    assert conform(driver("bhyve"), this_host(Paths(rootfs=str(host.root)))) == []


def test_libvirt_keeps_its_promises() -> None:
    assert conform(driver("libvirt", uris=[URI]), NOTHING, [libvirt()]) == []


URI = "qemu:///system"


def libvirt() -> Facts:
    """What a libvirt says that offers one guest."""
    machine = "<machine canonical='pc-q35-11.1'>q35</machine>"
    guest = f"<guest><arch name='x86_64'><emulator>/usr/bin/qemu</emulator>{machine}<domain type='kvm'/></arch></guest>"
    offer = f"<capabilities><host><cpu><arch>x86_64</arch></cpu></host>{guest}</capabilities>"
    capabilities = {question("libvirt", URI, "capabilities"): offer.encode()}
    view = View(capabilities)
    list(reports(view, wanted({"uris": [URI]})))
    document = (DATA / "libvirt-12.8" / "qemu_11.1.3-q35.kvm.x86_64.xml").read_bytes()
    return {**capabilities, **dict.fromkeys(view.missed, document)}

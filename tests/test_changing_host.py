"""A host that changes between two scrapes, in a mount namespace of its own: whatever changed is in the next scrape."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.endtoend import ARCH, REAL_QEMU, Samples, Serving, serving

pytestmark = REAL_QEMU

KVM = Path("/dev/kvm")
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
"""Those of every Linux; KVM's comes on top."""
PRIVATE = """
mount -t tmpfs -o mode=755 none /dev
mount -t tmpfs -o mode=755 none /usr/share/qemu
{nodes}
exec "$@"
"""
"""A /dev and a /usr/share/qemu of the exporter's own; the machine's are not touched."""

EFI = {"element": "os", "enum": "firmware", "value": "efi"}
VFIO = {"element": "hostdev", "enum": "pciBackend", "value": "vfio"}


def numbers(device: Path) -> tuple[int, int]:
    number = device.stat().st_rdev
    return os.major(number), os.minor(number)


def privately() -> tuple[str, ...]:
    """The command that gives another one a world of its own."""
    nodes = DEVICES | ({"kvm": numbers(KVM)} if KVM.exists() else {})
    made = (f"mknod -m 666 /dev/{name} c {major} {minor}" for name, (major, minor) in nodes.items())
    return "unshare", "--mount", "--propagation", "private", "sh", "-ec", PRIVATE.format(nodes="\n".join(made)), "sh"


class Host:
    """What a running exporter sees of a machine, for a test to change. What a test takes away is there again afterwards."""

    def __init__(self, running: Serving, folder: Path) -> None:
        root = Path(f"/proc/{running.process.pid}/root")
        self._running = running
        self.devices, self.descriptor = root / "dev", root / "usr/share/qemu/firmware/50-test.json"
        self.sysfs, self.firmware = folder / "sys", folder / "CODE.fd"

    def scrape(self) -> Samples:
        return self._running.scrape()

    def xml(self) -> str:
        """The first document."""
        first, *_ = json.loads(self._running.ask("/documents").body)
        return self._running.ask(first["links"]["xml"]).body.decode()

    @contextmanager
    def kvm(self, major: int | None = None, minor: int = 0, mode: int = 0o666) -> Iterator[None]:
        """Another /dev/kvm, or none."""
        node = self.devices / "kvm"
        device = numbers(node)
        node.unlink()
        try:
            if major is not None:
                make(node, (major, minor), mode)
            yield
        finally:
            node.unlink(missing_ok=True)
            make(node, device, 0o666)

    @contextmanager
    def without(self, file: Path) -> Iterator[None]:
        text = file.read_text()
        file.unlink()
        try:
            yield
        finally:
            file.write_text(text)


def make(node: Path, device: tuple[int, int], mode: int) -> None:
    os.mknod(node, stat.S_IFCHR, os.makedev(*device))
    node.chmod(mode)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One with KVM where this machine has it, with one UEFI, and without an IOMMU. Its guests are run by `nobody`."""
    if shutil.which("unshare") is None or subprocess.run([*privately(), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root and mount namespaces: the host that changes is a private one")
    folder = tmp_path_factory.mktemp("host")
    (folder / "domcaps.yaml").write_text("drivers: {qemu: {guest_user: nobody}}\n")
    (folder / "sys/kernel/iommu_groups").mkdir(parents=True)
    (folder / "CODE.fd").touch()
    (folder / "VARS.fd").touch()
    flags = [f"--config.file={folder / 'domcaps.yaml'}", f"--path.sysfs={folder / 'sys'}"]
    with serving(*flags, within=privately()) as running:
        host = Host(running, folder)
        host.descriptor.parent.mkdir()
        host.descriptor.write_text(descriptor(folder))
        yield host


def descriptor(folder: Path) -> str:
    """Of a UEFI, as distributions install them (QEMU's docs/interop/firmware.json)."""
    executable, template = ({"filename": str(folder / name), "format": "raw"} for name in ("CODE.fd", "VARS.fd"))
    return json.dumps(
        {
            "description": "UEFI",
            "interface-types": ["uefi"],
            "mapping": {"device": "flash", "executable": executable, "nvram-template": template},
            "targets": [{"architecture": ARCH, "machines": ["*"]}],
            "features": [],
            "tags": [],
        }
    )


# ---- KVM ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def before(host: Host, needs: Callable[[str, object, str], None]) -> Samples:
    """What a host with KVM says; afterwards it must say the same."""
    found = host.scrape()
    needs("kvm", [one.value for one in found.having("domcaps_guest_supported")] == [1], "it is taken away")
    return found


def unmet(found: Samples, **labels: str) -> set[tuple[str, str]]:
    """Prerequisites, and what libvirt says to their lack."""
    lacks = found.having("domcaps_unmet_prerequisite", **labels)
    return {(one.labels["prerequisite"], one.labels["libvirt"]) for one in lacks}


def test_a_host_that_loses_kvm_says_so_once_and_offers_emulation(host: Host, before: Samples) -> None:
    with host.kvm(None):
        found = host.scrape()
    assert found.value("domcaps_guest_supported", virttype="kvm") == 0
    assert ("dev-kvm", "refuses") in unmet(found, virttype="kvm", element="guest", enum="", value="")
    withheld = {one.name for one in before} - {one.name for one in found if one.labels.get("virttype") == "kvm"}
    assert {"domcaps_supported", "domcaps_vcpus_max", "domcaps_document_info"} <= withheld
    assert found.value("domcaps_guest_supported", virttype="qemu") == 1
    assert found.value("domcaps_supported", virttype="qemu", element="disk", enum="bus", value="virtio") == 1
    assert host.scrape().about_documents() == before.about_documents()


def test_a_node_that_is_not_kvms_is_no_kvm(host: Host, before: Samples) -> None:
    with host.kvm(*DEVICES["null"]):
        found = host.scrape()
    assert found.value("domcaps_guest_supported", virttype="kvm") == 0
    assert unmet(found, virttype="kvm", element="guest") == {("qemu-kvm", "refuses")}
    assert host.scrape().about_documents() == before.about_documents()


def test_kvm_that_only_root_may_open_is_none_for_a_guest_of_another_user_though_libvirt_says_yes(
    host: Host, before: Samples
) -> None:
    with host.kvm(*numbers(KVM), mode=0o600):
        found, xml = host.scrape(), host.xml()
    assert found.value("domcaps_guest_supported", virttype="kvm") == 0
    assert unmet(found, virttype="kvm", element="guest") == {("kvm-access", "accepts")}
    assert "<domain>kvm</domain>" in xml
    assert host.scrape().about_documents() == before.about_documents()


# ---- firmware ----------------------------------------------------------------------------------------------------------------


def test_a_firmware_file_that_is_gone_makes_uefi_impossible_though_libvirt_still_lists_it(host: Host) -> None:
    before, listed = host.scrape(), host.xml()
    assert values(before, **EFI) == {1}
    assert f"<value>{host.firmware}</value>" in listed
    with host.without(host.firmware):
        found, xml = host.scrape(), host.xml()
    assert values(found, **EFI) == {0}
    assert unmet(found, **EFI) == {("firmware-file", "accepts")}
    assert {one.value for one in found.having("domcaps_loader_present", loader=str(host.firmware))} == {0}
    assert "<value>efi</value>" in xml
    assert f"<value>{host.firmware}</value>" not in xml
    assert (host.scrape().about_documents(), host.xml()) == (before.about_documents(), listed)


def test_a_firmware_descriptor_that_is_gone_makes_uefi_impossible_and_libvirt_agrees(host: Host) -> None:
    before = host.scrape()
    with host.without(host.descriptor):
        found, xml = host.scrape(), host.xml()
    assert values(found, **EFI) == {0}
    assert ("firmware-descriptor", "refuses") in unmet(found, **EFI)
    assert not found.having("domcaps_loader_present", loader=str(host.firmware))
    assert "<value>efi</value>" not in xml
    assert host.scrape().about_documents() == before.about_documents()


def values(found: Samples, **labels: str) -> set[float]:
    return {one.value for one in found.having("domcaps_supported", **labels)}


# ---- VFIO --------------------------------------------------------------------------------------------------------------------


def test_an_iommu_that_comes_up_makes_vfio_possible_step_by_step(host: Host) -> None:
    before = host.scrape()
    assert {"iommu-groups", "dev-vfio"} <= lacking(before)
    assert values(before, **VFIO) == {0}
    group, driver, device = host.sysfs / "kernel/iommu_groups/0", host.sysfs / "bus/pci/drivers/vfio-pci", host.devices / "vfio"
    group.mkdir()
    assert lacking(before) - lacking(host.scrape()) == {"iommu-groups"}
    device.mkdir()
    (device / "vfio").touch()
    assert lacking(host.scrape()) <= {"vfio-pci-driver"}
    driver.mkdir(parents=True)
    found = host.scrape()
    assert (lacking(found), values(found, **VFIO)) == (set(), {1})
    assert "<value>vfio</value>" in host.xml()
    group.rmdir()
    driver.rmdir()
    shutil.rmtree(device)
    assert host.scrape().about_documents() == before.about_documents()


def lacking(found: Samples) -> set[str]:
    """What VFIO lacks."""
    return {prerequisite for prerequisite, _ in unmet(found, **VFIO)}

"""A real Xen and its dom0 in a virtual machine: made from an unpacked Debian, booted from memory, without disk and network.

QEMU emulates the processor (TCG): a Xen needs more of it than nested KVM gives everywhere.
"""

from __future__ import annotations

import base64
import gzip
import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
NIC = "0000:00:03.0"
PATIENCE = 600
"""Seconds for a boot, the examination and the power-off: a tenth of it on an idle machine."""

_NEEDLESS = """boot lib/modules usr/lib/modules usr/lib/locale usr/lib/firmware usr/lib/klibc usr/lib/x86_64-linux-gnu/gconv
usr/lib/x86_64-linux-gnu/perl usr/lib/x86_64-linux-gnu/perl-base usr/share/doc usr/share/man usr/share/locale usr/share/perl
usr/share/perl5 usr/share/info usr/share/zoneinfo usr/share/i18n usr/share/bash-completion usr/share/icons var/cache var/lib/apt
var/lib/dpkg""".split()


@dataclass(frozen=True)
class Variant:
    """One kind of machine: what is taken from or added to the processor, the devices, and what dom0's kernel is told."""

    cpu: str = ""
    devices: tuple[str, ...] = ()
    kernel: str = ""


_SPARE_NIC = ("-device", "e1000e,addr=3")
VARIANTS = {
    "pv": Variant(cpu=",-svm"),
    "hvm": Variant(),
    "vtd": Variant(devices=("-device", "intel-iommu,intremap=on", *_SPARE_NIC), kernel=f"hide=({NIC})"),
    "pciback": Variant(devices=_SPARE_NIC, kernel=f"hide=({NIC})"),
}
"""No hardware virtualisation; with it; with an IOMMU and a NIC for guests besides; with that NIC and no IOMMU."""

# Without -smap QEMU before 9.1 reads interrupt frames with supervisor rights even in user mode: a PV dom0 dies of it.
_CPU = "max,-smap,+vme,x-force-features=on"


class Machine:
    """The dom0's files, made once for all variants. `folder` is what `.setup/xen` filled; `work` is for this run."""

    def __init__(self, folder: Path, work: Path) -> None:
        root = folder / "root"
        self._work = work
        self._kernel = next((root / "boot").glob("vmlinuz-*"))
        self._xen = work / "xen"
        self._xen.write_bytes(gzip.decompress(next((root / "boot").glob("xen-4.*-amd64.gz")).read_bytes()))
        stage = work / "stage"
        _make_stage(root, folder / "site", self._kernel, stage)
        self._initramfs, self._size = _packed(stage, work / "dom0.cpio.gz")
        shutil.rmtree(stage)

    def run(self, variant: Variant, results: Path) -> None:
        """Boot, wait for the power-off, and unpack what the examination left."""
        console = self._work / "console"
        dom0 = self._size // 2**20 * 2 + 700
        command = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-smp", "2", "-m", str(dom0 + 640)),
            *(
                "-cpu",
                _CPU + variant.cpu,
                *variant.devices,
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                f"file:{console}",
            ),
            *("-kernel", str(self._xen), "-append", f"console=com1 com1=115200,8n1 noreboot=1 dom0_mem={dom0}M,max:{dom0}M"),
            *("-initrd", f"{self._kernel} console=hvc0 panic=1 {variant.kernel},{self._initramfs}"),
        ]
        subprocess.run(command, timeout=PATIENCE, check=True, stdin=subprocess.DEVNULL)
        _unpack(console.read_bytes(), results)


def _make_stage(root: Path, site: Path, kernel: Path, stage: Path) -> None:
    """The dom0's root: hard links to the unpacked Debian, less what it does without, and what is tested."""
    subprocess.run(["cp", "-al", root, stage], check=True)
    modules = stage / "modules"
    modules.mkdir()
    for module in (root / "lib/modules").glob("*/kernel/drivers/xen/**/*.ko"):
        shutil.copy(module, modules)
    for module in (root / "lib/modules").glob("*/kernel/drivers/block/xen-blkback/*.ko"):
        shutil.copy(module, modules)
    for needless in _NEEDLESS:
        shutil.rmtree(stage / needless, ignore_errors=True)
    if not (stage / "bin/sh").exists():
        (stage / "bin/sh").symlink_to("busybox")
    packages = stage / "usr/lib/python3/dist-packages"
    for source in (site, CHECKOUT / "exporter", CHECKOUT / "plugins"):
        shutil.copytree(source, packages, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "bin"))
    _declare(packages)
    (stage / "guest").mkdir()
    shutil.copy(kernel, stage / "guest/vmlinuz")
    shutil.copy(HERE / "examination.py", stage)
    (stage / "init").unlink(missing_ok=True)
    shutil.copy(HERE / "init", stage / "init")
    (stage / "init").chmod(0o755)


def _declare(packages: Path) -> None:
    """What an installation would leave: the distribution's name, and the entry point of the driver under test."""
    declared = packages / "domcaps_exporter-0.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: domcaps-exporter\nVersion: 0\n")
    (declared / "entry_points.txt").write_text("[domcaps]\nxen = domcaps_xen\nqemu = domcaps_qemu\n")


def _packed(stage: Path, archive: Path) -> tuple[Path, int]:
    """The archive, and how large it is unpacked."""
    names = subprocess.run(["find", ".", "-xdev", "-print0"], cwd=stage, capture_output=True, check=True).stdout
    cpio = subprocess.run(
        ["cpio", "--quiet", "-0", "-o", "-H", "newc"], cwd=stage, input=names, capture_output=True, check=True
    ).stdout
    archive.write_bytes(gzip.compress(cpio, 1))
    return archive, len(cpio)


def _unpack(console: bytes, results: Path) -> None:
    """The results from the console, whole or not at all."""
    lines = [line.strip()[4:] for line in console.splitlines() if line.startswith(b"@64@")]
    if not lines or lines[-1] != b"=":
        raise AssertionError(f"the examination did not end:\n{console[-4000:].decode('utf-8', 'replace')}")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(b"".join(lines[:-1])))) as archive:
        archive.extractall(results, filter="data")

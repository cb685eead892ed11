"""What the rules look at: the facts about a FreeBSD host and its bhyve. Pure.

Every method is three-valued: True, False, or None where the facts do not say. Where a fact is still missing, the view notes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from domcaps_bhyve.answers import Usage, knobs, known, listed, modules, number, passed_through, usage
from domcaps_exporter import Question, Refusal, Truth, UnreadableAnswer, question
from domcaps_exporter.view import View, any_known

KNOBS = question(
    "run",
    *("sysctl", "-i", "kern.ostype", "kern.osrelease", "hw.machine_arch", "hw.vmm.maxcpu", "hw.vmm.maxvmms"),
    *("hw.vmm.vmx.initialized", "hw.vmm.vmx.cap.unrestricted_guest", "hw.vmm.svm.features"),
    *("hw.vmm.iommu.enable", "hw.vmm.iommu.initialized", "hw.vmm.ppt.devices"),
)
"""One process for all; `-i` passes over what this kernel has not (sbin/sysctl/sysctl.c). All of hw.vmm comes with vmm.ko.

Whether this is FreeBSD at all hangs on it, so it may take what a probe may; the others have their values only to lose.
"""

KLDSTAT = question("within", "3", "kldstat")
PCICONF = question("within", "3", "pciconf", "-l")

_LIBVIRT_NAME = {"amd64": "x86_64"}
_UBOOT = {
    "aarch64": "/usr/local/share/u-boot/u-boot-bhyve-arm64/u-boot.bin",
    "riscv64": "/usr/local/share/u-boot/u-boot-bhyve-riscv64/u-boot.bin",
}
"""Where the ports u-boot-bhyve-* are believed to install to: there it proves something, not there it proves nothing."""

COMPILED_IN = 16
"""VM_MAXCPU, before hw.vmm.maxcpu came with FreeBSD 13 (sys/amd64/include/vmm.h)."""


class World:
    """One host and its bhyve. `emulator` is its path, `folder` where UEFI firmware is installed."""

    def __init__(self, view: View, emulator: str, folder: str) -> None:
        self.view, self.emulator, self.folder = view, emulator, folder

    # ---- bhyve's answers ----

    def said(self, *arguments: str) -> Question:
        return question("said", self.emulator, *arguments)

    def device(self, name: str) -> Truth:
        """Does bhyve emulate this PCI device?"""
        return self._named("-s", name, f"0,{name}")

    def lpc(self, name: str) -> Truth:
        """Does `-l` know this? bhyve for other than x86 has no LPC bus."""
        return self._named("-l", name, name)

    def _named(self, option: str, name: str, alone: str) -> Truth:
        names = self.view.form(self.said(option, "help"), listed)
        if isinstance(names, frozenset):
            return name in names
        if isinstance(self.view.answer(self.said(option, "help")), bytes):
            return self._known(self.said(option, alone))
        return None

    def _known(self, one: Question) -> Truth:
        told = self.view.form(one, known)
        return told if isinstance(told, bool) else None

    def usage(self) -> Usage | None:
        told = self.view.form(self.said("-h"), usage)
        return told if isinstance(told, Usage) else None

    def option(self, letter: str) -> Truth:
        """Has bhyve's command line this option?"""
        told = self.usage()
        return None if told is None else letter in told.options

    # ---- the kernel ----

    @property
    def knobs(self) -> Mapping[str, str] | None:
        told = self.view.form(KNOBS, knobs)
        return None if isinstance(told, Refusal) else told

    def knob(self, name: str) -> int | None:
        """A number of the kernel's; None where it has no such knob or nobody knows."""
        text = (self.knobs or {}).get(name)
        if text is None:
            return None
        try:
            return number(text)
        except ValueError as error:
            raise UnreadableAnswer(f"{KNOBS}: {name}: {text[:80]!r} is no number") from error

    @property
    def arch(self) -> str:
        """libvirt's name of the host's architecture, of which every guest is."""
        told = (self.knobs or {}).get("hw.machine_arch", "")
        return _LIBVIRT_NAME.get(told, told)

    @property
    def is_x86(self) -> bool:
        return self.arch == "x86_64"

    def vmm(self) -> Truth:
        """Is vmm.ko loaded, or vmm compiled into the kernel? Then hw.vmm is there."""
        there = None if self.knobs is None else any(name.startswith("hw.vmm.") for name in self.knobs)
        loaded = self.view.form(KLDSTAT, modules)
        return any_known([there, "vmm.ko" in loaded if isinstance(loaded, frozenset) else None])

    def virtualization(self) -> Truth:
        """Did VMX or SVM come up? The module of other than x86 does not load without."""
        if not self.is_x86:
            return True
        intel, amd = self.knob("hw.vmm.vmx.initialized"), self.knob("hw.vmm.svm.features")
        return any_known([None if told is None else told != 0 for told in (intel, amd)])

    def unrestricted(self) -> Truth:
        """Can a guest start in real mode? An Intel processor without it runs neither UEFI nor a second vCPU; others always can."""
        if not self.is_x86 or self.knob("hw.vmm.vmx.initialized") == 0:
            return True
        told = self.knob("hw.vmm.vmx.cap.unrestricted_guest")
        return None if told is None else told != 0

    def vcpus_max(self) -> int | None:
        """How many vCPUs a guest can have; None where nobody knows."""
        if self.vmm() is not True:
            return None
        if self.unrestricted() is False:
            return 1
        return self.knob("hw.vmm.maxcpu") or COMPILED_IN

    def iommu(self) -> Truth:
        """Can vmm.ko keep devices apart? It tries when a guest first gets a device (sys/amd64/vmm/io/iommu.c): 0 proves nothing."""
        switched_on, works = self.knob("hw.vmm.iommu.enable"), self.knob("hw.vmm.iommu.initialized")
        return False if switched_on == 0 else True if works == 1 else None

    def ppt(self) -> Truth:
        """Is any device held by the driver ppt, by loader.conf's pptdevs or devctl?"""
        if self.vmm() is False:
            return False
        count = self.knob("hw.vmm.ppt.devices")
        if count is None:
            told = self.view.form(PCICONF, passed_through)
            count = told if isinstance(told, int) else None
        return None if count is None else count > 0

    # ---- files ----

    def exists(self, path: str) -> Truth:
        """Is there such a file or device?"""
        return self.view.there(question("exists", path))

    def firmware_entries(self) -> tuple[str, ...] | None:
        """All that the firmware folder holds, whole paths; None where nobody knows."""
        names = self.view.entries(question("list", self.folder))
        return None if names is None else tuple(f"{self.folder}/{name}" for name in names)

    def firmware_files(self) -> tuple[str, ...]:
        """The firmware images among them."""
        return tuple(path for path in self.firmware_entries() or () if _is_image(path) and not _is_variables(path))

    def firmware(self) -> Truth:
        """Is there any firmware for such guests?"""
        if not self.is_x86:
            path = _UBOOT.get(self.arch)
            return True if path is not None and self.exists(path) else None
        return None if self.firmware_entries() is None else bool(self.firmware_files())

    def variables(self) -> Truth:
        """Is there an image of empty UEFI variables?"""
        entries = self.firmware_entries()
        return None if entries is None else any(_is_image(path) and _is_variables(path) for path in entries)

    def bootrom(self) -> Truth:
        """Can bhyve start firmware? Where there is no LPC bus, it is an option of the configuration (`-o bootrom=`)."""
        return self.lpc("bootrom") if self.is_x86 else self.option("o")


def _is_image(path: str) -> bool:
    return path.endswith(".fd")


def _is_variables(path: str) -> bool:
    return path.endswith("_VARS.fd")

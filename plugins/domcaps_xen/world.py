"""What the rules look at: the facts about one kind of guest on one Xen. Pure.

Every method is three-valued: True, False, or None where the facts do not say.
"""

from __future__ import annotations

from dataclasses import dataclass

from domcaps_exporter import Truth, question
from domcaps_exporter.view import View, all_known, presence_of
from domcaps_xen.device_model import DeviceModel
from domcaps_xen.hypervisor import Hypervisor
from domcaps_xen.toolstack import Toolstack

PV_TOKEN = (4, 13)
"""The first Xen whose virt_caps say `pv`; before, every Xen for x86 ran such guests."""

PVH = (4, 10)
"""The first Xen with PVH guests as they are today."""

_MODULES = "/lib/modules"
_XEN_NAMES = {"x86_64": ("x86_64",), "i686": ("x86_32", "x86_32p"), "aarch64": ("aarch64",), "armv7l": ("armv7l",)}


@dataclass(frozen=True, slots=True)
class World:
    """The facts about guests of one machine and architecture. `loaders` is what `<loader>` is to list."""

    view: View
    arch: str
    machine: str
    hypervisor: Hypervisor
    toolstack: Toolstack
    device_model: DeviceModel
    loaders: tuple[str, ...]

    @property
    def is_arm(self) -> bool:
        return self.arch in ("aarch64", "armv7l")

    # ---- the hypervisor ----

    def lists(self, kind: str) -> Truth:
        """Does Xen list guests of this kind (`xen`, `hvm`) and architecture?"""
        guests = self.hypervisor.guests
        return None if guests is None else any((kind, name) in guests for name in _XEN_NAMES[self.arch])

    def able(self, ability: str) -> Truth:
        """Is this word among `xl info`'s virt_caps?"""
        abilities = self.hypervisor.abilities
        return None if abilities is None else ability in abilities

    def since(self, release: tuple[int, int]) -> Truth:
        """Is Xen of this release or a later one?"""
        return None if self.hypervisor.release is None else self.hypervisor.release >= release

    @property
    def runs_pv(self) -> Truth:
        """On Arm the toolstack makes PVH guests of PV ones (libxl_arm.c); what Xen lists there as `xen-…` are these."""
        told = self.able("pv") if self.since(PV_TOKEN) is True and not self.is_arm else None
        return all_known([self.lists("xen"), *([] if told is None else [told])])

    @property
    def runs_hvm(self) -> Truth:
        """Both what Xen lists and its abilities say it; whoever may not ask for the abilities does with the list."""
        told = self.able("hvm")
        return all_known([self.lists("hvm"), *([] if told is None else [told])])

    @property
    def pages(self) -> Truth:
        """Has Xen hardware-assisted or shadow paging? Older Xens do not say; nor is it asked of whoever may not ask."""
        told = self.hypervisor.abilities if self.since(PV_TOKEN) is True else None
        return told is None or bool(told & {"hap", "shadow"})

    @property
    def runs_pvh(self) -> Truth:
        return all_known([self.runs_pv if self.is_arm else self.runs_hvm, self.since(PVH)])

    # ---- the device model and the host ----

    def emulates(self, *types: str) -> Truth:
        """Has the device model any of these devices?"""
        devices = self.device_model.devices
        return None if devices is None else any(one in devices for one in types)

    def exists(self, path: str) -> Truth:
        """Is there such a file, folder or device?"""
        return self.view.there(question("exists", path))

    def has_module(self, name: str) -> Truth:
        """Is this kernel module installed for the running kernel?"""
        told = (self.view.text(question("uname")) or "").split("\0")
        if len(told) != 3:
            return None
        installed = self.view.form(question("read", f"{_MODULES}/{told[1]}/modules.dep"), _modules)
        return name in installed if isinstance(installed, frozenset) else presence_of(installed)


def _modules(index: bytes) -> frozenset[str]:
    """The names of the modules in modules.dep."""
    paths = (line.partition(b":")[0].rpartition(b"/")[2] for line in index.splitlines())
    return frozenset(path.partition(b".ko")[0].decode("utf-8", "replace") for path in paths)

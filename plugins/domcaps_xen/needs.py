"""The prerequisites that rows of the table name: what users read in `prerequisite="…"`. Pure.

libvirt looks at none of them: its answer for Xen is a constant. Names are stable.
"""

from __future__ import annotations

from domcaps_exporter.rules import Need, all_of, any_of
from domcaps_exporter.view import any_known
from domcaps_xen.world import World

Rule = Need[World]

# ---- the hypervisor and its toolstack ----------------------------------------------------------------------------------------

pv: Rule = Need("xen-pv", lambda world: world.runs_pv)
hvm: Rule = Need("xen-hvm", lambda world: world.runs_hvm)
pvh: Rule = Need("xen-pvh", lambda world: world.runs_pvh)
paging: Rule = Need("xen-paging", lambda world: world.pages)
"""libxl: "neither hap nor shadow paging available"."""
toolstack: Rule = Need("xen-toolstack", lambda world: world.toolstack.there)
hvmloader: Rule = Need("firmware-file:hvmloader", lambda world: world.toolstack.hvmloader.there)
ovmf: Rule = Need("firmware-file:ovmf", lambda world: world.toolstack.ovmf.there)
seabios: Rule = Need("firmware-file:seabios", lambda world: world.toolstack.seabios.there)
firmware = any_of("firmware-file", seabios, ovmf)


def machine(name: str) -> Rule:
    """The guest is of this machine."""
    return Need(f"machine:{name}", lambda world: world.machine == name)


emulated = machine("xenfv")
"""PV and PVH guests have no emulated devices, only Xen's own."""

unoffered: Rule = Need("libvirt-xen-driver", lambda world: False)
"""libvirt's Xen driver has no such thing."""

# ---- the device model --------------------------------------------------------------------------------------------------------

device_model: Rule = Need("device-model", lambda world: world.device_model.there)


def qemu_machine(name: str) -> Rule:
    """The device model has this machine."""

    def met(world: World) -> bool | None:
        machines = world.device_model.machines
        return None if machines is None else name in machines

    return Need(f"qemu-machine:{name}", met)


def device(*types: str) -> Rule:
    """The device model has any of these devices."""
    return Need(f"qemu-device:{'|'.join(types)}", lambda world: world.emulates(*types))


def display(name: str) -> Rule:
    """The device model was built with this display, and its module is installed."""

    def met(world: World) -> bool | None:
        displays = world.device_model.displays
        return None if displays is None else name in displays

    return Need(f"qemu-display:{name}", met)


vnc: Rule = Need("qemu-qmp:query-vnc", lambda world: world.device_model.vnc)
spice: Rule = Need("qemu-qmp:query-spice", lambda world: world.device_model.spice)

# ---- backends in this domain -------------------------------------------------------------------------------------------------

blkback: Rule = Need(
    "xen-blkback", lambda world: any_known([world.exists("/sys/bus/xen-backend/drivers/vbd"), world.has_module("xen-blkback")])
)
"""There, or loaded when the first guest asks for it."""
usbback: Rule = Need("xen-usbback", lambda world: world.exists("/sys/bus/usb/drivers/usbback"))
pciback: Rule = Need("xen-pciback", lambda world: world.exists("/sys/bus/pci/drivers/pciback"))

disk_backend = any_of("disk-backend", blkback, device_model)
usb_backend = any_of(
    "usb-backend",
    all_of("emulated", device_model, device("usb-host")),
    all_of("paravirtual", usbback, Need("machine:xenpv|xenpvh", lambda world: world.machine != "xenfv")),
)
directio: Rule = Need(
    "iommu", lambda world: world.able("pv_directio" if world.machine == "xenpv" and not world.is_arm else "hvm_directio")
)
"""Xen says `directio` where it has an IOMMU to use; sysfs is silent on it, because Xen owns it."""

passthrough: Rule = Need("machine:xenpv|xenfv", lambda world: world.machine != "xenpvh")
"""libxl: "passthrough not yet supported for x86 PVH guests"."""

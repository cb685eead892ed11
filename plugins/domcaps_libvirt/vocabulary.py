"""What libvirt is known to list, per hypervisor: a value that it could list and does not is a 0. Pure.

From libvirt's virQEMUCapsFillDomain* (qemu_capabilities.c), libxlMakeDomainCapabilities (libxl_capabilities.c) and
virBhyveDomainCapsFill (bhyve_capabilities.c) up to 12.8. For libvirt's own sake nothing need be here: what it lists is reported
all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from domcaps_exporter import Cpu, Document, Element, Verdict

Vocabulary: TypeAlias = Mapping[tuple[str, str], str]
"""(element, enum) -> values, parted by blanks."""

_VIRTIO = "virtio virtio-transitional virtio-non-transitional"
_STARTUP = "default mandatory requisite optional"

QEMU: Vocabulary = {
    ("os", "firmware"): "bios efi",
    ("firmwareFeatures", "secureBoot"): "yes no",
    ("firmwareFeatures", "enrolledKeys"): "yes no",
    ("loader", "type"): "rom pflash",
    ("loader", "readonly"): "yes no",
    ("loader", "secure"): "yes no",
    ("cpu", "hostPassthroughMigratable"): "on off",
    ("cpu", "maximumMigratable"): "on off",
    ("memoryBacking", "sourceType"): "file anonymous memfd",
    ("disk", "diskDevice"): "disk cdrom floppy lun",
    ("disk", "bus"): "ide fdc scsi virtio usb sata nvme",
    ("disk", "model"): _VIRTIO,
    ("graphics", "type"): "sdl vnc rdp spice egl-headless dbus",
    ("video", "modelType"): "vga cirrus vmvga qxl virtio none bochs ramfb",
    ("hostdev", "mode"): "subsystem",
    ("hostdev", "startupPolicy"): _STARTUP,
    ("hostdev", "subsysType"): "usb pci scsi",
    ("hostdev", "pciBackend"): "default vfio",
    ("hostdev", "iommufd"): "yes no",
    ("rng", "model"): _VIRTIO,
    ("rng", "backendModel"): "random egd builtin",
    ("filesystem", "driverType"): "path handle virtiofs",
    ("tpm", "model"): "tpm-tis tpm-crb tpm-spapr spapr-tpm-proxy",
    ("tpm", "backendModel"): "passthrough emulator external",
    ("tpm", "backendVersion"): "1.2 2.0",
    ("redirdev", "bus"): "usb",
    ("channel", "type"): "pty unix spicevmc",
    ("crypto", "model"): "virtio",
    ("crypto", "type"): "qemu",
    ("crypto", "backendModel"): "builtin lkcf",
    ("interface", "backendType"): "default passt",
    ("panic", "model"): "isa pseries hyperv s390 pvpanic",
    ("console", "type"): "null vc pty dev file pipe stdio udp tcp unix spicevmc spiceport qemu-vdagent dbus",
    ("gic", "version"): "2 3",
    ("hyperv", "features"): "relaxed vapic spinlocks vpindex runtime synic stimer reset vendor_id frequencies reenlightenment"
    " tlbflush ipi evmcs avic emsr_bitmap xmm_input",
    ("launchSecurity", "sectype"): "sev sev-snp s390-pv tdx",
}
XEN: Vocabulary = {
    ("loader", "type"): "rom pflash",
    ("loader", "readonly"): "yes",
    ("disk", "diskDevice"): "disk cdrom",
    ("disk", "bus"): "ide scsi xen",
    ("graphics", "type"): "sdl vnc spice",
    ("video", "modelType"): "vga cirrus xen",
    ("hostdev", "mode"): "subsystem",
    ("hostdev", "startupPolicy"): _STARTUP,
    ("hostdev", "subsysType"): "usb pci",
    ("hostdev", "pciBackend"): "xen",
    ("console", "type"): "vc pty dev file pipe stdio udp tcp unix",
}
BHYVE: Vocabulary = {
    ("loader", "type"): "pflash",
    ("loader", "readonly"): "yes",
    ("disk", "diskDevice"): "disk cdrom",
    ("disk", "bus"): "virtio sata",
    ("graphics", "type"): "vnc",
    ("video", "modelType"): "gop",
    ("rng", "model"): "virtio",
    ("rng", "backendModel"): "random",
}
VOCABULARIES: Mapping[str, Vocabulary] = {"kvm": QEMU, "qemu": QEMU, "hvf": QEMU, "hyperv": QEMU, "xen": XEN, "bhyve": BHYVE}
"""By the document's <domain>."""

_MODES = {"hostPassthroughMigratable": "host-passthrough", "maximumMigratable": "maximum"}
"""CPU mode by the enum that stands in it."""


def unlisted(document: Document, elements: tuple[Element, ...]) -> Iterator[Verdict]:
    """A verdict for each known value that this document could list and does not; `elements` are all of the document's.

    Only where the enum is there without it, or its element is there with supported='no'. Elsewhere nobody knows.
    """
    for (element, enum), values in VOCABULARIES.get(document.domain, {}).items():
        shown = _in_cpu(document.cpu, enum) if element == "cpu" else _in_elements(elements, element, enum)
        if shown is not None:
            yield from (Verdict(element, enum, value, False) for value in values.split() if value not in shown)


def _in_elements(elements: tuple[Element, ...], name: str, enum: str) -> frozenset[str] | None:
    """The values that the document lists; None where it does not speak of this enum."""
    named = [element for element in elements if element.name == name]
    enums = [child for element in named for child in element.enums if child.name == enum]
    if not enums and not any(element.supported is False for element in named):
        return None
    return frozenset(value for child in enums for value in child.values)


def _in_cpu(cpu: Cpu | None, enum: str) -> frozenset[str] | None:
    mode = None if cpu is None else cpu.mode(_MODES[enum])
    if mode is None:
        return None
    enums = [child for child in mode.enums if child.name == enum]
    return frozenset(value for child in enums for value in child.values) if enums or not mode.supported else None

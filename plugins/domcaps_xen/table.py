"""The table: what libvirt says of every Xen guest, in libvirt's order, and what such a guest needs besides.

libvirt looks at nothing but the machine (libxlMakeDomainCapabilities), so its needs are the machine's name, and all else is
`besides`. What a guest needs is what libxl refuses to do without. Pure.
"""

from __future__ import annotations

from domcaps_exporter import Cpu, CpuMode, Element, Enum
from domcaps_exporter.rules import Computed, ElementRow, ValueRow, Version, container, element, enum, value
from domcaps_xen.needs import (
    device,
    device_model,
    directio,
    disk_backend,
    display,
    emulated,
    firmware,
    hvm,
    hvmloader,
    ovmf,
    paging,
    passthrough,
    pciback,
    pv,
    pvh,
    qemu_machine,
    seabios,
    spice,
    toolstack,
    unoffered,
    usb_backend,
    vnc,
)
from domcaps_xen.world import World

Row = ElementRow[World]

GUESTS: dict[str, ValueRow[World]] = {
    "xenpv": value("", besides=(toolstack, pv)),
    "xenpvh": value("", besides=(toolstack, pvh, paging)),
    "xenfv": value("", besides=(toolstack, hvm, paging, hvmloader, firmware, device_model, qemu_machine("xenfv"))),
}
"""What a guest of each machine needs to run at all."""

VCPUS = {"xenpv": 512, "xenpvh": 512, "xenfv": 128}
"""libvirt's maximum: PV_MAX and HVM_MAX of its Xen driver."""

VCPUS_HVM = 128
"""Xen's own for guests with hardware virtualisation, PVH included (HVM_MAX_VCPUS): it refuses to create one with more."""

CONSOLE: Version = (11, 5)
"""The first libvirt that lists consoles; seen in 12.8, not in 11.3."""

CONSOLES = ("vc", "pty", "dev", "file", "pipe", "stdio", "udp", "tcp", "unix")
"""Xen's own console is a pty; the others are the serial port that the device model emulates."""

MODES = ("host-passthrough", "maximum", "host-model", "custom")


def _loaders(world: World) -> tuple[Enum | Element, ...]:
    return tuple(Element("value", text=path) for path in world.loaders)


BEFORE_CPU: tuple[Row, ...] = (
    element("iothreads", needs=(unoffered,)),
    element(
        "os",
        element(
            "loader",
            Computed(_loaders),
            enum("type", value("rom", besides=(seabios,)), value("pflash", besides=(ovmf,))),
            enum("readonly", "yes"),
            needs=(emulated,),
            besides=(hvmloader,),
        ),
    ),
)

CPU = Cpu(tuple(CpuMode(name, supported=False) for name in MODES))
"""libvirt's Xen driver offers no CPU modes."""

AFTER_CPU: tuple[Row, ...] = (
    container(
        "devices",
        element(
            "disk",
            enum("diskDevice", "disk", "cdrom"),
            enum(
                "bus",
                value("ide", besides=(emulated, device_model, device("ide-hd"))),
                value("scsi", besides=(emulated, device_model, device("lsi53c895a"))),
                value("xen", besides=(disk_backend,)),
            ),
            enum("model"),
        ),
        element(
            "graphics",
            enum(
                "type",
                value("sdl", besides=(device_model, display("sdl"))),
                value("vnc", besides=(device_model, vnc)),
                value("spice", besides=(emulated, device_model, spice)),
            ),
        ),
        element(
            "video",
            enum(
                "modelType",
                value("vga", besides=(emulated, device_model, device("VGA"))),
                value("cirrus", besides=(emulated, device_model, device("cirrus-vga"))),
                value("xen", besides=(device_model,)),
            ),
        ),
        element(
            "hostdev",
            enum("mode", "subsystem"),
            enum("startupPolicy", "default", "mandatory", "requisite", "optional"),
            enum(
                "subsysType",
                value("usb", besides=(usb_backend,)),
                value("pci", passthrough, besides=(directio, pciback)),
            ),
            enum("capsType"),
            enum("pciBackend", value("xen", passthrough, besides=(directio, pciback))),
            by="subsysType",
            printed=lambda world: passthrough.met(world),
        ),
        element(
            "console",
            enum(
                "type",
                *(value(name, besides=() if name == "pty" else (emulated, device_model)) for name in CONSOLES),
            ),
            since=CONSOLE,
        ),
    ),
    container("features", *(element(name, needs=(unoffered,)) for name in ("gic", "vmcoreinfo", "genid", "sev", "sgx"))),
)

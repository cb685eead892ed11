"""The capability table: what decides every value of libvirt's bhyve answer, in libvirt's order, and what a guest needs besides.

Read it aloud: `value("virtio", besides=(device("virtio-blk"),))`: libvirt lists it without looking; a guest needs the device.
libvirt's part is virBhyveDomainCapsFill of its src/bhyve/bhyve_capabilities.c (11.3); what `unheard` or `since=UNHEARD` marks is
in no libvirt's answer that is known here, and is named in the words of libvirt's domain XML. Pure.
"""

from __future__ import annotations

from domcaps_bhyve.needs import (
    FIRMWARE,
    PASSTHROUGH,
    UNHEARD,
    aarch64,
    bootrom,
    device,
    node,
    option,
    swtpm,
    topology,
    tpm,
    unheard,
    variables_file,
    without,
)
from domcaps_bhyve.world import World
from domcaps_exporter import Element
from domcaps_exporter.rules import Computed, ElementRow, any_of, container, element, enum, value

Row = ElementRow[World]

ahci_disk = any_of("bhyve-device:ahci", device("ahci"), device("ahci-hd"))
disk = any_of("bhyve-device:disk", device("virtio-blk"), ahci_disk, device("nvme"))
framebuffer = device("fbuf")
random = device("virtio-rnd")

CPU_MODES = ("host-passthrough", "maximum", "host-model", "custom")
"""Guests see the host's CPU, and nothing chooses another."""


def loader_paths(world: World) -> tuple[Element, ...]:
    """Whatever lies in the firmware folder; libvirt takes it as the folder gives it, here it is sorted."""
    return tuple(Element("value", text=path) for path in world.firmware_entries() or ())


OS: tuple[Row, ...] = (
    element("iothreads", needs=(without("iothreads"),)),
    element(
        "os",
        element(
            "loader",
            Computed(loader_paths),
            enum("type", value("pflash", besides=FIRMWARE)),
            enum("readonly", value("yes", besides=FIRMWARE)),
            needs=(bootrom,),
        ),
    ),
)

AFTER_CPU: tuple[Row, ...] = (
    container(
        "devices",
        element(
            "disk",
            enum("diskDevice", value("disk", besides=(disk,)), value("cdrom", besides=(device("ahci-cd"),))),
            enum(
                "bus",
                value("virtio", besides=(device("virtio-blk"),)),
                value("sata", besides=(ahci_disk,)),
                value("nvme", device("nvme"), since=UNHEARD),
                value("scsi", device("virtio-scsi"), node("/dev/cam/ctl"), since=UNHEARD),
            ),
            enum("model"),
        ),
        element("graphics", enum("type", "vnc"), needs=(framebuffer,)),
        element("video", enum("modelType", "gop"), needs=(framebuffer,)),
        element(
            "hostdev",
            enum("mode", unheard("subsystem", *PASSTHROUGH)),
            enum("subsysType", unheard("pci", *PASSTHROUGH)),
            enum("pciBackend", unheard("ppt", *PASSTHROUGH)),
            by="mode",
        ),
        element(
            "rng",
            enum("model", "virtio"),
            enum("backendModel", "random"),
            needs=(random,),
            printed=random.met,
            since=(11, 3),
        ),
        element("filesystem", enum("driverType", value("path", device("virtio-9p"))), by="driverType", since=UNHEARD),
        element(
            "tpm",
            enum("model", value("tpm-crb", tpm)),
            enum("backendModel", value("passthrough", tpm, node("/dev/tpm0")), value("external", tpm, swtpm)),
            enum("backendVersion", value("2.0", tpm)),
            by="model",
            since=UNHEARD,
        ),
    ),
    container(
        "features",
        element("gic", enum("version", unheard("3", aarch64)), by="version"),
        element("vmcoreinfo", needs=(without("vmcoreinfo"),)),
        element("genid", needs=(without("genid"),)),
        element("sev", needs=(without("sev"),)),
        element("sgx", needs=(without("sgx"),)),
    ),
)

BEYOND: tuple[Row, ...] = (
    element("nvram", enum("template", value("yes", bootrom, option("k"), variables_file, *FIRMWARE))),
    element(
        "cpu",
        enum("mode", *(value(name, without("cpu-modes")) for name in CPU_MODES)),
        enum("topology", *(value(name, topology) for name in ("sockets", "cores", "threads"))),
    ),
    element("clock", enum("offset", value("utc", option("u")))),
    element("interface", enum("model", value("virtio", device("virtio-net")), value("e1000", device("e1000")))),
    element(
        "controller",
        enum("usbModel", value("nec-xhci", device("xhci"))),
        enum("scsiModel", value("virtio-scsi", device("virtio-scsi"))),
    ),
    element("input", enum("type", value("tablet", device("xhci"))), enum("bus", value("virtio", device("virtio-input")))),
    element("sound", enum("model", value("ich7", device("hda")))),
    element("channel", enum("type", value("unix", device("virtio-console")))),
)
"""What libvirt's domain capabilities have no place for. `-k` came with the variables (FreeBSD 13.1)."""

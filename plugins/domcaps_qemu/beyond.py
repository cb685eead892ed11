"""What QEMU and the host can tell beyond libvirt's domain capabilities, on request: for the metrics, never in the XML. Pure.

Elements, enums and values are named as in libvirt's domain XML, so that what a row says can be written into a guest's definition.
"""

from __future__ import annotations

from domcaps_exporter.rules import ElementRow, any_of, element, enum, unless, value
from domcaps_qemu.needs import Rule, arm, module_parameter, node, qom, sev_answer, sev_es_slots, snp_enabled, x86
from domcaps_qemu.world import World

nested: Rule = any_of(
    "kernel-parameter:nested",
    *(
        module_parameter(f"/sys/module/{module}/parameters/nested", "1", "Y", "y")
        for module in ("kvm_intel", "kvm_amd", "kvm_hv", "kvm")
    ),
)
virtio_net = qom("virtio-net-pci", "virtio-net-ccw", "virtio-net-device", name="virtio-net")
vsock = qom("vhost-vsock-pci", "vhost-vsock-ccw", "vhost-vsock-device", name="vhost-vsock")

BEYOND: tuple[ElementRow[World], ...] = (
    element("cpu", enum("nested", value("on", nested))),
    element(
        "iommu",
        enum(
            "model",
            value("intel", qom("intel-iommu"), x86),
            value("amd", qom("amd-iommu"), x86),
            value("smmuv3", qom("arm-smmuv3"), arm),
            value("virtio", qom("virtio-iommu-pci")),
        ),
    ),
    element(
        "interface",
        enum(
            "model",
            value("virtio", virtio_net),
            value("virtio-transitional", qom("virtio-net-pci-transitional")),
            value("virtio-non-transitional", qom("virtio-net-pci-non-transitional")),
            *(value(name, qom(name)) for name in ("e1000", "e1000e", "igb", "rtl8139", "pcnet", "ne2k_pci", "vmxnet3", "usb-net")),
            value("spapr-vlan", qom("spapr-vlan")),
        ),
        enum("driver", value("vhost", virtio_net, besides=(node("/dev/vhost-net"),))),
    ),
    element(
        "controller",
        enum(
            "usbModel",
            value("piix3-uhci", qom("piix3-usb-uhci")),
            value("piix4-uhci", qom("piix4-usb-uhci")),
            value("ehci", qom("usb-ehci")),
            value("ich9-ehci1", qom("ich9-usb-ehci1")),
            value("vt82c686b-uhci", qom("vt82c686b-usb-uhci")),
            value("pci-ohci", qom("pci-ohci")),
            value("nec-xhci", qom("nec-usb-xhci")),
            value("qemu-xhci", qom("qemu-xhci")),
        ),
        enum(
            "scsiModel",
            value("virtio-scsi", qom("virtio-scsi-pci", "virtio-scsi-ccw", "virtio-scsi-device", name="virtio-scsi")),
            value("lsilogic", qom("lsi53c895a")),
            value("lsisas1068", qom("mptsas1068")),
            value("lsisas1078", qom("megasas")),
            value("vmpvscsi", qom("pvscsi")),
            value("ibmvscsi", qom("spapr-vscsi")),
        ),
    ),
    element(
        "sound",
        enum(
            "model",
            value("ac97", qom("AC97")),
            value("es1370", qom("ES1370")),
            value("ich6", qom("intel-hda")),
            value("ich9", qom("ich9-intel-hda")),
            value("sb16", qom("sb16")),
            value("usb", qom("usb-audio")),
            value("virtio", qom("virtio-sound-pci")),
        ),
    ),
    element("vsock", enum("model", value("virtio", vsock, besides=(node("/dev/vhost-vsock"),)))),
    element(
        "watchdog",
        enum(
            "model",
            value("i6300esb", qom("i6300esb")),
            value("ib700", qom("ib700")),
            value("diag288", qom("diag288")),
            value("itco", qom("ICH9-LPC"), x86),
        ),
    ),
    element(
        "memory",
        enum(
            "model",
            value("dimm", qom("pc-dimm")),
            value("nvdimm", qom("nvdimm")),
            value("virtio-mem", qom("virtio-mem-pci", "virtio-mem-device", name="virtio-mem")),
            value("virtio-pmem", qom("virtio-pmem-pci")),
            value("sgx-epc", qom("sgx-epc")),
        ),
    ),
    # libvirt offers SEV-ES wherever it offers SEV; firmware refuses it where SNP is switched on (CVE-2025-48514)
    element(
        "launchSecurity",
        enum(
            "sectype",
            value(
                "sev-es", qom("sev-guest"), sev_answer, besides=(sev_es_slots, unless("kernel-parameter:no-sev_snp", snp_enabled))
            ),
        ),
    ),
)
"""libvirt's elements may stand here again, for what libvirt does not say of them."""

"""The capability table: what decides every value of libvirt's QEMU answer, in libvirt's order, and what a guest needs besides.

Read it aloud: `value("virtiofs", qom("vhost-user-fs-device"), besides=(virtiofsd,))`: libvirt lists virtiofs where QEMU has the
device; a guest needs virtiofsd besides. `since=`/`until=` name the libvirts that know a row, `.during(…)` those that check a need.
The facts come from libvirt's virQEMUCapsFillDomain* functions (qemu_capabilities.c) and QEMU's QMP reference. Pure.
"""

from __future__ import annotations

from domcaps_exporter.rules import (
    ALWAYS,
    Computed,
    ElementRow,
    Need,
    Version,
    all_of,
    any_of,
    container,
    element,
    enum,
    unless,
    value,
)
from domcaps_qemu import computed
from domcaps_qemu.needs import (
    I440FX,
    Q35,
    SWTPM,
    VFIO,
    arm,
    descriptor,
    dev_iommu,
    dev_tpm,
    feature_files,
    firmware_feature,
    firmware_files,
    firmware_variables,
    fsdev_handle,
    gic_v2,
    gic_v3,
    kvm,
    kvm_tdx,
    listed,
    machine,
    option,
    ppc64,
    program,
    prop,
    prot_virt,
    qom,
    render_node,
    s390,
    schema,
    secure_x86,
    sev_answer,
    sev_es_slots,
    sev_slots,
    sgx_answer,
    snp_enabled,
    swtpm_version,
    tdx_enabled,
    ultravisor,
    vfio_cdev,
    vfio_driver,
    virtiofsd,
    x86,
    x86_64,
)
from domcaps_qemu.world import World

Row = ElementRow[World]

# ---- what several rows need --------------------------------------------------------------------------------------------------

BY_TYPE: Version = (12, 0)
"""Between 11.3 and 12.4 libvirt began to look at several of QEMU's types where it had looked at names or lists."""

floppy = unless("machine:not-pseries", all_of("pseries", ppc64, machine("pseries", "pseries", "pseries-*")))
floppy_controller = qom("isa-fdc", "sysbus-fdc", name="floppy-controller").during(since=BY_TYPE)
ide = any_of(
    "machine:ide",
    all_of("i440fx", x86, machine("i440fx", *I440FX)),
    machine("malta-sun4u-g3beige", "malta", "sun4u", "g3beige"),
)
usb_controller = qom(
    "piix3-usb-uhci",
    "piix4-usb-uhci",
    "usb-ehci",
    "ich9-usb-ehci1",
    "vt82c686b-usb-uhci",
    "pci-ohci",
    "nec-usb-xhci",
    "qemu-xhci",
    name="usb-controller",
)
_PCI_VIRTIO = ("blk", "net", "rng", "9p", "balloon", "scsi", "serial")
transitional = qom(
    *(f"virtio-{kind}-pci-{era}" for kind in _PCI_VIRTIO for era in ("transitional", "non-transitional")),
    *(f"vhost-{kind}-pci-{era}" for kind in ("scsi", "vsock") for era in ("transitional", "non-transitional")),
    name="virtio-pci-transitional",
)
virtio_blk = qom("virtio-blk-pci", "virtio-blk-ccw", "virtio-blk-device", name="virtio-blk")
virtio_rng = qom("virtio-rng-pci", "virtio-rng-ccw", "virtio-rng-device", name="virtio-rng")
display_dbus = schema("query-display-options/ret-type/+dbus", name="display-dbus")
chardev_dbus = schema("chardev-add/arg-type/backend/+dbus", name="chardev-dbus")
spice = option("spice")
virtio_9p = qom("virtio-9p-pci", "virtio-9p-ccw", "virtio-9p-device", name="virtio-9p")
panic_pseries = all_of("machine:pseries", ppc64, machine("pseries", "pseries*"))
ps2_machine = any_of(
    "machine:i8042",
    all_of("x86", x86, machine("pc", *I440FX, *Q35, "xenfv", "xenfv-*")),
    machine("isapc", "isapc"),
)
s390_guest = (qom("s390-pv-guest"), prop("none-machine", "confidential-guest-support"))
sev_snp = qom("sev-snp-guest")
sev_any = any_of("qemu-device:sev-guest", qom("sev-guest"), sev_snp)

tpm_models = (
    value(
        "tpm-tis",
        qom("tpm-tis", "tpm-tis-device", "tpm-tis-i2c", name="tpm-tis"),
        before=(BY_TYPE, (listed("query-tpm-models", "tpm-tis"),)),
    ),
    value("tpm-crb", qom("tpm-crb"), before=(BY_TYPE, (listed("query-tpm-models", "tpm-crb"),))),
    value(
        "tpm-spapr",
        qom("tpm-spapr"),
        before=(BY_TYPE, (any_of("qemu:tpm-spapr", listed("query-tpm-models", "tpm-spapr"), qom("tpm-spapr")),)),
    ),
    value("spapr-tpm-proxy", qom("spapr-tpm-proxy")),
)
panic_models = (
    value("isa", qom("pvpanic")),
    value("pseries", panic_pseries),
    value("hyperv", x86),
    value("s390", s390),
    value("pvpanic", qom("pvpanic-pci")),
)
secure_guests = (
    value("sev", qom("sev-guest"), sev_answer, besides=(kvm, sev_slots)),
    value("sev-snp", sev_snp, sev_answer, besides=(kvm, snp_enabled, sev_es_slots)),
    value("s390-pv", *s390_guest, besides=(kvm, ultravisor, prot_virt)),
    value("tdx", qom("tdx-guest"), kvm_tdx, besides=(kvm, tdx_enabled), since=(11, 6)),
)

# ---- the table ---------------------------------------------------------------------------------------------------------------

OS_AND_MEMORY: tuple[Row, ...] = (
    element("iothreads", needs=(qom("iothread").during(until=(10, 0)),)),
    element(
        "os",
        enum(
            "firmware",
            value("bios", descriptor("bios"), besides=(firmware_files("bios"),)),
            value("efi", descriptor("uefi"), besides=(firmware_files("uefi"),)),
        ),
        element(
            "firmwareFeatures",
            *(
                enum(
                    name,
                    value("yes", firmware_feature(feature, there=True), besides=(feature_files(feature, there=True),)),
                    value("no", firmware_feature(feature, there=False), besides=(feature_files(feature, there=False),)),
                )
                for name, feature in (("secureBoot", "secure-boot"), ("enrolledKeys", "enrolled-keys"))
            ),
            since=(12, 1),
        ),
        element(
            "loader",
            Computed(computed.loader_paths),
            enum("type", "rom", "pflash"),
            enum("readonly", "yes", "no"),
            enum(
                "secure",
                value(
                    "yes",
                    descriptor("uefi", "requires-smm"),
                    besides=(
                        descriptor("uefi", "requires-smm", "secure-boot"),
                        firmware_files("uefi", "requires-smm", "secure-boot"),
                    ),
                ),
                "no",
            ),
        ),
        element(
            "varstore",
            needs=(firmware_variables, qom("uefi-vars-x64", "uefi-vars-sysbus", name="uefi-vars")),
            since=(12, 1),
        ),
    ),
)

AFTER_CPU: tuple[Row, ...] = (
    element(
        "memoryBacking",
        enum("sourceType", "file", "anonymous", value("memfd", qom("memory-backend-memfd"))),
    ),
    container(
        "devices",
        element(
            "disk",
            enum(
                "diskDevice",
                "disk",
                value("cdrom", besides=(qom("ide-cd", "scsi-cd"),)),
                value("floppy", floppy, floppy_controller),
                value("lun", besides=(qom("scsi-block"),)),
            ),
            enum(
                "bus",
                value("ide", ide),
                value("fdc", floppy, floppy_controller),
                value("scsi", besides=(qom("scsi-hd"),)),
                value("virtio", besides=(virtio_blk,)),
                value("usb", qom("usb-storage", "usb-bot"), before=(BY_TYPE, (qom("usb-storage"),))),
                value("sata", qom("ich9-ahci")),
                value("nvme", qom("nvme-ns"), since=(11, 5)),
            ),
            enum(
                "model",
                value("virtio", besides=(virtio_blk,)),
                value("virtio-transitional", transitional),
                value("virtio-non-transitional", transitional),
            ),
        ),
        element(
            "graphics",
            enum(
                "type",
                value("sdl", schema("query-display-options/ret-type/+sdl", name="display-sdl")),
                value("vnc", schema("query-vnc")),
                value("rdp", display_dbus, program("qemu-rdp"), since=(10, 10)),
                value("spice", spice),
                value(
                    "egl-headless",
                    schema("query-display-options/ret-type/+egl-headless", name="display-egl-headless"),
                    besides=(render_node,),
                ),
                value("dbus", display_dbus),
            ),
        ),
        element(
            "video",
            enum(
                "modelType",
                value("vga", qom("VGA")),
                value("cirrus", qom("cirrus-vga")),
                value("vmvga", qom("vmware-svga")),
                value("qxl", qom("qxl")),
                value("virtio", qom("virtio-gpu-pci", "virtio-gpu-device")),
                "none",
                value("bochs", qom("bochs-display")),
                value("ramfb", qom("ramfb")),
            ),
        ),
        element(
            "hostdev",
            enum("mode", "subsystem"),
            enum("startupPolicy", "default", "mandatory", "requisite", "optional"),
            enum(
                "subsysType",
                value("usb", usb_controller, besides=(qom("usb-host"),)),
                value("pci", besides=(*VFIO, vfio_driver)),
                value("scsi", besides=(qom("scsi-generic"),)),
            ),
            enum("capsType"),
            enum(
                "pciBackend",
                value("default", *VFIO, besides=(vfio_driver,)),
                value("vfio", *VFIO, besides=(vfio_driver,)),
            ),
            enum(
                "iommufd",
                value("yes", qom("iommufd"), *VFIO, dev_iommu, besides=(vfio_driver, vfio_cdev)),
                "no",
                since=(12, 1),
            ),
        ),
        element(
            "rng",
            enum(
                "model",
                value("virtio", virtio_rng),
                value("virtio-transitional", virtio_rng, transitional),
                value("virtio-non-transitional", virtio_rng, transitional),
            ),
            enum(
                "backendModel",
                value("random", qom("rng-random")),
                value("egd", qom("rng-egd")),
                value("builtin", qom("rng-builtin")),
            ),
        ),
        element(
            "filesystem",
            enum(
                "driverType",
                value("path", besides=(virtio_9p,)),
                value("handle", besides=(fsdev_handle,), until=(12, 2)),
                value("virtiofs", qom("vhost-user-fs-device"), besides=(virtiofsd,)),
            ),
        ),
        element(
            "tpm",
            enum("model", *tpm_models),
            enum(
                "backendModel",
                value(
                    "passthrough",
                    qom("tpm-passthrough"),
                    besides=(dev_tpm,),
                    before=(BY_TYPE, (listed("query-tpm-types", "passthrough"),)),
                ),
                value("emulator", qom("tpm-emulator"), *SWTPM, before=(BY_TYPE, (listed("query-tpm-types", "emulator"), *SWTPM))),
                value("external", qom("tpm-emulator"), *SWTPM, before=(BY_TYPE, (listed("query-tpm-types", "emulator"), *SWTPM))),
            ),
            enum(
                "backendVersion",
                value("1.2", *SWTPM, swtpm_version("tpm-1.2")),
                value("2.0", *SWTPM, swtpm_version("tpm-2.0")),
                omit_empty=True,
            ),
            by="model",
        ),
        element("redirdev", enum("bus", "usb"), needs=(qom("usb-redir"),)),
        element("channel", enum("type", "pty", "unix", value("spicevmc", spice))),
        element(
            "crypto",
            enum("model", value("virtio", qom("virtio-crypto-pci", "virtio-crypto-device"))),
            enum("type", "qemu"),
            enum("backendModel", "builtin", value("lkcf", qom("cryptodev-backend-lkcf"))),
            since=(9, 1),
        ),
        element(
            "interface",
            enum(
                "backendType",
                value("default", schema("netdev_add/arg-type/+user", name="netdev-user")),
                value("passt", schema("netdev_add/arg-type/+stream", name="netdev-stream"), besides=(program("passt"),)),
            ),
            since=(9, 1),
        ),
        element("panic", enum("model", *panic_models), by="model", since=(10, 9)),
        element(
            "console",
            enum(
                "type",
                *("null", "vc", "pty", "dev", "file", "pipe", "stdio", "udp", "tcp", "unix"),
                value("spicevmc", spice),
                value("spiceport", spice),
                value("qemu-vdagent", schema("chardev-add/arg-type/backend/+qemu-vdagent", name="chardev-qemu-vdagent")),
                value("dbus", besides=(chardev_dbus,)),
            ),
            since=(11, 5),
        ),
    ),
    container(
        "features",
        element(
            "gic",
            enum("version", value("2", gic_v2), value("3", gic_v3)),
            needs=(arm, machine("virt", "virt", "virt-*")),
            by="version",
        ),
        element("vmcoreinfo", needs=(qom("vmcoreinfo"),)),
        element("genid", needs=(qom("vmgenid"),)),
        element("backingStoreInput"),
        element(
            "backup",
            needs=(
                schema(
                    "blockdev-reopen", "migrate-set-parameters/arg-type/block-bitmap-mapping/bitmaps/transform", name="backup"
                ).during(until=(10, 0)),
            ),
        ),
        element("async-teardown", needs=(option("run-with", "async-teardown"),), since=(9, 6)),
        element(
            "s390-pv",
            needs=(*s390_guest, ultravisor, prot_virt),
            besides=(kvm,),
            printed=lambda world: world.is_s390 or world.since(11, 4),
        ),
        element("ps2", needs=(prop("generic-pc-machine", "i8042"), ps2_machine), since=(10, 7)),
        element("tdx", needs=(x86_64, kvm, qom("tdx-guest"), kvm_tdx, secure_x86), besides=(tdx_enabled,), since=(11, 6)),
        element(
            "sev",
            Computed(computed.sev_numbers),
            needs=(sev_any, sev_answer),
            besides=(kvm,),
        ),
        element(
            "sgx",
            Computed(computed.sgx_numbers),
            needs=(qom("sgx-epc"), sgx_answer, Need("sgx-sections", computed.sgx_sections)),
            besides=(kvm,),
        ),
        element(
            "hyperv",
            enum("features", *computed.hyperv_values()),
            Computed(computed.hyperv_defaults, known=((11, 9), ALWAYS[1])),
            besides=(kvm,),  # libvirt asks its first QEMU, with KVM, whatever the guest
            by="features",
            printed=computed.hyperv_any,
        ),
        element("launchSecurity", enum("sectype", *secure_guests), by="sectype", since=(10, 5)),
    ),
)

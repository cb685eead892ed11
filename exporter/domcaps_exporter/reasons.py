"""Prerequisites as sentences for a person: what is lacking, and where it is well known, what to do about it. Data; pure.

A name without a sentence stands for itself: a plugin's own prerequisites need no entry here.
"""

from __future__ import annotations

from collections.abc import Mapping

_EXACT: Mapping[str, str] = {
    "iommu-groups": "the kernel shows no IOMMU groups (is the IOMMU on, in the firmware and on the kernel command line?)",
    "dev-vfio": "there is no /dev/vfio/vfio (is the module vfio loaded?)",
    "dev-kvm": "there is no /dev/kvm (is virtualisation on in the firmware, and the module kvm_intel or kvm_amd loaded?)",
    "kvm-access": "the user that runs guests may not open /dev/kvm (is it in the group kvm?)",
    "qemu-kvm": "QEMU cannot use KVM here",
    "qemu-kvm-build": "this QEMU was built without KVM",
    "qemu-tcg": "this QEMU was built without TCG, its software CPU",
    "kvm": "this takes a guest on KVM",
    "emulator": "the emulator is not there",
    "native-cpu": "the emulator is not of this host's own architecture",
    "qemu-cpu-models": "QEMU names no CPU models for this machine",
    "render-node": "there is no GPU with a render node (/dev/dri/renderD128)",
    "vfio-pci-driver": "the kernel has no driver vfio-pci",
    "vfio-device-nodes": "the kernel makes no node per VFIO device (CONFIG_VFIO_DEVICE_CDEV)",
    "secure-guest-host": "the host has neither SEV nor TDX switched on",
    "kvm-vm-type:tdx": "KVM offers no TDX guests (needs the CPU, the firmware and kvm_intel.tdx=1)",
    "kernel-parameter:tdx": "TDX is not switched on (kvm_intel.tdx=1)",
    "kernel-parameter:no-sev_snp": "SEV-SNP is switched on, and the firmware then refuses SEV-ES guests",
    "kernel-parameter:nested": "the KVM module's parameter nested is off",
    "qemu:query-sev-capabilities": "QEMU finds no working SEV here (/dev/sev)",
    "qemu:query-sgx-capabilities": "QEMU finds no SGX for guests here (/dev/sgx_vepc)",
    "sgx-sections": "the host has no SGX memory for guests",
    "sev-asids": "the firmware leaves no ASIDs to SEV guests (is SEV on in the firmware setup?)",
    "sev-es-asids": "the firmware leaves no ASIDs to SEV-ES guests (the minimum SEV ASID in the firmware setup)",
    "ultravisor": "the host has no ultravisor",
    "prot-virt": "the kernel was not started with prot_virt=1",
    "xen-toolstack": "Xen's toolstack is not installed (where is its boot folder?)",
    "xen-pv": "this Xen was built without PV guests",
    "xen-pvh": "this Xen cannot run PVH guests (4.10 and hardware virtualisation)",
    "xen-hvm": "this Xen offers no hardware virtualisation (is it on in the firmware?)",
    "xen-paging": "this Xen has neither HAP nor shadow paging",
    "xen-pciback": "the control domain's kernel has no driver pciback (module xen-pciback)",
    "xen-blkback": "the control domain's kernel has no driver for disks (module xen-blkback)",
    "xen-usbback": "the control domain's kernel has no driver usbback",
    "libvirt-xen-driver": "libvirt's Xen driver has no words for it",
    "device-model": "there is no device model for Xen's guests (qemu-system-i386)",
    "disk-backend": "nothing here can serve disks: neither the kernel's driver nor a device model",
    "usb-backend": "nothing here can pass USB devices on",
    "iommu": "the hypervisor has no IOMMU in use (is it on in the firmware?)",
    "hardware-virtualization": "the CPU's hardware virtualisation is not usable (is it on in the firmware?)",
    "unrestricted-guest": "the CPU cannot run guests that begin in real mode",
    "vmm-ko": "the kernel module vmm is not loaded (kldload vmm)",
    "ppt-device": "no PCI device is set aside for guests (pptdevs in loader.conf)",
    "qemu-fsdev:handle": "QEMU dropped it in 4.0",
    "qemu-device:usb-controller": "this QEMU has no USB controller",
    "qemu-device:floppy-controller": "this QEMU has no floppy controller",
    "machine:ide": "this machine has no IDE controller",
    "machine:not-pseries": "the pseries machine has no floppy controller",
    "firmware-descriptor": "no firmware descriptor suits this guest (/usr/share/qemu/firmware)",
    "firmware-descriptor:bios": "no BIOS firmware is described for this guest (/usr/share/qemu/firmware)",
    "firmware-descriptor:uefi": "no UEFI firmware is described for this guest (is OVMF or AAVMF installed?)",
    "firmware-file": "a file that the firmware descriptor names is not there",
}

_BEGINNINGS: Mapping[str, str] = {
    "qemu-device:": "this QEMU has no device {}",
    "qemu-property:": "this QEMU does not know the property {}",
    "qemu-qmp:": "this QEMU was built without {}",
    "qemu-option:": "this QEMU has no option -{}",
    "qemu-hyperv:": "KVM and QEMU do not offer the enlightenment {}",
    "qemu-machine:": "this QEMU has no machine {}",
    "qemu-cpu-model:": "this QEMU has no CPU model {}",
    "qemu:": "QEMU does not offer {}",
    "machine:": "only for machines of the kind {}",
    "arch:": "only for guests of the architecture {}",
    "qemu-display:": "this device model was built without {}",
    "bhyve-device:": "this bhyve has no device {}",
    "bhyve-option:": "this bhyve has no option -{}",
    "bhyve:": "this bhyve cannot do {}",
    "gic-v": "the host offers no GICv{}",
    "program:": "the program {} is not installed",
    "swtpm:": "this swtpm cannot do {}",
    "firmware-descriptor:": "no firmware is described that has {}",
    "firmware-file:": "a file of the firmware that has {} is not there",
    "kernel-parameter:": "the kernel module's parameter {} is not switched on",
    "dev-": "there is no /dev/{}",
}

_HOMES: Mapping[str, tuple[str, ...]] = {
    "qemu-device:tpm-spapr": ("ppc64",),
    "qemu-device:spapr-": ("ppc64",),
    "qemu-device:s390-": ("s390x",),
    "ultravisor": ("s390x",),
    "prot-virt": ("s390x",),
    "qemu-device:sev-": ("x86_64",),
    "qemu-device:tdx-guest": ("x86_64",),
    "qemu-device:sgx-epc": ("x86_64", "i686"),
    "qemu:query-sev-capabilities": ("x86_64",),
    "qemu:query-sgx-capabilities": ("x86_64", "i686"),
    "qemu-hyperv:": ("x86_64", "i686"),
    "qemu-device:arm-": ("aarch64", "armv7l"),
}
"""What exists on some architectures only, by the beginning of its name; libvirt's names, `ppc64` for `ppc64le` too."""


def sentence(prerequisite: str) -> str:
    """What it means that this is lacking; the name itself where nothing is known of it."""
    exact = _EXACT.get(prerequisite)
    if exact is not None:
        return exact
    for beginning, words in _BEGINNINGS.items():
        if prerequisite.startswith(beginning) and prerequisite != beginning:
            return words.format(prerequisite.removeprefix(beginning))
    return prerequisite


def foreign(prerequisite: str, arch: str) -> bool:
    """Nothing that is done to this host would help: another architecture's or another machine's guests have it."""
    if prerequisite.startswith(("arch:", "machine:")):
        return True
    homes = next((homes for beginning, homes in _HOMES.items() if prerequisite.startswith(beginning)), None)
    return homes is not None and not arch.startswith(homes)

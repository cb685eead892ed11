"""What each prerequisite means, how to look at it by hand, and what usually mends it: one table for page, terminal and docs. Data.

`{}` in a name stands for the rest of it: `program:{}` is every program. docs/prerequisites.md is this table. A stranger's driver
names prerequisites of its own; they have no entry, and stand for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One prerequisite, as what is lacking: what that means, how to `look`, what usually would `mend` it. Commands in backticks."""

    means: str
    look: str
    mend: str


_NEWER = "a newer QEMU, or its package of modules (Debian: `qemu-system-modules-…`, Fedora: `qemu-device-…`)"
_OWN = "nothing on this host: such guests have it elsewhere"
_BSD_NEWER = "a newer FreeBSD; until then nothing"

CHAPTERS: Mapping[str, Mapping[str, Entry]] = {
    "KVM and the emulator": {
        "dev-kvm": Entry(
            "there is no /dev/kvm (is virtualisation on in the firmware, and the module kvm_intel or kvm_amd loaded?)",
            "`ls -l /dev/kvm`, `lsmod | grep kvm`, `dmesg | grep -i kvm`",
            "VT-x or AMD-V on in the firmware; `modprobe kvm_intel` or `kvm_amd`; in a virtual machine: nested virtualisation on "
            "its host; in a container: `--device /dev/kvm`",
        ),
        "kvm-access": Entry(
            "the user that runs guests may not open /dev/kvm (is it in the group kvm?)",
            "`ls -l /dev/kvm`, `getfacl /dev/kvm`, and `id USER` of the user that runs guests (`guest_user`)",
            "`usermod -aG kvm USER`, then restart the guests' service; a udev rule that gives the device to the group `kvm`",
        ),
        "qemu-kvm": Entry(
            "QEMU cannot use KVM here",
            "`dmesg | grep -i kvm`, and what `timeout 2 qemu-system-$(uname -m) -machine none,accel=kvm -display none` says",
            "another hypervisor that holds the CPU must let go of it; a container must be allowed the device, not only see it",
        ),
        "qemu-kvm-build": Entry(
            "this QEMU was built without KVM",
            "`qemu-system-$(uname -m) -accel help`",
            "the distribution's package of QEMU; or name another one under `emulators:`",
        ),
        "qemu-tcg": Entry(
            "this QEMU was built without TCG, its software CPU",
            "`qemu-system-$(uname -m) -accel help`",
            "a QEMU with TCG, where emulation is wanted at all",
        ),
        "kvm": Entry(
            "this takes a guest on KVM",
            'the same value of the guest with `virttype="kvm"`',
            "define the guest with `<domain type='kvm'>`",
        ),
        "emulator": Entry(
            "the emulator is not there",
            "`ls -lL` the path in the label `emulator`",
            "install its package again, or correct `emulators:`; was it meant so: `domcaps-exporter forget`",
        ),
        "hypervisor": Entry(
            "the hypervisor is not there any more",
            "`domcaps-exporter drivers`",
            "install or start it again; was it meant so: `domcaps-exporter forget`",
        ),
        "native-cpu": Entry("the emulator is not of this host's own architecture", "`uname -m`", _OWN),
    },
    "QEMU": {
        "qemu-device:{}": Entry(
            "this QEMU has no device {}",
            "`qemu-system-$(uname -m) -device help | grep -E '{}'`, the same with `-object help`",
            _NEWER,
        ),
        "qemu-device:usb-controller": Entry(
            "this QEMU has no USB controller", "`qemu-system-$(uname -m) -device help | grep -E 'uhci|ehci|ohci|xhci'`", _NEWER
        ),
        "qemu-device:floppy-controller": Entry(
            "this QEMU has no floppy controller", "`qemu-system-$(uname -m) -device help | grep fdc`", _NEWER
        ),
        "qemu-property:{}": Entry(
            "this QEMU does not know the property {}",
            "`qemu-system-$(uname -m) -version`, and `-machine q35,help` with the machine in question",
            "a newer QEMU",
        ),
        "qemu-qmp:{}": Entry(
            "this QEMU was built without {}",
            "`qemu-system-$(uname -m) -display help`, `-netdev help`, `-chardev help`",
            _NEWER,
        ),
        "qemu-option:{}": Entry("this QEMU has no option -{}", "`qemu-system-$(uname -m) -help`", _NEWER),
        "qemu-machine:{}": Entry(
            "this QEMU has no machine {}",
            "`qemu-system-$(uname -m) -machine help`",
            "correct `machines:` in the configuration; QEMU removes a version of a machine some years after it deprecated it: move "
            "such guests to a newer one",
        ),
        "qemu-cpu-model:{}": Entry("this QEMU has no CPU model {}", "`qemu-system-$(uname -m) -cpu help`", "a newer QEMU"),
        "qemu-cpu-models": Entry(
            "QEMU names no CPU models for this machine", "`qemu-system-$(uname -m) -cpu help`", "nothing: the machine has one CPU"
        ),
        "qemu-hyperv:{}": Entry(
            "KVM and QEMU do not offer the enlightenment {}",
            "`uname -r`, `qemu-system-$(uname -m) -version`; `evmcs` takes Intel's VMX, `avic` AMD's AVIC",
            "a newer kernel and QEMU; some hang on the CPU, or on a parameter of KVM's module",
        ),
        "qemu-fsdev:handle": Entry(
            "QEMU dropped it in 4.0", "`qemu-system-$(uname -m) -version`", "nothing: use `path` or virtiofs"
        ),
        "qemu:{}": Entry("QEMU does not offer {}", "`qemu-system-$(uname -m) -device help | grep -E '{}'`", _NEWER),
    },
    "PCI devices and other host devices": {
        "iommu-groups": Entry(
            "the kernel shows no IOMMU groups (is the IOMMU on, in the firmware and on the kernel command line?)",
            "`ls /sys/kernel/iommu_groups`, `cat /proc/cmdline`, `dmesg | grep -iE 'dmar|iommu|amd-vi'`",
            "VT-d or AMD-Vi on in the firmware (updates reset it); on Intel `intel_iommu=on` on the kernel's command line; reboot",
        ),
        "dev-vfio": Entry(
            "there is no /dev/vfio/vfio (is the module vfio loaded?)",
            "`ls -l /dev/vfio`, `lsmod | grep vfio`",
            "`modprobe vfio`, and `vfio-pci` in `/etc/modules-load.d` for after the next boot",
        ),
        "vfio-pci-driver": Entry(
            "the kernel has no driver vfio-pci",
            "`ls -d /sys/bus/pci/drivers/vfio-pci`, `modinfo vfio-pci`",
            "a kernel that has it: flavours for clouds have none",
        ),
        "vfio-device-nodes": Entry(
            "the kernel makes no node per VFIO device (CONFIG_VFIO_DEVICE_CDEV)",
            "`ls /dev/vfio/devices`, `grep VFIO_DEVICE_CDEV /boot/config-$(uname -r)`",
            "a kernel built with it; without iommufd, VFIO does as well",
        ),
        "dev-iommu": Entry(
            "there is no /dev/iommu", "`ls -l /dev/iommu`, `modinfo iommufd`", "`modprobe iommufd`, where the kernel has it"
        ),
        "dev-tpm0": Entry(
            "there is no /dev/tpm0",
            "`ls -l /dev/tpm*`, `dmesg | grep -i tpm`",
            "the TPM on in the firmware; an emulated TPM needs none",
        ),
        "dev-vhost-net": Entry("there is no /dev/vhost-net", "`ls -l /dev/vhost-net`", "`modprobe vhost_net`"),
        "dev-vhost-vsock": Entry("there is no /dev/vhost-vsock", "`ls -l /dev/vhost-vsock`", "`modprobe vhost_vsock`"),
        "dev-{}": Entry("there is no /dev/{}", "`ls -l /dev`", "the kernel module, or the device, that makes it"),
        "render-node": Entry(
            "there is no GPU with a render node (/dev/dri/renderD128)",
            "`ls -l /dev/dri`",
            "a GPU with its kernel driver; in a container: `--device /dev/dri`",
        ),
        "kernel-parameter:nested": Entry(
            "the KVM module's parameter nested is off",
            "`cat /sys/module/kvm_*/parameters/nested`",
            "`options kvm_intel nested=1` (or `kvm_amd`) in `/etc/modprobe.d`, and load the module anew while no guest runs",
        ),
        "gic-v{}": Entry("the host offers no GICv{}", "`dmesg | grep -i gic`", "nothing: it is the host's interrupt controller"),
    },
    "Secure guests": {
        "secure-guest-host": Entry(
            "the host has neither SEV nor TDX switched on",
            "`cat /sys/module/kvm_amd/parameters/sev` or `/sys/module/kvm_intel/parameters/tdx`, `ls -l /dev/sev`",
            "SEV or TDX on in the firmware, and `kvm_amd.sev=1` or `kvm_intel.tdx=1`",
        ),
        "qemu:query-sev-capabilities": Entry(
            "QEMU finds no working SEV here (/dev/sev)",
            "`ls -l /dev/sev`, `cat /sys/module/kvm_amd/parameters/sev`, `dmesg | grep -iE 'sev|ccp'`",
            "SEV on in the firmware (updates reset it), `kvm_amd.sev=1`, the module `ccp`",
        ),
        "sev-asids": Entry(
            "the firmware leaves no ASIDs to SEV guests (is SEV on in the firmware setup?)",
            "`dmesg | grep -i asid`",
            'SEV on in the firmware, and a "minimum SEV ASID" below the highest one',
        ),
        "sev-es-asids": Entry(
            "the firmware leaves no ASIDs to SEV-ES guests (the minimum SEV ASID in the firmware setup)",
            "`dmesg | grep -i asid`",
            'a "minimum SEV ASID" above 1 in the firmware: those below it are for SEV-ES and SEV-SNP',
        ),
        "kernel-parameter:no-sev_snp": Entry(
            "SEV-SNP is switched on, and the firmware then refuses SEV-ES guests",
            "`cat /sys/module/kvm_amd/parameters/sev_snp`",
            "`kvm_amd.sev_snp=0`, where SEV-ES is wanted and SEV-SNP is not",
        ),
        "kernel-parameter:{}": Entry(
            "the kernel module's parameter {} is not switched on",
            "`cat /sys/module/kvm_*/parameters/{}`",
            "the CPU's feature on in the firmware; `MODULE.{}=1` on the kernel's command line; a kernel that knows it",
        ),
        "kernel-parameter:sev_snp": Entry(
            "SEV-SNP is not switched on (kvm_amd.sev_snp=1)",
            "`cat /sys/module/kvm_amd/parameters/sev_snp`, `dmesg | grep -i snp`",
            "SNP and the IOMMU on in the firmware, a kernel with SEV-SNP for hosts",
        ),
        "kernel-parameter:tdx": Entry(
            "TDX is not switched on (kvm_intel.tdx=1)",
            "`cat /sys/module/kvm_intel/parameters/tdx`, `dmesg | grep -i tdx`",
            "TDX on in the firmware, `kvm_intel.tdx=1` on the kernel's command line",
        ),
        "kvm-vm-type:tdx": Entry(
            "KVM offers no TDX guests (needs the CPU, the firmware and kvm_intel.tdx=1)",
            "`dmesg | grep -i tdx`, `cat /sys/module/kvm_intel/parameters/tdx`",
            "TDX on in the firmware, `kvm_intel.tdx=1`, and a kernel with TDX for hosts",
        ),
        "qemu:query-sgx-capabilities": Entry(
            "QEMU finds no SGX for guests here (/dev/sgx_vepc)",
            "`ls -l /dev/sgx_vepc`, `dmesg | grep -i sgx`",
            "SGX on in the firmware, a kernel built with `CONFIG_X86_SGX_KVM`",
        ),
        "sgx-sections": Entry(
            "the host has no SGX memory for guests",
            "`dmesg | grep -i sgx`, `qemu-system-x86_64 -version`",
            "memory set aside for SGX in the firmware; QEMU 7.0 or later",
        ),
        "ultravisor": Entry(
            "the host has no ultravisor", "`ls /sys/firmware/uv`", "a machine with Secure Execution, and its feature switched on"
        ),
        "prot-virt": Entry(
            "the kernel was not started with prot_virt=1",
            "`cat /proc/cmdline`, `cat /sys/firmware/uv/prot_virt_host`",
            "`prot_virt=1` on the kernel's command line (zipl), reboot",
        ),
    },
    "Firmware": {
        "firmware-descriptor": Entry(
            "no firmware descriptor suits this guest (/usr/share/qemu/firmware); for BIOS on x86 none is needed: a guest that "
            "names no firmware boots SeaBIOS",
            "`ls /usr/share/qemu/firmware /etc/qemu/firmware`",
            "the firmware's package: `ovmf`, `edk2-ovmf`, `qemu-efi-aarch64`; to choose BIOS by name, a `seabios` that brings "
            "a descriptor",
        ),
        "firmware-descriptor:{}": Entry(
            "no firmware is described that has {}",
            "`grep -l '\"features\"' /usr/share/qemu/firmware/*`, and read the features there",
            "a package of the firmware that is built with it; `no-…`: one that is built without",
        ),
        "firmware-file": Entry(
            "a file that the firmware descriptor names is not there",
            "`grep -h filename /usr/share/qemu/firmware/*`, and `ls -lL` each (bhyve: `ls /usr/local/share/uefi-firmware`)",
            "install the firmware's package again: an upgrade renamed a file, or a link dangles",
        ),
        "firmware-file:{}": Entry(
            "a file of the firmware that has {} is not there",
            "`grep -h filename /usr/share/qemu/firmware/*`, and `ls -lL` each",
            "install the firmware's package again: an upgrade renamed a file, or a link dangles",
        ),
        "firmware-file:hvmloader": Entry(
            "Xen's hvmloader is not there", "`ls /usr/lib/xen*/boot`", "Xen's toolstack, built for HVM guests; or set `toolstack:`"
        ),
        "firmware-file:seabios": Entry(
            "the SeaBIOS for Xen's guests is not there", "`ls /usr/share/seabios /usr/lib/xen*/boot`", "the package `seabios`"
        ),
        "firmware-file:ovmf": Entry(
            "the OVMF for Xen's guests is not there", "`ls /usr/share/ovmf /usr/lib/xen*/boot`", "the package `ovmf`"
        ),
    },
    "Programs": {
        "program:{}": Entry(
            "the program {} is not installed",
            "`command -v {}`, with the PATH of the exporter's service",
            "install it, where the exporter's PATH looks",
        ),
        "program:virtiofsd": Entry(
            "the program virtiofsd is not installed",
            "`ls /usr/libexec/virtiofsd /usr/lib/qemu/virtiofsd`, `grep -h binary /usr/share/qemu/vhost-user/*`",
            "the package `virtiofsd`: newer QEMUs do not bring it",
        ),
        "program:swtpm": Entry(
            "the program swtpm is not installed", "`command -v swtpm`", "the package `swtpm`; guests need `swtpm-tools` as well"
        ),
        "program:swtpm_{}": Entry(
            "the program swtpm_{} is not installed", "`command -v swtpm_{}`", "the package `swtpm-tools` (Debian, Fedora)"
        ),
        "swtpm:{}": Entry("this swtpm cannot do {}", "`swtpm_setup --print-capabilities`", "a newer swtpm, or one built with it"),
    },
    "Xen": {
        "xen-toolstack": Entry(
            "Xen's toolstack is not installed (where is its boot folder?)",
            "`ls /usr/lib/xen*/boot /usr/libexec/xen/boot`",
            "the package `xen-utils`, `xen-runtime`, `xen-tools`; where it lies elsewhere: `toolstack:`",
        ),
        "xen-pv": Entry(
            "this Xen was built without PV guests",
            "`xl info | grep -E 'xen_caps|virt_caps'`",
            "a Xen built with PV; else PVH guests",
        ),
        "xen-pvh": Entry(
            "this Xen cannot run PVH guests (4.10 and hardware virtualisation)",
            "`xl info | grep -E 'xen_version|xen_caps|virt_caps'`",
            "VT-x or AMD-V on in the firmware, Xen 4.10 or later",
        ),
        "xen-hvm": Entry(
            "this Xen offers no hardware virtualisation (is it on in the firmware?)",
            "`xl info | grep -E 'xen_caps|virt_caps'`, `xl dmesg | grep -iE 'vmx|svm'`",
            "VT-x or AMD-V on in the firmware; a Xen built with HVM",
        ),
        "xen-paging": Entry(
            "this Xen has neither HAP nor shadow paging",
            "`xl info | grep virt_caps`",
            "a CPU with EPT or NPT, or a Xen built with shadow paging",
        ),
        "xen-pciback": Entry(
            "the control domain's kernel has no driver pciback (module xen-pciback)",
            "`ls -d /sys/bus/pci/drivers/pciback`",
            "`modprobe xen-pciback`",
        ),
        "xen-blkback": Entry(
            "the control domain's kernel has no driver for disks (module xen-blkback)",
            "`ls -d /sys/bus/xen-backend/drivers/vbd`, `modinfo xen-blkback`",
            "`modprobe xen-blkback`; a kernel that has it",
        ),
        "xen-usbback": Entry(
            "the control domain's kernel has no driver usbback",
            "`ls -d /sys/bus/usb/drivers/usbback`",
            "a kernel with it (Linux itself has none); HVM guests get USB devices from the device model",
        ),
        "libvirt-xen-driver": Entry(
            "libvirt's Xen driver has no words for it", "`virsh domcapabilities --virttype xen`", "nothing"
        ),
        "device-model": Entry(
            "there is no device model for Xen's guests (qemu-system-i386)",
            "`ls /usr/lib/xen*/bin/qemu-system-i386 /usr/bin/qemu-system-i386`",
            "the package `qemu-system-xen`, or the distribution's QEMU for x86; where it lies elsewhere: `device_model:`",
        ),
        "qemu-display:{}": Entry(
            "this device model was built without {}",
            "`qemu-system-i386 -display help`",
            "a device model built with it, or its modules",
        ),
        "disk-backend": Entry(
            "nothing here can serve disks: neither the kernel's driver nor a device model",
            "`modinfo xen-blkback`, `ls /usr/lib/xen*/bin/qemu-system-i386`",
            "`modprobe xen-blkback`, or a device model",
        ),
        "usb-backend": Entry(
            "nothing here can pass USB devices on",
            "`ls -d /sys/bus/usb/drivers/usbback`, `qemu-system-i386 -device help | grep usb-host`",
            "a device model built with libusb",
        ),
        "iommu": Entry(
            "the hypervisor has no IOMMU in use (is it on in the firmware?)",
            "Xen: `xl info | grep virt_caps` (`directio`), `xl dmesg | grep -i iommu`; FreeBSD: `sysctl hw.vmm.iommu`",
            "VT-d or AMD-Vi on in the firmware; Xen: no `iommu=off` on its command line",
        ),
    },
    "bhyve": {
        "vmm-ko": Entry(
            "the kernel module vmm is not loaded (kldload vmm)",
            "`kldstat -n vmm`",
            '`kldload vmm`; `vmm_load="YES"` in `/boot/loader.conf`',
        ),
        "hardware-virtualization": Entry(
            "the CPU's hardware virtualisation is not usable (is it on in the firmware?)",
            "`sysctl hw.vmm`, `dmesg | grep -E 'VT-x|SVM'`",
            "VT-x or AMD-V on in the firmware",
        ),
        "unrestricted-guest": Entry(
            "the CPU cannot run guests that begin in real mode",
            "`sysctl hw.vmm.vmx.cap.unrestricted_guest`",
            "a newer CPU; until then guests without firmware (bhyveload)",
        ),
        "ppt-device": Entry(
            "no PCI device is set aside for guests (pptdevs in loader.conf)",
            "`pciconf -l | grep ppt`",
            '`pptdevs="BUS/SLOT/FUNCTION"` in `/boot/loader.conf`, reboot',
        ),
        "dev-cam-ctl": Entry("there is no /dev/cam/ctl", "`ls -l /dev/cam/ctl`", "`kldload ctl`"),
        "bhyve-device:{}": Entry("this bhyve has no device {}", "`bhyve -s help`", _BSD_NEWER),
        "bhyve-lpc:{}": Entry("this bhyve has no LPC device {}", "`bhyve -l help`", _BSD_NEWER),
        "bhyve-tpm:{}": Entry("this bhyve has no TPM backend {}", "`bhyve -l help`", _BSD_NEWER),
        "bhyve-option:{}": Entry("this bhyve has no option -{}", "`bhyve -h`", _BSD_NEWER),
        "bhyve:{}": Entry("this bhyve cannot do {}", "`bhyve -h`, `bhyve -s help`", "nothing: no bhyve known here can"),
    },
    "Other guests": {
        "machine:{}": Entry(
            "only for machines of the kind {}", "the label `machine`", "nothing: define the guest with such a machine"
        ),
        "machine:ide": Entry(
            "this machine has no IDE controller", "the label `machine`", "nothing: `pc` has one; `sata` does on `q35`"
        ),
        "machine:not-pseries": Entry("the pseries machine has no floppy controller", "the label `machine`", "nothing"),
        "arch:{}": Entry("only for guests of the architecture {}", "the label `arch`", _OWN),
    },
}
"""Chapter → name → entry. Of several names with a `{}` that fit, the longest holds."""

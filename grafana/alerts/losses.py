"""The kinds of losses that have an alert of their own: which losses they are, how bad, and what to look at first. Data.

A loss is of the first kind that claims it; `other` claims the rest. `claim` is PromQL over `domcaps:lost`.
"""

from __future__ import annotations

from dataclasses import dataclass

CRITICAL, WARNING, INFO = "critical", "warning", "info"

SECURITY = """spec-ctrl ibrs ibpb stibp ssbd amd-ssbd amd-stibp virt-ssbd amd-no-ssb md-clear arch-capabilities mds-no taa-no
tsx-ctrl flush-l1d fb-clear rfds-no its-no tsa-l1-no smep smap umip pku aes rdrand rdseed sha-ni""".split()
"""CPU features whose loss leaves guests open to attacks or without the instructions of cryptography. What else the exporter tells
of the host's CPU matters to live migration."""

_FIRMWARE = 'element=~"os|loader|firmwareFeatures|varstore"'
_UEFI = 'domcaps:lost{element="os",enum="firmware",value="efi"}'
_SECURE_BOOT = 'domcaps:lost{element=~"loader|firmwareFeatures",enum=~"secure|secureBoot|enrolledKeys",value="yes"}'
_FEATURE = 'element="cpu",enum="feature"'


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `what` follows "HOST lost "; `names`: the summary says which; `check` is a sentence."""

    name: str
    alert: str
    severity: str
    what: str
    claim: str
    check: str
    names: bool = False


KINDS = (
    Kind(
        "kvm",
        "DomcapsKvmLost",
        CRITICAL,
        "KVM",
        'domcaps:lost{element="guest",virttype="kvm"}',
        "`ls -l /dev/kvm` on the host, and `dmesg | grep -i kvm`: module, firmware setting, and who may open it.",
    ),
    Kind(
        "guest",
        "DomcapsGuestLost",
        CRITICAL,
        "guests of a whole kind",
        'domcaps:lost{element="guest",virttype!="kvm"}',
        "is the emulator or hypervisor still installed and running? `domcaps-exporter show` on the host says what is asked.",
    ),
    Kind(
        "vfio",
        "DomcapsVfioLost",
        CRITICAL,
        "PCI passthrough (VFIO)",
        'domcaps:lost{element="hostdev",enum=~"pciBackend|iommufd|subsysType",value!~"usb|scsi"}',
        "`ls /sys/kernel/iommu_groups /dev/vfio` on the host, and `cat /proc/cmdline`: is the IOMMU on?",
    ),
    Kind(
        "uefi",
        "DomcapsUefiLost",
        CRITICAL,
        "UEFI",
        f"{_UEFI}\nor (domcaps:lost{{{_FIRMWARE}}} and on (instance, job) {_UEFI})",
        "`ls /usr/share/qemu/firmware` on the host, and the files that the descriptors name: was OVMF (edk2) removed or replaced?",
    ),
    Kind(
        "secure-boot",
        "DomcapsSecureBootLost",
        CRITICAL,
        "secure boot",
        f"domcaps:lost{{{_FIRMWARE}}} and on (instance, job) {_SECURE_BOOT}",
        "is there still a descriptor with `secure-boot` in /usr/share/qemu/firmware, and the file that it names?",
    ),
    Kind(
        "firmware",
        "DomcapsFirmwareMissing",
        WARNING,
        "a firmware",
        f"domcaps:lost{{{_FIRMWARE}}}",
        "does the file exist that the descriptor in /usr/share/qemu/firmware names? Is its package whole (`dpkg -V`, `rpm -V`)?",
    ),
    Kind(
        "tpm",
        "DomcapsTpmLost",
        WARNING,
        "emulated TPMs",
        'domcaps:lost{element="tpm",value!="passthrough"}',
        "`swtpm_setup --print-capabilities` on the host: is swtpm installed, and does it start?",
    ),
    Kind(
        "virtiofs",
        "DomcapsVirtiofsLost",
        WARNING,
        "virtiofs",
        'domcaps:lost{element="filesystem",enum="driverType",value="virtiofs"}',
        "is virtiofsd installed, and does /usr/share/qemu/vhost-user name the path where it lies?",
    ),
    Kind(
        "confidential",
        "DomcapsConfidentialLost",
        CRITICAL,
        "confidential guests (SEV, TDX, SGX, Secure Execution)",
        'domcaps:lost{element=~"sev|sgx|tdx|s390-pv|launchSecurity"}',
        "`dmesg | grep -iE 'sev|tdx|sgx'` on the host, and its firmware setup: an update often resets it.",
    ),
    Kind(
        "cpu-model",
        "DomcapsCpuModelUnusable",
        WARNING,
        "CPU models",
        'domcaps:lost{element="cpu",enum="model"}',
        "was there new microcode, a kernel or a firmware? The features named block the models; guests with them cannot move here.",
        names=True,
    ),
    Kind(
        "cpu-security",
        "DomcapsCpuSecurityFeatureLost",
        CRITICAL,
        "CPU features that security hangs on",
        f'domcaps:lost{{{_FEATURE},value=~"{"|".join(SECURITY)}"}}',
        "`lscpu` and /sys/devices/system/cpu/vulnerabilities on the host: microcode, kernel command line, firmware setup.",
        names=True,
    ),
    Kind(
        "cpu-feature",
        "DomcapsCpuFeatureLost",
        WARNING,
        "CPU features that migration hangs on",
        f'domcaps:lost{{{_FEATURE},value!~"{"|".join(SECURITY)}"}}',
        "`lscpu` here and on a host that still has it: microcode, kernel, firmware setup. Guests that use it cannot move here.",
        names=True,
    ),
    Kind(
        "other",
        "DomcapsCapabilityLost",
        WARNING,
        "something that guests could have",
        "domcaps:lost",
        "`domcaps-exporter show` on the host says what each value lacks; package logs say what changed when it was lost.",
        names=True,
    ),
)

"""The capabilities in the matrix of hosts: what is asked of each host, in the order of the columns. Data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capability:
    """A column. A host has it where one of the series of `metric` with these `labels` is 1.

    `lost` are the labels of its loss, where they are others.
    """

    name: str
    label: str
    labels: str
    metric: str = "domcaps_supported"
    lost: str = ""


def _element(name: str, label: str) -> Capability:
    return Capability(name, label, f'element="{name}"', "domcaps_element_supported", f'element="{name}",enum=""')


CAPABILITIES = (
    Capability("guests", "KVM / Xen / bhyve", 'virttype!="qemu"', "domcaps_guest_supported", 'element="guest",virttype!="qemu"'),
    Capability("host-passthrough", "host-passthrough", 'element="cpu",enum="mode",value="host-passthrough"'),
    Capability(
        "nested",
        "Nested guests",
        'virttype!="qemu",feature=~"svm|vmx"',
        "domcaps_cpu_host_feature",
        'virttype!="qemu",element="cpu",enum="feature",value=~"svm|vmx"',
    ),
    Capability("vfio", "VFIO", 'element="hostdev",enum="pciBackend",value=~"vfio|xen"'),
    Capability("iommufd", "IOMMUFD", 'element="hostdev",enum="iommufd",value="yes"'),
    Capability("uefi", "UEFI", 'element="os",enum="firmware",value="efi"'),
    Capability("secure-boot", "Secure boot", 'element="loader",enum="secure",value="yes"'),
    Capability("tpm", "Emulated TPM", 'element="tpm",enum="backendModel",value="emulator"'),
    Capability("virtiofs", "virtiofs", 'element="filesystem",enum="driverType",value="virtiofs"'),
    Capability("passt", "passt", 'element="interface",enum="backendType",value="passt"'),
    _element("sev", "SEV"),
    Capability("sev-snp", "SEV-SNP", 'element="launchSecurity",enum="sectype",value="sev-snp"'),
    _element("tdx", "TDX"),
    _element("sgx", "SGX"),
)

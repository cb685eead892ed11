"""What is shared about libvirt: which one a host has, the newest that tables know, its machines' names, its URIs. Pure."""

from __future__ import annotations

import re

from domcaps_exporter.addresses import without_password
from domcaps_exporter.model import question
from domcaps_exporter.rules import Version
from domcaps_exporter.view import View

NEWEST: Version = (12, 8)
"""The newest libvirt whose words the tables know: the profile where no libvirt is installed."""

STABLE = {
    "x86_64": "q35",
    "i686": "q35",
    "aarch64": "virt",
    "armv7l": "virt",
    "riscv32": "virt",
    "riscv64": "virt",
    "loongarch64": "virt",
    "s390x": "s390-ccw-virtio",
    "ppc64": "pseries",
    "ppc64le": "pseries",
}
"""libvirt's arch → the QEMU machine that is asked about by default: what new guests get from management software."""

_VERSIONED = re.compile(r"-[0-9]+(\.[0-9]+)*$")
_ALIASES = {"pc-q35": "q35", "pc-i440fx": "pc"}

_SONAME = re.compile(r"libvirt\.so\.0\.(\d+)\.\d+$")
_TRIPLETS = {"i686": "i386-linux-gnu", "ppc64le": "powerpc64le-linux-gnu", "armv7l": "arm-linux-gnueabihf"}
"""libvirt's arch → Debian's folder for it in /usr/lib, where it does not follow from the name."""


def installed(view: View, arch: str) -> Version | None:
    """The installed libvirt's version, read off its library (`libvirt.so.0.11003.0` is 11.3.0); None without one."""
    for folder in (f"/usr/lib/{_TRIPLETS.get(arch, f'{arch}-linux-gnu')}", "/usr/lib64", "/usr/lib"):
        found = _SONAME.search(view.path(question("resolve", f"{folder}/libvirt.so.0")) or "")
        if found is not None:
            return int(found[1]) // 1000, int(found[1]) % 1000
    return None


def insist_on_no_password(uri: str) -> None:
    """libvirt takes none from a URI: it is a mistake, but none for a log.

    Raises:
        ValueError: there is one; the message has it not.
    """
    shown = without_password(uri)
    if shown != uri:
        raise ValueError(f"found a password in {shown}, expected none: libvirt takes it from its auth.conf")


def said(told: str) -> str:
    """libvirt's own of what virsh prints, in one line: what failed, and after a colon why."""
    return ": ".join(filter(None, (" ".join(line.replace("error: ", "").split()) for line in told.splitlines())))


def stable(machine: str) -> str:
    """The name that means one version of this machine: `q35` of `pc-q35-7.2`, `virt` of `virt-10.0`."""
    family = _VERSIONED.sub("", machine)
    return _ALIASES.get(family, family)

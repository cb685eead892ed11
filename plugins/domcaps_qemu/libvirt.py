"""Which libvirt a host has: whose words its XML is written in, and where its CPU map lies. Pure."""

from __future__ import annotations

import re

from domcaps_exporter import question
from domcaps_exporter.rules import Version, View

_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/libvirt.so.0",
    "/usr/lib/aarch64-linux-gnu/libvirt.so.0",
    "/usr/lib/riscv64-linux-gnu/libvirt.so.0",
    "/usr/lib/powerpc64le-linux-gnu/libvirt.so.0",
    "/usr/lib/s390x-linux-gnu/libvirt.so.0",
    "/usr/lib64/libvirt.so.0",
    "/usr/lib/libvirt.so.0",
)
_SONAME = re.compile(r"libvirt\.so\.0\.(\d+)\.\d+$")


def installed(view: View) -> Version | None:
    """The installed libvirt's version, read off its library (`libvirt.so.0.11003.0` is 11.3.0); None without one."""
    for library in _LIBRARIES:
        found = _SONAME.search(view.text(question("resolve", library)) or "")
        if found is not None:
            return int(found[1]) // 1000, int(found[1]) % 1000
    return None

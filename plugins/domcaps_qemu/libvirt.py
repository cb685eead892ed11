"""Which libvirt a host has: whose words its XML is written in, and where its CPU map lies. Pure."""

from __future__ import annotations

import re

from domcaps_exporter import question
from domcaps_exporter.rules import Version, View

_SONAME = re.compile(r"libvirt\.so\.0\.(\d+)\.\d+$")


LIBRARY_FOLDERS = ("/usr/lib/{arch}-linux-gnu", "/usr/lib64", "/usr/lib")
"""Where distributions put libraries; Debian by architecture."""

_GNU = {"i686": "i386", "ppc64le": "powerpc64le", "armv7l": "arm"}


def installed(view: View, arch: str) -> Version | None:
    """The installed libvirt's version, read off its library (`libvirt.so.0.11003.0` is 11.3.0); None without one."""
    for folder in LIBRARY_FOLDERS:
        found = _SONAME.search(view.text(question("resolve", f"{folder.format(arch=_GNU.get(arch, arch))}/libvirt.so.0")) or "")
        if found is not None:
            return int(found[1]) // 1000, int(found[1]) % 1000
    return None

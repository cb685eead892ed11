"""libvirt-python in a process of its own, which can be killed; libvirt's calls cannot be ended otherwise. Run, never imported.

`bindings.py FOLDER URI CALLS`: FOLDER is where libvirt.py is (empty: this Python knows it), CALLS a JSON array of
`["capabilities"]` and `["domcapabilities", emulator, arch, machine, virttype]`, an empty string being libvirt's own choice. Writes
a JSON array of `[xml, ""]` or `[null, what libvirt said]`. Where libvirt cannot be reached it says so on stderr, as virsh does.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

METHODS = {"capabilities": "getCapabilities", "domcapabilities": "getDomainCapabilities"}


def answers(folder: str, uri: str, calls: list[list[str]]) -> list[tuple[str | None, str]]:
    """Every call's answer, over one connection that may be written to: libvirt asks for that."""
    sys.path += [folder] if folder else []
    libvirt = _bindings()
    libvirt.registerErrorHandler(_silent, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        sys.exit(f"error: failed to connect to the hypervisor\nerror: {error}")
    return [_answer(libvirt, getattr(connection, METHODS[name]), words) for name, *words in calls]


def _bindings() -> Any:  # the module has no types
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        sys.exit(f"error: {sys.executable} has no libvirt-python: {error}")


def _silent(*_: object) -> None:
    """libvirt's errors come as exceptions; they need not be printed besides."""


def _answer(libvirt: Any, call: Any, words: list[str]) -> tuple[str | None, str]:
    try:
        return call(*(word or None for word in words)), ""
    except libvirt.libvirtError as error:
        return None, f"error: {error}"


if __name__ == "__main__":
    json.dump(answers(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])), sys.stdout)

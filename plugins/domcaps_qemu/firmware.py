"""Firmware descriptors (QEMU's docs/interop/firmware.json) as libvirt chooses among them. Pure.

Folders are searched in order, a later one wins by file name, an empty file masks; descriptors are processed in the order of their
file names, and one that libvirt cannot read is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from domcaps_exporter import Refusal, Truth, question
from domcaps_exporter.qmp import Object, listing, objects, text
from domcaps_exporter.rules import Version
from domcaps_exporter.view import View, all_known, any_known

FOLDERS = ("/usr/share/qemu/firmware", "/etc/qemu/firmware")
"""Where a system's libvirt looks; later wins."""

FALLBACK = (
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/OVMF/OVMF_CODE.secboot.fd",
    "/usr/share/AAVMF/AAVMF_CODE.fd",
    "/usr/share/AAVMF/AAVMF32_CODE.fd",
)
"""libvirt's built-in list, used where no descriptor gives a path."""

_ARCHES = {"i386": "i686", "arm": "armv7l"}
_INTERFACES = frozenset(("bios", "openfirmware", "uboot", "uefi"))
_MODES = frozenset(("split", "combined", "stateless"))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One firmware. `loader` is the path libvirt lists; `files` is all that must be there for a guest to start.

    `variables`: it keeps its variables in a device of QEMU's (`uefi-vars`) rather than in flash; None where it says so wrongly.
    """

    interfaces: frozenset[str]
    features: frozenset[str]
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    device: str
    loader: str | None
    files: tuple[str, ...]
    variables: Truth

    def matches(self, arch: str, machine: str) -> bool:
        """Is it meant for this guest?"""
        return any(arch == one and any(_glob(pattern).match(machine) for pattern in globs) for one, globs in self.targets)


def read(data: bytes) -> tuple[Descriptor, ...]:
    """The descriptor in a file; none for an empty file or one that libvirt passes over."""
    try:
        parsed = json.loads(data)
        device, (loader, files, variables) = text(parsed["mapping"]["device"]), _mapping(parsed["mapping"])
        interfaces = frozenset(map(text, listing(parsed["interface-types"])))
        targets = tuple(map(_target, objects(parsed["targets"])))
        features = frozenset(map(text, listing(parsed["features"])))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()
    return (Descriptor(interfaces, features, targets, device, loader, files, variables),) if interfaces <= _INTERFACES else ()


def _target(target: Object) -> tuple[str, tuple[str, ...]]:
    return _arch(text(target["architecture"])), tuple(map(text, listing(target["machines"])))


def _mapping(mapping: dict[str, Any]) -> tuple[str | None, tuple[str, ...], Truth]:
    """Listed path, needed files, and whether the variables are QEMU's to keep."""
    match mapping["device"]:
        case "flash":
            return _flash(mapping, text(mapping.get("mode", "split")))
        case "kernel":
            return None, (text(mapping["filename"]),), False
        case "memory":
            template = mapping["uefi-vars"].get("template") if "uefi-vars" in mapping else ""
            files = (text(mapping["filename"]), *((template,) if template and isinstance(template, str) else ()))
            return files[0], files, "uefi-vars" in mapping if isinstance(template, str) else None
    raise ValueError(f"unknown device {mapping['device']!r}")


def _flash(mapping: dict[str, Any], mode: str) -> tuple[str, tuple[str, ...], bool]:
    if mode not in _MODES:
        raise ValueError(f"unknown flash mode {mode!r}")
    parts = [mapping["executable"], *([mapping["nvram-template"]] if mode == "split" else [])]
    files = tuple(text(part["filename"]) for part in parts if text(part["format"]))
    return files[0], files, False


_TARGETS = frozenset(
    """aarch64 alpha arm armeb armv6l armv7b armv7l cris i386 i686 itanium lm32 loongarch64 m68k microblaze microblazeel mips
    mips64 mips64el mipsel or32 parisc parisc64 ppc ppc64 ppc64le ppcemb riscv32 riscv64 s390 s390x sh4 sh4eb sparc sparc64
    unicore32 x86_64 xtensa xtensaeb""".split()
)


def _arch(name: str) -> str:
    if name not in _TARGETS:
        raise ValueError(f"unknown architecture {name!r}")
    return _ARCHES.get(name, name)


@cache
def _glob(pattern: str) -> re.Pattern[str]:
    """libvirt globs with `*` and `?` only: a bracket is a bracket."""
    return re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern) + r"\Z")


class Descriptors:
    """All descriptors of a host. `complete`: every folder and file could be read."""

    def __init__(self, found: tuple[Descriptor, ...], complete: bool) -> None:
        self.found, self.complete = found, complete
        self._meant: dict[tuple[str, str, bool], tuple[Descriptor, ...]] = {}

    def meant_for(self, arch: str, machine: str, profile: Version) -> tuple[Descriptor, ...]:
        """Those for such a guest which that libvirt reads.

        libvirt 12 no longer knows direct kernels as firmware, and refuses a store for variables without a template.
        """
        key = arch, machine, profile >= (12, 0)
        if key not in self._meant:
            read = (one for one in self.found if not key[2] or (one.device != "kernel" and one.variables is not None))
            self._meant[key] = tuple(one for one in read if one.matches(arch, machine))
        return self._meant[key]


class Firmware:
    """The descriptors of a host that are meant for one guest, and what they say. `descriptors`: those of the host."""

    def __init__(self, view: View, arch: str, machine: str, profile: Version, descriptors: Descriptors | None = None) -> None:
        self._view = view
        found = descriptors_of(view) if descriptors is None else descriptors
        self.matching, self.complete = found.meant_for(arch, machine, profile), found.complete

    @property
    def seen(self) -> tuple[tuple[Descriptor, ...], bool]:
        """All that its answers hang on, beside the files that descriptors name."""
        return self.matching, self.complete

    def offers(self, interface: str, *features: str) -> Truth:
        """Is there a descriptor of this interface with all these features?"""
        return self._decided([True for _ in self._of(interface, features)])

    def whole(self, interface: str, *features: str) -> Truth:
        """Is there one whose files are all there?"""
        return self._all_there(self._of(interface, features))

    def feature(self, name: str, *, there: bool) -> Truth:
        """Is there a descriptor, of any interface, with this feature (or without it)?"""
        return self._decided([True for one in self.matching if (name in one.features) is there])

    def feature_whole(self, name: str, *, there: bool) -> Truth:
        """Is there such a one whose files are all there?"""
        return self._all_there([one for one in self.matching if (name in one.features) is there])

    def variables(self) -> Truth:
        """Is there one whose variables QEMU keeps?"""
        return self._decided([True for one in self.matching if one.variables is True])

    def listed(self) -> tuple[str, ...]:
        """The loader paths that libvirt lists: those of the descriptors, else of its built-in list, that are there."""
        return tuple(path for path in self._paths() if self._there(path) is True)

    def present(self) -> tuple[tuple[str, bool], ...]:
        """Each path that libvirt looks at, with whether it is there; those that nobody may look at are left out."""
        judged = ((path, self._there(path)) for path in self._paths())
        return tuple((path, there) for path, there in judged if there is not None)

    def _paths(self) -> tuple[str, ...]:
        own = tuple(dict.fromkeys(one.loader for one in self.matching if one.loader is not None))
        there = [self._there(path) for path in own]
        # libvirt falls back also where descriptors match and none of their files is there
        return own if True in there else tuple(dict.fromkeys((*own, *FALLBACK)))

    def _of(self, interface: str, features: Iterable[str]) -> list[Descriptor]:
        return [one for one in self.matching if interface in one.interfaces and set(features) <= one.features]

    def _all_there(self, matching: list[Descriptor]) -> Truth:
        """Where no descriptor matches, that is the reason, and there are no files to miss."""
        return self._decided([all_known([self._is_file(file) for file in one.files]) for one in matching]) if matching else None

    def _decided(self, judged: list[Truth]) -> Truth:
        return any_known(judged if self.complete else [*judged, None])

    def _is_file(self, path: str) -> Truth:
        """libvirt is content with a folder by that name, QEMU is not."""
        return False if self._view.text(question("exists", path)) == "directory" else self._there(path)

    def _there(self, path: str) -> Truth:
        return self._view.there(question("exists", path))


def descriptors_of(view: View) -> Descriptors:
    """All descriptors of a host in the order of their names; the very same while their files are."""
    return view.memo("descriptors", lambda: _descriptors(view))


def _descriptors(view: View) -> Descriptors:
    files: dict[str, str] = {}
    complete = True
    for folder in FOLDERS:
        entries = view.entries(question("list", folder))
        complete = complete and entries is not None
        files |= {name: f"{folder}/{name}" for name in entries or () if not name.startswith(".")}
    forms = [view.form(question("read", files[name]), read) for name in sorted(files)]
    for file in {file for form in forms if isinstance(form, tuple) for one in form for file in one.files}:
        view.there(question("exists", file))  # which of them matter hangs on the machine: to look at all saves a round
    complete = complete and not any(form is None or (isinstance(form, Refusal) and form.why != "absent") for form in forms)
    return Descriptors(tuple(one for form in forms if isinstance(form, tuple) for one in form), complete)

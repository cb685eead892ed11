"""The driver's section of the configuration, checked. Pure.

drivers:
  libvirt:
    uris: [qemu:///system]       # this host's, one per hypervisor; without them the driver is off
    archs: [x86_64, aarch64]     # or [all]; default: the host's own
    machines: [q35, pc]          # or [all]; default: the one that new guests get, for Xen every one
    virttypes: [kvm, qemu]       # default: kvm, and qemu where libvirt offers no kvm; for Xen and bhyve theirs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from domcaps_exporter import SettingError
from domcaps_exporter.libvirt import insist_on_no_password

ALL = "all"
KEYS = ("uris", "archs", "machines", "virttypes")
"""What the section may hold."""

_URI = re.compile(r"([a-z][a-z0-9]*)(\+[a-z0-9]+)?://[!-~]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which libvirts to ask, and about which guests. Empty means the default; `(ALL,)` everything that libvirt offers."""

    uris: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    virttypes: tuple[str, ...] = ()


def wanted(section: Mapping[str, object]) -> Wanted:
    """Read the section.

    Raises:
        SettingError: an unknown key, a wrong type, a word that means nothing, or two libvirts whose answers would be one.
    """
    for key in section:
        if key not in KEYS:
            raise SettingError(str(key), f"no such key; allowed: {', '.join(KEYS)}")
    _insist_on_no_password(section.get("uris"))
    uris = _list("uris", section, _URI, "a libvirt URI such as qemu:///system")
    _insist_on_one_each(uris)
    archs, machines, virttypes = (_list(key, section, _WORD, "a name") for key in KEYS[1:])
    return Wanted(uris, archs, machines, virttypes)


def hypervisor(uri: str) -> str:
    """Whose URI it is: `qemu` of `qemu+ssh://there/system`."""
    return re.split(r"[+:]", uri, maxsplit=1)[0]


def _list(key: str, section: Mapping[str, object], form: re.Pattern[str], expected: str) -> tuple[str, ...]:
    found = section.get(key, [])
    if not isinstance(found, list):
        raise SettingError.of(key, found, "expected a list")
    for word in found:
        if not isinstance(word, str) or not form.fullmatch(word):
            raise SettingError.of(key, word, f"expected {expected}")
    return tuple(dict.fromkeys(found))


def _insist_on_no_password(uris: object) -> None:
    for uri in uris if isinstance(uris, list) else [uris]:
        if isinstance(uri, str):
            try:
                insist_on_no_password(uri)
            except ValueError as error:
                raise SettingError("uris", str(error)) from error


def _insist_on_one_each(uris: tuple[str, ...]) -> None:
    """Nothing in a series says which host it is about, so the answers of two libvirts of one kind would be the same series."""
    for number, uri in enumerate(uris):
        twin = next((other for other in uris[:number] if hypervisor(other) == hypervisor(uri)), None)
        if twin is not None:
            raise SettingError("uris", f"found {twin} and {uri}, expected one per hypervisor: other hosts belong under targets")

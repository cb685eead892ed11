"""The Xen that a host runs on, and whether this is the domain that controls it. Pure.

Everybody may read /proc/xen/capabilities and /sys/hypervisor. What IOMMU there is, only `xl info` tells, and only to those who may
open the hypervisor's device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from domcaps_exporter import Question, Truth, UnreadableAnswer, question
from domcaps_exporter.view import View, any_known, presence_of

Guests: TypeAlias = frozenset[tuple[str, str]]
"""Kind (`xen`, `hvm`) and Xen's name of the architecture, as in `hvm-3.0-x86_32p`."""

PRIVILEGES = question("read", "/proc/xen/capabilities")
TYPE = question("read", "/sys/hypervisor/type")
FEATURES = question("read", "/sys/hypervisor/properties/features")
CAPABILITIES = question("read", "/sys/hypervisor/properties/capabilities")
PRIVCMD = ("/dev/xen/privcmd", "/proc/xen/privcmd")
"""The hypervisor's device; kernels before 3.3 have it in xenfs only."""

XL_SECONDS = "3"
"""What `xl info` may take: a hundred times what it does. While one hangs, the files still tell which Xen this is."""

_XL = ("/usr/sbin/xl", "/usr/local/sbin/xl")
_DOM0 = 1 << 11
"""XENFEAT_dom0 (Xen's public/features.h)."""
_WORDS = re.compile(r"[a-z0-9_\s]*")
_GUEST = re.compile(r"([a-z]+)-\d+\.\d+-(\w+)")
_DENIED = "<denied>"
_LINE = re.compile(r"^(\w+)[ \t]*:[ \t]?(.*)$", re.MULTILINE)
_ARCHS = {"i386": "i686", "i486": "i686", "i586": "i686", "amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """What Xen says of itself. None where nobody knows; `abilities` are the words of `virt_caps`, which only `xl info` tells."""

    version: str
    release: tuple[int, int] | None
    guests: Guests | None
    abilities: frozenset[str] | None


# ---- which domain is this? ---------------------------------------------------------------------------------------------------


def is_xen(view: View) -> Truth:
    """Does this kernel run on Xen?"""
    kind = view.answer(TYPE)
    told = kind.strip() == b"xen" if isinstance(kind, bytes) else presence_of(kind)
    return any_known([told, view.there(PRIVILEGES)])


def controls(view: View) -> Truth:
    """Is this the control domain? xenfs tells where it is mounted, else the features do that Xen offers this kernel."""
    privileged = view.form(PRIVILEGES, _privileged)
    features = view.form(FEATURES, _dom0)
    told = [form for form in (privileged, features) if isinstance(form, bool)]
    return told[0] if told else None


def _privileged(data: bytes) -> bool:
    words = data.decode("ascii")
    if not _WORDS.fullmatch(words):
        raise ValueError(f"{words[:60]!r} are no words")
    return words.startswith("control_d")


def _dom0(data: bytes) -> bool:
    return bool(int(data, 16) & _DOM0)


# ---- what does it say? -------------------------------------------------------------------------------------------------------


def arch_of(view: View) -> str | None:
    """The host's architecture in libvirt's name, None while nobody knows."""
    told = (view.text(question("uname")) or "").split("\0")
    return _ARCHS.get(told[2], told[2]) if len(told) == 3 else None


def hypervisor(view: View) -> Hypervisor:
    """What `xl info` says where it may, else /sys/hypervisor."""
    mine = _from_sysfs(view)
    asked = xl_info(view)
    told = view.form(asked, _info) if asked is not None else None
    if asked is None or not isinstance(told, Hypervisor):
        return mine
    return replace(told, guests=mine.guests if told.guests is None else told.guests, abilities=_told_abilities(view, asked))


def _told_abilities(view: View, asked: Question) -> frozenset[str] | None:
    """xl leaves out what the hypervisor would not tell it this time, and does not fail: without a line nobody knows, for now."""
    try:
        told = view.form(asked, _abilities)
    except UnreadableAnswer:
        return None
    return told if isinstance(told, frozenset) else None


def xl_info(view: View) -> Question | None:
    """The question that asks xl, where it is there and may open the hypervisor's device; it would fail at every scrape else."""
    found = view.path(question("which", "xl"))
    there = [path for path in _XL if view.there(question("exec", path)) is True]
    may = [view.text(question("access", path, "rw", "")) == "yes" for path in PRIVCMD]
    programs = [found, *there] if found else there
    return question("within", XL_SECONDS, programs[0], "info") if programs and any(may) else None


def _from_sysfs(view: View) -> Hypervisor:
    major, minor, extra = (view.text(question("read", f"/sys/hypervisor/version/{part}")) for part in ("major", "minor", "extra"))
    guests = view.form(CAPABILITIES, _guests_of_file)
    release = _release(major or "", minor or "")
    version = "" if release is None else f"{major}.{minor}{extra or ''}"
    return Hypervisor(version, release, guests[0] if isinstance(guests, tuple) else None, None)


def _info(data: bytes) -> Hypervisor:
    """`xl info`: a name, blanks, a colon and a text on each line."""
    fields = _fields(data)
    return Hypervisor(
        version=fields["xen_version"].strip(),
        release=_release(fields["xen_major"], fields["xen_minor"]),
        guests=_guests(fields["xen_caps"]),
        abilities=None,
    )


def _abilities(data: bytes) -> frozenset[str]:
    return frozenset(_fields(data)["virt_caps"].split())


def _fields(data: bytes) -> Mapping[str, str]:
    return dict(_LINE.findall(data.decode("utf-8", "replace")))


def _guests_of_file(data: bytes) -> tuple[Guests | None]:
    return (_guests(data.decode("ascii")),)


def _guests(text: str) -> Guests | None:
    """`xen-3.0-x86_64 hvm-3.0-x86_32 …`; None where Xen's security policy hides it."""
    words = text.split()
    if words == [_DENIED]:
        return None
    found = [match for match in map(_GUEST.fullmatch, words) if match is not None]
    if len(found) < len(words):
        raise ValueError(f"{text[:60]!r} are no kinds of guest")
    return frozenset((match[1], match[2]) for match in found)


def _release(major: str, minor: str) -> tuple[int, int] | None:
    return (int(major), int(minor)) if major.strip().isdecimal() and minor.strip().isdecimal() else None

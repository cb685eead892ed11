"""The driver's section of the configuration, checked. Pure.

drivers:
  xen:
    archs: [x86_64, i686]          # default: the host's own
    machines: [xenfv]              # default: xenpv, xenpvh and xenfv
    emulator: /usr/bin/qemu-system-x86_64      # what libvirt says in <path>, there or not
    loaders: [/usr/lib/xen/boot/hvmloader]     # what libvirt was built to say in <loader>; default: ovmf.bin and hvmloader there
    toolstack: /opt/xen/lib/xen    # the folder that holds Xen's boot/ and bin/; default: where distributions put it
    device_model: /opt/xen/bin/qemu-system-i386    # default: the toolstack's
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domcaps_exporter import SettingError

MACHINES = ("xenpv", "xenpvh", "xenfv")
"""The machines that libvirt's Xen driver knows, its default first."""

ARCHS = ("x86_64", "i686", "aarch64", "armv7l")

EMULATOR = "/usr/bin/qemu-system-x86_64"
"""What libvirt says of every Xen guest, on every architecture (libxlConnectGetDomainCapabilities)."""

LOADERS = ("/usr/lib/xen/boot/ovmf.bin", "/usr/lib/xen/boot/hvmloader")
"""What libvirt says where it was built without other folders: LIBXL_FIRMWARE_DIR."""

KEYS = ("archs", "machines", "emulator", "loaders", "toolstack", "device_model")
"""What the section may hold."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which guests to report on, what libvirt was built to say, and where things are. Empty means the default."""

    archs: tuple[str, ...] = ()
    machines: tuple[str, ...] = MACHINES
    emulator: str = EMULATOR
    loaders: tuple[str, ...] = LOADERS
    toolstack: str = ""
    device_model: str = ""
    profile: tuple[int, int] | None = None


def wanted(section: Mapping[str, object], profile: str = "auto") -> Wanted:
    """Read the section; `profile` is `auto` or a libvirt version.

    Raises:
        SettingError: an unknown key, a wrong type or a word that means nothing.
    """
    for key in section:
        if key not in KEYS:
            raise SettingError(str(key), f"no such key; allowed: {', '.join(KEYS)}")
    return Wanted(
        archs=_words(section, "archs", ARCHS),
        machines=_words(section, "machines", MACHINES) or MACHINES,
        emulator=_path(section, "emulator") or EMULATOR,
        loaders=_paths(section, "loaders") if "loaders" in section else LOADERS,
        toolstack=_path(section, "toolstack").rstrip("/"),
        device_model=_path(section, "device_model"),
        profile=_version(profile),
    )


def _version(profile: str) -> tuple[int, int] | None:
    if profile == "auto":
        return None
    major, _, minor = profile.partition(".")
    return int(major), int(minor or 0)


def _list(section: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = section.get(key, [])
    if not isinstance(found, list) or not all(isinstance(word, str) and word for word in found):
        raise SettingError.of(key, found, "expected a list of names")
    return tuple(dict.fromkeys(found))


def _words(section: Mapping[str, object], key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    words = _list(section, key)
    for word in words:
        if word not in allowed:
            raise SettingError.of(key, word, f"allowed are {', '.join(allowed)}")
    return words


def _paths(section: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(_absolute(key, path) for path in _list(section, key))


def _path(section: Mapping[str, object], key: str) -> str:
    return _absolute(key, section[key]) if key in section else ""


def _absolute(key: str, found: object) -> str:
    if not isinstance(found, str) or not found.startswith("/") or "\0" in found:
        raise SettingError.of(key, found, "expected an absolute path")
    return found

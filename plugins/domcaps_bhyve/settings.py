"""The driver's section of the configuration file, checked. Pure.

drivers:
  bhyve:
    emulator: /usr/sbin/bhyve                       # default: bhyve in PATH, else /usr/sbin/bhyve
    firmware_dir: /usr/local/share/uefi-firmware    # as in libvirt's bhyve.conf; this is the default
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domcaps_exporter import SettingError
from domcaps_exporter.rules import Version

FIRMWARE = "/usr/local/share/uefi-firmware"
"""Where the port edk2-bhyve installs to, and where libvirt looks unless its bhyve.conf says otherwise."""

KEYS = ("emulator", "firmware_dir")
"""What the section may hold."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user wants; an empty emulator means the default. `profile` is the libvirt whose XML is written."""

    emulator: str = ""
    firmware_dir: str = FIRMWARE
    profile: Version | None = None


def wanted(section: Mapping[str, object], profile: str) -> Wanted:
    """Read the section; `profile` is `auto` or a libvirt version.

    Raises:
        SettingError: an unknown key, or what is no absolute path.
    """
    for key in section:
        if key not in KEYS:
            raise SettingError(str(key), f"no such key; allowed: {', '.join(KEYS)}")
    return Wanted(_path("emulator", section, ""), _path("firmware_dir", section, FIRMWARE), _version(profile))


def _path(key: str, section: Mapping[str, object], default: str) -> str:
    found = section.get(key, default)
    if not isinstance(found, str) or (key in section and not found.startswith("/")) or "\0" in found:
        raise SettingError.of(key, found, "expected an absolute path")
    return found.rstrip("/") if len(found) > 1 else found


def _version(profile: str) -> Version | None:
    if profile == "auto":
        return None
    major, _, minor = profile.partition(".")
    return int(major), int(minor or 0)

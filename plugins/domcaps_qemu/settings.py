"""The driver's section of the configuration, checked. Pure.

drivers:
  qemu:
    archs: [x86_64, aarch64]     # or [all]; default: the host's own
    machines: [q35, pc]          # or [all], or a mapping arch → list; default: the one that new guests get
    virttypes: [kvm, qemu]       # default: kvm, and qemu where KVM does not work
    emulators: [/opt/qemu/bin/qemu-system-x86_64]
    guest_user: libvirt-qemu     # who runs guests; default: who libvirt's do, see guests.guest_user
    host_features: all           # every feature of the host CPU; default: those that security and migration hang on
    machine_types: true          # every machine type of an emulator, with alias, deprecation and vCPUs; default: false
    beyond: true                 # what libvirt's domain capabilities have no words for (vIOMMU, sound, vsock, …); default: false
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domcaps_exporter import SettingError

ALL = "all"

ARCHS = """x86_64 i686 aarch64 armv7l alpha hppa loongarch64 m68k microblaze microblazeel mips mips64 mips64el mipsel or1k ppc ppc64
riscv32 riscv64 rx s390x sh4 sh4eb sparc sparc64 tricore xtensa xtensaeb avr""".split()
"""The architectures that QEMU's system emulators are built for, in libvirt's names where it has one."""

VIRTTYPES = ("kvm", "qemu")

KEYS = ("archs", "machines", "virttypes", "emulators", "guest_user", "host_features", "machine_types", "beyond")
"""What the section may hold."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which guests to report on. Empty means the default; `machines` is by architecture, with "" for the host's own."""

    archs: tuple[str, ...] = ()
    machines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    virttypes: tuple[str, ...] = ()
    emulators: tuple[str, ...] = ()
    guest_user: str = ""
    profile: tuple[int, int] | None = None
    host_features: bool = False
    machine_types: bool = False
    beyond: bool = False


def wanted(section: Mapping[str, object], profile: str) -> Wanted:
    """Read the section; `profile` is `auto` or a libvirt version.

    Raises:
        SettingError: an unknown key, a wrong type or a word that means nothing.
    """
    for key in section:
        if key not in KEYS:
            raise SettingError(str(key), f"no such key; allowed: {', '.join(KEYS)}")
    archs = _words("archs", section.get("archs", []), (*ARCHS, ALL))
    user = section.get("guest_user", "")
    if not isinstance(user, str) or "/" in user:
        raise SettingError.of("guest_user", user, "expected a user's name")
    return Wanted(
        archs=tuple(ARCHS) if ALL in archs else archs,
        machines=_machines(section.get("machines", [])),
        virttypes=_words("virttypes", section.get("virttypes", []), VIRTTYPES),
        emulators=_paths(section.get("emulators", [])),
        guest_user=user,
        profile=_version(profile),
        host_features=_all(section.get("host_features")),
        machine_types=_switch("machine_types", section),
        beyond=_switch("beyond", section),
    )


def _switch(key: str, section: Mapping[str, object]) -> bool:
    found = section.get(key, False)
    if not isinstance(found, bool):
        raise SettingError.of(key, found, "expected true or false")
    return found


def _all(found: object) -> bool:
    if found not in (None, ALL):
        raise SettingError.of("host_features", found, f"expected {ALL!r}, or leave it out")
    return found == ALL


def _words(key: str, found: object, allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(word, str) and word for word in found):
        raise SettingError.of(key, found, "expected a list of names")
    for word in found:
        if allowed and word not in allowed:
            raise SettingError.of(key, word, f"allowed are {', '.join(allowed)}")
    return tuple(dict.fromkeys(found))


def _machines(found: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        names = _names("machines", found)
        return {"": names} if names else {}
    for arch in found:
        if arch not in ARCHS:
            raise SettingError("machines", f"found the architecture {arch!r}, allowed are {', '.join(ARCHS)}")
    return {str(arch): _names(f"machines.{arch}", names) for arch, names in found.items()}


def _names(key: str, found: object) -> tuple[str, ...]:
    """Whether there are such machines, only a host can say; what is a path or an address is none on any."""
    names = _words(key, found)
    for name in names:
        if "/" in name:
            raise SettingError.of(key, name, "expected a machine's name")
    return names


def _paths(found: object) -> tuple[str, ...]:
    paths = _words("emulators", found)
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise SettingError.of("emulators", path, "expected an absolute path")
    return paths


def _version(profile: str) -> tuple[int, int] | None:
    if profile == "auto":
        return None
    major, _, minor = profile.partition(".")
    return int(major), int(minor or 0)

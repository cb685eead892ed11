"""The machines that an emulator offers, and which one a name means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from domcaps_exporter.qmp import Object, flag, number, some, text
from domcaps_exporter.rules import Version


@dataclass(frozen=True, slots=True)
class Machine:
    """One entry of query-machines."""

    name: str
    alias: str | None
    cpu_max: int
    deprecated: bool
    default: bool


def machines(line: bytes) -> tuple[Machine, ...]:
    """query-machines in QEMU's order, without `none`, which no guest can have and every QEMU has."""
    return tuple(_machine(entry) for entry in some(line) if entry["name"] != "none")


def _machine(entry: Object) -> Machine:
    return Machine(
        text(entry["name"]),
        text(entry["alias"]) if "alias" in entry else None,
        number(entry.get("cpu-max", 0)),
        flag(entry.get("deprecated", False)),
        flag(entry.get("is-default", False)),
    )


PREFERRED = {
    "x86_64": "pc",
    "i686": "pc",
    "aarch64": "virt",
    "armv7l": "virt",
    "armv6l": "integratorcp",
    "loongarch64": "virt",
    "riscv32": "virt",
    "riscv64": "virt",
    "ppc64": "pseries",
    "ppc64le": "pseries",
    "ppc": "g3beige",
    "s390x": "s390-ccw-virtio",
    "sparc": "SS-5",
    "sparc64": "sun4u",
    "mips": "malta",
    "mipsel": "malta",
    "mips64": "malta",
    "mips64el": "malta",
    "m68k": "mcf5208evb",
    "alpha": "clipper",
    "cris": "axis-dev88",
    "lm32": "lm32-evr",
    "microblaze": "petalogix-s3adsp1800",
    "microblazeel": "petalogix-s3adsp1800",
    "or32": "or1k-sim",
    "ppcemb": "bamboo",
    "sh4": "shix",
    "sh4eb": "shix",
    "unicore32": "puv3",
    "xtensa": "sim",
    "xtensaeb": "sim",
}
"""libvirt's preferred machine per architecture (virQEMUCapsGetPreferredMachineType)."""

_PREFERRED_9 = {
    "aarch64": "integratorcp",
    "armv7l": "integratorcp",
    "riscv32": "spike_v1.10",
    "riscv64": "spike_v1.10",
    "loongarch64": "",
}
"""What libvirt 9.0 preferred instead."""


def preferred(arch: str, profile: Version) -> str:
    """The machine that this libvirt prefers for an architecture; empty where it prefers none."""
    older = _PREFERRED_9 if profile < (10, 2) else {}
    return older.get(arch, PREFERRED.get(arch, ""))


def named(offered: Sequence[Machine], name: str) -> Machine | None:
    """The machine that goes by this name or alias; an alias wins, as in libvirt."""
    by_alias = next((machine for machine in offered if machine.alias == name), None)
    return by_alias or next((machine for machine in offered if machine.name == name), None)


def misnamed(offered: Sequence[Machine], name: str, emulator: str) -> tuple[str, ...]:
    """What there is to say, if so, of a name that was asked for and no machine has."""
    if named(offered, name) is not None:
        return ()
    names = dict.fromkeys(word for machine in offered for word in (machine.alias, machine.name) if word)
    near = get_close_matches(name, names, 3)
    advice = f"did you mean {' or '.join(near)}?" if near else f"{emulator} -machine help lists what it has"
    return (f"machines: found {name!r}, which {emulator} does not have; {advice}",)


def default(offered: Sequence[Machine], arch: str, profile: Version) -> Machine | None:
    """The machine that libvirt takes where none is named: its preferred one, else QEMU's default, else the first."""
    favourite = named(offered, preferred(arch, profile))
    fallback = next((machine for machine in offered if machine.default), offered[0] if offered else None)
    return favourite or fallback

"""QEMU's CPU models in libvirt's words: the mode `custom`, from a reply to query-cpu-definitions. Pure; no host's own model.

What differs between libvirts stands in the table of versions below; 9.0, 11.3 and 12.8 are known by their sources or programs, and
versions between them by their release notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from domcaps_exporter.model import CpuModel, Truth
from domcaps_exporter.rules import Version
from domcaps_qemu.cpu_map import FAMILIES, CpuMap
from domcaps_qemu.vendors import makers

BLOCKERS: Version = (10, 9)
"""Since then `<blockers>` are printed, and models are sorted by name; before, they come in QEMU's order."""
CANONICAL: Version = (10, 10)
"""Since then a short name says which versioned model it means."""
S390_VENDOR: Version = (10, 9)
"""Since then libvirt knows who makes s390's models (some time between 9.0 and 11.3)."""
LATER_NAMES: Version = (10, 1)
"""Since then the last four names are translated (some time between 9.0 and 11.3)."""

DRIVERS = frozenset(
    ("i686", "x86_64", "ppc64", "ppc64le", "s390", "s390x", "armv6l", "armv7b", "armv7l", "aarch64", "riscv64", "loongarch64")
)
"""Architectures for which libvirt names CPU models at all: those of the drivers in its src/cpu."""

_SPELLINGS = {
    "cmp-legacy": "cmp_legacy",
    "ds-cpl": "ds_cpl",
    "fxsr-opt": "fxsr_opt",
    "kvm-pv-eoi": "kvm_pv_eoi",
    "kvm-pv-unhalt": "kvm_pv_unhalt",
    "lahf-lm": "lahf_lm",
    "nodeid-msr": "nodeid_msr",
    "pclmulqdq": "pclmuldq",
    "perfctr-core": "perfctr_core",
    "perfctr-nb": "perfctr_nb",
    "tsc-adjust": "tsc_adjust",
}
_LATER_SPELLINGS = {
    "vmx-invept-single-context-noglobals": "vmx-invvpid-single-context-noglobals",
    "hv-vendor-id": "hv-vendor_id",
    "hv-emsr-bitmap": "hv-emsr_bitmap",
    "hv-xmm-input": "hv-xmm_input",
}


@dataclass(frozen=True, slots=True)
class Definition:
    """What QEMU says of one model, in libvirt's spelling. `blockers` is None where QEMU does not say what is missing here."""

    name: str
    blockers: tuple[str, ...] | None = None
    deprecated: bool = False
    alias_of: str | None = None

    @property
    def usable(self) -> Truth:
        """Can a guest have it here?"""
        return None if self.blockers is None else not self.blockers


@cache
def spellings(arch: str, profile: Version) -> Mapping[str, str]:
    """QEMU's names of features → libvirt's, where they differ."""
    if FAMILIES.get(arch) != "x86":
        return {}
    return _SPELLINGS | _LATER_SPELLINGS if profile >= LATER_NAMES else _SPELLINGS


def spelling(arch: str, feature: str, profile: Version) -> str:
    """libvirt's name of a feature of QEMU's."""
    return spellings(arch, profile).get(feature, feature)


def read_definitions(
    reply: Iterable[Mapping[str, Any]], arch: str, cpu_map: CpuMap | None, profile: Version
) -> tuple[Definition, ...]:
    """What query-cpu-definitions returned, in its order; `arch` is the emulator's."""
    ppc = _known(arch, cpu_map, profile) if FAMILIES.get(arch) == "ppc64" else None
    upper = {name.lower(): name for name in ppc or ()}
    spelt = spellings(arch, profile)
    return tuple(_definition(entry, upper, spelt) for entry in reply)


def _definition(entry: Mapping[str, Any], upper: Mapping[str, str], spelt: Mapping[str, str]) -> Definition:
    name, missing = str(entry["name"]), entry.get("unavailable-features")
    return Definition(
        upper.get(name.lower(), name),
        None if missing is None else tuple(map(spelt.get, missing, missing)),
        bool(entry.get("deprecated", False)),
        entry.get("alias-of"),
    )


def custom_models(definitions: Iterable[Definition], arch: str, cpu_map: CpuMap | None, profile: Version) -> tuple[CpuModel, ...]:
    """The models that libvirt lists for guests of this architecture, in its order; none means that the mode is not supported.

    Without a map, the project's own table of names says which models libvirt knows: then a model that is newer than the table is
    missing.
    """
    if arch not in DRIVERS:
        return ()
    known = _known(arch, cpu_map, profile)
    listed = [one for one in definitions if _listed(one.name, known)]
    if profile >= BLOCKERS:
        listed.sort(key=lambda one: one.name)
    offered = {one.name for one in listed}
    return tuple(_model(one, arch, known, _canonical(one, cpu_map, offered), profile) for one in listed)


def _known(arch: str, cpu_map: CpuMap | None, profile: Version) -> Mapping[str, str | None] | None:
    """The models that libvirt knows, and their vendors; None where it takes whatever QEMU names."""
    if arch not in FAMILIES:
        return None
    if cpu_map is None:
        return makers(FAMILIES[arch], profile)
    return {name: model.vendor for name, model in cpu_map.models.items()}


def _listed(name: str, known: Mapping[str, str | None] | None) -> bool:
    return name != "host" and (known is None or name in known)


def _canonical(one: Definition, cpu_map: CpuMap | None, offered: set[str]) -> str | None:
    if cpu_map is not None:
        return cpu_map.canonical.get(one.name)
    return one.alias_of if one.alias_of in offered else None


def _model(one: Definition, arch: str, known: Mapping[str, str | None] | None, canonical: str | None, profile: Version) -> CpuModel:
    plain = CpuModel(
        one.name,
        {None: "unknown", True: "yes", False: "no"}[one.usable],
        "yes" if one.deprecated else None,
        _vendor(one.name, arch, known, profile) or "unknown",
        canonical if profile >= CANONICAL and FAMILIES.get(arch) == "x86" else None,
    )
    return replace(plain, blockers=tuple(sorted(set(one.blockers or ())))) if profile >= BLOCKERS else plain


def _vendor(name: str, arch: str, known: Mapping[str, str | None] | None, profile: Version) -> str | None:
    if arch in ("s390", "s390x"):
        return "IBM" if profile >= S390_VENDOR and name.startswith(("z", "gen")) else None
    return None if known is None else known.get(name)

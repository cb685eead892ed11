"""The mode `host-model`: the model, and the features more and less, by which libvirt describes this host's CPU to a guest. Pure.

QEMU says what the host's CPU offers under an accelerator (query-cpu-model-expansion). On s390 its answer is the description; on x86
libvirt looks for the model in its map that comes nearest, and where QEMU gives no answer it asks the CPU itself; on ppc64 it always
does. Other architectures have no host model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domcaps_exporter.model import CpuFeature, HostModel
from domcaps_exporter.rules import Version
from domcaps_qemu.cpu_map import Chip, CpuMap, MappedModel, Register
from domcaps_qemu.cpu_models import Definition, spelling

SORTED: Version = (12, 2)
"""Since then features are sorted by name (11.3 does not, 12.8 does, 12.2 began to work on them); before, they come as found."""

_ALL_REGISTERS: Version = (11, 3)
"""Since then (some time between 9.0 and 11.3) all registers of the map are read, before that one alone, of a CPU that has it."""
_ARCH_CAPABILITIES = 0x10A

_PENALTY = 2
"""What the first disabled feature of a candidate costs; each further one costs 1 more."""

_VENDOR_LENGTH = 12
_RANGE = 0xC0000000
"""The bits of a leaf that tell basic, extended and Centaur's apart; the first leaf of each range says in EAX which is its last."""
_COUNTED = frozenset({0x7, 0x14})
"""Leaves whose first subleaf says in EAX which is the last."""

_IGNORED: tuple[tuple[Version, tuple[str, ...]], ...] = (
    ((0, 0), ("cmt", "mbm_total", "mbm_local", "osxsave", "ospke")),
    ((11, 3), ("vmx-ept-uc", "vmx-ept-wb", "vmx-invvpid-single-context")),
    ((12, 8), ("ht", "cmp_legacy")),
)
"""Features of a real CPU that libvirts from that version leave out: QEMU has never had them, or has no more, or decides itself."""

_BROKEN_TSX = frozenset({(6, 60), (6, 69), (6, 70)})
"""Intel's families and models whose transactional memory does not work; of (6, 63), steppings below 4."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What is known of a CPU: bits of its features in the map's own layout, its vendor's name, and which chip it is."""

    bits: int
    vendor: str | None
    chip: Chip


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model of the map, and what must be added to it and taken from it to describe a processor."""

    model: MappedModel
    policies: tuple[tuple[str, str], ...]

    def cost(self) -> tuple[int, int]:
        """How far it is from the processor, altogether and by disabled features alone.

        libvirt lowers the bound of its counting loop at every disabled feature that it meets, so it overlooks as many entries at
        the end. Which model wins depends on that.
        """
        enabled, disabled, penalty, position = len(self.policies), 0, _PENALTY, 0
        while position < enabled:
            if self.policies[position][1] == "disable":
                enabled -= 1
                disabled += penalty
                penalty += 1
            position += 1
        return enabled + disabled, disabled


# ---- x86 ---------------------------------------------------------------------------------------------------------------------


def expanded(
    props: Mapping[str, Any], unmigratable: Mapping[str, Any] | None, arch: str, cpu_map: CpuMap, profile: Version
) -> Processor | None:
    """The processor that QEMU describes; None where its vendor makes no sense.

    `props` are the properties of the expanded model, `unmigratable` those with `migratable: false`: a feature that only the latter
    has is there all the same.
    """
    present = {name for name, value in props.items() if value is True}
    present |= {name for name, value in (unmigratable or {}).items() if value is True and props.get(name) is False}
    vendor = str(props.get("vendor", ""))
    if vendor and len(vendor) != _VENDOR_LENGTH:
        return None
    chip = Chip(*(int(props.get(name, 0)) for name in Chip._fields))
    return Processor(cpu_map.union(spelling(arch, name, profile) for name in present), cpu_map.vendor(vendor), chip)


def leaves_wanted(cpu_map: CpuMap) -> frozenset[tuple[int, int]]:
    """What `asked` makes use of: (leaf, subleaf) of every register in the map, of vendor and chip, and of what bounds them."""
    named = {(one.leaf, one.subleaf) for one in cpu_map.registers if one.space == "cpuid"}
    bounds = {(leaf & _RANGE, 0) for leaf, _ in named} | {(leaf, 0) for leaf, _ in named}
    return frozenset(named | bounds | {(0, 0), (1, 0)})


def msrs_wanted(leaves: Mapping[tuple[int, int], Sequence[int]], cpu_map: CpuMap, profile: Version) -> frozenset[int]:
    """Which registers libvirt reads of the processor behind these answers of CPUID, by index."""
    named = frozenset(one.leaf for one in cpu_map.registers if one.space == "msr")
    if profile >= _ALL_REGISTERS:
        return named
    has = cpu_map.union(["arch-capabilities"])
    return named & {_ARCH_CAPABILITIES} if has and asked(leaves, cpu_map, {}).bits & has == has else frozenset()


def asked(leaves: Mapping[tuple[int, int], Sequence[int]], cpu_map: CpuMap, msrs: Mapping[int, int]) -> Processor:
    """The processor behind CPUID's answers, (leaf, subleaf) → EAX, EBX, ECX, EDX, and its MSRs, index → 64 bits."""
    bits = 0
    for (leaf, subleaf), values in leaves.items():
        if _is_valid(leaf, subleaf, leaves):
            for name, value in zip(("eax", "ebx", "ecx", "edx"), values, strict=True):
                bits |= cpu_map.place(Register("cpuid", leaf, subleaf, name), value)
    for index, whole in msrs.items():
        bits |= cpu_map.place(Register("msr", index, 0, "eax"), whole)
        bits |= cpu_map.place(Register("msr", index, 0, "edx"), whole >> 32)
    _, ebx, ecx, edx = leaves.get((0, 0), (0, 0, 0, 0))
    string = b"".join(word.to_bytes(4, "little") for word in (ebx, edx, ecx)).decode("latin-1")
    return Processor(bits, cpu_map.vendor(string), _chip(leaves.get((1, 0), (0,))[0]))


def _is_valid(leaf: int, subleaf: int, leaves: Mapping[tuple[int, int], Sequence[int]]) -> bool:
    """Is it an answer? Beyond the highest leaf of a range, and the highest subleaf of some, processors say what they like."""
    last = leaves.get((leaf & _RANGE, 0), (leaf,))[0]
    last_below = leaves.get((leaf, 0), (subleaf,))[0] if leaf in _COUNTED else subleaf
    return leaf <= last and subleaf <= last_below


def _chip(signature: int) -> Chip:
    """CPUID leaf 1, EAX: extended family, extended model, family, model, stepping."""
    return Chip(
        (signature >> 20 & 0xFF) + (signature >> 8 & 0xF), (signature >> 12 & 0xF0) + (signature >> 4 & 0xF), signature & 0xF
    )


def host_model_x86(
    processor: Processor, definitions: Iterable[Definition], cpu_map: CpuMap, profile: Version, from_qemu: bool, msrs: bool = True
) -> HostModel | None:
    """The model that comes nearest to the processor, of those that QEMU has (`definitions`); None where it has none that fits.

    `from_qemu`: QEMU has described the processor, so nothing else may be put in the model's place. `msrs`: features that are told
    by model-specific registers count.
    """
    best = _nearest(_without_broken_tsx(processor, cpu_map), {one.name: one for one in definitions}, cpu_map)
    if best is None:
        return None
    ignored = frozenset() if from_qemu else frozenset(name for since, names in _IGNORED if since <= profile for name in names)
    told = (one for one in best.policies if one[0] not in ignored and (msrs or not cpu_map.is_msr(one[0])))
    features = (CpuFeature(name, policy) for name, policy in told)
    fallback = "forbid" if from_qemu else "allow"
    return HostModel(best.model.name, fallback, processor.vendor, features=_in_order(features, profile))


def _without_broken_tsx(processor: Processor, cpu_map: CpuMap) -> Processor:
    chip = processor.chip
    broken = chip[:2] in _BROKEN_TSX or (chip[:2] == (6, 63) and chip.stepping < 4)
    if processor.vendor != "Intel" or not broken:
        return processor
    return Processor(processor.bits & ~cpu_map.union(("hle", "rtm")), processor.vendor, chip)


def _nearest(processor: Processor, offered: Mapping[str, Definition], cpu_map: CpuMap) -> _Candidate | None:
    """The newest models come last in the map and are looked at first; a later one must be better, not as good."""
    best: _Candidate | None = None
    cost = (0, 0)
    for model in reversed(list(cpu_map.models.values())):
        if not model.guest or model.name not in offered or not _same(processor.vendor, model.vendor):
            continue
        meant = _meant(processor.chip, model) - _meant(processor.chip, best.model if best else None)
        if best is not None and (meant < 0 or (meant == 0 and _distance(processor, model, cpu_map) > cost[0])):
            continue
        candidate = _candidate(model, offered[model.name], processor, cpu_map)
        if best is None or meant > 0 or candidate.cost() < cost:
            best, cost = candidate, candidate.cost()
    return best


def _distance(processor: Processor, model: MappedModel, cpu_map: CpuMap) -> int:
    """What a model costs at least. Most are so far off that their features need not be spelt."""
    return cpu_map.fewest(processor.bits & ~model.bits) + cpu_map.fewest(model.bits & ~processor.bits)


def _same(vendor: str | None, other: str | None) -> bool:
    return vendor is None or other is None or vendor == other


def _meant(chip: Chip, model: MappedModel | None) -> int:
    """1 where the model stands for this very chip: that beats any likeness."""
    return int(model is not None and any(chip) and model.fits(chip))


def _candidate(model: MappedModel, offer: Definition, processor: Processor, cpu_map: CpuMap) -> _Candidate:
    more, less = processor.bits & ~model.bits, model.bits & ~processor.bits
    for blocker in offer.blockers or ():
        bits = cpu_map.union([blocker])
        if more & bits != bits:
            less |= bits
    policies = dict.fromkeys(cpu_map.spell(more), "require")
    for name in (*cpu_map.spell(less), *model.removed):
        policies.setdefault(name, "disable")
    return _Candidate(model, tuple(policies.items()))


# ---- s390 and ppc64 ----------------------------------------------------------------------------------------------------------


def host_model_s390(model: Mapping[str, Any], profile: Version) -> HostModel:
    """QEMU's own description: the expanded model's name, and each of its features."""
    switches = ((name, value) for name, value in (model.get("props") or {}).items() if isinstance(value, bool))
    features = (CpuFeature(name, "require" if on else "disable") for name, on in switches)
    return HostModel(str(model["name"]), "forbid", features=_in_order(features, profile))


def host_model_ppc64(pvr: int, definitions: Iterable[Definition], cpu_map: CpuMap) -> HostModel | None:
    """The model of a processor with this version register; None where libvirt or QEMU does not know it."""
    model = cpu_map.with_pvr(pvr)
    offered = {one.name for one in definitions}
    if model is None or (offered and model.name not in offered):
        return None
    return HostModel(model.name, "allow", model.vendor)


def _in_order(features: Iterable[CpuFeature], profile: Version) -> tuple[CpuFeature, ...]:
    return tuple(sorted(features, key=lambda feature: feature.name) if profile >= SORTED else features)

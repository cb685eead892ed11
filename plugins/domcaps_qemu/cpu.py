"""The `<cpu>` section of a guest on QEMU: libvirt's four modes in its order, and whether a guest can have them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domcaps_exporter.model import CpuMode, Enum, HostModel, Truth
from domcaps_exporter.rules import Version
from domcaps_qemu.cpu_map import FAMILIES, CpuMap
from domcaps_qemu.cpu_models import Definition, custom_models, read_definitions
from domcaps_qemu.host_model import asked, expanded, host_model_ppc64, host_model_s390, host_model_x86

PHYSICAL_ADDRESSES: Version = (9, 3)
"""Since then the host model says how many bits a physical address has (some time between 9.0 and 11.3)."""

PASSTHROUGH_ONLY = tuple(f"s390-ccw-virtio-2.{minor}" for minor in (4, 5, 6, 7))
"""s390's machines whose KVM guests can have the host's CPU and no other."""

Reply = Mapping[str, Any]
"""A `CpuModelInfo` of QMP: `name`, and `props` where there are any."""


@dataclass(frozen=True, slots=True)
class CpuFacts:
    """What decides the section.

    Attributes:
        arch: libvirt's name of the architecture that is asked for; `target`: the emulator's own.
        passthrough_only: is it a KVM guest on one of the machines named above?
        virttype: kvm, hvf or qemu; `native`: can this host's CPU run the emulator's code?
        definitions: query-cpu-definitions under this virttype's accelerator; empty where QEMU has none, None where nobody knows.
        expansion: the `model` of query-cpu-model-expansion: of `host` under the first launch, of `max` under a launch that must
            emulate; static, or on x86 without `unavailable_features` full of the static one. Empty where QEMU refused, None where
            nobody knows.
        unmigratable: the same asked with `migratable: false` (x86).
        knows_max: does any launch list a model named max? None where nobody knows.
        migratable: has the type max-x86_64-cpu or max-arm-cpu the property `migratable`?
        unavailable_features: has the type max-x86_64-cpu the property `unavailable-features`? The i386 emulator lacks the type.
        address_bits: physical address bits in /proc/cpuinfo, 0 where it does not say; None where nobody knows.
        leaves, msrs: the host's own CPUID, and registers; libvirt looks at them where QEMU does not answer (x86). `msrs` is None
            where nobody knows what they hold.
        pvr: the host's processor version register (ppc64).
    """

    arch: str
    target: str
    passthrough_only: bool
    virttype: str
    native: bool
    profile: Version
    cpu_map: CpuMap | None
    definitions: Sequence[Reply] | None
    expansion: Reply | None = None
    unmigratable: Reply | None = None
    knows_max: Truth = None
    migratable: Truth = None
    unavailable_features: Truth = True
    address_bits: int | None = None
    leaves: Mapping[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    msrs: Mapping[int, int] | None = field(default_factory=dict)
    pvr: int | None = None

    @property
    def accelerated(self) -> bool:
        return self.virttype != "qemu"


@dataclass(frozen=True, slots=True)
class CpuSection:
    """The modes in libvirt's order, and per mode the truth: can a guest have it? None where nobody knows."""

    modes: tuple[CpuMode, ...]
    truths: Mapping[str, Truth]


def cpu_section(facts: CpuFacts) -> CpuSection:
    """What libvirt says of the CPU. A mode about which nobody knows is written as not supported, and is None among the truths."""
    passthrough = facts.accelerated and facts.native
    if facts.passthrough_only:
        modes = (_passthrough(facts, passthrough), *(CpuMode(name, False) for name in ("maximum", "host-model", "custom")))
        return CpuSection(modes, {mode.name: mode.supported for mode in modes})
    definitions = read_definitions(facts.definitions or (), facts.target, facts.cpu_map, facts.profile)
    own = _host_model(facts, definitions)
    models = custom_models(definitions, facts.arch, facts.cpu_map, facts.profile)
    modes = (
        _passthrough(facts, passthrough),
        _maximum(facts),
        CpuMode("host-model", own is not None, host_model=own),
        CpuMode("custom", bool(models), models=models),
    )
    truths = {
        "host-passthrough": passthrough,
        "maximum": facts.knows_max,
        "host-model": True if own is not None else _possible(facts),
        "custom": None if facts.definitions is None else bool(models),
    }
    return CpuSection(modes, truths)


def _passthrough(facts: CpuFacts, supported: bool) -> CpuMode:
    values = ("on", "off") if facts.migratable else ("off",)
    return CpuMode("host-passthrough", supported, (Enum("hostPassthroughMigratable", values),) if supported else ())


def _maximum(facts: CpuFacts) -> CpuMode:
    supported = facts.knows_max is True
    return CpuMode("maximum", supported, (Enum("maximumMigratable", ("on", "off")),) if supported else ())


def _host_model(facts: CpuFacts, definitions: Sequence[Definition]) -> HostModel | None:
    model = _model(facts, definitions) if facts.native else None
    if model is None or not facts.accelerated or not facts.address_bits or facts.profile < PHYSICAL_ADDRESSES:
        return model
    return replace(model, maxphysaddr=(("mode", "passthrough"), ("limit", str(facts.address_bits))))


def _model(facts: CpuFacts, definitions: Sequence[Definition]) -> HostModel | None:
    if facts.target in ("s390", "s390x"):
        return host_model_s390(facts.expansion, facts.profile) if facts.expansion else None
    if facts.cpu_map is None or facts.definitions is None:
        return None
    if FAMILIES.get(facts.target) == "x86":
        return _x86(facts, facts.cpu_map, definitions)
    if FAMILIES.get(facts.target) == "ppc64" and facts.pvr is not None:
        return host_model_ppc64(facts.pvr, definitions, facts.cpu_map)
    return None


def _x86(facts: CpuFacts, cpu_map: CpuMap, definitions: Sequence[Definition]) -> HostModel | None:
    msrs = facts.unavailable_features is True
    if facts.expansion:
        more = facts.unmigratable["props"] if facts.unmigratable else None
        processor = expanded(facts.expansion["props"], more, facts.target, cpu_map, facts.profile)
        return None if processor is None else host_model_x86(processor, definitions, cpu_map, facts.profile, True, msrs)
    if not facts.leaves or facts.msrs is None:
        return None
    return host_model_x86(asked(facts.leaves, cpu_map, facts.msrs), definitions, cpu_map, facts.profile, False, msrs)


def _possible(facts: CpuFacts) -> Truth:
    """Can a guest have a host model, though none could be written here?

    On x86 every libvirt finds one as soon as QEMU lists models: what was lacking is its map, or the CPU's own answer.
    """
    if not facts.native or facts.target not in (*FAMILIES, "s390", "s390x"):
        return False
    if facts.definitions is None:
        return None
    if FAMILIES.get(facts.target) == "x86":
        return bool(facts.definitions)
    unknown = (facts.pvr is None or facts.cpu_map is None) if facts.target in FAMILIES else facts.expansion is None
    return None if unknown else False

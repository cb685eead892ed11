"""The CPU part of a report: gathers what `cpu` wants to know, and says what it means for a guest. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domcaps_exporter import Cpu, CpuMode, Question, Refusal, Truth, Unmet, UnreadableAnswer, Verdict, question
from domcaps_exporter.view import any_known
from domcaps_qemu.computed import hyperv_answer, registers
from domcaps_qemu.cpu import PASSTHROUGH_ONLY, CpuFacts, cpu_section
from domcaps_qemu.cpu_map import FAMILIES, CpuMap, read_index
from domcaps_qemu.emulators import Emulator
from domcaps_qemu.host_model import leaves_wanted, msrs_wanted
from domcaps_qemu.replies import definitions, definitions_if_any, expansion
from domcaps_qemu.world import ACCELERATED, EMULATED, World

MAP_FOLDER = "/usr/share/libvirt/cpu_map"
"""Where libvirt installs its CPU map."""

SECURITY_AND_MIGRATION = """spec-ctrl ibrs ibpb stibp ssbd amd-ssbd amd-stibp virt-ssbd amd-no-ssb md-clear arch-capabilities
mds-no taa-no tsx-ctrl flush-l1d fb-clear rfds-no its-no tsa-l1-no invtsc tsc-deadline tsc-scale x2apic pcid invpcid smep smap umip
pku la57 aes rdrand rdseed sha-ni hle rtm vmx svm npt ept xsaves""".split()
"""The host CPU's features that are reported without being asked for: those that security and migration hang on."""

_DEFINED = frozenset("x86_64 i686 aarch64 armv7l ppc ppc64 s390x mips mipsel mips64 mips64el loongarch64 riscv32 riscv64".split())
"""The emulators that define CPU models (QEMU's target/*/; query-cpu-definitions): to them an error is no "none"."""

_EXPANSION = "query-cpu-model-expansion"

_ADDRESS_BITS = re.compile(rb"^address sizes\s*:\s*(\d+) bits physical", re.MULTILINE)
_PVR = re.compile(rb"\(pvr ([0-9a-f]{4}) ([0-9a-f]{4})\)")


@dataclass(frozen=True, slots=True)
class Processor:
    """libvirt's section, the verdicts on it, the host CPU's features, and what could not be found out."""

    section: Cpu
    verdicts: tuple[Verdict, ...]
    host_features: tuple[tuple[str, bool], ...]
    notes: tuple[str, ...]


def processor(world: World, emulator: Emulator) -> Processor:
    """The CPU of one guest."""
    return world.kept("processor", lambda: _processor(world, emulator), world.kind, emulator.native, emulator.enabled)


def _processor(world: World, emulator: Emulator) -> Processor:
    cpu_map, coming = _cpu_map(world)
    facts = _facts(world, emulator, cpu_map)
    if coming or facts.definitions is None:
        return Processor(Cpu(), (), (), ())
    section = cpu_section(facts)
    verdicts = tuple(verdict for mode in section.modes for verdict in _verdicts(mode, section.truths.get(mode.name), facts))
    blind = _blind(facts)
    if not blind:
        return Processor(Cpu(section.modes), verdicts, _host_features(world), ())
    modes = tuple(mode for mode in section.modes if mode.name != "host-model")
    known = tuple(verdict for verdict in verdicts if verdict.value != "host-model")
    return Processor(Cpu(modes), known, _host_features(world), (blind,))


_NO_MAP = f"cpu mode host-model is unknown: no libvirt CPU map in {MAP_FOLDER}"
_NO_REGISTERS = "cpu mode host-model is unknown: the processor's registers (/dev/cpu/0/msr, /dev/kvm) may not be read"


def _blind(facts: CpuFacts) -> str:
    """Why nobody can say what libvirt's host model would be, if so: the mode is left out, not guessed."""
    if not facts.native or facts.target not in FAMILIES:
        return ""
    return _NO_MAP if facts.cpu_map is None else _NO_REGISTERS if facts.msrs is None else ""


# ---- what is asked -----------------------------------------------------------------------------------------------------------


def _cpu_map(world: World) -> tuple[CpuMap | None, bool]:
    """libvirt's own map for the emulator's architecture, where the host has a readable one; and: is it still to be asked for?"""
    arch = world.guest.target
    if arch not in FAMILIES:
        return None, False
    index = question("read", f"{MAP_FOLDER}/index.xml")
    parse_index, parse_map = _PARSERS[FAMILIES[arch]]
    try:
        names = world.view.form(index, parse_index)
        if names is None or isinstance(names, Refusal):
            return None, names is None
        files = [question("read", f"{MAP_FOLDER}/{name}") for name in names]
        coming = any(world.view.answer(file) is None for file in files)
        return world.view.joint(files, parse_map, MAP_FOLDER), coming
    except UnreadableAnswer:
        return None, False  # libvirt has no map either, then


def _x86_index(data: bytes) -> tuple[str, ...]:
    return read_index(data, "x86_64")


def _ppc64_index(data: bytes) -> tuple[str, ...]:
    return read_index(data, "ppc64")


def _x86_map(files: Mapping[Question, bytes]) -> CpuMap:
    return CpuMap.parse({one.args[0]: data for one, data in files.items()}, "x86_64")


def _ppc64_map(files: Mapping[Question, bytes]) -> CpuMap:
    return CpuMap.parse({one.args[0]: data for one, data in files.items()}, "ppc64")


_PARSERS = {"x86": (_x86_index, _x86_map), "ppc64": (_ppc64_index, _ppc64_map)}


def _facts(world: World, emulator: Emulator, cpu_map: CpuMap | None) -> CpuFacts:
    guest = world.guest
    blocked = world.has_property("max-x86_64-cpu", "unavailable-features") if world.is_x86 else None
    first, second = _expansions(world, emulator, blocked) if emulator.native else (None, None)
    leaves = _leaves(world, cpu_map) if emulator.native and world.is_x86 and not first and cpu_map is not None else {}
    refused = first is not None and not first
    return CpuFacts(
        arch=guest.arch,
        target=guest.target,
        passthrough_only=guest.virttype == "kvm" and world.machine_is(*PASSTHROUGH_ONLY),
        virttype=guest.virttype,
        native=emulator.native,
        profile=world.profile,
        cpu_map=cpu_map,
        # libvirt knows no models of an accelerator that does not work
        definitions=() if guest.virttype == "kvm" and emulator.enabled is False else _definitions(world, guest.scope),
        expansion=first,
        unmigratable=second,
        knows_max=_knows_max(world, emulator),
        migratable=any_known(world.has_property(f"max-{name}-cpu", "migratable") for name in ("x86_64", "arm")),
        unavailable_features=blocked,
        address_bits=_address_bits(world),
        leaves=leaves,
        msrs=_msrs(world, msrs_wanted(leaves, cpu_map, world.profile)) if refused and leaves and cpu_map is not None else {},
        pvr=_pvr(world) if world.is_ppc64 else None,
    )


def _definitions(world: World, scope: str) -> Sequence[Mapping[str, Any]] | None:
    reader = definitions if world.guest.target in _DEFINED else definitions_if_any
    return world.under(scope, reader, "query-cpu-definitions")


def _knows_max(world: World, emulator: Emulator) -> Truth:
    """Does any launch list a model named max? The second launch is only looked at where the first one does not."""
    scopes = [ACCELERATED, *([EMULATED] if emulator.native and emulator.enabled is True else [])]
    for scope in scopes:
        listed = _definitions(world, scope)
        known = None if listed is None else any(entry["name"] == "max" for entry in listed)
        if known is not False:
            return known
    return None if emulator.native and emulator.enabled is None else False


def _expansions(world: World, emulator: Emulator, blocked: Truth) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """libvirt expands `host` under a launch that it takes for accelerated, else `max`."""
    name = "host" if world.guest.scope == ACCELERATED and world.guest.accelerated else "max"
    there = name == "max" or emulator.enabled is True
    if world.is_s390:
        return _expanded(world, "static", {"name": name}, there), None
    if not world.is_x86:
        return None, None
    models = {"name": name}, {"name": name, "props": {"migratable": False}}
    static = [_expanded(world, "static", model, there) for model in models]
    if blocked is False:  # the i386 emulator: QEMU tells all only of what it has expanded once
        static = [_expanded(world, "full", model, there) if model else model for model in static]
    return static[0], static[1]


def _expanded(world: World, kind: str, model: Mapping[str, Any], there: bool) -> Mapping[str, Any] | None:
    """To libvirt a refusal is a model that is not there. A refusal of one that is there (`there`) is not for ever."""
    told = world.under(world.guest.scope, expansion, _EXPANSION, type=kind, model=model)
    if told == {} and there:
        world.doubt(world.guest.scope, _EXPANSION, type=kind, model=model)
    return told


def _leaves(world: World, cpu_map: CpuMap) -> dict[tuple[int, int], tuple[int, ...]]:
    """The host's own CPUID, as far as the map has a use for it."""
    told = {leaf: world.view.form(question("cpuid", f"{leaf[0]:x}", f"{leaf[1]:x}"), registers) for leaf in leaves_wanted(cpu_map)}
    return {leaf: form for leaf, form in told.items() if isinstance(form, tuple)}


def _msrs(world: World, wanted: Iterable[int]) -> Mapping[int, int] | None:
    """The host's own registers, those that it has; None where one of them may not be read."""
    told = {index: world.view.form(question("msr", f"{index:x}"), _register) for index in wanted}
    if any(form is None or (isinstance(form, Refusal) and form.why != "absent") for form in told.values()):
        return None
    return {index: form for index, form in told.items() if isinstance(form, int)}


def _register(data: bytes) -> int:
    value = int(data, 16)
    if not 0 <= value < 1 << 64:
        raise ValueError("a register has 64 bits")
    return value


def _address_bits(world: World) -> int | None:
    bits = world.view.form(question("cpu"), _bits)
    return bits if isinstance(bits, int) else None


def _bits(paragraph: bytes) -> int:
    found = _ADDRESS_BITS.search(paragraph)
    return int(found[1]) if found else 0


def _pvr(world: World) -> int | None:
    told = world.view.answer(question("cpu"))
    found = _PVR.search(told) if isinstance(told, bytes) else None
    return int(found[1] + found[2], 16) if found else None


# ---- what it means -----------------------------------------------------------------------------------------------------------

_LACKING = {"host-passthrough": "kvm", "maximum": "qemu-cpu-model:max", "host-model": "native-cpu", "custom": "qemu-cpu-models"}
"""What a mode lacks where it is a definite no."""


def _verdicts(mode: CpuMode, truth: Truth, facts: CpuFacts) -> tuple[Verdict, ...]:
    lacking = "native-cpu" if mode.name == "host-passthrough" and not facts.native else _LACKING.get(mode.name, mode.name)
    unmet = (Unmet(lacking, "refuses"),) if truth is False else ()
    own = Verdict("cpu", "mode", mode.name, truth, unmet)
    name = {"host-passthrough": "hostPassthroughMigratable", "maximum": "maximumMigratable"}.get(mode.name)
    if name is None:
        return (own,)
    migratable = facts.migratable if mode.name == "host-passthrough" else True
    on = _both(truth, migratable)
    why = unmet or ((Unmet("qemu-property:cpu.migratable", "refuses"),) if on is False else ())
    return own, Verdict("cpu", name, "on", on, why), Verdict("cpu", name, "off", truth, unmet)


def _both(one: Truth, other: Truth) -> Truth:
    return False if False in (one, other) else None if None in (one, other) else True


def _host_features(world: World) -> tuple[tuple[str, bool], ...]:
    """What the host's CPU offers, by QEMU's full expansion. An emulated guest is offered none of it."""
    if world.virttype == "qemu":
        return ()
    told = hyperv_answer(world) or {}
    return tuple((name, offered) for name, offered in told.items() if isinstance(offered, bool) and not name.startswith("hv-"))

"""Understands what a host said: facts in, one report per kind of guest out. Pure.

The same code says what to ask: `probe` runs it over what is known so far, and asks what it missed. So it goes on with placeholders
where an answer is still missing, and no question hides behind another that need not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from domcaps_exporter import Cpu, Document, Element, Facts, Identity, Question, Refusal, Report, UnreadableAnswer, Verdict, question
from domcaps_exporter.libvirt import NEWEST, installed
from domcaps_exporter.model import MachineType
from domcaps_exporter.rules import Version, evaluate
from domcaps_exporter.view import View
from domcaps_qemu.beyond import BEYOND
from domcaps_qemu.emulators import Emulator, emulators, host_arch
from domcaps_qemu.firmware import descriptors_of
from domcaps_qemu.guests import about_user, guests, may_open_kvm
from domcaps_qemu.machines import Machine, misnamed, preferred
from domcaps_qemu.needs import unknown_versions
from domcaps_qemu.processor import SECURITY_AND_MIGRATION, Processor, processor
from domcaps_qemu.settings import Wanted
from domcaps_qemu.table import AFTER_CPU, OS_AND_MEMORY
from domcaps_qemu.world import ACCELERATED, BINARY, Guest, World

_USUAL = Wanted()


Failures: TypeAlias = Mapping[tuple[str, str], Iterable[str]]
"""Why questions were left unanswered, by emulator and scope."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What all guests of one emulator have in common."""

    emulator: Emulator
    wanted: Wanted
    profile: Version
    path: str
    types: tuple[MachineType, ...]
    failures: Failures
    notes: tuple[str, ...]


def reports(view: View, wanted: Wanted) -> tuple[Report, ...]:
    """One report per kind of guest. An emulator whose answers make no sense is one that gave none, and costs no other.

    Raises:
        UnreadableAnswer: no emulator's make sense, or it is something else that does not.
    """
    senseless: dict[str, UnreadableAnswer] = {}
    while True:
        seen = view.instead(_refused(view, senseless)) if senseless else view
        try:
            found = tuple(_reports(seen, wanted))
        except UnreadableAnswer as error:
            asked = error.asked
            if not isinstance(asked, Question) or asked.kind != "qmp" or asked.args[0] in senseless:
                raise
            senseless[asked.args[0]] = error
            continue
        finally:
            view.used |= seen.used
        if senseless and all(report.identity.emulator in senseless for report in found):
            raise next(iter(senseless.values()))
        return found


def _refused(view: View, senseless: Mapping[str, UnreadableAnswer]) -> Facts:
    """What these emulators were asked, as refusals for that reason."""
    asked = (one for one in view.facts if one.kind == "qmp" and one.args[0] in senseless)
    return {one: Refusal("error", str(senseless[one.args[0]])) for one in asked}


def _reports(view: View, wanted: Wanted) -> Iterator[Report]:
    host = host_arch(view) or ""
    profile = wanted.profile or installed(view, host) or NEWEST
    descriptors = descriptors_of(view)
    may_open_kvm(view)  # asked before any emulator is: it tells how many processes will be needed
    failures = _failures(view)
    for emulator in emulators(view, wanted):
        case = _case(view, emulator, wanted, profile, failures)
        for guest, machine, verdict in guests(view, emulator, wanted, host, profile):
            if emulator.there:
                worlds = {words: World(view, guest, words, descriptors) for words in {profile, NEWEST}}
                yield _described(worlds, case, machine, verdict)
            else:
                yield _gone(guest, verdict)


def _gone(guest: Guest, verdict: Verdict) -> Report:
    identity = Identity(guest.emulator, guest.arch, guest.stable, guest.virttype)
    return Report(identity, verdict, path=guest.emulator, notes=(f"emulators: found {guest.emulator!r}, and no program is there",))


def _case(view: View, emulator: Emulator, wanted: Wanted, profile: Version, failures: Failures) -> _Case:
    path = view.path(question("resolve", emulator.path)) or emulator.path
    types = _types(emulator) if wanted.machine_types else ()
    notes = (*(about_user(view, wanted) if emulator.native else ()), *unknown_versions(view))
    return _Case(emulator, wanted, profile, path, types, failures, notes)


def _described(worlds: Mapping[Version, World], case: _Case, machine: Machine, runs: Verdict) -> Report:
    """The truth in the newest libvirt's words, and the answer of the libvirt whose XML is written."""
    said = {profile: words(world, case.emulator, case.wanted) for profile, world in worlds.items()}
    world = worlds[NEWEST]
    guest = world.guest
    asked = ((guest.emulator, scope) for scope in (BINARY, ACCELERATED, guest.scope))
    failures = tuple(dict.fromkeys(text for one in asked for text in case.failures.get(one, ())))
    documents = {profile: document(one, case.emulator, machine, said[profile]) for profile, one in worlds.items()}
    known = _works(world, case.emulator) and machine in (case.emulator.machines or ()) and bool(said[NEWEST].verdicts)
    newest = documents[NEWEST] if known and not failures else None
    # libvirt knows fewer architectures than QEMU has
    answer = documents[case.profile] if newest is not None and preferred(guest.target, case.profile) else None
    return Report(
        identity=Identity(guest.emulator, guest.arch, guest.stable, guest.virttype),
        guest=runs,
        verdicts=said[NEWEST].verdicts if known else (),
        loaders=said[NEWEST].loaders,
        version=case.emulator.version,
        path=case.path,
        canonical=machine.name,
        deprecated=machine.deprecated,
        host_features=said[NEWEST].host_features,
        machine_types=case.types,
        notes=(*said[NEWEST].cpu.notes, *failures, *case.notes, *_misnamed(machine, case.emulator)),
        document=answer,
        capabilities=newest if newest != answer else None,
    )


def _misnamed(machine: Machine, emulator: Emulator) -> tuple[str, ...]:
    return misnamed(emulator.machines, machine.name, emulator.path) if emulator.machines is not None else ()


def _selected(features: tuple[tuple[str, bool], ...], wanted: Wanted) -> tuple[tuple[str, bool], ...]:
    chosen = frozenset(SECURITY_AND_MIGRATION)
    return tuple((name, offered) for name, offered in features if wanted.host_features or name in chosen)


def _types(emulator: Emulator) -> tuple[MachineType, ...]:
    return tuple(MachineType(one.name, one.alias or "", one.deprecated, one.cpu_max) for one in emulator.machines or ())


def _failures(view: View) -> Failures:
    """Why emulators left questions unanswered, each reason once. Of such a QEMU libvirt says nothing at all."""
    reasons: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for one, answer in view.facts.items():
        if isinstance(answer, Refusal) and one.kind == "qmp":
            reasons[one.args[0], one.args[1]][answer.text] = None
    return reasons


def _works(world: World, emulator: Emulator) -> bool:
    """Has QEMU this guest's accelerator? Else libvirt refuses to answer, and nobody knows what such a guest could have."""
    return (emulator.enabled if world.guest.virttype == "kvm" else emulator.tcg) is True


@dataclass(frozen=True, slots=True)
class Words:
    """What the rules say of a guest: libvirt's elements, and the truth beside them."""

    elements: tuple[Element | Cpu, ...]
    verdicts: tuple[Verdict, ...]
    cpu: Processor
    host_features: tuple[tuple[str, bool], ...]
    loaders: tuple[tuple[str, bool], ...]


def words(world: World, emulator: Emulator, wanted: Wanted = _USUAL) -> Words:
    """The whole table over one guest."""
    key = world.kind, emulator.native, emulator.enabled, wanted.beyond, wanted.host_features
    return world.kept("words", lambda: _words(world, emulator, wanted), *key)


def _words(world: World, emulator: Emulator, wanted: Wanted) -> Words:
    before, after = (evaluate(rows, world, world.profile, world.kept) for rows in (OS_AND_MEMORY, AFTER_CPU))
    cpu = processor(world, emulator)
    elements: tuple[Element | Cpu, ...] = (*before.elements, cpu.section, *after.elements)
    more = evaluate(BEYOND, world, world.profile).verdicts if wanted.beyond else ()
    verdicts = (*before.verdicts, *cpu.verdicts, *after.verdicts, *(verdict for verdict in more if verdict.enum))
    return Words(elements, verdicts, cpu, _selected(cpu.host_features, wanted), world.firmware.present())


def document(world: World, emulator: Emulator, machine: Machine, said: Words) -> Document:
    """libvirt's answer."""
    guest = world.guest
    return Document(
        domain=guest.virttype,
        arch=guest.arch,
        path=guest.emulator,
        machine=guest.machine,
        vcpus_max=_vcpus_max(world, emulator, machine),
        children=said.elements,
    )


def _vcpus_max(world: World, emulator: Emulator, machine: Machine) -> int | None:
    """The machine's own limit, and under KVM the kernel's: KVM_CAP_MAX_VCPUS, else KVM_CAP_NR_VCPUS, else 4 (KVM's api.rst)."""
    if world.guest.virttype != "kvm":
        return machine.cpu_max or None
    if emulator.enabled is False:
        return None  # libvirt has no machines for an accelerator that does not work
    told = [world.view.form(question("kvm", extension), int) for extension in ("66", "9")]
    limits = [limit for limit in told if isinstance(limit, int)]
    limit = next((limit for limit in limits if limit > 0), 4 if limits else None)
    return None if limit is None else min(machine.cpu_max, limit) or None

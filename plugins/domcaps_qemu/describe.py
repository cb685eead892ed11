"""Understands what a host said: facts in, one report per kind of guest out. Pure.

The same code says what to ask: `probe` runs it over what is known so far, and asks what it missed. So it goes on with placeholders
where an answer is still missing, and no question hides behind another that need not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from domcaps_exporter import Cpu, Document, Element, Identity, Refusal, Report, Verdict, question
from domcaps_exporter.libvirt import NEWEST, installed
from domcaps_exporter.model import MachineType
from domcaps_exporter.rules import Version, evaluate
from domcaps_exporter.view import View
from domcaps_qemu.beyond import BEYOND
from domcaps_qemu.emulators import Emulator, emulators, host_arch
from domcaps_qemu.firmware import descriptors_of
from domcaps_qemu.guests import guests, unknown_user
from domcaps_qemu.machines import Machine, preferred
from domcaps_qemu.processor import SECURITY_AND_MIGRATION, Processor, processor
from domcaps_qemu.settings import Wanted
from domcaps_qemu.table import AFTER_CPU, OS_AND_MEMORY
from domcaps_qemu.world import ACCELERATED, BINARY, World

_USUAL = Wanted()

Spoken: TypeAlias = "dict[Version, list[tuple[World, Words]]]"
"""What was said of an emulator's earlier guests, by the libvirt in whose words."""


def reports(view: View, wanted: Wanted) -> Iterator[Report]:
    """One report per kind of guest."""
    host = host_arch(view) or ""
    profile = wanted.profile or installed(view, host) or NEWEST
    descriptors = descriptors_of(view)
    for emulator in emulators(view, wanted):
        spoken: Spoken = {profile: [], NEWEST: []}
        for guest, machine, verdict in guests(view, emulator, wanted, host, profile):
            if emulator.there:
                worlds = {words: World(view, guest, words, descriptors) for words in spoken}
                yield _described(worlds, profile, emulator, wanted, machine, verdict, spoken)
            else:
                yield Report(Identity(guest.emulator, guest.arch, guest.stable, guest.virttype), verdict, path=guest.emulator)


def _described(
    worlds: Mapping[Version, World],
    profile: Version,
    emulator: Emulator,
    wanted: Wanted,
    machine: Machine,
    runs: Verdict,
    spoken: Spoken,
) -> Report:
    """The truth in the newest libvirt's words, and the answer of the libvirt whose XML is written."""
    said = {words: _words_like_these(world, emulator, wanted, spoken[words]) for words, world in worlds.items()}
    documents = {words: document(world, emulator, machine, said[words]) for words, world in worlds.items()}
    report = _report(worlds[NEWEST], emulator, wanted, machine, runs, said[NEWEST])
    report = replace(report, notes=(*report.notes, *unknown_user(worlds[profile].view, wanted)))
    return _documented(report, worlds[profile], said[profile], documents[profile], documents[NEWEST])


def _words_like_these(world: World, emulator: Emulator, wanted: Wanted, spoken: list[tuple[World, Words]]) -> Words:
    """The words of an earlier guest whom the rules cannot tell from this one, else its own: most of 60 machines are alike."""
    for other, said in spoken:
        if other.is_like(world):
            return said
    said = words(world, emulator, wanted)
    spoken.append((world, said))
    return said


def _report(world: World, emulator: Emulator, wanted: Wanted, machine: Machine, runs: Verdict, said: Words) -> Report:
    guest = world.guest
    known = emulator.machines is not None and machine in emulator.machines and _works(world, emulator)
    return Report(
        identity=Identity(guest.emulator, guest.arch, guest.stable, guest.virttype),
        guest=runs,
        verdicts=said.verdicts if known else (),
        loaders=said.loaders,
        version=emulator.version,
        path=world.view.text(question("resolve", guest.emulator)) or guest.emulator,
        canonical=machine.name,
        deprecated=machine.deprecated,
        host_features=said.host_features,
        machine_types=_types(emulator) if wanted.machine_types else (),
        notes=(*said.cpu.notes, *said.failures),
    )


def _documented(report: Report, world: World, said: Words, own: Document, newest: Document) -> Report:
    """The report with libvirt's answer, where libvirt would give one; it knows fewer architectures than QEMU has."""
    if not report.verdicts or said.failures:
        return report
    answer = own if preferred(world.guest.target, world.profile) else None
    return replace(report, document=answer, capabilities=newest if newest != answer else None)


def _selected(features: tuple[tuple[str, bool], ...], wanted: Wanted) -> tuple[tuple[str, bool], ...]:
    chosen = frozenset(SECURITY_AND_MIGRATION)
    return tuple((name, offered) for name, offered in features if wanted.host_features or name in chosen)


def _types(emulator: Emulator) -> tuple[MachineType, ...]:
    return tuple(MachineType(one.name, one.alias or "", one.deprecated, one.cpu_max) for one in emulator.machines or ())


def _failures(world: World) -> tuple[str, ...]:
    """Why this guest's QEMU left questions unanswered, each reason once. Of such a QEMU libvirt would say nothing at all."""
    mine = {(world.guest.emulator, scope) for scope in (BINARY, ACCELERATED, world.guest.scope)}
    answers = (answer for one, answer in world.view.facts.items() if one.kind == "qmp" and one.args[:2] in mine)
    return tuple(dict.fromkeys(answer.text for answer in answers if isinstance(answer, Refusal)))


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
    failures: tuple[str, ...]


def words(world: World, emulator: Emulator, wanted: Wanted = _USUAL) -> Words:
    """The whole table over one guest."""
    before, after = evaluate(OS_AND_MEMORY, world, world.profile), evaluate(AFTER_CPU, world, world.profile)
    cpu = processor(world, emulator)
    elements: tuple[Element | Cpu, ...] = (*before.elements, cpu.section, *after.elements)
    more = evaluate(BEYOND, world, world.profile).verdicts if wanted.beyond else ()
    verdicts = (*before.verdicts, *cpu.verdicts, *after.verdicts, *(verdict for verdict in more if verdict.enum))
    return Words(elements, verdicts, cpu, _selected(cpu.host_features, wanted), world.firmware.present(), _failures(world))


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

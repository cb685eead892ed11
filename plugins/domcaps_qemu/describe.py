"""Understands what a host said: facts in, one report per kind of guest out. Pure.

The same code says what to ask: `probe` runs it over what is known so far, and asks what it missed. So it goes on with placeholders
where an answer is still missing, and no question hides behind another that need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from domcaps_exporter import Document, Identity, Report, Verdict, question
from domcaps_exporter.rules import Version, View, evaluate
from domcaps_qemu.emulators import Emulator, emulators, host_arch
from domcaps_qemu.guests import guests
from domcaps_qemu.libvirt import installed
from domcaps_qemu.machines import Machine
from domcaps_qemu.processor import processor
from domcaps_qemu.settings import Wanted
from domcaps_qemu.table import AFTER_CPU, OS_AND_MEMORY
from domcaps_qemu.world import Guest, World

NEWEST: Version = (12, 8)
"""The newest libvirt whose words the table knows: the profile where no libvirt is installed."""


def reports(view: View, wanted: Wanted) -> Iterator[Report]:
    """One report per kind of guest."""
    profile = wanted.profile or installed(view) or NEWEST
    host = host_arch(view) or ""
    for emulator in emulators(view, wanted):
        for guest, machine, verdict in guests(view, emulator, wanted, host, profile):
            yield _report(World(view, guest, profile), emulator, machine, verdict)


def _report(world: World, emulator: Emulator, machine: Machine, runs: Verdict) -> Report:
    guest = world.guest
    said = words(world, emulator, machine)
    known = emulator.machines is not None and machine in emulator.machines
    return Report(
        identity=Identity(guest.emulator, guest.arch, guest.stable, guest.virttype),
        guest=runs,
        document=said.document if known and _answers(emulator, guest) else None,
        verdicts=said.verdicts if known else (),
        loaders=world.firmware.present(),
        version=emulator.version,
        path=world.view.text(question("resolve", guest.emulator)) or guest.emulator,
        canonical=machine.name,
        deprecated=machine.deprecated,
        host_features=said.host_features,
        notes=said.notes,
    )


def _answers(emulator: Emulator, guest: Guest) -> bool:
    """Would libvirt answer at all? It refuses KVM where QEMU has none, and TCG where QEMU was built without it."""
    return (emulator.enabled if guest.virttype == "kvm" else emulator.tcg) is True


@dataclass(frozen=True, slots=True)
class Words:
    """What libvirt would say of a guest, and the truth beside it."""

    document: Document
    verdicts: tuple[Verdict, ...]
    host_features: tuple[tuple[str, bool], ...]
    notes: tuple[str, ...]


def words(world: World, emulator: Emulator, machine: Machine) -> Words:
    """The whole table over one guest."""
    guest = world.guest
    before, after = evaluate(OS_AND_MEMORY, world, world.profile), evaluate(AFTER_CPU, world, world.profile)
    cpu = processor(world, emulator)
    document = Document(
        domain=guest.virttype,
        arch=guest.arch,
        path=guest.emulator,
        machine=guest.machine,
        vcpus_max=_vcpus_max(world, emulator, machine),
        children=(*before.elements, cpu.section, *after.elements),
    )
    return Words(document, (*before.verdicts, *cpu.verdicts, *after.verdicts), cpu.host_features, cpu.notes)


def _vcpus_max(world: World, emulator: Emulator, machine: Machine) -> int | None:
    """The machine's own limit, and under KVM the kernel's: KVM_CAP_MAX_VCPUS, else KVM_CAP_NR_VCPUS, else 4 (KVM's api.rst)."""
    if world.guest.virttype != "kvm":
        return machine.cpu_max or None
    if emulator.enabled is False:
        return None  # libvirt has no machines for an accelerator that does not work
    told = [world.view.text(question("kvm", extension)) for extension in ("66", "9")]
    limits = [int(text) for text in told if text is not None]
    limit = next((limit for limit in limits if limit > 0), 4 if limits else None)
    return None if limit is None else min(machine.cpu_max, limit) or None

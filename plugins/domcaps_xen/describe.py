"""Understands what a Xen host said: facts in, one report per machine out. Pure.

The same code says what to ask: `probe` runs it over what is known so far, and asks what it missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from domcaps_exporter import Cpu, Document, Element, Identity, Refusal, Report, Truth, Unmet, Verdict, question
from domcaps_exporter.libvirt import NEWEST, installed
from domcaps_exporter.patience import unheard
from domcaps_exporter.rules import Version, element, enum, evaluate
from domcaps_exporter.view import View, all_known
from domcaps_xen.device_model import KIND, Machine, device_model
from domcaps_xen.hypervisor import arch_of, controls, hypervisor, is_xen
from domcaps_xen.needs import unoffered
from domcaps_xen.settings import ARCHS, Wanted
from domcaps_xen.table import AFTER_CPU, BEFORE_CPU, CPU, GUESTS, MODES, VCPUS, VCPUS_HVM
from domcaps_xen.toolstack import toolstack
from domcaps_xen.world import World


def reports(view: View, wanted: Wanted) -> Iterator[Report]:
    """One report per architecture and machine; none where Xen is not there, or another domain controls it."""
    if all_known([is_xen(view), controls(view)]) is not True:
        return
    host, xen = arch_of(view), hypervisor(view)
    tools = toolstack(view, wanted, xen.release)
    model = device_model(view, tools.device_model)
    profile = wanted.profile or installed(view, host or "") or NEWEST
    for arch in wanted.archs or ((host,) if host in ARCHS else ()):
        for machine in wanted.machines:
            yield _report(World(view, arch, machine, xen, tools, model, wanted.loaders), wanted, profile)


def _report(world: World, wanted: Wanted, profile: Version) -> Report:
    document = _document(world, wanted.emulator, VCPUS[world.machine], profile)
    found = replace(world, loaders=_present(world))
    truth = _document(found, wanted.emulator, _vcpus_max(world), NEWEST)
    return Report(
        identity=Identity(wanted.emulator, world.arch, world.machine, "xen"),
        guest=_guest(world),
        document=document,
        capabilities=truth if truth != document else None,
        verdicts=_verdicts(world),
        loaders=_loaders(world) if world.machine == "xenfv" else (),
        version=world.hypervisor.version,
        path=_resolved(world),
        canonical=offered.canonical if (offered := _offered(world)) else "",
        notes=_notes(world),
    )


def _guest(world: World) -> Verdict:
    """Can such a guest run at all?"""
    return evaluate([element("guest", enum("", GUESTS[world.machine]))], world, NEWEST).verdicts[1]


def _document(world: World, emulator: str, vcpus: int | None, profile: Version) -> Document:
    """The answer of that libvirt."""
    before, after = (evaluate(rows, world, profile).elements for rows in (BEFORE_CPU, AFTER_CPU))
    children: tuple[Element | Cpu, ...] = (*before, CPU, *after)
    return Document("xen", world.arch, emulator, world.machine, vcpus, children)


def _verdicts(world: World) -> tuple[Verdict, ...]:
    modes = (Verdict("cpu", "mode", mode, False, (Unmet(unoffered.name, "refuses"),)) for mode in MODES)
    before, after = (evaluate(rows, world, NEWEST).verdicts for rows in (BEFORE_CPU, AFTER_CPU))
    return (*before, *modes, *after)


# ---- where the truth is another than libvirt's constant ----------------------------------------------------------------------


def _vcpus_max(world: World) -> int | None:
    """As many as Xen creates a guest with; on Arm that depends on the interrupt controller, and nobody says which it is."""
    if world.is_arm:
        return None
    if world.machine == "xenpv":
        return VCPUS[world.machine]
    offered = _offered(world)
    return min(VCPUS_HVM, (offered and offered.vcpus_max) or VCPUS_HVM)


def _offered(world: World) -> Machine | None:
    """The device model's machine of HVM guests; others have none."""
    return (world.device_model.machines or {}).get(world.machine) if world.machine == "xenfv" else None


def _present(world: World) -> tuple[str, ...]:
    """The firmware that is there."""
    return tuple(path for path, there in _loaders(world) if there)


def _loaders(world: World) -> tuple[tuple[str, bool], ...]:
    """libvirt's list, there or not, and the toolstack's own files."""
    listed: list[tuple[str, Truth]] = [(path, world.exists(path)) for path in world.loaders]
    own = [(found.path, found.there) for found in (world.toolstack.hvmloader, world.toolstack.ovmf) if found.path]
    return tuple((path, there) for path, there in dict([*listed, *own]).items() if there is not None)


def _resolved(world: World) -> str:
    """The device model without symbolic links; empty where there is none."""
    path = world.device_model.path
    return (world.view.path(question("resolve", path)) or path) if path else ""


def _notes(world: World) -> tuple[str, ...]:
    """Why questions were left unanswered, each reason once."""
    unasked = () if world.hypervisor.abilities is not None else ("only `xl info`, as root, tells whether Xen has an IOMMU",)
    refusals = [(one, answer) for one, answer in world.view.facts.items() if isinstance(answer, Refusal)]
    model = (answer.text for one, answer in refusals if one.kind == KIND)
    programs = (unheard(one, answer) for one, answer in refusals if one.kind == "within")
    return (*unasked, *dict.fromkeys((*model, *programs)))

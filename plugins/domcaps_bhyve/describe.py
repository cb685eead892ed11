"""Understands what a FreeBSD host said: facts in, one report out. Pure.

The same code says what to ask: `probe` runs it over what is known so far, and asks what it missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from domcaps_bhyve.needs import virtualization, vmm_ko
from domcaps_bhyve.settings import Wanted
from domcaps_bhyve.table import AFTER_CPU, BEYOND, CPU_MODES, OS
from domcaps_bhyve.world import KLDSTAT, KNOBS, PCICONF, World
from domcaps_exporter import Cpu, CpuMode, Document, Identity, Refusal, Report, Verdict, question
from domcaps_exporter.patience import unheard
from domcaps_exporter.rules import Evaluated, Version, element, enum, evaluate, value
from domcaps_exporter.view import View

SYSTEM = "FreeBSD"
BHYVE = "/usr/sbin/bhyve"
"""The only path that libvirt's bhyve driver accepts and prints."""

VERIFIED: Version = (11, 3)
"""The newest libvirt whose words are known here: the profile where no libvirt is installed."""

_LIBRARY = question("resolve", "/usr/local/lib/libvirt.so.0")


def emulator(view: View, wanted: Wanted) -> str | None:
    """The bhyve to ask: the configured one, else PATH's, else the usual place's; None where there is none, or nobody knows yet."""
    if wanted.emulator:
        return wanted.emulator if view.there(question("exec", wanted.emulator)) is True else None
    found = view.path(question("which", "bhyve"))
    return found or (BHYVE if view.there(question("exec", BHYVE)) is True else None)


def system(view: View) -> str | None:
    """The kernel's name, as sysctl tells it; None where it does not."""
    knobs = World(view, "", "").knobs
    return None if knobs is None else knobs.get("kern.ostype")


def reports(view: View, wanted: Wanted) -> Iterator[Report]:
    """The one kind of guest: bhyve's, of the host's architecture."""
    path = emulator(view, wanted)
    if path is None or system(view) != SYSTEM:
        return
    world = World(view, path, wanted.firmware_dir)
    profile = wanted.profile or _installed(view) or VERIFIED
    notes = _failures(world)
    report = _report(world, notes)
    if not notes:
        told = replace(_document(world, VERIFIED), vcpus_max=world.vcpus_max())
        # of other architectures libvirt before 12.0 refuses to speak, and what later ones say is not known here
        own = _document(world, profile) if world.is_x86 else None
        report = replace(report, document=own, capabilities=told, verdicts=_verdicts(world))
    yield report


def _report(world: World, notes: tuple[str, ...]) -> Report:
    return Report(
        identity=Identity(world.emulator, world.arch, "", "bhyve"),
        guest=_runs(world),
        loaders=tuple((path, True) for path in world.firmware_files()),
        # bhyve tells no version; it is built with the system, whose release the kernel knows best
        version=(world.knobs or {}).get("kern.osrelease", ""),
        path=world.view.path(question("resolve", world.emulator)) or world.emulator,
        notes=(*notes, *_unheard(world)),
    )


def _runs(world: World) -> Verdict:
    """Can a guest run at all? libvirt does not look at any of it before it answers."""
    row = element("guest", enum("", value("", besides=(vmm_ko, virtualization))))
    return evaluate([row], world, VERIFIED).verdicts[1]


def _verdicts(world: World) -> tuple[Verdict, ...]:
    known = (evaluate(rows, world, VERIFIED) for rows in (OS, AFTER_CPU))
    beyond = evaluate(BEYOND, world, VERIFIED).verdicts
    return (*(verdict for one in known for verdict in one.verdicts), *(verdict for verdict in beyond if verdict.enum))


def _document(world: World, profile: Version) -> Document:
    """libvirt's answer: without a machine and without vCPUs."""
    before, after = _evaluated(world, profile)
    cpu = Cpu(tuple(CpuMode(name, supported=False) for name in CPU_MODES))
    return Document("bhyve", world.arch, path=BHYVE, children=(*before.elements, cpu, *after.elements))


def _evaluated(world: World, profile: Version) -> tuple[Evaluated, Evaluated]:
    return evaluate(OS, world, profile), evaluate(AFTER_CPU, world, profile)


def _failures(world: World) -> tuple[str, ...]:
    """Why bhyve left questions unanswered, each reason once. Of such a bhyve libvirt would say nothing at all."""
    asked = (world.said(*arguments) for arguments in (("-s", "help"), ("-l", "help"), ("-h",)))
    answers = (world.view.answer(one) for one in asked)
    return tuple(dict.fromkeys(f"{world.emulator}: {answer.text}" for answer in answers if isinstance(answer, Refusal)))


def _unheard(world: World) -> tuple[str, ...]:
    """Why the programs beside bhyve did not say what they were asked."""
    answers = ((one, world.view.facts.get(one)) for one in (KLDSTAT, PCICONF))
    return tuple(unheard(one, answer) for one, answer in answers if isinstance(answer, Refusal))


def sysctl_failure(view: View) -> str | None:
    """Why the kernel's knobs are not known; None where they are."""
    answer = view.answer(KNOBS)
    return (answer.text or answer.why) if isinstance(answer, Refusal) else None


def _installed(view: View) -> Version | None:
    """The installed libvirt's version, read off its library (`libvirt.so.0.11003.0` is 11.3.0); None without one."""
    name = view.text(_LIBRARY) or ""
    number = name.rpartition("/")[2].removeprefix("libvirt.so.0.").partition(".")[0]
    return divmod(int(number), 1000) if number.isdecimal() else None

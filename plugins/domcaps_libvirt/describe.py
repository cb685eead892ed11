"""Understands what a libvirt said: facts in, one report per kind of guest out. Pure.

libvirt's word is the truth here: what it lists is true, what it is known to list and leaves out is not, and it never says why.
"""

from __future__ import annotations

from collections.abc import Iterator

from domcaps_exporter import Document, Identity, Question, Refusal, Report, Truth, UnreadableAnswer, Verdict, question
from domcaps_exporter.contents import walk
from domcaps_exporter.document import DocumentError, read
from domcaps_exporter.libvirt import STABLE
from domcaps_exporter.view import View
from domcaps_libvirt.capabilities import Capabilities, Kind, Machine, capabilities
from domcaps_libvirt.settings import ALL, Wanted, hypervisor
from domcaps_libvirt.vocabulary import unlisted

_QEMUS = ("kvm", "qemu")


def host(uri: str) -> Question:
    """What a libvirt is asked first."""
    return question("libvirt", uri, "capabilities")


def guest(uri: str, kind: Kind, machine: Machine) -> Question:
    """What it is asked about a kind of guest. Of QEMU there may be several; elsewhere libvirt knows its only emulator itself."""
    emulator = kind.emulator if kind.virttype in _QEMUS else ""
    return question("libvirt", uri, "domcapabilities", emulator, kind.arch, machine.name, kind.virttype)


def reports(view: View, wanted: Wanted) -> Iterator[Report]:
    """One report per kind of guest and machine."""
    for uri in wanted.uris:
        offered = view.form(host(uri), capabilities)
        if isinstance(offered, Capabilities):
            for kind in _kinds(uri, offered, wanted):
                yield from (_report(view, uri, kind, machine) for machine in _machines(kind, wanted))
            yield from _without_kvm(uri, offered, wanted)


def _report(view: View, uri: str, kind: Kind, machine: Machine) -> Report:
    asked = guest(uri, kind, machine)
    answer = view.form(asked, _document)
    if not isinstance(answer, Document):
        why = (answer.text,) if isinstance(answer, Refusal) else ()
        return Report(_identity(kind, kind.emulator, machine), _guest(None), source=uri, notes=why)
    return Report(
        identity=_identity(kind, kind.emulator if asked.args[2] else answer.path or kind.emulator, machine),
        guest=_guest(True),
        document=answer,
        verdicts=tuple(unlisted(answer, tuple(walk(answer)))),
        source=uri,
        canonical=machine.canonical,
    )


def _document(answer: bytes) -> Document:
    try:
        return read(answer)
    except DocumentError as error:
        raise UnreadableAnswer(str(error)) from error


def _identity(kind: Kind, emulator: str, machine: Machine) -> Identity:
    return Identity(emulator, kind.arch, machine.name, kind.virttype)


def _guest(supported: Truth) -> Verdict:
    return Verdict("guest", "", "", supported)


# ---- which guests ------------------------------------------------------------------------------------------------------------


def _kinds(uri: str, offered: Capabilities, wanted: Wanted) -> Iterator[Kind]:
    """Those that libvirt offers and that are wanted."""
    for kind in offered.kinds:
        virttypes = wanted.virttypes or _default(uri, offered, kind.arch)
        if kind.arch in _archs(offered, wanted) and (not virttypes or kind.virttype in virttypes):
            yield kind


def _without_kvm(uri: str, offered: Capabilities, wanted: Wanted) -> Iterator[Report]:
    """Of the host's own architecture KVM is expected: where libvirt offers none, that is worth an alarm."""
    emulated = [kind for kind in offered.kinds if kind.arch == offered.arch and kind.virttype == "qemu"]
    accelerated = [kind for kind in offered.kinds if kind.arch == offered.arch and kind.virttype == "kvm"]
    missed = "kvm" in wanted.virttypes or (not wanted.virttypes and hypervisor(uri) == "qemu")
    if missed and not accelerated and offered.arch in _archs(offered, wanted):
        for kind in emulated:
            for machine in _machines(kind, wanted):
                yield Report(Identity(kind.emulator, kind.arch, machine.name, "kvm"), _guest(False), source=uri)


def _archs(offered: Capabilities, wanted: Wanted) -> tuple[str, ...]:
    return tuple(kind.arch for kind in offered.kinds) if ALL in wanted.archs else wanted.archs or (offered.arch,)


def _default(uri: str, offered: Capabilities, arch: str) -> tuple[str, ...]:
    """KVM, and emulation where there is none; of another hypervisor whatever it has."""
    if hypervisor(uri) != "qemu":
        return ()
    virttypes = {kind.virttype for kind in offered.kinds if kind.arch == arch}
    return ("kvm",) if "kvm" in virttypes else ()


def _machines(kind: Kind, wanted: Wanted) -> tuple[Machine, ...]:
    """Under their stable names. A hypervisor without machines (bhyve) has one without a name."""
    aliases = {machine.canonical for machine in kind.machines if machine.canonical}
    stable = tuple(machine for machine in kind.machines if machine.name not in aliases)
    if not stable:
        return (Machine(""),)
    if ALL in wanted.machines or (not wanted.machines and kind.virttype not in _QEMUS):
        return stable
    named = wanted.machines or (STABLE.get(kind.arch, ""),)
    found = tuple(machine for machine in stable if machine.name in named or (machine.canonical and machine.canonical in named))
    return found if found or wanted.machines else stable[:1]

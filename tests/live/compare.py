"""Our documents beside a real libvirt's, byte for byte, for each emulator, machine and virttype. A program; it judges nothing else.

It starts a libvirtd of its own per emulator, so that one that crashes takes no other's answers with it.
Usage: python -m tests.live.compare [--title TEXT] [--machines NAME...] [EMULATOR...]; exit 1 unless all are identical.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lxml import etree
from tests.live.libvirtd import Crashed, Libvirt, Refused, private

from domcaps_exporter import ProbeError, Report
from domcaps_exporter.document import write
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.libvirt import NEWEST, installed
from domcaps_exporter.rules import Version
from domcaps_exporter.view import View
from domcaps_qemu.emulators import Emulator, emulators, host_arch
from domcaps_qemu.machines import default, named
from domcaps_qemu.probe import Qemu
from domcaps_qemu.settings import ALL, ARCHS, Wanted

MACHINES = ("", "q35", "pc", "microvm", "isapc", "virt", "s390-ccw-virtio", "pseries")
"""Empty: the one that libvirt chooses."""
VIRTTYPES = ("kvm", "qemu")
_NO_OTHER = ("none",)
"""An architecture that no emulator is named for: only the emulator that is named by its path is asked."""
_SECONDS = 120.0
_SHOWN = 12
"""How many lines of a difference are shown."""


class Kind(NamedTuple):
    """What both are asked for; an empty machine is libvirt's own choice."""

    machine: str
    virttype: str


@dataclass
class Tally:
    """How many documents, and how many facts in them, are the same."""

    same: int = 0
    documents: int = 0
    same_facts: int = 0
    facts: int = 0

    def add(self, ours: str, theirs: str) -> None:
        """One pair; an empty text is no document."""
        mine, libvirts = facts_of(ours), facts_of(theirs)
        self.documents += 1
        self.same += ours == theirs
        self.same_facts += (mine & libvirts).total()
        self.facts += (mine | libvirts).total()

    def include(self, other: Tally) -> None:
        """Both together."""
        self.same += other.same
        self.documents += other.documents
        self.same_facts += other.same_facts
        self.facts += other.facts

    @property
    def complete(self) -> bool:
        return self.same == self.documents

    def __str__(self) -> str:
        return f"{self.same} of {self.documents} documents identical, {self.same_facts} of {self.facts} facts"


def facts_of(document: str) -> Counter[tuple[str, ...]]:
    """Every element with its attributes and text, and where it stands. The text of an empty document has none."""
    return Counter(_facts(etree.fromstring(document.encode()), ())) if document else Counter()


def _facts(element: etree._Element, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    here = (*above, " ".join((str(element.tag), *(f"{name}={element.get(name)}" for name in sorted(map(str, element.attrib))))))
    yield (*here, (element.text or "").strip())
    for child in element:
        yield from _facts(child, here)


# ---- ours --------------------------------------------------------------------------------------------------------------------


@dataclass
class Ours:
    """What we say of one emulator. `arch` is what libvirt has to be asked for; documents only where libvirt would have one."""

    arch: str
    documents: dict[Kind, str] = field(default_factory=dict)


def ours(path: str, machines: Sequence[str]) -> Ours:
    """The exporter's own answers, by way of its driver, which is asked for all machines at once."""
    wanted = Wanted(emulators=(path,), archs=_NO_OTHER, machines=dict.fromkeys(ARCHS, (ALL,)), virttypes=VIRTTYPES)
    driver = Qemu(wanted)
    try:
        facts = driver.probe(RealHost(time.monotonic() + _SECONDS, Paths(), Store()))
    except ProbeError:
        return Ours(os.uname().machine)  # it was of no use here, and libvirt should find the same
    (emulator,) = emulators(View(facts), wanted)
    reports = driver.describe(facts)
    return Ours(emulator.target, dict(_documents(reports, _meant(emulator, machines, _profile(View(facts))))))


def _profile(view: View) -> Version:
    return installed(view, host_arch(view) or "") or NEWEST


def _meant(emulator: Emulator, machines: Sequence[str], profile: Version) -> dict[str, str]:
    """The machines that are offered, by the name that is asked for."""
    offered = emulator.machines or ()
    meant = {name: named(offered, name) if name else default(offered, emulator.target, profile) for name in machines}
    return {name: machine.name for name, machine in meant.items() if machine is not None}


def _documents(reports: Sequence[Report], meant: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    for report in reports:
        for name in (name for name, canonical in meant.items() if canonical == report.canonical):
            if report.document is not None:
                yield Kind(name, report.identity.virttype), write(report.document).decode()


# ---- beside libvirt's --------------------------------------------------------------------------------------------------------


@dataclass
class Compared:
    """One emulator. `refused`: what neither has a document for. `note`: what is to be said besides."""

    emulator: str
    tally: Tally = field(default_factory=Tally)
    refused: int = 0
    note: str = ""
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = f"{self.tally.same} of {self.tally.documents}" if self.tally.documents else "-"
        return f"{Path(self.emulator).name:32} {counted:>10} {self.refused:>10}  {self.note}".rstrip()


def compare(emulator: str, machines: Sequence[str]) -> Compared:
    """Both are asked for every machine and virttype. Where libvirt crashes there is nothing to compare with."""
    mine, compared = ours(emulator, machines), Compared(emulator)
    try:
        with private() as libvirt:
            for kind in (Kind(machine, virttype) for machine in machines for virttype in VIRTTYPES):
                _compare(libvirt, kind, mine, compared)
    except Crashed:
        compared.note = "libvirt crashed"
    return compared


def _compare(libvirt: Libvirt, kind: Kind, mine: Ours, compared: Compared) -> None:
    document, refusal = mine.documents.get(kind, ""), ""
    try:
        # virsh ends what it prints with an empty line
        theirs = libvirt.domcapabilities(compared.emulator, mine.arch, *kind).rstrip("\n") + "\n"
    except Refused as error:
        theirs, refusal = "", str(error)
    if not document and not theirs:
        compared.refused += 1
        return
    compared.tally.add(document, theirs)
    if document != theirs:
        compared.differences += [f"{compared.emulator} {' '.join(filter(None, kind))}: {refusal}", *_difference(theirs, document)]


def _difference(theirs: str, mine: str) -> Iterator[str]:
    lines = difflib.unified_diff(theirs.splitlines(), mine.splitlines(), "libvirt", "ours", n=1, lineterm="")
    return islice(lines, _SHOWN)


# ---- the program -------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    arguments = argparse.ArgumentParser(description="Our documents beside libvirt's.")
    arguments.add_argument("emulators", nargs="*", help="paths; default: every system emulator in /usr/bin")
    arguments.add_argument("--machines", nargs="+", default=MACHINES, help="default: libvirt's choice, and some that matter")
    arguments.add_argument("--title", default="in all")
    options = arguments.parse_args(argv)
    print(f"{options.title:32} {'identical':>10} {'refused':>10}", flush=True)
    whole = Tally()
    for emulator in options.emulators or sorted(map(str, Path("/usr/bin").glob("qemu-system-*"))):
        compared = compare(emulator, options.machines)
        whole.include(compared.tally)
        print(compared, *compared.differences, sep="\n", flush=True)
    print(f"{options.title}: {whole}")
    return not whole.complete


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

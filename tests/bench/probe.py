"""What a probe and a scrape cost, beside a bare QEMU and beside libvirt. Prints a table; judges nothing.

Everything is measured in one run, in turn, several rounds: on a shared machine only minimums and ratios mean something. CPU time is
this process's own and that of the programs it waited for. Usage: python -m tests.bench.probe [--rounds N] [--all] [--libvirt]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.libvirt import cold_and_warm
from tests.live.libvirtd import cost_of_all

from domcaps_exporter import Answer, Driver, Facts, Question, question
from domcaps_exporter.exposition import OPENMETRICS
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.probing import Watch
from domcaps_exporter.qmp import Monitor, exchange
from domcaps_exporter.service import Service
from domcaps_qemu.probe import Qemu, argv
from domcaps_qemu.settings import wanted
from domcaps_qemu.world import ACCELERATED, BINARY

TIMEOUT = 120.0
EMULATOR = shutil.which("qemu-system-x86_64") or ""
BOTH: dict[str, object] = {"virttypes": ["kvm", "qemu"], "machines": ["all"]}


@dataclass
class Row:
    """One thing that is measured: wall and CPU seconds of every round."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def round(self) -> None:
        self.prepare()
        before, start = _cpu(), time.perf_counter()
        self.run()
        self.wall.append(time.perf_counter() - start)
        self.cpu.append(_cpu() - before)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class ChangingHost(RealHost):
    """A host on which one file comes and goes: `changed` answers otherwise. Everything else is the real one."""

    def __init__(self, deadline: float, store: Store, changed: dict[Question, Answer]) -> None:
        super().__init__(deadline, Paths(), store)
        self._changed = changed

    def ask(self, question: Question) -> Answer:
        return self._changed[question] if question in self._changed else super().ask(question)


class Exporter:
    """A whole exporter without its sockets: `scrape` is what one GET /metrics costs."""

    def __init__(self, section: dict[str, object], changed: dict[Question, Answer] | None = None) -> None:
        self._qemu = Qemu(wanted({"guest_user": "root", **section}, "auto"))  # who may use KVM, whatever /dev/kvm's mode
        self._store, self._changed = Store(), {} if changed is None else changed
        watch = Watch(Driver("qemu", self._qemu.probe, self._qemu.describe), self._host, TIMEOUT)
        self._loop = asyncio.new_event_loop()
        self._service = Service([watch], (), series_limit=100_000)

    def _host(self, deadline: float) -> ChangingHost:
        return ChangingHost(deadline, self._store, self._changed)

    def scrape(self) -> bytes:
        outcomes = self._loop.run_until_complete(self._service.scrape(TIMEOUT))
        failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
        if failures:
            sys.exit(f"the probe failed: {failures[0].text}")
        return b"".join(self._service.metrics(outcomes, OPENMETRICS, True))

    def guests(self) -> list[tuple[str, str]]:
        """Each machine, by the name that libvirt takes, with its virttype."""
        reports = self._qemu.describe(self.probe())
        return [(report.canonical, report.identity.virttype) for report in reports if report.document is not None]

    def probe(self) -> Facts:
        """The probe and its description alone."""
        facts = self._qemu.probe(self._host(time.monotonic() + TIMEOUT))
        list(self._qemu.describe(facts))
        return facts


def bare(commands: Sequence[str]) -> None:
    """A QEMU launched, greeted, asked these commands raw, and ended."""
    host = RealHost(time.monotonic() + TIMEOUT, Paths(), Store())
    ours, theirs = socket.socketpair()
    with ours, theirs, host.launch(argv(EMULATOR, ACCELERATED, theirs.fileno()), (theirs.fileno(),)):
        monitor = Monitor(ours, EMULATOR)
        monitor.say(commands)
        exchange([monitor], host.deadline)
    if monitor.failure is not None:
        raise monitor.failure


def rows(every: bool) -> list[Row]:
    """What is compared."""
    first = Exporter({})
    questions = sorted(one.args[2] for one in first.probe() if one.kind == "qmp" and one.args[1] in (BINARY, ACCELERATED))
    warm = Exporter({})
    warm.scrape()
    vfio: dict[Question, Answer] = {}
    file_changed = Exporter({}, vfio)
    file_changed.scrape()
    kvm: dict[Question, Answer] = {}
    kvm_changed = Exporter({}, kvm)
    kvm_changed.scrape()
    measured = [
        Row("a   bare QEMU, launched to its greeting", lambda: bare(("query-version",))),
        Row("a'  the same, asked the same questions", lambda: bare(questions)),
        Row("b   cold first scrape, one machine", lambda: Exporter({}).scrape()),
        Row("b'  cold probe, both accelerators, all machines", lambda: Exporter(BOTH).probe()),
        Row(
            "c   scrape after a host file changed", file_changed.scrape, lambda: _toggle(vfio, question("exists", "/dev/vfio/vfio"))
        ),
        Row("c'  scrape after KVM changed", kvm_changed.scrape, lambda: _toggle(kvm, question("stat", "/dev/kvm"))),
        Row("u   unchanged scrape", warm.scrape),
    ]
    return [*measured, Row("d   cold probe of every emulator", lambda: Exporter({"archs": ["all"]}).probe())] if every else measured


def beside_libvirt(measured: Sequence[Row], guests: Sequence[tuple[str, str]]) -> str:
    """libvirt's own cost for these guests and for the default one, and ours in the same run.

    Its probes are reaped at once, as by a host's init: libvirt waits for that, so elsewhere (under a container's first process) it
    takes longer still.
    """
    cold, warm = cold_and_warm()
    same = cost_of_all(EMULATOR, guests)
    one, ours, again = (min(row.wall) for row in measured if row.name.startswith(("b ", "b' ", "u ")))
    rows = (
        (f"e   virsh, an empty cache, {len(guests)} documents as in b'", same, same / ours, "b'"),
        ("e1  the same for one document", cold, cold / one, "b"),
        ("e'  virsh, one document, libvirtd with a full cache", warm, warm / again, "u"),
    )
    return "\n".join(f"{name:<50} {seconds * 1e3:9.1f} {'':8} {ratio:7.1f} x {beside}" for name, seconds, ratio, beside in rows)


def _toggle(changed: dict[Question, Answer], asked: Question) -> None:
    """A new answer at every turn, as if the file had been touched."""
    changed[asked] = str(time.monotonic_ns()).encode()


def table(measured: Sequence[Row]) -> str:
    """Minimums in milliseconds, and the ratio to a bare launch."""
    unit = min(measured[0].wall)
    lines = [f"{'':<50} {'wall ms':>9} {'CPU ms':>8} {'x bare':>7}"]
    for row in measured:
        wall, cpu = min(row.wall), min(row.cpu)
        lines.append(f"{row.name:<50} {wall * 1e3:9.1f} {cpu * 1e3:8.1f} {wall / unit:7.2f}")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured, in turn (default: 10)")
    parser.add_argument("--all", action="store_true", help="every installed emulator, too")
    parser.add_argument("--libvirt", action="store_true", help="a private libvirtd, too (its probes are reaped at once)")
    said = parser.parse_args()
    if not EMULATOR or not Path("/dev/kvm").exists():
        print("needs qemu-system-x86_64 and /dev/kvm", file=sys.stderr)
        return 2
    measured = rows(said.all)
    for _ in range(said.rounds):
        for row in measured:
            row.round()
    print(table(measured))
    if said.libvirt:
        print(beside_libvirt(measured, Exporter(BOTH).guests()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

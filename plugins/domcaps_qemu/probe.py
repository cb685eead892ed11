"""Asks a host's QEMUs. Nothing here interprets an answer.

Each emulator is launched at most once per accelerator in a probe, with nothing but what probing needs, and asked everything at
once; what it said is remembered while everything it depends on stands still.
"""

from __future__ import annotations

import platform
import socket
import sysconfig
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from domcaps_exporter import Answer, Facts, Host, HypervisorAbsent, ProbeError, Question, Refusal, Report, question
from domcaps_exporter.model import Child
from domcaps_exporter.rules import Parsed, View, gather
from domcaps_qemu.describe import reports
from domcaps_qemu.processor import MAP_FOLDER
from domcaps_qemu.qmp import Monitor, exchange
from domcaps_qemu.settings import Wanted
from domcaps_qemu.world import ACCELERATED, BINARY

MODULES = (
    "/usr/lib/qemu",
    "/usr/lib64/qemu",
    "/usr/lib64/qemu-kvm",
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH') or platform.machine()}/qemu",
)
"""Where distributions put QEMU's loadable modules."""

_PARAMETERS = {
    "kvm": ("ignore_msrs", "tdp_mmu"),
    "kvm_amd": ("nested", "npt", "avic", "sev", "sev_es", "sev_snp"),
    "kvm_intel": ("nested", "ept", "enable_apicv", "tdx", "sgx"),
    "kvm_hv": ("nested",),
}
"""The parameters of KVM's modules that change what a guest can have."""

HOST_IDENTITY = (
    question("uname"),
    question("cpu"),
    question("read", "/sys/devices/system/cpu/cpu0/microcode/version"),
    question("access", "/dev/kvm", "rw", ""),
    *(question("stat", f"/dev/{device}") for device in ("kvm", "sev", "sgx_vepc", "sgx_provision")),
    *(question("read", f"/sys/module/{module}/parameters/{name}") for module, names in _PARAMETERS.items() for name in names),
)
"""What QEMU's answers about this host depend on, besides its own files."""


MAP_IDENTITY = (question("stat", MAP_FOLDER), question("stat", f"{MAP_FOLDER}/index.xml"))
"""What libvirt's CPU map depends on: packages replace it as a whole."""


SWTPM = ("swtpm", "swtpm_setup")
"""The programs that what swtpm_setup says depends on."""


class Qemu:
    """The driver: what is wanted, and what is remembered from one probe to the next."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._parsed = Parsed()
        self._executables: dict[str, str] = {}
        self._last: Facts = {}
        self._reports: tuple[Report, ...] = ()
        self._understood: tuple[Report, ...] = ()

    def probe(self, host: Host) -> Facts:
        """Ask. An unchanged host is asked its last questions again, and launches nothing.

        Raises:
            HypervisorAbsent: there is no emulator here.
            ProbeError: no emulator could be asked.
        """
        with Probe(host, self._executables) as probe:
            again = probe.ask_all(self._last)
            if self._last and again == self._last:
                return self._last
            facts = gather(self._understand, probe.ask, self._parsed, again)
            probe.judge(facts)
        self._last, self._reports = facts, self._understood
        return facts

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Understand: what was understood while asking, where these are the facts that came of it."""
        return self._reports if facts is self._last else tuple(reports(View(facts, self._parsed), self.wanted))

    def _understand(self, view: View) -> None:
        self._understood = tuple(reports(view, self.wanted))


class Probe:
    """One probe of a host: what was asked in it, and the QEMUs that it started."""

    def __init__(self, host: Host, executables: dict[str, str]) -> None:
        self._host, self._executables = host, executables
        self._answers: dict[Question, Answer] = {}
        self._monitors: dict[tuple[str, str], Monitor] = {}
        self._children: dict[tuple[str, str], Child] = {}
        self._talks: dict[tuple[str, str], ExitStack] = {}
        self._running = ExitStack()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        for monitor in self._monitors.values():
            monitor.say(["quit"])
            monitor.send()
        self._running.close()

    def ask_all(self, questions: Iterable[Question]) -> Facts:
        """The answers to all these, cheap ones and QEMU's."""
        wanted = frozenset(questions)
        cheap = self.ask(frozenset(one for one in wanted if not _is_dear(one)))
        return {**cheap, **self.ask(frozenset(filter(_is_dear, wanted)))}

    def ask(self, wanted: frozenset[Question]) -> Facts:
        """The cheap ones first: what the host's files say decides what QEMU must be asked."""
        cheap = {one: self._once(one) for one in wanted if not _is_dear(one)}
        return cheap or self._remembered(wanted)

    def judge(self, facts: Facts) -> None:
        """Is there anything to report?"""
        asked = [one for one in facts if one.kind == "qmp"]
        if not asked:
            raise HypervisorAbsent("no QEMU system emulator for this architecture in PATH, nor /usr/libexec/qemu-kvm")
        failures = [monitor.failure for monitor in self._monitors.values()]
        if failures and not any(isinstance(facts[one], bytes) for one in asked):
            raise next(failure for failure in failures if failure is not None)

    def _once(self, asked: Question) -> Answer:
        """A file that is looked at twice in one probe says the same thing twice."""
        if asked not in self._answers:
            self._answers[asked] = self._host.ask(asked)
        return self._answers[asked]

    # ---- QEMU ----

    def _remembered(self, wanted: frozenset[Question]) -> Facts:
        return self._host.remember(wanted, self._identity, self._learn)

    def _identity(self, asked: Question) -> tuple[Question, ...]:
        """What an answer depends on: of QEMU's, the file that really runs, its modules and, but for BINARY ones, the host."""
        if asked.kind == "run":
            programs = (self._host.ask(question("which", name)) for name in SWTPM)
            return tuple(question("program", path.decode()) for path in programs if isinstance(path, bytes))
        if asked.kind == "read":
            return MAP_IDENTITY
        emulator, scope, _ = asked.args
        executable = self._executables.get(emulator, emulator)
        files = (question("program", path) for path in dict.fromkeys((emulator, executable, *MODULES)))
        return (*files, *(() if scope == BINARY else HOST_IDENTITY))

    def _learn(self, wanted: frozenset[Question]) -> Facts:
        files = {one: self._host.ask(one) for one in wanted if one.kind != "qmp"}
        return files | self._converse([one for one in wanted if one.kind == "qmp"])

    def _converse(self, wanted: Sequence[Question]) -> dict[Question, Answer]:
        """Ask the emulators, all at the same time. One that fails has an error for every answer."""
        talks: defaultdict[tuple[str, str], list[Question]] = defaultdict(list)
        for one in sorted(wanted):
            emulator, scope, _ = one.args
            talks[emulator, ACCELERATED if scope == BINARY else scope].append(one)
        for (emulator, accelerator), asked in talks.items():
            self._monitor(emulator, accelerator).say([one.args[2] for one in asked])
        exchange(self._monitors.values(), self._patience())
        for key in talks:
            self._give_up(key)
        for (emulator, _), child in self._children.items():
            self._executables[emulator] = child.exe or emulator
        return {one: answer for key, asked in talks.items() for one, answer in _heard(self._monitors[key], asked)}

    def _monitor(self, emulator: str, accelerator: str) -> Monitor:
        key = emulator, accelerator
        if key not in self._monitors:
            ours, theirs = socket.socketpair()
            self._running.callback(ours.close)
            self._monitors[key] = Monitor(ours, emulator)
            with theirs:
                self._launch(key, theirs.fileno())
        return self._monitors[key]

    def _launch(self, key: tuple[str, str], monitor: int) -> None:
        self._talks[key] = self._running.enter_context(ExitStack())
        try:
            self._children[key] = self._talks[key].enter_context(self._host.launch(argv(*key, monitor), (monitor,)))
        except ProbeError as error:
            self._monitors[key].fail(error)

    def _patience(self) -> float:
        """Until when to listen: half of the time that is left. An emulator that hangs must not take the others' time as well."""
        now = time.monotonic()
        return now + (self._host.deadline - now) / 2

    def _give_up(self, key: tuple[str, str]) -> None:
        """End a QEMU that has failed; what it said on stderr is noted on its failure."""
        monitor = self._monitors[key]
        if monitor.failure is None:
            return
        try:
            with self._talks[key]:
                raise monitor.failure
        except ProbeError as failure:
            monitor.failure = failure


def _heard(monitor: Monitor, asked: list[Question]) -> Iterator[tuple[Question, Answer]]:
    if monitor.failure is not None:
        words = "; ".join((str(monitor.failure), *getattr(monitor.failure, "__notes__", ())))
        return ((one, Refusal("error", words)) for one in asked)
    return zip(asked, monitor.replies(len(asked)), strict=True)


def argv(emulator: str, accelerator: str, monitor: int) -> tuple[str, ...]:
    """A QEMU that answers questions and does nothing else, with its monitor on an inherited socket."""
    return (
        emulator,
        *("-S", "-no-user-config", "-nodefaults", "-display", "none"),
        *("-machine", f"none,accel={accelerator}"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    )


def _is_dear(asked: Question) -> bool:
    """Is it worth remembering: what QEMU and other programs say, and the many files of libvirt's CPU map."""
    return asked.kind in ("qmp", "run") or (asked.kind == "read" and asked.args[0].startswith(MAP_FOLDER))

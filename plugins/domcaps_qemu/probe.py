"""Asks a host's QEMUs. Nothing here interprets an answer, but for whether QEMU had to do without KVM.

Each emulator is launched at most once per accelerator in a probe, with nothing but what probing needs, and asked everything at
once; what it said is remembered while everything it depends on stands still.
"""

from __future__ import annotations

import os
import platform
import socket
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache

from domcaps_exporter import (
    Answer,
    Facts,
    Host,
    HypervisorAbsent,
    ProbeError,
    Question,
    Refusal,
    Report,
    UnreadableAnswer,
    question,
)
from domcaps_exporter.inquiry import Inquiry
from domcaps_exporter.model import Child
from domcaps_exporter.patience import Hangs
from domcaps_exporter.qmp import Monitor, exchange_first
from domcaps_exporter.view import View
from domcaps_qemu.describe import reports
from domcaps_qemu.needs import MODULES as INSTALLED_MODULES
from domcaps_qemu.processor import MAP_FOLDER
from domcaps_qemu.replies import accelerators, kvm
from domcaps_qemu.settings import Wanted
from domcaps_qemu.world import ACCELERATED, BINARY, EMULATED

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

PROCESSOR = (question("uname"), question("cpu"), question("read", "/sys/devices/system/cpu/cpu0/microcode/version"))
"""What tells one processor, and what its microcode makes of it, from another."""

TAINTED = question("read", "/proc/sys/kernel/tainted")
"""What the kernel holds against itself, as a decimal number of flags that are never lowered (Linux: tainted-kernels)."""

_FOREIGN_MODULE = 1 << 12

KVM_WORKS, KVM_OPENS = question("kvm", "create"), question("kvm", "0")
"""KVM makes a machine; and it opens and answers, whatever it says of this extension."""

HOST_IDENTITY = (
    *PROCESSOR,
    question("access", "/dev/kvm", "rw", ""),
    KVM_OPENS,
    question("list", "/sys/module/kvm/holders"),
    TAINTED,
    *(question("stat", f"/dev/{device}") for device in ("kvm", "sev", "sgx_vepc", "sgx_provision")),
    *(question("read", f"/sys/module/{module}/parameters/{name}") for module, names in _PARAMETERS.items() for name in names),
)
"""What QEMU's answers about this host depend on, besides its own files."""


MAP_IDENTITY = (question("stat", MAP_FOLDER), question("stat", f"{MAP_FOLDER}/index.xml"))
"""What libvirt's CPU map depends on: packages replace it as a whole."""


SWTPM = ("swtpm", "swtpm_setup")
"""The programs that what swtpm_setup says depends on."""

_LONGEST = 4.0
"""Seconds that one emulator may keep the others' answers waiting: scrapes wait 10 by default, however long a probe may take."""


class Qemu:
    """The driver: what is wanted, and what is remembered from one probe to the next."""

    def __init__(self, wanted: Wanted, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted = wanted
        self._executables: dict[str, str] = {}
        self._hangs = Hangs(clock)
        self._inquiry = Inquiry(lambda view: reports(view, wanted), clock)

    def probe(self, host: Host) -> Facts:
        """Ask. An unchanged host is asked its last questions again, and launches nothing.

        Raises:
            HypervisorAbsent: there is no emulator here.
            ProbeError: no emulator could be asked.
        """
        with Probe(host, self._executables, self._hangs) as probe:
            return self._inquiry.probe(probe.ask, probe.judge, host.forget)

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Understand."""
        return self._inquiry.describe(facts)


class Probe:
    """One probe of a host: what was asked in it, and the QEMUs that it started."""

    def __init__(self, host: Host, executables: dict[str, str], hangs: Hangs) -> None:
        self._host, self._executables, self._hangs = host, executables, hangs
        self._answers: dict[Question, Answer] = {}
        self._emulators: set[str] = set()
        self._without: set[str] = set()
        self._talks: dict[tuple[str, str], Talk] = {}

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(list(self._talks))

    def ask(self, wanted: frozenset[Question]) -> Facts:
        """The files first: what they say decides what QEMU must be asked. Meanwhile QEMU thinks about what is certain already."""
        talk = frozenset(one for one in wanted if one.kind == "qmp")
        files = wanted - talk
        self._emulators |= {one.args[0] for one in talk}
        if not files:
            return self._host.remember(talk, self._identity, self._converse)
        dear = frozenset(filter(_is_dear, files))
        cheap = {one: self._once(one) for one in files - dear}
        known = self._host.remember(talk, self._identity, self._begin) if talk else {}
        return {**known, **cheap, **(self._host.remember(dear, self._identity, self._look) if dear else {})}

    def judge(self, view: View, understood: tuple[Report, ...]) -> None:
        """Is there anything to report?"""
        if not understood:
            raise HypervisorAbsent("no QEMU system emulator for this architecture in PATH, nor /usr/libexec/qemu-kvm")
        asked = [one for one in view.facts if one.kind == "qmp"]
        failures = [talk.monitor.failure for talk in self._talks.values() if talk.monitor.failure is not None]
        if failures and asked and not any(isinstance(view.facts[one], bytes) for one in asked):
            raise failures[0]

    def _once(self, asked: Question) -> Answer:
        """A file that is looked at twice in one probe says the same thing twice."""
        if asked not in self._answers:
            self._answers[asked] = self._host.ask(asked)
        return self._answers[asked]

    def _look(self, wanted: frozenset[Question]) -> Facts:
        return {one: self._heed(one) if one.kind == "within" else self._host.ask(one) for one in wanted}

    def _heed(self, asked: Question) -> Answer:
        return self._hangs.ask(asked, self._host, self._identity(asked) or ())

    # ---- QEMU ----

    def _identity(self, asked: Question) -> tuple[Question, ...] | None:
        """What an answer depends on: of QEMU's, the file that really runs, its modules and, but for BINARY ones, the host.

        None of a QEMU that had to do without a KVM which works: nobody knows what that depends on.
        """
        if asked.kind == "within":
            found = tuple(question("which", name) for name in SWTPM)
            paths = (self._host.ask(one) for one in found)
            return (*found, *(question("program", os.fsdecode(path)) for path in paths if isinstance(path, bytes)))
        if asked.kind == "cpuid":
            return PROCESSOR
        if asked.kind == "msr":
            return (*self._host_identity(), question("program", "/dev/cpu/0/msr"))
        if asked.kind == "kvm":
            return self._host_identity()
        if asked.kind == "read":
            return MAP_IDENTITY if asked.args[0].startswith(MAP_FOLDER) else (question("stat", *asked.args),)
        emulator, scope, _ = asked.args
        if scope == ACCELERATED and emulator in self._without and self._once(KVM_WORKS) == b"yes":
            return None
        executable = self._executables.get(emulator, emulator)
        files = (question("program", path) for path in dict.fromkeys((emulator, executable, *MODULES)))
        return (*files, *(() if scope == BINARY else self._host_identity()))

    def _host_identity(self) -> tuple[Question, ...]:
        """To make a virtual machine takes milliseconds, and on an idle host it switches KVM on and off on every processor.

        So KVM is tried each time only where it did not work, or where a module from outside the kernel's own tree was loaded: any
        other hypervisor that may take the processor from it while /dev/kvm stays as it is (VirtualBox, VMware) is one of these.
        """
        return HOST_IDENTITY if self._once(KVM_WORKS) == b"yes" and self._kernel_is_alone() else (*HOST_IDENTITY, KVM_WORKS)

    def _kernel_is_alone(self) -> bool:
        flags = self._once(TAINTED)
        return isinstance(flags, bytes) and flags.strip().isdigit() and not int(flags) & _FOREIGN_MODULE

    def _begin(self, wanted: frozenset[Question]) -> Facts:
        """Ask, and do not wait; as many emulators as there are processors, for the others would only be in their way."""
        processes = _by_process(wanted)
        first = sorted({emulator for emulator, _ in processes})[: _crowd()]
        for key, asked in processes.items():
            if key not in self._talks and key[0] in first:
                self._talk(key).say(asked)
        return {}

    def _converse(self, wanted: frozenset[Question]) -> Facts:
        """Listen until one emulator has told all, and bring that: it is understood while the others think.

        As many emulators are asked at the same time as there are processors. One that fails has an error for every answer.
        """
        processes = _by_process(wanted)
        started = {emulator for emulator, _ in self._talks}
        emulators = sorted({emulator for emulator, _ in processes}, key=lambda emulator: (emulator not in started, emulator))
        turn = emulators[: _crowd()]
        heard = self._hear({key: asked for key, asked in processes.items() if key[0] in turn})
        if len(emulators) > len(turn):
            left = {one.args[0] for one in wanted - heard.keys()}
            self._end([key for key in self._talks if key[0] not in left])
        return heard

    def _hear(self, processes: Mapping[tuple[str, str], Sequence[Question]]) -> dict[Question, Answer]:
        for key, asked in processes.items():
            if key in self._talks and self._talks[key].ground != self._ground(key):
                self._end([key])  # something changed since it was started: what it says is of yesterday
            self._talk(key).say(asked)
        groups: defaultdict[str, list[Monitor]] = defaultdict(list)
        for key in processes:
            groups[key[0]].append(self._talks[key].monitor)
        exchange_first(list(groups.values()), self._patience())
        heard: dict[Question, Answer] = {}
        for key, asked in processes.items():
            if not self._talks[key].monitor.waiting:
                answers = self._talks[key].hear(asked)
                heard |= answers
                self._answers.pop(KVM_WORKS, None)  # so that it is tried once more after QEMU tried it
                if any(_without_kvm(one, answer) for one, answer in answers.items()):
                    self._without.add(key[0])
                self._executables[key[0]] = self._talks[key].executable or key[0]
        return heard

    def _talk(self, key: tuple[str, str]) -> Talk:
        if key not in self._talks:
            self._talks[key] = Talk(self._host, *key, self._ground(key))
        return self._talks[key]

    def _ground(self, key: tuple[str, str]) -> tuple[Answer, ...]:
        return tuple(self._host.ask(one) for one in self._identity(question("qmp", *key, "")) or ())

    def _end(self, keys: Iterable[tuple[str, str]]) -> None:
        """Let them quit, all at the same time, and see that they are gone."""
        with ExitStack() as ending:
            for key in keys:
                talk = self._talks.pop(key)
                talk.leave()
                ending.callback(talk.end)

    def _patience(self) -> float:
        """Until when to listen: half of the time that is left, and not long where there are others to report on.

        An emulator that hangs must take neither the others' time nor that of whoever waits for them.
        """
        now = time.monotonic()
        half = (self._host.deadline - now) / 2
        return now + (half if len(self._emulators) == 1 else min(half, _LONGEST))


class Talk:
    """One QEMU that was started, and what it has been asked. `ground`: what its answers depend on, as it was at the start."""

    def __init__(self, host: Host, emulator: str, accelerator: str, ground: tuple[Answer, ...]) -> None:
        self.ground = ground
        self._asked: list[Question] = []
        self._heard: dict[Question, Answer] = {}
        self._running = ExitStack()
        self._child: Child | None = None
        ours, theirs = socket.socketpair()
        self._running.callback(ours.close)
        self.monitor = Monitor(ours, emulator)
        with theirs:
            try:
                command = argv(emulator, accelerator, theirs.fileno())
                self._child = self._running.enter_context(host.launch(command, (theirs.fileno(),)))
            except ProbeError as error:
                self.monitor.fail(error)

    @property
    def executable(self) -> str:
        return self._child.exe if self._child is not None else ""

    def say(self, questions: Iterable[Question]) -> None:
        """Ask what has not been asked yet."""
        new = [one for one in questions if one not in self._heard and one not in self._asked]
        self._asked += new
        self.monitor.say([one.args[2] for one in new])
        self.monitor.send()

    def hear(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        """The answers to these; errors all, once it has failed."""
        if self.monitor.failure is not None:
            self._note_last_words()
            words = "; ".join((str(self.monitor.failure), *getattr(self.monitor.failure, "__notes__", ())))
            return {one: Refusal("error", words) for one in questions}
        if self.executable.endswith(" (deleted)"):
            self.monitor.fail(UnreadableAnswer(f"{self.monitor.emulator}: the program was replaced while it ran"))
            return self.hear(questions)
        self._heard |= dict(zip(self._asked, self.monitor.replies(len(self._asked)), strict=True))
        self._asked = []
        return {one: self._heard[one] for one in questions}

    def leave(self) -> None:
        """Let it quit."""
        self.monitor.say(["quit"])
        self.monitor.send()

    def end(self) -> None:
        """See that it is gone."""
        self._running.close()

    def _note_last_words(self) -> None:
        """End it; what it said on stderr is noted on the failure that leaves its block."""
        try:
            with self._running.pop_all():
                raise self.monitor.failure or ProbeError
        except ProbeError as failure:
            self.monitor.failure = failure


def _crowd() -> int:
    """How many emulators are asked at the same time."""
    return os.cpu_count() or 1


def _by_process(questions: Iterable[Question]) -> dict[tuple[str, str], list[Question]]:
    """The questions by the process that answers them. What depends on the emulator's files only is asked of the first process, but
    for the schema, which takes longest to tell: a second process, where there is one, has more time for it, and is started first.
    """
    wanted = sorted(questions)
    second = {one.args[0] for one in wanted if one.args[1] == EMULATED}
    processes: defaultdict[tuple[str, str], list[Question]] = defaultdict(list)
    for one in wanted:
        emulator, scope, command = one.args
        shifted = command == "query-qmp-schema" and emulator in second
        processes[emulator, scope if scope != BINARY else EMULATED if shifted else ACCELERATED].append(one)
    for (emulator, _), asked in processes.items():
        # to list its types QEMU loads its modules, and only then does it know their options (spice): types come first, always
        types = question("qmp", emulator, BINARY, "qom-list-types")
        if question("qmp", emulator, BINARY, "query-command-line-options") in asked:
            asked[:] = [types, *(one for one in asked if one != types)]
    return {key: processes[key] for key in sorted(processes, key=lambda key: (key[0], key[1] != EMULATED))}


def argv(emulator: str, accelerator: str, monitor: int) -> tuple[str, ...]:
    """A QEMU that answers questions and does nothing else, with its monitor on an inherited socket."""
    return (
        emulator,
        *("-S", "-no-user-config", "-nodefaults", "-display", "none"),
        *("-machine", f"none,accel={accelerator}"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    )


def _without_kvm(asked: Question, answer: Answer) -> bool:
    """Has this QEMU KVM built in, and could not use it?"""
    parse = {"query-kvm": kvm, "query-accelerators": accelerators}.get(asked.args[2])
    if parse is None or not isinstance(answer, bytes):
        return False
    with suppress(LookupError, TypeError, ValueError):
        return parse(answer) == (True, False)
    return False


@lru_cache(maxsize=16_384)
def _is_dear(asked: Question) -> bool:
    """Is it worth remembering: what programs and the processor say, the files of libvirt's CPU map, and the kernel's long lists."""
    long = asked.kind == "read" and asked.args[0].startswith((MAP_FOLDER, INSTALLED_MODULES))
    return long or asked.kind in ("qmp", "within", "cpuid", "msr", "kvm")

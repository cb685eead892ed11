"""Asks a host's Xen: files, `xl info`, and the device model over QMP. Nothing here interprets an answer.

What xl and the device model say is remembered while everything it depends on stands still: so the device model is started once
per installation, and xl once per boot of the host.
"""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Callable

from domcaps_exporter import Answer, Facts, Host, HypervisorAbsent, ProbeError, ProbeRefused, Question, Refusal, Report, question
from domcaps_exporter.inquiry import Inquiry
from domcaps_exporter.patience import Hangs
from domcaps_exporter.qmp import Monitor, exchange
from domcaps_exporter.view import View
from domcaps_xen.describe import reports
from domcaps_xen.device_model import KIND
from domcaps_xen.hypervisor import controls, is_xen
from domcaps_xen.settings import Wanted

BOOT = (
    question("read", "/proc/sys/kernel/random/boot_id"),
    question("read", "/sys/hypervisor/properties/capabilities"),
    question("read", "/sys/hypervisor/properties/features"),
)
"""What Xen's abilities depend on: they last as long as the control domain runs."""

MODULES = ("/usr/lib/qemu", "/usr/lib64/qemu", "/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib/aarch64-linux-gnu/qemu")
"""Where distributions put QEMU's loadable modules: displays and devices may be among them."""

_REMEMBERED = (KIND, "within")

_LONGEST = 4.0
"""Seconds that a device model may keep the rest waiting: scrapes wait 10 by default, however long a probe may take."""


class Xen:
    """The driver: what is wanted, and what is remembered from one probe to the next."""

    def __init__(self, wanted: Wanted, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted = wanted
        self._executables: dict[str, str] = {}
        self._hangs = Hangs(clock)
        self._inquiry = Inquiry(lambda view: reports(view, wanted), clock)

    def probe(self, host: Host) -> Facts:
        """Ask. An unchanged host is asked its last questions again, and starts nothing.

        Raises:
            HypervisorAbsent: this is no Xen, or a domain that Xen does not let control it.
            ProbeRefused: nobody may see whether it is.
        """
        return self._inquiry.probe(Probe(host, self._executables, self._hangs).ask, _insist_on_control, host.forget)

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Understand."""
        return self._inquiry.describe(facts)


def _insist_on_control(view: View, _: tuple[Report, ...]) -> None:
    xen, control = is_xen(view), controls(view)
    if xen is False:
        raise HypervisorAbsent("this host does not run on Xen")
    if control is False:
        raise HypervisorAbsent("this is a domU: only Xen's control domain (dom0) can report what guests can have")
    if xen is None or control is None:
        raise ProbeRefused("neither /proc/xen/capabilities nor /sys/hypervisor says whether this is Xen's control domain")


class Probe:
    """One probe of a host."""

    def __init__(self, host: Host, executables: dict[str, str], hangs: Hangs) -> None:
        self._host, self._executables, self._hangs = host, executables, hangs

    def ask(self, wanted: frozenset[Question]) -> Facts:
        """The answers to all these; files are asked each time."""
        dear = frozenset(one for one in wanted if one.kind in _REMEMBERED)
        cheap = {one: self._host.ask(one) for one in wanted - dear}
        return {**cheap, **self._host.remember(dear, self._identity, self._learn)} if dear else cheap

    def _identity(self, asked: Question) -> tuple[Question, ...]:
        """What an answer depends on: the file that really runs and QEMU's modules; of xl's, this boot as well."""
        program = _program(asked)
        files = dict.fromkeys((program, self._executables.get(program, program), *MODULES))
        return (*(question("program", path) for path in files), *(BOOT if asked.args[-1] == "info" else ()))

    def _learn(self, wanted: frozenset[Question]) -> Facts:
        """Device models first: one that does not answer its monitor is not run once more."""
        models: defaultdict[str, list[Question]] = defaultdict(list)
        for one in sorted(one for one in wanted if one.kind == KIND):
            models[one.args[0]].append(one)
        answers: dict[Question, Answer] = {}
        for path, questions in models.items():
            answers |= self._converse(path, questions)
        failures = {one.args[0]: answer for one, answer in answers.items() if isinstance(answer, Refusal)}
        return {one: answers.get(one) or failures.get(_program(one)) or self._heed(one) for one in wanted}

    def _heed(self, asked: Question) -> Answer:
        return self._hangs.ask(asked, self._host, self._identity(asked))

    def _converse(self, path: str, questions: list[Question]) -> dict[Question, Answer]:
        """Ask a device model everything at once. One that fails has an error for every answer: the hypervisor's are still good."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            monitor = Monitor(ours, path)
            monitor.say([one.args[1] for one in questions])
            self._talk(monitor, path, theirs)
        if monitor.failure is not None:
            words = "; ".join((str(monitor.failure), *getattr(monitor.failure, "__notes__", ())))
            return dict.fromkeys(questions, Refusal("error", words))
        return dict(zip(questions, monitor.replies(len(questions)), strict=True))

    def _talk(self, monitor: Monitor, path: str, theirs: socket.socket) -> None:
        """Have the conversation; what goes wrong is kept in the monitor, with what the device model said last."""
        try:
            with self._host.launch(argv(path, theirs.fileno()), (theirs.fileno(),)) as child:
                theirs.close()
                exchange([monitor], self._patience())
                self._executables[path] = child.exe or path
                if monitor.failure is not None:
                    raise monitor.failure
        except ProbeError as error:
            monitor.fail(error)

    def _patience(self) -> float:
        """Until when to listen: half of the time that is left, and not long. A hanging one must not cost what Xen itself says."""
        now = time.monotonic()
        return now + min((self._host.deadline - now) / 2, _LONGEST)


def _program(asked: Question) -> str:
    return asked.args[0] if asked.kind == KIND else asked.args[1]


def argv(path: str, monitor: int) -> tuple[str, ...]:
    """A device model that answers questions and does nothing else, with its monitor on an inherited socket.

    Some are built without the accelerator `qtest`, some without TCG; for the machine `none` either will do.
    """
    return (
        path,
        *("-S", "-no-user-config", "-nodefaults", "-display", "none", "-machine", "none,accel=qtest:tcg"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    )

"""Asks a host's bhyve and its kernel. Nothing here interprets an answer.

bhyve is run three times, once for each list (a bhyve before FreeBSD 12.1 once for each device), makes no guest and needs no rights;
what it said is remembered while the program stands still. The kernel is asked at every probe, by sysctl and kldstat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from domcaps_bhyve.describe import SYSTEM, emulator, reports, sysctl_failure, system
from domcaps_bhyve.settings import Wanted
from domcaps_exporter import (
    Answer,
    Facts,
    Host,
    HypervisorAbsent,
    ProbeRefused,
    Question,
    Refusal,
    Report,
    question,
)
from domcaps_exporter.inquiry import Inquiry
from domcaps_exporter.patience import Hangs
from domcaps_exporter.view import View


class Bhyve:
    """The driver: what is wanted, and what is remembered from one probe to the next."""

    def __init__(self, wanted: Wanted, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted = wanted
        self._hangs = Hangs(clock)
        self._inquiry = Inquiry(lambda view: reports(view, wanted), clock)

    def probe(self, host: Host) -> Facts:
        """Ask. An unchanged host is asked its last questions again, and answers with the same facts.

        Raises:
            HypervisorAbsent: there is no bhyve here, or this is no FreeBSD.
            ProbeRefused: neither the kernel nor bhyve could be asked.
        """
        return self._inquiry.probe(Probe(host, self._hangs).ask, self._judge, host.forget)

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Understand."""
        return self._inquiry.describe(facts)

    def _judge(self, view: View, _: tuple[Report, ...]) -> None:
        """Is there anything to report?"""
        path = emulator(view, self.wanted)
        if path is None:
            raise HypervisorAbsent(f"no {self.wanted.emulator or 'bhyve in PATH, nor /usr/sbin/bhyve'}")
        failure = sysctl_failure(view)
        if failure is not None:
            raise ProbeRefused(f"sysctl did not tell what kernel this is: {failure}")
        if system(view) != SYSTEM:
            raise HypervisorAbsent(f"{path} is understood on {SYSTEM} only")
        said = [answer for asked, answer in view.facts.items() if asked.kind == "said"]
        refused = [answer for answer in said if isinstance(answer, Refusal)]
        if len(refused) == len(said):
            raise ProbeRefused(f"{path}: {refused[0].text or refused[0].why}")


class Probe:
    """One probe of a host. A question that is asked twice in it is answered the same."""

    def __init__(self, host: Host, hangs: Hangs) -> None:
        self._host, self._hangs = host, hangs
        self._answers: dict[Question, Answer] = {}

    def ask(self, wanted: frozenset[Question]) -> Facts:
        """The answers; bhyve's are remembered."""
        dear = frozenset(one for one in wanted if one.kind == "said")
        cheap = {one: self._once(one) for one in wanted - dear}
        return {**cheap, **self._host.remember(dear, _identity, self._look)} if dear else cheap

    def _once(self, asked: Question) -> Answer:
        if asked not in self._answers:
            self._answers[asked] = self._heed(asked) if asked.kind == "within" else self._host.ask(asked)
        return self._answers[asked]

    def _heed(self, asked: Question) -> Answer:
        found = self._once(question("which", asked.args[1]))
        files = (question("program", os.fsdecode(found)),) if isinstance(found, bytes) else ()
        return self._hangs.ask(asked, self._host, files)

    def _look(self, wanted: frozenset[Question]) -> Facts:
        return {one: self._host.ask(one) for one in wanted}


def _identity(asked: Question) -> tuple[Question, ...]:
    """What bhyve's lists depend on."""
    return question("program", asked.args[0]), question("uname")

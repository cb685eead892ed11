"""Asks the libvirts that are configured. Nothing here interprets an answer but whether there is one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from domcaps_exporter import Answer, Facts, Host, HypervisorAbsent, ProbeRefused, ProbeTimeout, Question, Refusal, Report
from domcaps_exporter.inquiry import Inquiry
from domcaps_exporter.libvirt import said
from domcaps_exporter.view import View
from domcaps_libvirt.clients import client
from domcaps_libvirt.describe import host as host_question
from domcaps_libvirt.describe import reports
from domcaps_libvirt.settings import Wanted

_UNREACHED = re.compile(
    "failed to connect|disconnected from|client socket is closed|end of file while reading|connection reset|broken pipe"
    "|operation forbidden|access denied|authentication",
    re.IGNORECASE,
)
"""libvirt's words for not being reached, or not letting anybody ask: that is about the whole libvirt, not about one guest.

"Permission denied" alone is not among them: of an emulator that may not be executed libvirt says it too.
"""


class Libvirt:
    """The driver: what is wanted, and what was asked last."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._inquiry = Inquiry(lambda view: reports(view, wanted))

    def probe(self, host: Host) -> Facts:
        """Ask, every time: libvirt remembers for itself. The last questions go first, so that mostly they are the only ones.

        Raises:
            HypervisorAbsent: no libvirt is configured.
            ProbeTimeout: one did not answer in time.
            ProbeRefused: one is not there, or will not be asked.
        """
        if not self.wanted.uris:
            raise HypervisorAbsent("it is off: no URI is configured (drivers.libvirt.uris)")
        return self._inquiry.probe(Probe(host).ask, self._judge)

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Understand."""
        return self._inquiry.describe(facts)

    def _judge(self, view: View, understood: tuple[Report, ...]) -> None:
        """A libvirt that offers nothing of what is wanted, or refuses every document, gives no answer."""
        offering = {report.source for report in understood}
        for uri in self.wanted.uris:
            if uri not in offering:
                raise ProbeRefused(f"{uri}: libvirt offers no guests of the architectures, machines and virttypes that are wanted")
            answers = [answer for one, answer in view.facts.items() if one.args[:2] == (uri, "domcapabilities")]
            if answers and all(isinstance(answer, Refusal) for answer in answers):
                raise ProbeRefused(f"{uri}: {_words(answers[0])}")


class Probe:
    """One probe of the libvirts. The first that cannot be asked ends it: half an answer would look like a loss."""

    def __init__(self, host: Host) -> None:
        self._host, self._client = host, client(host)

    def ask(self, questions: Iterable[Question]) -> Facts:
        """The answers, libvirt by libvirt."""
        by_uri: defaultdict[str, list[Question]] = defaultdict(list)
        for one in sorted(questions):
            by_uri[one.args[0]].append(one)
        return {one: answer for uri, asked in by_uri.items() for one, answer in self._ask(uri, asked).items()}

    def _ask(self, uri: str, asked: list[Question]) -> Facts:
        try:
            answers = dict(self._client.ask(self._host, uri, asked))
        except ProbeTimeout as error:
            raise ProbeTimeout(f"{uri}: libvirt had not answered at the deadline") from error
        for one, answer in answers.items():
            if isinstance(answer, Refusal) and (one == host_question(uri) or _UNREACHED.search(answer.text)):
                raise ProbeRefused(f"{uri}: {_words(answer)}")
        return answers


def _words(answer: Answer | None) -> str:
    """libvirt's own, without virsh's prefixes."""
    text = answer.text if isinstance(answer, Refusal) else ""
    return said(text) or "libvirt cannot be asked"

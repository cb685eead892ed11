"""What one probe leaves to the next: questions, and what was understood; and what becomes of what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from domcaps_exporter import Answer, Facts, HypervisorAbsent, Identity, Question, Report, UnreadableAnswer, Verdict, question
from domcaps_exporter.inquiry import Inquiry
from domcaps_exporter.memory import Store
from domcaps_exporter.patience import FIRST
from domcaps_exporter.view import View

PROGRAM, MACHINES = question("which", "acmevm"), question("run", "acmevm", "machines")


def understand(view: View) -> Iterator[Report]:
    """One report for each machine that the program names."""
    if view.text(PROGRAM) is None:
        return
    machines = view.text(MACHINES)
    if machines == "gibberish":
        raise UnreadableAnswer("acmevm: what are its machines?")
    for machine in (machines or "").split():
        yield Report(Identity("acmevm", "x86_64", machine, "acme"), Verdict("guest", "", "", True))


class Answering:
    """A host that notes what it is asked, files first as drivers ask: one kind of question at a time."""

    def __init__(self, machines: bytes = b"one two") -> None:
        self.answers: dict[Question, Answer] = {PROGRAM: b"/usr/bin/acmevm", MACHINES: machines}
        self.asked: list[Question] = []

    def __call__(self, wanted: frozenset[Question]) -> Facts:
        part = frozenset(one for one in wanted if one.kind == "which") or wanted
        self.asked += sorted(part)
        return {one: self.answers[one] for one in part}


def content(_: View, reports: tuple[Report, ...]) -> None:
    if not reports:
        raise HypervisorAbsent("no machines")


def test_what_is_missed_is_asked_and_understood() -> None:
    inquiry, host = Inquiry(understand), Answering()
    facts = inquiry.probe(host, content)
    assert host.asked == [PROGRAM, MACHINES]
    assert facts == host.answers
    assert [report.identity.machine for report in inquiry.describe(facts)] == ["one", "two"]


def test_an_unchanged_host_is_asked_its_last_questions_once_and_gives_the_very_same_facts_and_reports() -> None:
    inquiry, host = Inquiry(understand), Answering()
    facts = inquiry.probe(host, content)
    reports = inquiry.describe(facts)
    host.asked.clear()
    assert inquiry.probe(host, content) is facts
    assert inquiry.describe(facts) is reports
    assert host.asked == [PROGRAM, MACHINES]


def test_what_changed_is_understood_anew() -> None:
    inquiry, host = Inquiry(understand), Answering()
    inquiry.probe(host, content)
    host.answers[MACHINES] = b"three"
    assert [report.identity.machine for report in inquiry.describe(inquiry.probe(host, content))] == ["three"]


def test_what_is_no_answer_is_not_kept() -> None:
    inquiry, host = Inquiry(understand), Answering()
    facts = inquiry.probe(host, content)
    host.answers[MACHINES] = b""
    with pytest.raises(HypervisorAbsent):
        inquiry.probe(host, content)
    host.answers[MACHINES] = b"one two"
    assert inquiry.probe(host, content) is facts


def test_what_cannot_be_understood_is_a_fact_that_describe_complains_of_each_time() -> None:
    inquiry, host = Inquiry(understand), Answering(b"gibberish")
    for _ in range(2):
        facts = inquiry.probe(host, content)
        assert facts == host.answers
        with pytest.raises(UnreadableAnswer, match=r"acmevm: what are its machines\?"):
            inquiry.describe(facts)


def test_facts_of_another_host_are_understood_by_themselves() -> None:
    inquiry = Inquiry(understand)
    inquiry.probe(Answering(), content)
    (report,) = inquiry.describe({PROGRAM: b"/usr/bin/acmevm", MACHINES: b"other"})
    assert report.identity.machine == "other"


class Remembering(Answering):
    """One whose program is asked only where it is not remembered what it said, with a clock that is set by hand."""

    def __init__(self, machines: bytes) -> None:
        super().__init__(machines)
        self.now, self.store = 0.0, Store()

    def __call__(self, wanted: frozenset[Question]) -> Facts:
        dear = frozenset(wanted & {MACHINES})
        cheap = {one: self.answers[one] for one in wanted - dear}
        return {**cheap, **self.store.remember(dear, lambda _: (PROGRAM,), super().__call__, self.answers.__getitem__)}

    def probed(self, inquiry: Inquiry, seconds: float) -> int:
        """How often the program is asked in a probe so much later."""
        self.now += seconds
        self.asked.clear()
        inquiry.probe(self, content, self.store.forget)
        return self.asked.count(MACHINES)


def sensible(view: View) -> Iterator[Report]:
    """The same, by a parser that knows what it read."""
    machines = view.form(MACHINES, lambda data: [str(int(word)) for word in data.split()])
    for machine in machines if isinstance(machines, list) else ():
        yield Report(Identity("acmevm", "x86_64", machine, "acme"), Verdict("guest", "", "", True))


@pytest.mark.parametrize("rules", [understand, sensible], ids=["of no question", "of a question"])
def test_nonsense_that_is_remembered_is_asked_again_after_a_while_and_sense_is_kept(
    rules: Callable[[View], Iterator[Report]],
) -> None:
    host = Remembering(b"gibberish")
    inquiry = Inquiry(rules, lambda: host.now)
    assert [host.probed(inquiry, 15) for _ in range(4)] == [1, 0, 0, 0]
    assert [host.probed(inquiry, 15) for _ in range(9)] == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    host.answers[MACHINES] = b"1 2"
    assert host.probed(inquiry, 4 * FIRST) == 1
    assert [report.identity.machine for report in inquiry.describe(inquiry.probe(host, content, host.store.forget))] == ["1", "2"]
    assert host.probed(inquiry, 24 * 3600) == 0

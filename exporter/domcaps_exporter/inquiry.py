"""A driver's inquiry into its host: what it was told last, and how it understands that. It asks only through what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

from domcaps_exporter.errors import UnreadableAnswer
from domcaps_exporter.model import Answer, Facts, Question, Report
from domcaps_exporter.patience import Doubts
from domcaps_exporter.view import Parsed, View, gather

Reports: TypeAlias = tuple[Report, ...]
Ask: TypeAlias = Callable[[frozenset[Question]], Facts]
Forget: TypeAlias = Callable[[frozenset[Question]], None]


def _keep(_: frozenset[Question]) -> None:
    """For what remembers nothing."""


class Inquiry:
    """The two halves of a driver, with what the last good probe leaves to the next: an unchanged host costs its questions only.

    `understand` makes the reports of facts. What it finds unreadable is a fact all the same, so that it can be recorded:
    `describe` raises what is wrong with it, `probe` does not. It is no fact for ever: now and then it is forgotten and asked again
    (`patience`). `clock` is monotonic.
    """

    def __init__(self, understand: Callable[[View], Iterable[Report]], clock: Callable[[], float] = time.monotonic) -> None:
        self._understand = understand
        self._parsed = Parsed()
        self._doubts = Doubts(clock)
        self._facts: Facts = {}
        self._questions: frozenset[Question] = frozenset()
        self._reports: Reports | None = None

    def probe(self, ask: Ask, judge: Callable[[View, Reports], None], forget: Forget = _keep) -> Facts:
        """Ask the last questions again and, unless they are answered as they were, whatever is missed (`ask` as in `gather`).

        `judge` sees what was understood, and raises where that is no answer: nothing is kept then. `forget` is `Host.forget`.
        """
        if due := self._doubts.due():
            forget(due)
        again = _all(self._questions, ask)
        if self._facts and again == self._facts:
            return self._facts
        reports: Reports | None = None

        def understand(view: View) -> None:
            nonlocal reports
            reports = None
            with suppress(UnreadableAnswer):
                reports = tuple(self._understand(view))

        facts = gather(understand, ask, self._parsed, again)
        senseless = self._parsed.senseless(facts)
        self._doubts.hold(senseless or frozenset(() if reports is not None else facts))
        if reports is not None:
            judge(View(facts, self._parsed), reports)
        self._facts, self._questions, self._reports = facts, frozenset(facts), reports
        return facts

    def describe(self, facts: Facts) -> Reports:
        """What was understood while asking, where these are the facts that came of it."""
        if self._reports is not None and facts == self._facts:
            return self._reports
        return tuple(self._understand(View(facts, self._parsed)))


def _all(questions: frozenset[Question], ask: Ask) -> Facts:
    """The answers to all these; `ask` may answer a part first, and has none left where it answers nothing."""
    answers: dict[Question, Answer] = {}
    while (left := questions - answers.keys()) and (more := ask(left)):
        answers |= more
    return answers

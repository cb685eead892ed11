"""What a driver's earlier probes were told, for as long as what it depends on stands still. Asks only through what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from domcaps_exporter.model import Answer, Facts, Identifying, Question


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """What answers rest on. Answers learnt together that rest on the same share one object, compared by being it."""

    identity: tuple[tuple[Question, Answer], ...]

    def stands(self, ask: Callable[[Question], Answer]) -> bool:
        return all(ask(question) == answer for question, answer in self.identity)


class Store:
    """One driver's memory. It outlives a probe; one probe at a time uses it.

    Refusals are not remembered: what failed once may work the next time. At most `limit` questions are kept, the least recently
    used go first.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._kept: dict[Question, tuple[Answer, _Ground]] = {}

    def remember(
        self,
        questions: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
        host: Callable[[Question], Answer],
        lately: Callable[[Question], Answer] | None = None,
    ) -> Facts:
        """As `Host.remember`; `host` answers what `identity` names, now.

        `lately` may answer it as it was at any time in this probe, which is soon enough before `ask`, not after it.
        """
        known = self._standing(questions, lately or cache(host))
        wanted = questions - known.keys()
        return known | self._learnt(wanted, identity, ask, host, lately or host) if wanted else known

    def forget(self, questions: frozenset[Question]) -> None:
        """As `Host.forget`."""
        grounds = {self._kept[one][1] for one in questions & self._kept.keys()}
        self._kept = {one: known for one, known in self._kept.items() if known[1] not in grounds}

    def _standing(self, questions: frozenset[Question], once: Callable[[Question], Answer]) -> dict[Question, Answer]:
        kept, known = self._kept, {}
        stands: dict[_Ground, bool] = {}
        for question in questions:
            if question not in kept:
                continue
            answer, ground = kept[question]
            if ground not in stands:
                stands[ground] = ground.stands(once)
            if stands[ground]:
                known[question] = answer
                kept[question] = kept.pop(question)  # to the end: used last
        return known

    def _learnt(
        self,
        wanted: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
        host: Callable[[Question], Answer],
        lately: Callable[[Question], Answer],
    ) -> dict[Question, Answer]:
        earlier = cache(lately)
        before = {question: {named: earlier(named) for named in identity(question) or ()} for question in wanted}
        answers = ask(wanted)
        once = cache(host)
        still = cache(lambda named, answer: once(named) == answer)
        grounds = cache(lambda named: _Ground(tuple((question, once(question)) for question in named)))
        for question in wanted & answers.keys():
            named = identity(question)
            if named is not None and all(still(one, answer) for one, answer in before[question].items()):
                self._keep(question, answers[question], grounds(named))
        return {question: answers[question] for question in wanted if question in answers}

    def _keep(self, question: Question, answer: Answer, ground: _Ground) -> None:
        self._kept.pop(question, None)
        if isinstance(answer, bytes):
            self._kept[question] = answer, ground
        for question in list(self._kept)[: max(0, len(self._kept) - self._limit)]:
            del self._kept[question]

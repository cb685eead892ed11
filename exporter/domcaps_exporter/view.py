"""Facts as rules see them: three-valued, parsed once, and every question that was looked at noted. Pure.

`gather` asks by need: it evaluates over what is known, asks what was missed, and again until nothing is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from domcaps_exporter.errors import UnreadableAnswer
from domcaps_exporter.model import Answer, Facts, Question, Refusal, Truth

T = TypeVar("T")

Aspect: TypeAlias = tuple[str, ...]
"""Something of a rule's subject that is no fact of the host, such as whether a guest's machine goes by one of these names."""

# ---- three values ------------------------------------------------------------------------------------------------------------


def any_known(truths: Iterable[Truth]) -> Truth:
    """Kleene's or: one True decides, else one unknown leaves it unknown."""
    seen = list(truths)
    return True if True in seen else None if None in seen else False


def all_known(truths: Iterable[Truth]) -> Truth:
    """Kleene's and: one False decides, else one unknown leaves it unknown."""
    seen = list(truths)
    return False if False in seen else None if None in seen else True


def negated(truth: Truth) -> Truth:
    """Kleene's not."""
    return None if truth is None else not truth


# ---- facts, as rules see them ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Memo:
    """Something that was made of facts, of nothing else, and of the aspects of its subject that it was made for."""

    facts: tuple[tuple[Question, Answer | None], ...]
    aspects: tuple[tuple[Aspect, object], ...]
    made: Any


_MEMOS = 32
"""How many memos of one key are kept: more than there are kinds of machine that rules tell apart."""


class Parsed:
    """Parsed forms of answers, kept as long as the very same bytes are asked for again. A driver owns one, for its views."""

    def __init__(self) -> None:
        self._forms: dict[tuple[Question, Hashable], tuple[bytes, Any]] = {}
        self._joint: dict[tuple[Hashable, ...], tuple[tuple[bytes, ...], Any]] = {}
        self._senseless: dict[Question, bytes] = {}
        self.memos: dict[Hashable, list[Memo]] = {}

    def form(self, question: Question, answer: bytes, parse: Callable[[bytes], T]) -> T:
        """`parse(answer)`, or what it was when this question last had this answer.

        Raises:
            UnreadableAnswer: it cannot be parsed; the message names the question.
        """
        known = self._forms.get((question, parse))
        if known is None or known[0] != answer:
            known = answer, self._read(lambda: parse(answer), question, {question: answer})
            self._forms[question, parse] = known
        form: T = known[1]
        return form

    def joint(self, answers: Mapping[Question, bytes], parse: Callable[[Mapping[Question, bytes]], T], name: str) -> T:
        """The same for a form that several answers make together; `name` is what a message calls them."""
        key, told = (*answers, parse), tuple(answers.values())
        known = self._joint.get(key)
        if known is None or known[0] != told:
            known = told, self._read(lambda: parse(answers), name, answers)
            self._joint[key] = known
        form: T = known[1]
        return form

    def senseless(self, facts: Facts) -> frozenset[Question]:
        """The questions whose answers among these could not be parsed, whatever was made of that."""
        self._senseless = {one: answer for one, answer in self._senseless.items() if facts.get(one) == answer}
        return frozenset(self._senseless)

    def _read(self, parse: Callable[[], T], name: object, answers: Mapping[Question, bytes]) -> T:
        try:
            return parse()
        except UnreadableAnswer as error:
            self._senseless |= answers
            raise _unreadable(name, str(error)) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
            self._senseless |= answers
            raise _unreadable(name, f"{type(error).__name__}: {error}") from error


def _unreadable(name: object, why: str) -> UnreadableAnswer:
    error = UnreadableAnswer(f"{name}: {why}")
    error.asked = name
    return error


class View:
    """Facts as rules see them; `used` collects what was looked at, there or not."""

    def __init__(self, facts: Facts, parsed: Parsed | None = None) -> None:
        self.facts = facts
        self.used: set[Question] = set()
        self.aspects: dict[Aspect, object] = {}
        self._standing: set[Memo] = set()
        self._parsed = Parsed() if parsed is None else parsed

    def instead(self, answers: Facts) -> View:
        """The same facts but for these answers. What is looked at there is not noted here."""
        return View({**self.facts, **answers}, self._parsed)

    @property
    def missed(self) -> frozenset[Question]:
        """What was looked at and is not there."""
        return frozenset(self.used - self.facts.keys())

    def answer(self, question: Question) -> Answer | None:
        """The answer, a refusal, or None where the facts do not hold the question."""
        self.used.add(question)
        return self.facts.get(question)

    def memo(self, key: Hashable, make: Callable[[], T], tell: Callable[[Aspect], object] = lambda _: None) -> T:
        """`make()`, or what it was when all that it looks at was the same. `key` says which `make` it is.

        Beside facts it may look at aspects of its subject (is the machine one of these?): it notes them with `look`, and
        `tell(aspect)` says what one is now. So what was made for one subject serves all that are like it where it looked.
        """
        memos = self._parsed.memos.setdefault(key, [])
        for place, memo in enumerate(memos):
            if all(tell(aspect) == told for aspect, told in memo.aspects) and self._stands(memo):
                memos.insert(0, memos.pop(place))  # the next subject is most often like the last one
                self.aspects.update(memo.aspects)
                known: T = memo.made
                return known
        made, memo = self._made(make)
        memos[:] = [memo, *(other for other in memos if other.aspects != memo.aspects)][:_MEMOS]
        return made

    def _stands(self, memo: Memo) -> bool:
        """Are its facts still the same? Within one view they are when they once were."""
        if memo not in self._standing:
            if any(self.facts.get(question) != answer for question, answer in memo.facts):
                return False
            self._standing.add(memo)
            self.used.update(question for question, _ in memo.facts)
        return True

    def _made(self, make: Callable[[], T]) -> tuple[T, Memo]:
        (used, self.used), (aspects, self.aspects) = (self.used, set()), (self.aspects, {})
        standing, self._standing = self._standing, set()  # what a part rests on, the whole rests on as well
        try:
            made = make()
            memo = Memo(tuple((question, self.facts.get(question)) for question in self.used), tuple(self.aspects.items()), made)
        finally:
            self.used |= used
            self.aspects = aspects | self.aspects
            self._standing |= standing
        self._standing.add(memo)
        return made, memo

    def look(self, aspect: Aspect, found: T) -> T:
        """Note what was found of a subject, for `memo`."""
        self.aspects[aspect] = found
        return found

    def form(self, question: Question, parse: Callable[[bytes], T]) -> T | Refusal | None:
        """The parsed answer, a refusal, or None where the facts do not hold the question.

        Raises:
            UnreadableAnswer: it cannot be parsed; the message names the question.
        """
        answer = self.answer(question)
        return self._parsed.form(question, answer, parse) if isinstance(answer, bytes) else answer

    def joint(self, questions: Iterable[Question], parse: Callable[[Mapping[Question, bytes]], T], name: str) -> T | None:
        """The form that several answers make together, None where one of them is missing.

        Raises:
            UnreadableAnswer: they cannot be parsed; the message says `name`.
        """
        answers = {question: self.answer(question) for question in questions}
        there = {question: answer for question, answer in answers.items() if isinstance(answer, bytes)}
        return self._parsed.joint(there, parse, name) if len(there) == len(answers) else None

    def there(self, question: Question) -> Truth:
        """Is there an answer at all? Absent is no; denied, failed or not asked is unknown."""
        answer = self.answer(question)
        return True if isinstance(answer, bytes) else presence_of(answer)

    def text(self, question: Question) -> str | None:
        """The answer as text without the white space around it, None where there is none."""
        answer = self.answer(question)
        return answer.decode("utf-8", "replace").strip() if isinstance(answer, bytes) else None

    def path(self, question: Question) -> str | None:
        """The answer as the name of a file, whatever its bytes are; None where there is none."""
        answer = self.answer(question)
        return answer.decode("utf-8", "surrogateescape") if isinstance(answer, bytes) else None

    def entries(self, question: Question) -> tuple[str, ...] | None:
        """A NUL-joined answer (`list`) as names; empty where the folder is absent, None where nobody knows."""
        answer = self.answer(question)
        if isinstance(answer, bytes):
            return tuple(answer.decode("utf-8", "surrogateescape").split("\0")) if answer else ()
        return () if presence_of(answer) is False else None


def presence_of(refusal: Refusal | None) -> Truth:
    """Absent is a definite no; anything else that is no answer is unknown."""
    return False if refusal is not None and refusal.why == "absent" else None


def gather(
    understand: Callable[[View], object],
    ask: Callable[[frozenset[Question]], Facts],
    parsed: Parsed | None = None,
    known: Facts | None = None,
) -> Facts:
    """Ask what `understand` needs: evaluate over what is known, ask what was missed, and again until nothing is missed.

    `ask` may answer a part of what it is asked for, the cheap questions first; when it answers none, the rest stays unknown.
    `known`: what was just asked and is taken as answered. What nothing looks at any more is left out of the facts.
    """
    facts: dict[Question, Answer] = dict(known or {})
    while True:
        view = View(facts, parsed)
        understand(view)
        missed = view.missed
        answers = ask(missed) if missed else {}
        if not answers:
            return {question: answer for question, answer in facts.items() if question in view.used}
        facts.update(answers)

"""What a driver's answer rests on: the code that understood it, and the host's answers as digests. Pure.

A driver's `describe` is pure: of the same facts, the same code always says the same. So where another code says no, and every
answer that this no hangs on is what it was, it was not the host that changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from domcaps_exporter.model import Answer, Facts, Question, Refusal, Report

_CHANGED = Refusal("error", "it has changed meanwhile")


@dataclass(frozen=True, slots=True)
class Basis:
    """`code` names the code that understood; `heard` has a digest of each question, and one of its answer."""

    code: str
    heard: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judge:
    """Who understands a driver's facts now. `code` is another one whenever the rules may be."""

    code: str
    describe: Callable[[Facts], Iterable[Report]]


def basis(code: str, facts: Facts) -> Basis:
    """What is remembered of facts."""
    return Basis(code, {_of_question(question): _of_answer(answer) for question, answer in facts.items()})


def standing(facts: Facts, earlier: Basis) -> Facts:
    """The facts without what the host answers otherwise than before: of that nobody knows. What was not asked then stands."""
    return {one: _CHANGED if _differs(earlier.heard.get(_of_question(one)), answer) else answer for one, answer in facts.items()}


def _differs(known: str | None, answer: Answer) -> bool:
    return known is not None and known != _of_answer(answer)


def _of_question(question: Question) -> str:
    return _digest("\0".join((question.kind, *question.args)).encode("utf-8", "surrogateescape"))


def _of_answer(answer: Answer) -> str:
    """Of a refusal its kind alone: its words are for people."""
    return _digest(answer) if isinstance(answer, bytes) else answer.why


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()

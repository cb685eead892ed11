"""When a program that hung, or whose answer made no sense, is asked again: not at every scrape, and not never.

Asks through the host alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from domcaps_exporter.model import LATE, Answer, Host, Question, Refusal

FIRST, LONGEST = 60.0, 960.0
"""Seconds until it is asked again: after the first time, and at most. In between they double."""


@dataclass(frozen=True, slots=True)
class _Pause:
    """It is asked again so long after it was asked, at that time."""

    length: float
    until: float


def _pause(last: _Pause | None, now: float) -> _Pause:
    length = FIRST if last is None else min(2 * last.length, LONGEST)
    return _Pause(length, now + length)


class Hangs:
    """What a driver keeps of programs that did not answer in time: no answer, only when to ask again. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Question, tuple[tuple[Answer, ...], _Pause]] = {}

    def ask(self, asked: Question, host: Host, identity: tuple[Question, ...]) -> Answer:
        """The answer, or `LATE` unasked, as long as nothing of its `identity` has changed since it was so and it is too soon."""
        ground = tuple(host.ask(one) for one in identity)
        known = self._known.get(asked)
        pause = known[1] if known is not None and known[0] == ground else None
        if pause is not None and self._clock() < pause.until:
            return LATE
        answer = host.ask(asked)
        self._known.pop(asked, None)
        if answer == LATE:
            self._known[asked] = ground, _pause(pause, self._clock())
        return answer


def unheard(asked: Question, refusal: Refusal) -> str:
    """For a note: the program of a question `within`, and why it did not say what it was asked."""
    return f"{' '.join(asked.args[1:])}: {' '.join(refusal.text.split()) or refusal.why}"


class Doubts:
    """The questions whose answers made no sense. What gave them may have been killed, short of memory, or half written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Question, _Pause] = {}

    def due(self) -> frozenset[Question]:
        """Those to ask again now. Whichever makes no sense even then is due twice as late the next time."""
        now = self._clock()
        due = frozenset(one for one, pause in self._known.items() if pause.until <= now)
        self._known |= {one: _pause(self._known[one], now) for one in due}
        return due

    def hold(self, senseless: frozenset[Question]) -> None:
        """These make no sense, and no others do any more."""
        now = self._clock()
        self._known = {one: self._known.get(one) or _pause(None, now) for one in senseless}

"""Programs beside QEMU that did not answer in time: not every scrape waits for them again. Asks through the host alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from domcaps_exporter import Answer, Host, Question
from domcaps_exporter.model import LATE

FIRST, LONGEST = 60.0, 960.0
"""Seconds until such a program is asked again: after the first time, and at most. In between they double."""


@dataclass(frozen=True, slots=True)
class _Hang:
    """What the program depended on when it did not answer, and when it is asked again: so long after, at that time."""

    ground: tuple[Answer, ...]
    pause: float
    until: float


class Hangs:
    """What a driver keeps of them from probe to probe: no answer, only when to ask again. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Question, _Hang] = {}

    def ask(self, asked: Question, host: Host, identity: tuple[Question, ...]) -> Answer:
        """The answer, or `LATE` unasked, as long as nothing of its `identity` has changed since it was so and it is too soon."""
        ground = tuple(host.ask(one) for one in identity)
        known = self._known.get(asked)
        if known is not None and known.ground != ground:
            known = None
        if known is not None and self._clock() < known.until:
            return LATE
        answer = host.ask(asked)
        self._known.pop(asked, None)
        if answer == LATE:
            pause = FIRST if known is None else min(2 * known.pause, LONGEST)
            self._known[asked] = _Hang(ground, pause, self._clock() + pause)
        return answer

"""Hosts for the tests of drivers: this machine, one made of answers, and one that answers nothing in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TypeAlias

from domcaps_exporter.errors import ProbeRefused, ProbeTimeout
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import ABSENT, Answer, Child, Facts, Host, Identifying, Question

Hosts: TypeAlias = Callable[[float], Host]
"""Makes the host for one probe, which must be over at that time (seconds of `time.monotonic()`)."""


def this_host(paths: Paths | None = None) -> Hosts:
    """The machine that runs the test; what a driver remembers lasts from probe to probe."""
    store = Store()
    return lambda deadline: RealHost(deadline, paths or Paths(), store)


def host_of(answers: Mapping[Question, Answer]) -> Hosts:
    """A host that gives these answers, has nothing else, and starts no program."""
    return lambda deadline: Told(deadline, answers)


class Told:
    """A host out of a mapping. It remembers nothing: an answer costs nothing."""

    def __init__(self, deadline: float, answers: Mapping[Question, Answer]) -> None:
        self._deadline, self._answers = deadline, answers

    @property
    def deadline(self) -> float:
        return self._deadline

    def ask(self, question: Question) -> Answer:
        return self._answers.get(question, ABSENT)

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        raise ProbeRefused(f"{' '.join(argv)} is not started: this host is only told about")

    def remember(
        self,
        questions: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
    ) -> Facts:
        for question in questions:
            identity(question)
        return ask(questions)

    def forget(self, questions: frozenset[Question]) -> None:
        """There is nothing to forget."""


class Stalled(Told):
    """A host that takes forever over every answer."""

    def ask(self, question: Question) -> Answer:
        raise self._late()

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        raise self._late()

    def _late(self) -> ProbeTimeout:
        time.sleep(max(0.0, self._deadline - time.monotonic()))
        return ProbeTimeout("the probe did not end in time")

"""A line on the terminal that says what is being asked, for those who wait for many emulators. Writes to that terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from domcaps_exporter.model import Answer, Child, Facts, Host, Identifying, Question

_SOON = 0.5
"""Seconds in which an answer is there soon enough for nobody to wonder."""

_WIDTH = 78
_ERASE = "\r\x1b[K"


class Progress:
    """One line that is written over and over. Several threads may tell; nothing is written where `terminal` is None."""

    def __init__(self, terminal: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal, self._clock = terminal, clock
        self._lock = threading.Lock()
        self._started, self._count, self._shown = clock(), 0, False

    def tell(self, program: str) -> None:
        """Another program is started."""
        with self._lock:
            self._count += 1
            if self._terminal is not None and self._clock() - self._started >= _SOON:
                self._shown = True
                self._write(f"{_ERASE}{f'{self._count} started, now {program}'[:_WIDTH]}")

    def end(self) -> None:
        """Leave the terminal as it was."""
        with self._lock:
            if self._shown:
                self._write(_ERASE)
            self._shown = False

    def _write(self, words: str) -> None:
        if self._terminal is not None:
            self._terminal.write(words)
            self._terminal.flush()


class Told:
    """A host that tells which programs a probe starts on it."""

    def __init__(self, host: Host, progress: Progress) -> None:
        self._host, self._progress = host, progress

    @property
    def deadline(self) -> float:
        return self._host.deadline

    def ask(self, question: Question) -> Answer:
        return self._host.ask(question)

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        self._progress.tell(argv[0])
        return self._host.launch(argv, pass_fds)

    def remember(
        self,
        questions: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
    ) -> Facts:
        return self._host.remember(questions, identity, ask)

    def forget(self, questions: frozenset[Question]) -> None:
        self._host.forget(questions)

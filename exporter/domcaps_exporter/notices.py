"""What drivers could not find out, or were asked for and the host has not, as lines of the log: each note once in a process."""

from __future__ import annotations

import logging

from domcaps_exporter.model import Outcome

_LOG = logging.getLogger(__name__)

_MOST = 200
"""Notes that are told: a driver whose every note is another fills no log."""


class Notices:
    """Who has been told what."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, outcome: Outcome) -> None:
        """Warn of each note that is new."""
        for note in notes(outcome):
            if (outcome.driver, note) not in self._told and len(self._told) < _MOST:
                self._told.add((outcome.driver, note))
                _LOG.warning("%s", note, extra={"fields": {"driver": outcome.driver}})


def notes(outcome: Outcome) -> tuple[str, ...]:
    """Each note of a driver once, however many kinds of guests have it."""
    return tuple(dict.fromkeys(note for report in outcome.reports for note in report.notes))

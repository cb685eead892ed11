"""What drivers could not find out, or were asked for and the host has not, and what of theirs is withheld, as lines of the log."""

from __future__ import annotations

import logging
import re
from collections import defaultdict

from domcaps_exporter.model import Failure, Outcome

_LOG = logging.getLogger(__name__)

_MOST, _LONGEST = 50, 500
"""Notes of one driver that are told, and characters of each: one whose every note is another fills no log."""

_NUMBER = re.compile("[0-9]+")


class Notices:
    """What has been told, each note once in a process. Notes that differ in numbers only (a process, a time) are one."""

    def __init__(self) -> None:
        self._told: defaultdict[str, set[str]] = defaultdict(set)
        self._refused: dict[str, str] = {}

    def tell(self, outcome: Outcome) -> None:
        """Warn of each note that is new."""
        told, fields = self._told[outcome.driver], {"fields": {"driver": outcome.driver}}
        for note in notes(outcome):
            kind = _NUMBER.sub("0", note[:_LONGEST])
            if kind in told or len(told) >= _MOST:
                continue
            told.add(kind)
            _LOG.warning("%s", note[:_LONGEST], extra=fields)
            if len(told) == _MOST:
                _LOG.warning("further notes are left out: see the page", extra=fields)

    def refuse(self, driver: str, failure: Failure | None) -> None:
        """Tell, once until that ends, that what a driver found is withheld: of a probe that failed itself its watch tells."""
        before, now = self._refused.get(driver, ""), "" if failure is None else failure.reason
        self._refused[driver] = now
        fields = {"driver": driver}
        if failure is not None and now != before:
            _LOG.warning("probe failed", extra={"fields": fields | {"reason": now, "error": failure.text}})
        elif failure is None and before:
            _LOG.info("probe answers again", extra={"fields": fields})


def notes(outcome: Outcome) -> tuple[str, ...]:
    """Each note of a driver once, however many kinds of guests have it."""
    return tuple(dict.fromkeys(note for report in outcome.reports for note in report.notes))

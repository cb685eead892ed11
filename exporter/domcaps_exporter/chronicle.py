"""What one exporter remembers of its drivers, and every change as one line of the log. It keeps the state file, if there is one.

Nothing that goes wrong with the file costs an answer: it is a warning, and the memory goes on without it.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from domcaps_exporter.basis import Judge, basis, standing
from domcaps_exporter.durations import moment
from domcaps_exporter.memoir import Damaged
from domcaps_exporter.model import Outcome
from domcaps_exporter.past import (
    LIMIT,
    RETENTION,
    Change,
    Direction,
    Loss,
    Past,
    fold,
    kept,
    labels,
    losses,
    oldest,
    revised,
    withdrawn,
)
from domcaps_exporter.statefile import StateFile

_LOG = logging.getLogger(__name__)
_CHANGES = logging.getLogger("domcaps_exporter.changes")
_DIRECTIONS: tuple[Direction, ...] = ("lost", "gained")
_NOTHING = Past()

_RECENT = 200
"""Changes that are kept for people to look at."""

_PATIENCE = 0.1
"""Seconds that an answer may wait for a `forget` under way."""

_RETRY = 60.0
"""Seconds until a file that could not be written is tried again, unless something changes before."""

_LULL = 60.0
"""Seconds after a writing in which the file is not written for other answers alone that come to the same: an older basis does no
harm, for more of the host has changed since, and counts."""


class Chronicle:
    """The memory of the drivers named. For one event loop.

    `retention`: seconds after which a kind of guest that is no longer reported is forgotten; `there(path)`: is there such a file;
    `clock`: seconds since the epoch; `judges`: who understands each driver's facts, so that what an earlier exporter understood
    otherwise is not taken for a loss; `known`: what is remembered from the start where there is no file.

    Raises:
        OSError: there is a file, and it cannot be read.
    """

    def __init__(
        self,
        drivers: Collection[str] = (),
        file: StateFile | None = None,
        retention: float = RETENTION,
        there: Callable[[str], bool] = os.path.exists,
        clock: Callable[[], float] = time.time,
        judges: Mapping[str, Judge] | None = None,
        known: Mapping[str, Past] | None = None,
    ) -> None:
        self._drivers, self._file, self._retention, self._there, self._clock = drivers, file, retention, there, clock
        self._judges = judges or {}
        self.revision = 0
        """Another number whenever `families` say something else."""
        self._pasts: dict[str, Past] = {}
        self._latest: dict[str, float] = {}
        self._counts: Counter[tuple[str, Direction]] = Counter()
        self._recent: deque[Change] = deque(maxlen=_RECENT)
        self._unsaved, self._complaint, self._is_full = False, "", False
        self._due, self._retry, self._lull = math.inf, 0.0, 0.0
        self._filed: frozenset[Loss] = frozenset()  # those in the file, as it was last read or written
        if file is not None:
            self._take(self._read(file))
            self._filed = frozenset(self.losses)
        elif known:
            self._take(dict(known))

    @property
    def changes(self) -> Sequence[Change]:
        """The latest that this process saw, in order."""
        return tuple(self._recent)

    @property
    def losses(self) -> Sequence[Loss]:
        """What is missed now, of all that is asked for."""
        return tuple(loss for driver, past in self._pasts.items() for loss in losses(driver, past))

    @property
    def seen(self) -> Collection[str]:
        """The drivers of which anything is remembered."""
        return [driver for driver, past in self._pasts.items() if past.guests]

    def past(self, driver: str) -> Past:
        """What is remembered of a driver: the very same object as long as nothing changes."""
        return self._pasts.get(driver, _NOTHING)

    def look(self) -> None:
        """Once for each scrape: take over what somebody else has written (`forget`), and forget what is too old."""
        file = self._file
        if file is not None and file.moved():
            self._reread(file)
        now = self._clock()
        if now >= self._due:
            self._take({driver: kept(past, now, self._retention) for driver, past in self._pasts.items()})
            self._unsaved = True
        if file is not None and (self._unsaved or file.vanished()) and now >= self._retry:
            self._save(file)

    def late(self, outcome: Outcome) -> bool:
        """Is one of a later probe known already? A slow scrape may bring an outcome late."""
        return outcome.started < self._latest.get(outcome.driver, -math.inf)

    def learn(self, outcome: Outcome) -> None:
        """Enter an outcome, unless it is late. Of a driver without an answer there is nothing to learn."""
        if self.late(outcome) or (outcome.failure is not None and outcome.failure.reason != "absent"):
            return
        self._latest[outcome.driver] = outcome.started
        before = self.past(outcome.driver)
        after, changes = fold(self._revised(before, outcome), outcome, self._there, self._room())
        after = self._grounded(after, outcome)
        if after is before:
            return
        self._take({**self._pasts, outcome.driver: after})
        self._unsaved = True
        self._tell(changes)
        if after.guests is before.guests and self._clock() < self._lull:
            self._retry = max(self._retry, self._lull)
        elif self._file is not None:
            self._save(self._file)

    def families(self, drivers: Container[str]) -> Iterator[Metric]:
        """How often things changed, and when last."""
        counts = CounterMetricFamily(
            "domcaps_capability_changes",
            "Things that guests could have and lost, or gained, counted by the exporter since it started.",
            labels=["driver", "direction"],
        )
        last = GaugeMetricFamily(
            "domcaps_last_change_timestamp_seconds",
            "When anything was last lost or gained, by this host's clock.",
            labels=["driver"],
        )
        for driver in (one for one in self._drivers if one in drivers):
            for direction in _DIRECTIONS:
                counts.add_metric([driver, direction], self._counts[driver, direction])
            changed = self.past(driver).changed
            if changed is not None:
                last.add_metric([driver], changed)
        yield from (counts, last)

    # ---- an earlier exporter's memory ----

    def _revised(self, past: Past, outcome: Outcome) -> Past:
        """The past as today's rules would have had it, where another exporter's are what it was told by."""
        judge = self._judges.get(outcome.driver)
        if judge is None or outcome.failure is not None or past.basis is None or past.basis.code == judge.code:
            return past
        try:
            hindsight = tuple(judge.describe(standing(outcome.facts, past.basis)))
        except Exception as error:  # noqa: BLE001  a driver may raise anything, and costs only itself
            fields = {"driver": outcome.driver, "error": error}
            _LOG.warning("what an upgrade changed is taken for the host's", extra={"fields": fields})
            return past
        return revised(past, outcome.reports, hindsight)

    def _grounded(self, past: Past, outcome: Outcome) -> Past:
        judge = self._judges.get(outcome.driver)
        if judge is None or outcome.failure is not None:
            return past
        ground = basis(judge.code, outcome.facts)
        return past if past.basis == ground else replace(past, basis=ground)

    # ---- memory ----

    def _take(self, pasts: dict[str, Past]) -> None:
        """Remember just this. Of drivers that are not asked, no guest is."""
        self.revision += 1
        asked = {driver: past for driver, past in pasts.items() if driver in self._drivers}
        others = {driver: withdrawn(past, self._clock()) for driver, past in pasts.items() if driver not in self._drivers}
        self._pasts = {**asked, **{driver: past for driver, past in others.items() if past.guests}}
        self._unsaved = self._unsaved or any(pasts[driver] != past for driver, past in others.items())
        self._due = min(map(oldest, self._pasts.values()), default=math.inf) + self._retention

    def _room(self) -> int:
        room = LIMIT - sum(past.size for past in self._pasts.values())
        if room <= 0 and not self._is_full:
            _LOG.warning("what is new is no longer remembered: there is too much", extra={"fields": {"limit": LIMIT}})
        self._is_full = room <= 0
        return max(room, 0)

    def _tell(self, changes: Iterable[Change]) -> None:
        self.revision += 1
        for change in changes:
            self._counts[change.driver, change.direction] += 1
            self._recent.append(change)
            level = logging.WARNING if change.direction == "lost" else logging.INFO
            _CHANGES.log(level, "capability %s", change.direction, extra={"fields": _fields(change)})

    # ---- the file ----

    def _read(self, file: StateFile) -> dict[str, Past]:
        try:
            return file.read()
        except Damaged as error:
            aside: Path | None = None
            with suppress(OSError):
                aside = file.set_aside()
            fields = {"file": file.path, "problem": error, "kept_as": aside or "-"}
            _LOG.warning("the state file cannot be used, and is set aside", extra={"fields": fields})
            self._unsaved = bool(self._pasts)
            return self._pasts

    def _reread(self, file: StateFile) -> None:
        """Whoever ended an alert by that leaves a trace. What was not yet in the file, nobody can have acknowledged.

        What is acknowledged is as if it had never been there; what another exporter saw come back, or an older file knows, is not.
        """
        filed = [loss for loss in self.losses if loss in self._filed]
        try:
            self._take(self._read(file))
        except OSError as error:
            self._complain("read", file, error)
            return
        self._filed = frozenset(self.losses)
        for loss in filed:
            if loss not in self._filed:
                fields = {**labels(loss), "since": moment(loss.since), "file": file.path}
                guest = self.past(loss.driver).guests.get(loss.identity)
                known = guest is not None and loss.key in guest.traces
                _CHANGES.info("loss is over, says the state file" if known else "loss acknowledged", extra={"fields": fields})

    def _save(self, file: StateFile) -> None:
        """Write, unless somebody else has written meanwhile, or does so now: then the next scrape does."""
        try:
            with file.locked(_PATIENCE):
                if file.moved():
                    return
                file.write(self._pasts)
        except BlockingIOError:
            return
        except OSError as error:
            self._complain("written", file, error)
            self._retry = self._clock() + _RETRY
            return
        self._filed = frozenset(self.losses)
        self._unsaved, self._complaint, self._lull = False, "", self._clock() + _LULL

    def _complain(self, verb: str, file: StateFile, error: OSError) -> None:
        """Once for each reason."""
        complaint = f"the state file cannot be {verb}: {error.strerror or error}"
        if complaint != self._complaint:
            _LOG.warning("%s", complaint, extra={"fields": {"file": file.path}})
        self._complaint = complaint


def _fields(change: Change) -> dict[str, str]:
    about = labels(Loss(change.driver, change.identity, change.key, change.time)) | {"direction": change.direction}
    return about | ({"lacks": ",".join(change.lacks)} if change.lacks else {})

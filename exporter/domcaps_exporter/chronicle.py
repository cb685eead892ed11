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
from domcaps_exporter.memoir import Damaged, Memory
from domcaps_exporter.model import Outcome
from domcaps_exporter.past import (
    LIMIT,
    RETENTION,
    Change,
    Direction,
    Loss,
    Past,
    acknowledges,
    fold,
    kept,
    labels,
    losses,
    merged,
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
"""Seconds that an answer may wait for a `forget` under way; the next ones do not wait for one that does not end."""

_REFUSALS = 3
"""So many times in a row another process has the lock, and then it is no `forget`."""

_RETRY = 60.0
"""Seconds until a file that could not be written is tried again, unless something changes before."""

_LULL = 60.0
"""Seconds after a writing in which the file is not written for other answers alone that come to the same: an older basis does no
harm, for more of the host has changed since, and counts."""


class Chronicle:
    """The memory of the drivers named. For one event loop.

    `retention`: seconds after which a kind of guest that is no longer reported is forgotten; `there(path)`: is there such a file;
    `clock`: seconds since the epoch; `ticks`: seconds that nobody sets, by which the file is written; `judges`: who understands
    each driver's facts, so that what an earlier exporter understood otherwise is not taken for a loss; `known`: what is remembered
    from the start where there is no file.

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
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._drivers, self._file, self._retention, self._there, self._clock = drivers, file, retention, there, clock
        self._ticks, self._judges = ticks, judges or {}
        self.revision = 0
        """Another number whenever `families` say something else."""
        self._pasts: dict[str, Past] = {}
        self._latest: dict[str, float] = {}
        self._counts: Counter[tuple[str, Direction]] = Counter()
        self._recent: deque[Change] = deque(maxlen=_RECENT)
        self._unsaved, self._is_full = False, False
        self._complaints: set[str] = set()
        self._due, self._retry, self._lull, self._refusals = math.inf, 0.0, 0.0, 0
        self._filed = (self._read(file) or {}) if file is not None else {}  # what is in the file, as it was last read or written
        self._is_shared = False  # with another exporter
        self._take(known or self._filed)

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
        today = self._clock()
        if today >= self._due:
            self._take({driver: kept(past, today, self._retention) for driver, past in self._pasts.items()})
            self._unsaved = True
        now = self._ticks()
        if file is not None and (self._unsaved or file.vanished()) and now >= self._retry:
            self._save(file)

    def close(self) -> None:
        """At the end, write what was put off."""
        file = self._file
        if file is not None and self._unsaved:
            if file.moved():
                self._reread(file)
            self._save(file)

    def late(self, outcome: Outcome) -> bool:
        """Is one of a later probe known already? A slow scrape may bring an outcome late."""
        return outcome.started < self._latest.get(outcome.driver, -math.inf)

    def learn(self, outcome: Outcome) -> None:
        """Enter an outcome, unless it is late. Of a driver without an answer there is nothing to learn."""
        if self.late(outcome) or outcome.problem is not None:
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
        if after.guests is before.guests and self._ticks() < self._lull:
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

    def _take(self, pasts: Memory) -> None:
        """Remember just this. Of drivers that are not asked, no guest is; that alone is not worth a writing."""
        self.revision += 1
        asked = {driver: past for driver, past in pasts.items() if driver in self._drivers}
        others = {driver: withdrawn(past, self._clock()) for driver, past in pasts.items() if driver not in self._drivers}
        self._pasts = {**asked, **{driver: past for driver, past in others.items() if past.guests}}
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

    def _read(self, file: StateFile) -> Memory | None:
        """What it says; None where it was damaged, and is set aside."""
        try:
            return file.read()
        except Damaged as error:
            aside: Path | None = None
            with suppress(OSError):
                aside = file.set_aside()
            fields = {"file": file.path, "problem": error, "kept_as": aside or "-"}
            _LOG.warning("the state file cannot be used, and is set aside", extra={"fields": fields})
            return None

    def _reread(self, file: StateFile) -> None:
        """What somebody else has written. What was not yet in the file, nobody can have acknowledged."""
        try:
            found = self._read(file)
        except OSError as error:
            self._complain("read", file, error)
            return
        before, filed = self.losses, self._filed
        self._filed = found or {}
        if found is None:
            self._unsaved = bool(self._pasts)
            return
        if not self._is_shared and not acknowledges(found, filed):
            self._is_shared = True
            _LOG.warning("another exporter writes this state file: each needs its own", extra={"fields": {"file": file.path}})
        ours = {driver: past for driver, past in self._pasts.items() if driver in self._drivers}
        pasts = {driver: merged(past, filed.get(driver, _NOTHING), found.get(driver, _NOTHING)) for driver, past in ours.items()}
        self._take({**found, **pasts})
        self._unsaved |= any(past.traces != found.get(driver, _NOTHING).traces for driver, past in pasts.items())
        self._tell_ended(before, file)

    def _tell_ended(self, before: Iterable[Loss], file: StateFile) -> None:
        """Whoever ends an alert by the file leaves a trace.

        What is acknowledged is as if it had never been there; what another exporter saw come back, or an older file knows, is not.
        """
        still = frozenset(self.losses)
        for loss in before:
            if loss not in still:
                fields = {**labels(loss), "since": moment(loss.since), "file": file.path}
                guest = self.past(loss.driver).guests.get(loss.identity)
                known = guest is not None and loss.key in guest.traces
                _CHANGES.info("loss is over, says the state file" if known else "loss acknowledged", extra={"fields": fields})

    def _save(self, file: StateFile) -> None:
        """Write, unless somebody else has written meanwhile, or does so now: then the next scrape does.

        What another exporter keeps there stays as it is.
        """
        others = {driver: past for driver, past in self._filed.items() if self._is_shared and driver not in self._drivers}
        pasts = {**self._pasts, **others}
        try:
            with file.locked(0.0 if self._refusals else _PATIENCE):
                self._refusals = 0
                if file.moved():
                    return
                file.write(pasts)
        except BlockingIOError as error:
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                self._fail(file, error)
            return
        except OSError as error:
            self._fail(file, error)
            return
        self._filed = pasts
        self._unsaved, self._lull = False, self._ticks() + _LULL
        if self._complaints:
            _LOG.info("the state file is written again", extra={"fields": {"file": file.path}})
        self._complaints.clear()

    def _fail(self, file: StateFile, error: OSError) -> None:
        self._complain("written", file, error)
        self._retry = self._ticks() + _RETRY

    def _complain(self, verb: str, file: StateFile, error: OSError) -> None:
        """Once for each reason, until the file is written again."""
        complaint = f"the state file cannot be {verb}: {error.strerror or error}"
        if complaint not in self._complaints:
            _LOG.warning("%s", complaint, extra={"fields": {"file": file.path}})
        self._complaints.add(complaint)


def _fields(change: Change) -> dict[str, str]:
    about = labels(Loss(change.driver, change.identity, change.key, change.time)) | {"direction": change.direction}
    return about | ({"lacks": ",".join(change.lacks)} if change.lacks else {})

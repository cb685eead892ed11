"""What can be asked of the exporter, whatever the protocol: a scrape, its exposition, its documents. It waits, but only as told.

Nothing here is older than the scrape. What is kept are bytes and judgements about reports that have not changed: a watch hands
out the very same `reports` tuple as long as its facts stand still, and so does the chronicle with a driver's past.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import count
from typing import Protocol, TypeAlias

from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.document import write
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.exposition import TEXT_0, Format, Part, gzipped, whole, written
from domcaps_exporter.ledger import Ledger
from domcaps_exporter.metrics import Options, completed, exposed, families, lines
from domcaps_exporter.model import Document, Driver, Failure, Outcome, Report
from domcaps_exporter.notices import Notices
from domcaps_exporter.past import Past
from domcaps_exporter.process import Process
from domcaps_exporter.recall import lost, recalled

_Reports: TypeAlias = tuple[Report, ...]
_Ground: TypeAlias = tuple[_Reports | Past | bool, ...]

_COMBINATIONS = 8
"""How many choices of drivers (`collect[]`) keep their written bytes."""


class Watch(Protocol):
    """One driver's probes, as a scrape sees them; `probing.Watch` is the one. No answer of `join` is older than the call."""

    @property
    def driver(self) -> Driver: ...

    def join(self) -> Future[Outcome]: ...

    def overdue(self) -> bool: ...

    def silent(self, waited: float) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A document under its address."""

    id: str
    driver: str
    report: Report
    document: Document

    def xml(self) -> bytes:
        return write(self.document)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Reports and what was before them, and what they come to: so many series, as they are written, or a failure."""

    reports: _Reports = ()
    past: Past | None = None
    failure: Failure | None = None
    series: int = 0
    lines: Mapping[str, bytes] = field(default_factory=dict)


class Service:
    """The drivers of one exporter. For one event loop. Without a `chronicle` it remembers for itself, as long as it lives.

    `notices` are told what the drivers note.
    """

    def __init__(
        self,
        watches: Iterable[Watch],
        plugins: Iterable[Plugin],
        *,
        series_limit: int = 10_000,
        options: Options | None = None,
        chronicle: Chronicle | None = None,
        host: str = "",
        notices: Notices | None = None,
    ) -> None:
        self._notices = notices
        self._watches = {watch.driver.name: watch for watch in watches}
        self.plugins: Sequence[Plugin] = tuple(plugins)
        self.version = version("domcaps-exporter")
        self.host = host
        """Its name, where it is known."""
        self._limit = series_limit
        self._options = Options() if options is None else options
        self.chronicle = Chronicle(tuple(self._watches)) if chronicle is None else chronicle
        self._process = Process()
        self._ledger = Ledger(self._watches, self.plugins, self.version, self.chronicle.seen)
        self._judged: dict[str, _Judged] = {}
        self._said: dict[frozenset[str], tuple[tuple[int, int, bool], Part]] = {}
        self._written: dict[tuple[str, ...], tuple[_Ground, Part]] = {}

    @property
    def drivers(self) -> tuple[str, ...]:
        return tuple(self._watches)

    async def scrape(self, patience: float, drivers: Collection[str] | None = None) -> tuple[Outcome, ...]:
        """Ask the host through every driver (or those named) at once, and wait `patience` seconds for their outcomes at most.

        A driver that is not done by then is silent; one whose probe hangs is so at once. What is given up is given up by this
        scrape only: a watch's futures are shared, and nobody cancels them.
        """
        asked = [watch for name, watch in self._watches.items() if drivers is None or name in drivers]
        awaited = {watch.driver.name: watch.join() for watch in asked if not watch.overdue()}
        await _landed(tuple(awaited.values()), patience)
        self.chronicle.look()
        return tuple(self._entered(_heard(awaited.get(watch.driver.name), watch, patience)) for watch in asked)

    def metrics(self, outcomes: Sequence[Outcome], wanted: Format, gzip: bool, *, process: bool = True) -> Sequence[bytes]:
        """The exposition of a scrape, in pieces; `process`: also what is about the exporter rather than about the drivers asked."""
        drivers = frozenset(outcome.driver for outcome in outcomes)
        kept = self.body(outcomes), self._own(drivers, process)
        tail = Part(written(self._ledger.passing(drivers))).plain(wanted) + (self._process.plain(wanted) if process else b"")
        return (gzipped(kept, tail, wanted),) if gzip else whole(kept, tail, wanted)

    def textfile(self, outcomes: Sequence[Outcome]) -> bytes:
        """The exposition without what is about this process, which ends with it."""
        drivers = frozenset(outcome.driver for outcome in outcomes)
        own = Part(written((*self.chronicle.families(drivers), *self._ledger.families(drivers))))
        return b"".join(whole((self.body(outcomes), own), b"", TEXT_0))

    def body(self, outcomes: Sequence[Outcome]) -> Part:
        """What the documents say and what is missed, the same object as long as every driver's reports and past are.

        A driver without an answer has no reports, and so has one that answers that there are no guests.
        """
        said = [self._judge(outcome).lines for outcome in outcomes]
        asked = tuple(outcome.driver for outcome in outcomes)
        pasts = [self.chronicle.past(driver) for driver in asked]
        ground: _Ground = (*(outcome.reports for outcome in outcomes), *(outcome.failure is None for outcome in outcomes), *pasts)
        kept = self._written.pop(asked, None)
        if kept is None or any(old is not new for old, new in zip(kept[0], ground, strict=True)):
            missed = (lines(lost(driver, past)) for driver, past in zip(asked, pasts, strict=True))
            kept = ground, Part(families((*said, *missed)))
        self._written[asked] = kept
        if len(self._written) > _COMBINATIONS:
            del self._written[next(iter(self._written))]
        return kept[1]

    def _own(self, drivers: frozenset[str], process: bool) -> Part:
        """What the exporter says of itself, the same object as long as it says the same."""
        ground = self._ledger.revision, self.chronicle.revision, process
        kept = self._said.pop(drivers, None)
        if kept is None or kept[0] != ground:
            constant = self._ledger.constant if process else ()
            kept = ground, Part(written((*self.chronicle.families(drivers), *self._ledger.lasting(drivers), *constant)))
        self._said[drivers] = kept
        if len(self._said) > _COMBINATIONS:
            del self._said[next(iter(self._said))]
        return kept[1]

    def _entered(self, outcome: Outcome) -> Outcome:
        """The outcome as it may be shown, entered into the ledger."""
        judged = self._judge(outcome)
        shown = outcome if outcome.failure is judged.failure else replace(outcome, reports=(), failure=judged.failure)
        self._ledger.note(shown, judged.series)
        return shown

    def _judge(self, outcome: Outcome) -> _Judged:
        """What an outcome comes to. It is entered into the chronicle on the way, unless it may not be shown.

        What is kept was entered: it stands for later outcomes with the same reports.
        """
        if outcome.failure is not None:
            self.chronicle.learn(outcome)
            return _Judged(failure=outcome.failure)
        if self.chronicle.late(outcome):
            return self._judged_anew(outcome)
        known = self._judged.get(outcome.driver)
        if known is not None and known.reports is outcome.reports and known.past is self.chronicle.past(outcome.driver):
            return known
        judged = self._judged[outcome.driver] = self._judged_anew(outcome)
        if self._notices is not None:
            self._notices.refuse(outcome.driver, judged.failure)
        return judged

    def _judged_anew(self, outcome: Outcome) -> _Judged:
        if self._notices is not None:
            self._notices.tell(outcome)
        shown = exposed(outcome, self._limit, self._options)
        if shown.failure is None:
            self.chronicle.learn(outcome)
        past = self.chronicle.past(outcome.driver)
        shown = completed(shown, recalled(outcome, past, self._options), self._limit)
        return _Judged(outcome.reports, past, shown.failure, len(shown.samples), lines(shown.samples))


def catalogue(outcomes: Iterable[Outcome]) -> Mapping[str, Entry]:
    """Every document by its id: `qemu-x86_64-q35-kvm`, and eight hex digits of the emulator's path where two would be the same."""
    told = [(outcome.driver, report, report.document) for outcome in outcomes for report in outcome.reports]
    common = Counter(_name(driver, report) for driver, report, document in told if document is not None)
    entries = (
        Entry(_id(driver, report, common), driver, report, document) for driver, report, document in told if document is not None
    )
    return {entry.id: entry for entry in entries}


async def _landed(futures: Sequence[Future[Outcome]], patience: float) -> None:
    """Wait until all are done, so many seconds at most; the loop is woken once for all of them."""
    under_way = [future for future in futures if not future.done()]
    if not under_way:
        return
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    last, landings = len(under_way), count(1)

    def end() -> None:
        if not over.done():
            over.set_result(None)

    def landed(_: Future[Outcome]) -> None:
        """In the probe's thread. There may be nobody any more to be told. It must not know the futures, which know it for ever."""
        if next(landings) == last:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end)

    for future in under_way:
        future.add_done_callback(landed)
    timer = loop.call_later(patience, end)
    try:
        await over
    finally:
        timer.cancel()


def _heard(future: Future[Outcome] | None, watch: Watch, patience: float) -> Outcome:
    return future.result() if future is not None and future.done() else watch.silent(patience)


def _name(driver: str, report: Report) -> str:
    guest = report.identity
    return "-".join(part for part in (driver, guest.arch, guest.machine, guest.virttype) if part)


def _id(driver: str, report: Report, common: Counter[str]) -> str:
    name = _name(driver, report)
    path = hashlib.sha256(report.identity.emulator.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name}-{path}" if common[name] > 1 else name

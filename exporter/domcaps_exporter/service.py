"""What can be asked of the exporter, whatever the protocol: a scrape, its exposition, its documents. It waits, but only as told.

Nothing here is older than the scrape. What is kept are bytes and judgements about reports that have not changed: a watch hands
out the very same `reports` tuple as long as its facts stand still.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Protocol, TypeAlias

from domcaps_exporter.document import write
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.exposition import Format, Part, gzipped, plain
from domcaps_exporter.ledger import Ledger
from domcaps_exporter.metrics import Exposed, Options, exposed, families
from domcaps_exporter.model import Document, Driver, Outcome, Report

_Reports: TypeAlias = tuple[Report, ...]

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
    """Reports, and what they come to."""

    reports: _Reports
    exposed: Exposed


class Service:
    """The drivers of one exporter. For one event loop."""

    def __init__(
        self, watches: Iterable[Watch], plugins: Iterable[Plugin], *, series_limit: int = 10_000, options: Options | None = None
    ) -> None:
        self._watches = {watch.driver.name: watch for watch in watches}
        self.plugins: Sequence[Plugin] = tuple(plugins)
        self.version = version("domcaps-exporter")
        self._limit = series_limit
        self._options = Options() if options is None else options
        self._ledger = Ledger(self._watches, self.plugins, self.version)
        self._judged: dict[str, _Judged] = {}
        self._written: dict[tuple[str, ...], tuple[tuple[_Reports, ...], Part]] = {}

    @property
    def drivers(self) -> tuple[str, ...]:
        return tuple(self._watches)

    async def scrape(self, patience: float, drivers: Collection[str] | None = None) -> tuple[Outcome, ...]:
        """Ask the host through every driver (or those named) at once, and wait `patience` seconds for their outcomes at most.

        A driver that is not done by then is silent; one whose probe hangs is so at once. What is given up is given up by this
        scrape only: a watch's futures are shared, and cannot be cancelled.
        """
        asked = [watch for name, watch in self._watches.items() if drivers is None or name in drivers]
        awaited = {watch.driver.name: asyncio.wrap_future(watch.join()) for watch in asked if not watch.overdue()}
        try:
            if awaited:
                await asyncio.wait(awaited.values(), timeout=patience)
            return tuple(self._entered(_heard(awaited.get(watch.driver.name), watch, patience)) for watch in asked)
        finally:
            for future in awaited.values():
                future.cancel()

    def metrics(self, outcomes: Sequence[Outcome], wanted: Format, gzip: bool, *, process: bool = True) -> bytes:
        """The exposition of a scrape; `process`: also what is about the exporter rather than about the drivers asked."""
        drivers = frozenset(outcome.driver for outcome in outcomes)
        whole = (*self._ledger.families(drivers), *self._ledger.process()) if process else self._ledger.probes(drivers)
        tail = Part(whole)
        return (gzipped if gzip else plain)(self.body(outcomes), tail, wanted)

    def body(self, outcomes: Sequence[Outcome]) -> Part:
        """What the documents say, the same object as long as every driver's reports are."""
        asked, reports = tuple(outcome.driver for outcome in outcomes), tuple(outcome.reports for outcome in outcomes)
        kept = self._written.pop(asked, None)
        if kept is None or any(old is not new for old, new in zip(kept[0], reports, strict=True)):
            kept = reports, Part(families(sample for outcome in outcomes for sample in self._judge(outcome).samples))
        self._written[asked] = kept
        if len(self._written) > _COMBINATIONS:
            del self._written[next(iter(self._written))]
        return kept[1]

    def _entered(self, outcome: Outcome) -> Outcome:
        """The outcome as it may be shown, entered into the ledger."""
        judged = self._judge(outcome)
        shown = outcome if outcome.failure is judged.failure else replace(outcome, reports=(), failure=judged.failure)
        self._ledger.note(shown, len(judged.samples))
        return shown

    def _judge(self, outcome: Outcome) -> Exposed:
        if outcome.failure is not None:
            return Exposed(failure=outcome.failure)
        judged = self._judged.get(outcome.driver)
        if judged is None or judged.reports is not outcome.reports:
            judged = _Judged(outcome.reports, exposed(outcome, self._limit, self._options))
            self._judged[outcome.driver] = judged
        return judged.exposed


def catalogue(outcomes: Iterable[Outcome]) -> Mapping[str, Entry]:
    """Every document by its id: `qemu-x86_64-q35-kvm`, and eight hex digits of the emulator's path where two would be the same."""
    told = [(outcome.driver, report, report.document) for outcome in outcomes for report in outcome.reports]
    common = Counter(_name(driver, report) for driver, report, document in told if document is not None)
    entries = (
        Entry(_id(driver, report, common), driver, report, document) for driver, report, document in told if document is not None
    )
    return {entry.id: entry for entry in entries}


def _heard(future: asyncio.Future[Outcome] | None, watch: Watch, patience: float) -> Outcome:
    return future.result() if future is not None and future.done() else watch.silent(patience)


def _name(driver: str, report: Report) -> str:
    guest = report.identity
    return "-".join(part for part in (driver, guest.arch, guest.machine, guest.virttype) if part)


def _id(driver: str, report: Report, common: Counter[str]) -> str:
    name = _name(driver, report)
    path = hashlib.sha256(report.identity.emulator.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name}-{path}" if common[name] > 1 else name

"""One probe in the air per driver, and the scrapes that wait for it. This module starts the threads in which drivers run, one each.

The threads are daemons, not an executor's: Python waits for an executor's threads when it ends, and a hung probe would hold it.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from domcaps_exporter.contract import checked_facts, checked_reports, words_of
from domcaps_exporter.errors import ContractError, DomcapsError, ProbeError
from domcaps_exporter.model import REASONS, Driver, Facts, Failure, Host, Outcome, Report

_LOG = logging.getLogger(__name__)

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""What the system says where it is short of something: no fault of the driver's."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A probe in the air: since when (monotonic), and who is told."""

    started: float
    landing: Future[Outcome]


class FailedApart(DomcapsError):
    """A driver in a process of its own failed there, or its process did: what became of it is said already."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Watch:
    """Asks one driver, at most one probe at a time, however often it is asked itself.

    `host(deadline)` makes the port for one probe; `timeout` is how long a probe may take, in seconds; `clock` is monotonic.
    `resident`: its thread waits from one probe to the next, for to start one takes long; hundreds that wait would be too many.
    `target`: whom it asks, as the log names it, where that is not this host. `log` is told every change of state.
    """

    def __init__(
        self,
        driver: Driver,
        host: Callable[[float], Host],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        resident: bool = True,
        target: str = "",
        log: logging.Logger | None = None,
    ) -> None:
        self.driver, self._resident, self._target, self._log = driver, resident, target, log or _LOG
        self._host, self._timeout, self._clock = host, timeout, clock
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._next: Future[Outcome] | None = None
        self._known: tuple[Facts, tuple[Report, ...]] | None = None  # of the last good probe; touched by the probe's thread only
        self._thread: threading.Thread | None = None
        self._flights: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._state = ""
        self._patience = math.inf

    def join(self) -> Future[Outcome]:
        """The outcome of a probe that starts now, or, where one is in the air, of the one that follows it. Never blocks.

        So no answer is older than who asks for it. All who wait for the next probe share one future, which cannot be cancelled.
        """
        with self._lock:
            if self._flight is not None:
                self._next = self._next or _shared()
                return self._next
            flight = self._flight = _Flight(self._clock(), _shared())
        self._take_off(flight)
        return flight.landing

    def overdue(self) -> bool:
        """The probe in the air is older than its timeout: nobody should wait for it, or for the one behind it."""
        with self._lock:
            return self._flight is not None and self._clock() - self._flight.started > self._timeout

    def silent(self, waited: float) -> Outcome:
        """The outcome for one who waited so many seconds and can wait no longer."""
        now = self._clock()
        with self._lock:
            self._patience = waited
            since = "" if self._flight is None else f"; its probe has been running for {now - self._flight.started:.1f} s"
        text = f"no answer within {waited:.1f} s{since}"
        outcome = Outcome(self.driver.name, (), Failure("timeout", text), waited, now - waited, time.time())
        self._note(outcome, None)
        return outcome

    def _take_off(self, flight: _Flight) -> None:
        try:
            if self._thread is None or not self._thread.is_alive():
                self._thread = self._started()
        except RuntimeError as error:  # no thread to be had: the scrape is told, and the next one tries again
            with self._lock:
                landings = [flight.landing] if self._next is None else [flight.landing, self._next]
                self._flight = self._next = None
            outcome = self._outcome(flight.started, (), {}, _short(error))
            for landing in landings:
                landing.set_result(outcome)
            return
        self._flights.put(partial(self._fly, flight))
        if not self._resident:
            self._flights.put(None)
            self._thread = None

    def _started(self) -> threading.Thread:
        """A thread that waits for the next probe, and ends with its watch."""
        thread = threading.Thread(target=_fly_all, args=(self._flights,), name=f"probe-{self.driver.name}", daemon=True)
        thread.start()
        if self._resident:
            weakref.finalize(self, self._flights.put, None)
        return thread

    def _fly(self, first: _Flight) -> None:
        """Probe, tell, and go on for as long as somebody asked meanwhile."""
        flight: _Flight | None = first
        while flight is not None:
            outcome = self._probe(flight.started)
            told, flight = flight.landing, self._following()
            told.set_result(outcome)

    def _following(self) -> _Flight | None:
        with self._lock:
            self._flight = None if self._next is None else _Flight(self._clock(), self._next)
            self._next = None
            return self._flight

    def _probe(self, started: float) -> Outcome:
        problem: BaseException | None = None
        reports: tuple[Report, ...] = ()
        facts: Facts = {}
        try:
            facts, reports = self._asked(started + self._timeout)
        except BaseException as error:  # noqa: BLE001  a driver may raise anything, SystemExit included, and costs only itself
            problem = error
        outcome = self._outcome(started, reports, facts, None if problem is None else failure_of(problem))
        self._note(outcome, problem)
        del problem  # it holds this frame, and what the driver left in its own
        return outcome

    def _asked(self, deadline: float) -> tuple[Facts, tuple[Report, ...]]:
        """What the driver found, and how it understands it: the very same reports while the facts are the same."""
        facts = checked_facts(self.driver.name, self.driver.probe(self._host(deadline)))
        if self._known is None or facts != self._known[0]:
            self._known = None
            self._known = facts, checked_reports(self.driver.name, self.driver.describe(facts))
        return self._known

    def _outcome(self, started: float, reports: tuple[Report, ...], facts: Facts, failure: Failure | None) -> Outcome:
        return Outcome(self.driver.name, reports, failure, self._clock() - started, started, time.time(), facts)

    def _note(self, outcome: Outcome, problem: BaseException | None) -> None:
        """Log a change of state, once. A good answer slower than what scrapes wait for does not end a `timeout`."""
        failure = outcome.failure
        state = "" if failure is None else failure.reason
        with self._lock:
            if state == self._state or (failure is None and outcome.duration > self._patience):
                return
            self._state = state
        fields = {"driver": self.driver.name} | ({"target": self._target} if self._target else {})
        if failure is None:
            self._log.info("probe answers again", extra={"fields": fields})
            return
        level = logging.DEBUG if state == "absent" else logging.WARNING
        fields |= {"reason": state, "error": failure.text}
        self._log.log(level, "probe failed", extra={"fields": fields}, exc_info=problem if state == "crashed" else None)


def _fly_all(flights: SimpleQueue[Callable[[], None] | None]) -> None:
    while (fly := flights.get()) is not None:
        fly()
        del fly  # it holds the watch, which ends this thread when nobody else does


def failure_of(problem: BaseException) -> Failure:
    """The one reason, of the closed list, and the words for a person."""
    if isinstance(problem, FailedApart):
        return problem.failure
    if isinstance(problem, ContractError):
        return Failure("contract", problem.message)
    if isinstance(problem, ProbeError) and problem.reason in REASONS and problem.reason != "crashed":
        return Failure(problem.reason, words_of(problem) or type(problem).__name__)
    if isinstance(problem, OSError) and problem.errno in _SHORT:
        return _short(problem)
    return Failure("crashed", f"{type(problem).__name__}: {words_of(problem)}")


def _short(problem: BaseException) -> Failure:
    return Failure("refused", f"the exporter is short of what a probe takes: {words_of(problem)}")


def _shared() -> Future[Outcome]:
    """A future that nobody who shares it can cancel for the others (asyncio does so when it stops waiting)."""
    future: Future[Outcome] = Future()
    future.set_running_or_notify_cancel()
    return future

"""For drivers' authors: runs a driver as the exporter does, and says in sentences what it breaks of what it promised.

The whole test of a driver::

    def test_acme_keeps_its_promises() -> None:
        assert conform(driver, host_of({question("which", "acmevm"): b"/usr/bin/acmevm"})) == []

A driver that ends its process ends the test's as well: the exporter guards itself against that, a test need not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from logging import Logger, LogRecord, getLogger
from pathlib import Path
from types import MappingProxyType

from domcaps_exporter import parcel, recording
from domcaps_exporter.contract import checked_drivers, words_of
from domcaps_exporter.errors import ContractError
from domcaps_exporter.hearsay import Hosts, Stalled, host_of, this_host
from domcaps_exporter.model import ABSENT, DENIED, Answer, Driver, Facts, Failure, Host, Outcome, Question, Refusal, Report
from domcaps_exporter.probing import Watch
from domcaps_exporter.promises import broken, contradicted
from domcaps_exporter.remains import left_behind, overheard

__all__ = ["Hosts", "conform", "host_of", "this_host"]

GRACE = 1.0
"""Seconds after its deadline in which a driver must have noticed."""

_FAULTS = ("crashed", "contract")
"""Of the reasons why there is no answer those that are no honest ones."""
_HURRY = 0.05
_BENT = 40
"""How many of the answers are bent in turn, evenly chosen."""
_SOON = 5.0
"""Seconds in which a bent answer is understood: a moment, but on a machine that others use as well."""
_NONSENSE = b"\xff{\x00not what was asked for"


def conform(driver: Driver, host: Hosts | None = None, recordings: Iterable[Facts] = (), seconds: float = 30) -> list[str]:
    """What the driver breaks of what it promised, in sentences; none if it keeps its word as far as could be seen.

    Args:
        driver: fresh from its hook.
        host: where it is asked, this machine by default; `host_of` makes one of answers.
        recordings: facts to describe besides those that are found there (`recording.load(directory)[1]`).
        seconds: how long a probe may take.
    """
    try:
        checked_drivers(driver.name, [driver])
    except ContractError as error:
        return [error.message]
    faults, found = _probed(driver, host or this_host(), seconds)
    described = [*([found] if isinstance(found, Mapping) else []), *recordings]
    if isinstance(found, Failure) and not described:
        faults.append(f"nothing can be seen of it without a recording: its probe says {found.reason}: {found.text}")
    faults += [fault for facts in described for fault in _described(driver, facts, seconds)]
    return list(dict.fromkeys(f"{driver.name}: {fault}" for fault in faults))


# ---- probe -------------------------------------------------------------------------------------------------------------------


def _probed(driver: Driver, host: Hosts, seconds: float) -> tuple[list[str], Facts | Failure | None]:
    """What its probe breaks, and the facts it found, or why it could not; None where that is a fault of its own."""
    faults, asking = _dawdling(driver), replace(driver, describe=_nothing)
    with left_behind() as remains:
        first = _outcome(asking, host, seconds)
    faults += [f"its probe leaves {thing} behind" for thing in remains]
    if first is None:
        return [*faults, f"its probe had not ended {GRACE:g} s after its deadline of {seconds:g} s"], None
    if first.failure is not None and first.failure.reason in _FAULTS:
        return [*faults, f"its probe fails: {first.failure.reason}: {first.failure.text}"], None
    if first.failure is not None:
        return faults, first.failure
    again = _outcome(asking, host, seconds)
    if again is None or again.failure is not None:
        return [*faults, "its probe answers once, and not when it is asked again"], first.facts
    moved = _moved(first.facts, again.facts)
    return [*faults, *(f"another probe of a host that stood still finds another answer to {one}" for one in moved)], first.facts


def _dawdling(driver: Driver) -> list[str]:
    """Where nothing is answered in time, a probe ends, and says so."""
    outcome = _outcome(replace(driver, describe=_nothing), lambda deadline: Stalled(deadline, {}), _HURRY, _crashes())
    if outcome is None:
        return [f"its probe goes on for over {GRACE:g} s beyond its deadline where the host answers nothing in time"]
    if outcome.failure is not None and outcome.failure.reason in _FAULTS:
        return [f"where the host answers nothing in time, its probe fails: {outcome.failure.reason}: {outcome.failure.text}"]
    return []


def _moved(first: Facts, again: Facts) -> list[Question]:
    return [question for question in sorted(first.keys() | again.keys()) if first.get(question) != again.get(question)][:3]


def _outcome(driver: Driver, host: Hosts, seconds: float, log: Logger | None = None) -> Outcome | None:
    """What becomes of it in the exporter; None where it does not come back."""
    try:
        return Watch(driver, host, seconds, log=log).join().result(seconds + GRACE)
    except TimeoutError:
        return None


def _crashes() -> Logger:
    """For where failing is what was asked for: only what is a driver's fault is told."""
    log = getLogger(f"{__name__}.crashes")
    log.addFilter(_crashed)
    return log


def _crashed(record: LogRecord) -> bool:
    return bool(record.exc_info)


def _nothing(_facts: Facts) -> tuple[Report, ...]:
    return ()


# ---- describe ----------------------------------------------------------------------------------------------------------------


def _described(driver: Driver, facts: Facts, seconds: float) -> Iterator[str]:
    told = replace(driver, probe=lambda _host: facts)
    outcome = _outcome(told, host_of({}), seconds)
    if outcome is None or outcome.failure is not None:
        why = "it does not end" if outcome is None or outcome.failure is None else outcome.failure.text
        yield f"its describe fails: {why}"
        return
    try:
        yield from broken(driver.name, outcome.reports)
    except Exception as error:  # noqa: BLE001  a report may hold anything
        yield f"its reports are not what their types say: {type(error).__name__}: {words_of(error)}"
        return
    yield from _impure(driver, facts, outcome.reports)
    yield from _carried(driver, facts, outcome.reports)
    yield from _bent(driver, facts, outcome.reports, seconds)


def _impure(driver: Driver, facts: Facts, reports: Sequence[Report]) -> Iterator[str]:
    """The same facts mean the same in whatever order, are not changed, and nothing else is looked at."""
    backwards = MappingProxyType(dict(reversed(list(facts.items()))))
    try:
        with overheard() as heard:
            again = tuple(driver.describe(backwards))
    except Exception as error:  # noqa: BLE001  the driver's
        yield f"its describe changes the facts, or depends on their order: {type(error).__name__}: {words_of(error)}"
        return
    if again != tuple(reports):
        yield "its describe says something else of the same facts the second time"
    yield from (f"its describe is not pure: it does {event}" for event in sorted(heard))


def _carried(driver: Driver, facts: Facts, reports: Sequence[Report]) -> Iterator[str]:
    """Facts survive a recording, and reports the way out of the driver's own process."""
    with tempfile.TemporaryDirectory() as folder:
        recording.save(Path(folder) / "recorded", driver.name, facts)
        _, loaded = recording.load(Path(folder) / "recorded")
    if loaded != facts or tuple(driver.describe(loaded)) != tuple(reports):
        yield "a recording of its facts replays to other documents"
    try:
        arrived = parcel.reply(parcel.packed(parcel.Understood(tuple(reports))))
    except Exception as error:  # noqa: BLE001  the driver's values may do anything when they are written
        yield f"its reports cannot be handed to another process: {words_of(error)}"
        return
    if arrived != parcel.Understood(tuple(reports)):
        yield "its reports are not the same in another process"


def _bent(driver: Driver, facts: Facts, reports: Sequence[Report], seconds: float) -> Iterator[str]:
    """One answer after the other denied, gone or nonsense: what is not understood is said, and what is not known is no fact."""
    chosen = sorted(facts)[:: max(1, len(facts) // _BENT)]
    for question in chosen:
        for answer in (DENIED, ABSENT, Refusal("error", "bent"), _NONSENSE):
            bent = replace(driver, probe=_always({**facts, question: answer}))
            outcome = _outcome(bent, host_of({}), min(seconds, _SOON), _crashes())
            if outcome is None:
                yield f"its describe does not end where {question} is answered with {_word(answer)}"
            elif outcome.failure is None and answer is DENIED:
                yield from contradicted(reports, outcome.reports, str(question))
            elif outcome.failure is not None and outcome.failure.reason in _FAULTS:
                yield f"its describe fails where {question} is answered with {_word(answer)}: {outcome.failure.text}"


def _always(facts: Facts) -> Callable[[Host], Facts]:
    return lambda _host: facts


def _word(answer: Answer) -> str:
    return "nonsense" if isinstance(answer, bytes) else f"{answer.why!r}"

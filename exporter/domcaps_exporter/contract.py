"""What plugins hand over, checked against what they promised. Pure; runs their iterators, so their exceptions pass through.

Each function takes whatever came and raises ContractError, with a message that says what was found and what was expected.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping

from domcaps_exporter.errors import ContractError
from domcaps_exporter.model import Driver, Facts, Identity, Question, Refusal, Report

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 2000
"""Characters of a failure's text: a driver may put a whole answer into its exception."""


def checked_facts(driver: str, handed: object) -> Facts:
    """The facts that a probe gave, in a dictionary that the driver can no longer change."""
    if not isinstance(handed, Mapping):
        raise ContractError(driver, f"probe gave {_named(handed)}, not a mapping of questions")
    facts: dict[Question, bytes | Refusal] = {}
    for question, answer in handed.items():
        if not isinstance(question, Question):
            raise ContractError(driver, f"probe gave {_named(question)} where a Question belongs")
        if not isinstance(answer, bytes | Refusal):
            raise ContractError(driver, f"probe answered {str(question)!r} with {_named(answer)}, not bytes or a Refusal")
        facts[question] = answer
    return facts


def checked_reports(driver: str, handed: object) -> tuple[Report, ...]:
    """The reports that a describe gave, one per identity."""
    if not isinstance(handed, Iterable):
        raise ContractError(driver, f"describe gave {_named(handed)}, not reports")
    reports: list[Report] = []
    seen: set[Identity] = set()
    for report in handed:
        if not isinstance(report, Report) or not isinstance(report.identity, Identity):
            raise ContractError(driver, f"describe gave {_named(report)} where a Report with an Identity belongs")
        _insist_on_texts(driver, report.notes)
        if report.identity in seen:
            raise ContractError(driver, f"describe gave two reports of {' '.join(_words(report.identity))}")
        seen.add(report.identity)
        reports.append(report)
    return tuple(reports)


def _insist_on_texts(driver: str, notes: object) -> None:
    if not isinstance(notes, tuple):
        raise ContractError(driver, f"a report's notes are {_named(notes)}, not a tuple of texts")
    for note in notes:
        if not isinstance(note, str):
            raise ContractError(driver, f"among a report's notes is {_named(note)}, not a text")


def checked_drivers(plugin: str, handed: object) -> tuple[Driver, ...]:
    """The drivers that a plugin's hook gave, each of its own name."""
    if not isinstance(handed, Iterable) or isinstance(handed, str | bytes | Mapping):
        raise ContractError(plugin, f"domcaps_drivers gave {_named(handed)}, not an iterable of Drivers")
    drivers: list[Driver] = []
    for driver in handed:
        _insist_on_driver(plugin, driver)
        if driver.name in [other.name for other in drivers]:
            raise ContractError(plugin, f"the driver {driver.name!r} is there twice")
        drivers.append(driver)
    return tuple(drivers)


def _insist_on_driver(plugin: str, driver: object) -> None:
    if not isinstance(driver, Driver):
        raise ContractError(plugin, f"domcaps_drivers gave {_named(driver)} where a Driver belongs")
    if not is_name(driver.name):
        raise ContractError(plugin, f"a driver's name is like 'acme_2' (a-z, 0-9, _), not {driver.name!r}")
    for part, function in (("probe", driver.probe), ("describe", driver.describe)):
        if not callable(function):
            raise ContractError(plugin, f"{driver.name}'s {part} is {_named(function)}, not a function")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ContractError(plugin, f"{driver.name}'s {part} is async; drivers run in threads and may simply block")


def words_of(problem: BaseException) -> str:
    """The exception's text and its notes (a child's last words), as far as it has any: even `__str__` is the driver's."""
    try:
        return "; ".join([str(problem), *getattr(problem, "__notes__", ())])[:_LONGEST]
    except Exception:  # noqa: BLE001
        return "(its text cannot be had)"


def is_name(name: object) -> bool:
    """Can it be a driver's?"""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _words(identity: Identity) -> tuple[str, ...]:
    """An identity's words, in order."""
    return identity.emulator, identity.arch, identity.machine, identity.virttype


def _named(thing: object) -> str:
    """The thing's type. A coroutine is closed on the way: nobody will await it, and Python would complain of that."""
    if inspect.iscoroutine(thing):
        thing.close()
    return "None" if thing is None else f"a {type(thing).__name__}"

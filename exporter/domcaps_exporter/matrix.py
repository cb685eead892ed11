"""A report as a matrix for people: per element and enum what is there, what is missing and why, what nobody knows. Pure.

Values that lack the same things stand together. What only other architectures' or machines' guests have is set apart as `foreign`:
nobody needs to look into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from domcaps_exporter.model import Report, Truth, Unmet
from domcaps_exporter.reasons import foreign
from domcaps_exporter.truths import Key, elements, parameters, values


@dataclass(frozen=True, slots=True)
class Lack:
    """Values that are missing for one and the same set of reasons, which may be empty: none was given."""

    values: tuple[str, ...]
    unmet: tuple[Unmet, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One enum of one element. An empty enum: the element as a whole. An empty element too: all elements that have no enums."""

    element: str
    enum: str
    have: tuple[str, ...] = ()
    lack: tuple[Lack, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """How many values are missing."""
        return sum(len(lack.values) for lack in self.lack)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The rows, and those of what no such guest can have wherever it runs."""

    rows: tuple[Row, ...]
    foreign: tuple[Row, ...]


def matrix(report: Report) -> Matrix:
    """Everything that the report says about elements and values, in the document's order."""
    rows = tuple(_rows(report))
    arch = report.identity.arch
    here = (replace(row, lack=tuple(lack for lack in row.lack if not _foreign(lack, arch))) for row in rows)
    away = (Row(row.element, row.enum, lack=tuple(lack for lack in row.lack if _foreign(lack, arch))) for row in rows)
    return Matrix(tuple(filter(_says, here)), tuple(row for row in away if row.lack))


def _foreign(lack: Lack, arch: str) -> bool:
    return any(foreign(one.prerequisite, arch) for one in lack.unmet)


def _says(row: Row) -> bool:
    return bool(row.have or row.lack or row.unknown)


def _rows(report: Report) -> Iterator[Row]:
    flags, reasons, cells = elements(report), _reasons(report), _cells(report)
    refused = {name for name, truth in flags.items() if truth is False and reasons.get((name, "", ""))}
    shown = [name for name in cells if name not in refused]
    for name in shown:
        for enum, truths in cells[name].items():
            yield _row(name, enum, truths, reasons)
    yield _row("", "", {name: truth for name, truth in flags.items() if name not in shown}, reasons)


def _cells(report: Report) -> dict[str, dict[str, dict[str, Truth]]]:
    """Element -> enum -> value -> truth; numbers stand there as values of an enum without a name."""
    cells: dict[str, dict[str, dict[str, Truth]]] = {}
    for (element, enum, value), truth in values(report).items():
        cells.setdefault(element, {}).setdefault(enum, {})[value] = truth
    for (element, parameter), number in parameters(report).items():
        cells.setdefault(element, {}).setdefault("", {})[f"{parameter} {written(number)}"] = True
    return cells


def _reasons(report: Report) -> dict[Key, tuple[Unmet, ...]]:
    """What is said of one value twice is joined."""
    reasons: dict[Key, tuple[Unmet, ...]] = {}
    for verdict in report.verdicts:
        key = verdict.element, verdict.enum, verdict.value
        reasons[key] = tuple(dict.fromkeys((*reasons.get(key, ()), *verdict.unmet)))
    return reasons


def _row(element: str, enum: str, truths: Mapping[str, Truth], reasons: Mapping[Key, tuple[Unmet, ...]]) -> Row:
    alike: dict[tuple[Unmet, ...], list[str]] = {}
    for value in _being(truths, False):
        alike.setdefault(reasons.get((element, enum, value) if element else (value, "", ""), ()), []).append(value)
    lack = tuple(Lack(tuple(missing), unmet) for unmet, missing in alike.items())
    return Row(element, enum, tuple(_being(truths, True)), lack, tuple(_being(truths, None)))


def _being(truths: Mapping[str, Truth], truth: Truth) -> Iterable[str]:
    return (value for value, one in truths.items() if one is truth)


def written(number: float) -> str:
    """Without a fraction where it has none."""
    return str(int(number)) if number.is_integer() else str(number)

"""What one report claims: the truth about every value, element, number, loader and CPU model, and their fingerprint. Pure.

A value's truth is the driver's verdict; what the document lists and no verdict speaks of is true, so a driver that only has
documents needs no verdicts. A verdict whose enum and value are empty speaks of the element itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias, TypeVar

from domcaps_exporter.contents import numbers, walk
from domcaps_exporter.model import CpuModel, Document, Element, Enum, HostModel, Report, Truth, Verdict
from domcaps_exporter.view import any_known

Key: TypeAlias = tuple[str, str, str]
"""Element, enum, value."""

_ALGORITHM = 1
"""The fingerprint's; raised whenever the same capabilities would give another fingerprint than before."""

_K = TypeVar("_K")


def values(report: Report) -> dict[Key, Truth]:
    """Every enum value's truth; None where nobody knows."""
    judged = ((_key(verdict), verdict.supported) for verdict in report.verdicts if not _of_element(verdict))
    return _merged(_listed(report.told)) | _merged(judged)


def listed(report: Report) -> Iterator[Key]:
    """The enum values that the document names, whatever the verdict on them."""
    return (key for key, _ in _listed(report.told))


def lists(report: Report) -> Iterator[tuple[str, str]]:
    """The document's enums, empty ones too, as (element, enum); the CPU models are one, and the CPU modes are none.

    A mode says itself whether it is supported; one that is not there is one of which nobody knows.
    """
    yield from ((element.name, enum.name) for element in _walked(report.told) for enum in element.enums)
    for mode in report.told.cpu.modes if report.told is not None and report.told.cpu is not None else ():
        yield from (("cpu", enum.name) for enum in mode.enums)
        if mode.name == "custom":
            yield "cpu", "model"


def elements(report: Report) -> dict[str, Truth]:
    """Every element's truth: the driver's verdict, else its `supported` attribute in the document."""
    shown = ((element.name, element.supported) for element in _walked(report.told) if element.supported is not None)
    judged = ((verdict.element, verdict.supported) for verdict in report.verdicts if _of_element(verdict))
    return _merged(shown) | _merged(judged)


def unmet(report: Report) -> Iterator[tuple[str, str, str, str, str]]:
    """Element, enum, value, prerequisite, and libvirt's word, for whatever is false; the guest's own alone while it is impossible.

    A prerequisite that a value lacks twice is refused by libvirt where either is.
    """
    words: dict[tuple[Key, str], str] = {}
    for verdict in _denied(report):
        for lack in verdict.unmet:
            place = (_key(verdict), lack.prerequisite)
            if words.get(place) != "refuses":
                words[place] = lack.libvirt
    return ((*key, prerequisite, libvirt) for (key, prerequisite), libvirt in words.items())


def loaders(report: Report) -> dict[str, bool]:
    """Firmware files and whether they are there; one that only the document names is taken to be."""
    named = (child for element in _walked(report.told) if element.name == "loader" for child in element.elements)
    return {child.text or "": True for child in named if child.name == "value"} | dict(report.loaders)


def parameters(report: Report) -> dict[tuple[str, str], float]:
    """(element, parameter) -> number, as `document.numbers` reads them."""
    found = numbers(report.told) if report.told is not None else ()
    return {(element, parameter): number for element, parameter, number in found}


def models(report: Report) -> dict[str, CpuModel]:
    """The CPU models of the mode custom, by name."""
    modes = report.told.cpu.modes if report.told is not None and report.told.cpu is not None else ()
    return {model.name: model for mode in modes for model in mode.models}


def host_model(report: Report) -> HostModel | None:
    """What host-model means here; None where it means nothing."""
    modes = report.told.cpu.modes if report.told is not None and report.told.cpu is not None else ()
    return next((mode.host_model for mode in modes if mode.supported and mode.host_model is not None), None)


def fingerprint(report: Report) -> str:
    """`ALGORITHM:16 hex digits`: equal for equal capabilities, whichever host, emulator, path, libvirt or exporter they come from.

    Only what a guest can have counts (not what is known to be impossible: a longer vocabulary changes nothing), and nothing that
    differs from one chip to the next of its kind: texts such as `cpu0Id`, and the sizes of SGX sections.
    """
    held = {
        "values": sorted(key for key, truth in values(report).items() if truth),
        "elements": sorted(name for name, truth in elements(report).items() if truth),
        "numbers": sorted((*key, number) for key, number in parameters(report).items() if key[0] != "sgx" or "size" not in key[1]),
        "vcpus": report.told.vcpus_max if report.told is not None else None,
        "models": sorted(model.name for model in models(report).values() if model.usable == "yes"),
        "host": sorted(name for name, offered in report.host_features if offered),
        "guest": report.guest.supported,
    }
    digest = hashlib.sha256(json.dumps(held, separators=(",", ":")).encode()).hexdigest()
    return f"{_ALGORITHM}:{digest[:16]}"


def _denied(report: Report) -> Iterator[Verdict]:
    if report.guest.supported is False:
        yield report.guest
        return
    truths, whole = values(report), elements(report)
    for verdict in report.verdicts:
        truth = whole[verdict.element] if _of_element(verdict) else truths[_key(verdict)]
        if truth is False:
            yield verdict


def _listed(document: Document | None) -> Iterator[tuple[Key, Truth]]:
    for element in _walked(document):
        yield from _of_enums(element.name, element.enums)
    for mode in document.cpu.modes if document is not None and document.cpu is not None else ():
        yield ("cpu", "mode", mode.name), mode.supported
        yield from _of_enums("cpu", mode.enums)


def _of_enums(element: str, enums: Iterable[Enum]) -> Iterator[tuple[Key, Truth]]:
    return (((element, enum.name, value), True) for enum in enums for value in enum.values)


def _walked(document: Document | None) -> Iterator[Element]:
    return walk(document) if document is not None else iter(())


def _key(verdict: Verdict) -> Key:
    return verdict.element, verdict.enum, verdict.value


def _of_element(verdict: Verdict) -> bool:
    return verdict.enum == verdict.value == ""


def _merged(truths: Iterable[tuple[_K, Truth]]) -> dict[_K, Truth]:
    """What is said twice (an element of one name at two places) is true where either is."""
    merged: dict[_K, Truth] = {}
    for key, truth in truths:
        merged[key] = any_known((merged[key], truth)) if key in merged else truth
    return merged

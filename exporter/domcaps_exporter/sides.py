"""What `diff` compares, by name: a file, a recorded directory, an exporter, a libvirt, this host. Reads files, asks the network."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from domcaps_exporter import document, virsh
from domcaps_exporter.addresses import without_password
from domcaps_exporter.capabilities import Capabilities, exposed_by, truth_of, words_of
from domcaps_exporter.diff import Guest, Side
from domcaps_exporter.errors import DocumentError, DomcapsError
from domcaps_exporter.libvirt import insist_on_no_password
from domcaps_exporter.model import Document, Identity, Outcome

LOCAL = "local"
_EXPORTER = re.compile(r"https?://", re.IGNORECASE)
_LIBVIRT = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?://[^\s]*", re.IGNORECASE)

_DOCUMENTS = 500
"""How many documents may stand in a file: as many as an exporter may have."""

Answered: TypeAlias = Callable[[Path | None], Sequence[Outcome]]
"""What a recorded directory answers, or where there is none, this host."""


class SideError(DomcapsError):
    """Something that cannot be compared; the message names it, and says what was expected."""


_NOBODY = Side("", (), whole=False)


def sides(before: str, after: str, answered: Answered, seconds: float, *, replayed: bool = False) -> tuple[Side, Side]:
    """What these two names stand for, each asked within that many seconds.

    A libvirt answers whatever it is asked, and is therefore asked about the other side's guests; of two, the first chooses.

    Args:
        replayed: what is called this host is a recording of one.

    Raises:
        SideError: one stands for nothing that can be read.
        DomcapsError: a recording cannot be used.
    """
    turned = _is_libvirt(before) and not _is_libvirt(after)
    known = side(after if turned else before, answered, seconds)
    known = replace(known, own=frozenset()) if replayed else known
    asked = side(before if turned else after, answered, seconds, known)
    return (asked, known) if turned else (known, asked)


def side(name: str, answered: Answered, seconds: float, other: Side = _NOBODY) -> Side:
    """What this name stands for; a libvirt for its answers about `other`'s guests, or about its default guest where it has none."""
    if name == LOCAL:
        outcomes = answered(None)
        return Side(LOCAL, tuple(_guests(LOCAL, outcomes)), whole=True, own=_found(outcomes))
    if _EXPORTER.match(name):
        return _exporter(name, seconds)
    if _is_libvirt(name):
        return Side(name, tuple(_asked(name, other, seconds)), whole=False, asked=True)
    path = Path(name)
    if path.is_dir():
        return Side(name, tuple(_guests(name, answered(path))), whole=True)
    if path.exists():
        return Side(name, tuple(_filed(name, _read(path))), whole=False)
    expected = f"an XML file, a recorded directory, http://HOST:PORT, a libvirt URI or `{LOCAL}`"
    raise SideError(f"{without_password(name)}: not there; expected {expected}")


# ---- this host and recorded ones ---------------------------------------------------------------------------------------------


def _guests(name: str, outcomes: Iterable[Outcome]) -> Iterator[Guest]:
    """A driver without an answer is no driver without guests: nothing can be said of what was lost."""
    for outcome in outcomes:
        if outcome.problem is not None:
            raise SideError(f"{name}: {outcome.driver}: {outcome.problem.text}")
        for report in outcome.reports:
            words = None if report.document is None else words_of(outcome.driver, report.identity, report.document)
            yield Guest(truth_of(outcome.driver, report), words, proven=True)


def _found(outcomes: Iterable[Outcome]) -> frozenset[str]:
    """The emulators that its drivers have found; of what another program tells, nobody has seen any."""
    reports = (report for outcome in outcomes for report in outcome.reports)
    return frozenset(report.identity.emulator for report in reports if report.source == "native")


# ---- documents ---------------------------------------------------------------------------------------------------------------


def _filed(name: str, data: bytes) -> Iterator[Guest]:
    """What stands in a file: one document, or several, as `show --format xml` writes them."""
    parts = document.parts(data)
    if len(parts) > _DOCUMENTS:
        raise SideError(f"{name}: {len(parts)} documents; expected at most {_DOCUMENTS}")
    for part in dict.fromkeys(parts):  # a host's drivers may say the same
        number = parts.index(part) + 1
        yield _listed(f"{name}, document {number} of {len(parts)}" if len(parts) > 1 else name, part)


def _listed(name: str, data: bytes) -> Guest:
    words = _words("", name, data)
    return Guest(words, words, proven=False)


def _words(driver: str, name: str, data: bytes, identity: Identity | None = None) -> Capabilities:
    found = _document(name, data)
    own = Identity(found.path or "", found.arch, found.machine or "", found.domain)
    return words_of(driver, identity or own, found)


def _document(name: str, data: bytes) -> Document:
    try:
        return document.read(data, name)
    except DocumentError as error:
        raise SideError(str(error)) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise SideError(f"{path}: {error.strerror}") from error
    if len(data) > document.MAX_BYTES:
        raise SideError(f"{path}: larger than {document.MAX_BYTES} bytes")
    return data


# ---- libvirts ----------------------------------------------------------------------------------------------------------------


def _is_libvirt(name: str) -> bool:
    return _LIBVIRT.fullmatch(name) is not None and not _EXPORTER.match(name)


def _asked(uri: str, other: Side, seconds: float) -> Iterator[Guest]:
    """Each is named as the guest that it was asked for: `q35`, where libvirt answers `pc-q35-7.2`."""
    wanted = dict.fromkeys((guest.known.driver, guest.known.identity) for guest in other.guests) or {("", virsh.DEFAULT): None}
    try:
        insist_on_no_password(uri)
        told = virsh.domcapabilities(uri, (identity for _, identity in wanted), seconds, own=other.own)
    except (ValueError, virsh.VirshError) as error:
        raise SideError(str(error)) from error
    for driver, identity in wanted:
        if identity in told:
            yield _named(driver, identity, *told[identity], uri)


def _named(driver: str, wanted: Identity, asked: Identity, xml: bytes, uri: str) -> Guest:
    found = _listed(uri, xml)
    if asked == virsh.DEFAULT:
        return found
    machine = wanted.machine if asked.machine == wanted.machine else found.known.identity.machine
    words = replace(found.known, driver=driver, identity=replace(wanted, machine=machine))
    return Guest(words, words, proven=False)


# ---- exporters ---------------------------------------------------------------------------------------------------------------


def _exporter(url: str, seconds: float) -> Side:
    remote: Any = importlib.import_module("domcaps_exporter.remote")  # what it needs takes long to load, and only this needs it
    shown: str = remote.shown(url)
    try:
        told = remote.told(url, seconds)
    except DomcapsError as error:
        raise SideError(str(error)) from error
    return Side(shown, tuple(_told(shown, told.metrics, told.documents)), whole=True)


def _told(shown: str, metrics: str, documents: Iterable[tuple[tuple[str, ...], bytes]]) -> Iterator[Guest]:
    """What an exporter says, shown by this address."""
    try:
        families = list(text_string_to_metric_families(metrics))
    except (ValueError, LookupError) as error:
        raise SideError(f"{shown}: its /metrics cannot be read: {error}") from error
    samples = [sample for family in families for sample in family.samples]
    if not any(sample.name == "domcaps_exporter_build_info" for sample in samples):
        raise SideError(f"{shown}: no exporter of domain capabilities")
    for sample in samples:
        if sample.name == "domcaps_probe_success" and sample.value != 1:
            raise SideError(f"{shown}: its driver {sample.labels.get('driver')} has no answer at the moment")
    words = {labels: _words(labels[0], shown, xml, Identity(*labels[1:])) for labels, xml in documents}
    for known in exposed_by(families):
        one = known.identity
        yield Guest(known, words.get((known.driver, one.emulator, one.arch, one.machine, one.virttype)), proven=True)

"""What every report promises beyond its types, and each broken promise as a sentence: stable labels, honest reasons. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from domcaps_exporter.contents import walk
from domcaps_exporter.document import read, write
from domcaps_exporter.errors import DocumentError
from domcaps_exporter.metrics import Options, exposed
from domcaps_exporter.model import Document, Identity, Outcome, Report, Truth, Verdict

_EVERYTHING = Options(blockers=True, model_versions=True)
_SERIES = 10_000
_VERSION = re.compile(r"\d+\.\d+")


def broken(driver: str, reports: tuple[Report, ...]) -> Iterator[str]:
    """Every promise that these reports break."""
    yield from _shown(driver, reports)
    for report in reports:
        where = named(report.identity)
        yield from (f"{where}: {fault}" for fault in (*_labels(report), *_words(report), *_reasons(report)))


def contradicted(known: Iterable[Report], bent: Iterable[Report], what: str) -> Iterator[str]:
    """Truths that are the opposite once less is known: what was a yes may become unknown, and never a no."""
    before = {report.identity: _truths(report) for report in known}
    for report in bent:
        for key, truth in _truths(report).items():
            if {truth, before.get(report.identity, {}).get(key)} == {True, False}:
                turn = "possible" if truth else "impossible"
                yield f"{named(report.identity)}: {_said(key)} becomes {turn} where the answer to {what} is denied"


def named(identity: Identity) -> str:
    """The identity in words."""
    return " ".join(filter(None, (identity.emulator, identity.arch, identity.machine, identity.virttype)))


def _truths(report: Report) -> Mapping[tuple[str, str, str], Truth]:
    return {_key(verdict): verdict.supported for verdict in (report.guest, *report.verdicts)}


def _key(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.element, verdict.enum, verdict.value


def _said(key: tuple[str, str, str]) -> str:
    return " ".join(filter(None, key))


def _shown(driver: str, reports: tuple[Report, ...]) -> Iterator[str]:
    shown = exposed(Outcome(driver, reports), _SERIES, _EVERYTHING)
    if shown.failure is not None:
        yield f"its reports cannot be shown: {shown.failure.text}"
    often = Counter((sample.family, sample.labels) for sample in shown.samples)
    for (family, labels), count in often.items():
        if count > 1:
            yield f"{family} has {count} samples with the labels {' '.join(filter(None, labels))}"


def _labels(report: Report) -> Iterator[str]:
    """Identities must survive an upgrade, or an alert would not."""
    identity = report.identity
    for name, text in (("arch", identity.arch), ("virttype", identity.virttype)):
        if not text:
            yield f"its label {name} is empty"
    if _VERSION.search(identity.machine) and identity.machine == report.canonical:
        yield f"its machine {identity.machine} is called by a version, which the next upgrade changes"
    if report.version and any(report.version in text for text in (identity.arch, identity.machine, identity.virttype)):
        yield f"the version {report.version} stands in its labels, and the next upgrade changes it"


def _words(report: Report) -> Iterator[str]:
    """The documents are libvirt's format, and survive it."""
    for document in filter(None, (report.document, report.capabilities)):
        try:
            same = read(write(document)) == document
        except (DocumentError, ValueError, TypeError) as error:
            yield f"its document cannot be written as XML and read again: {error}"
            continue
        if not same:
            yield "its document is another one once it was written as XML and read again"
        if document.domain != report.identity.virttype:
            yield f"its document is about {document.domain} guests, and its label virttype says {report.identity.virttype}"


def _reasons(report: Report) -> Iterator[str]:
    """A no has a reason where the driver judged itself, and nothing else has; what libvirt refuses it does not list."""
    if _key(report.guest) != ("guest", "", ""):
        yield f"its verdict on the guest is about {_said(_key(report.guest))}; the element is 'guest', enum and value are empty"
    listed = frozenset(_listed(report.told))
    excused = {verdict.element for verdict in report.verdicts if verdict.enum and verdict.unmet}
    for verdict in (report.guest, *report.verdicts):
        name = _said(_key(verdict))
        yield from (f"{name} {fault}" for fault in _of_verdict(verdict))
        unexplained = verdict.supported is False and not verdict.unmet and report.source == "native"
        if unexplained and (verdict.enum or verdict.element not in excused):
            yield f"{name} is impossible, and nothing says what it lacks"
        if _key(verdict) in listed and any(lack.libvirt == "refuses" for lack in verdict.unmet):
            yield f"{name} is in the document, though libvirt is said to refuse it"
    for key, count in Counter(map(_key, report.verdicts)).items():
        if count > 1:
            yield f"{_said(key)} is judged {count} times"


def _of_verdict(verdict: Verdict) -> Iterator[str]:
    lacks = [lack.prerequisite for lack in verdict.unmet]
    if lacks and verdict.supported is not False:
        yield f"lacks {', '.join(lacks)}, and is not impossible"
    for lack in verdict.unmet:
        if not re.fullmatch(r"\S+", lack.prerequisite):
            yield f"lacks {lack.prerequisite!r}; a prerequisite is one word, such as dev-vfio"
        if lack.libvirt not in ("refuses", "accepts"):
            yield f"says that libvirt {lack.libvirt!r} what it lacks; it refuses or accepts"


def _listed(document: Document | None) -> Iterator[tuple[str, str, str]]:
    for element in walk(document) if document is not None else ():
        for enum in element.enums:
            yield from ((element.name, enum.name, value) for value in enum.values)

"""What `diff` compares, by name: a file, a recorded directory, an exporter, a libvirt, this host. Reads files, asks the network."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from domcaps_exporter import document
from domcaps_exporter.capabilities import Capabilities, exposed_by, truth_of, words_of
from domcaps_exporter.diff import Guest, Side
from domcaps_exporter.errors import DocumentError, DomcapsError
from domcaps_exporter.model import Document, Identity, Outcome

LOCAL = "local"
_EXPORTER = re.compile(r"https?://", re.IGNORECASE)
_LIBVIRT = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?://[^\s]*", re.IGNORECASE)

Answered: TypeAlias = Callable[[Path | None], Sequence[Outcome]]
"""What a recorded directory answers, or where there is none, this host."""


class SideError(DomcapsError):
    """Something that cannot be compared; the message names it, and says what was expected."""


def side(name: str, answered: Answered, seconds: float) -> Side:
    """What this name stands for, asked within that many seconds.

    Raises:
        SideError: it stands for nothing that can be read.
        DomcapsError: a recording cannot be used.
    """
    if name == LOCAL:
        return Side(LOCAL, tuple(_guests(LOCAL, answered(None))), whole=True)
    if _EXPORTER.match(name):
        return _exporter(name, seconds)
    if _LIBVIRT.fullmatch(name):
        return Side(name, (_listed(name, _domcapabilities(name, seconds)),), whole=False)
    path = Path(name)
    if path.is_dir():
        return Side(name, tuple(_guests(name, answered(path))), whole=True)
    if path.exists():
        return Side(name, (_listed(name, _read(path)),), whole=False)
    raise SideError(f"{name}: not there; expected an XML file, a recorded directory, http://HOST:PORT, a libvirt URI or `{LOCAL}`")


# ---- this host and recorded ones ---------------------------------------------------------------------------------------------


def _guests(name: str, outcomes: Iterable[Outcome]) -> Iterator[Guest]:
    """A driver without an answer is no driver without guests: nothing can be said of what was lost."""
    for outcome in outcomes:
        if outcome.failure is not None and outcome.failure.reason != "absent":
            raise SideError(f"{name}: {outcome.driver}: {outcome.failure.text}")
        for report in outcome.reports:
            words = None if report.document is None else words_of(outcome.driver, report.identity, report.document)
            yield Guest(truth_of(outcome.driver, report), words, proven=True)


# ---- documents ---------------------------------------------------------------------------------------------------------------


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


def _domcapabilities(uri: str, seconds: float) -> bytes:
    """What virsh says of a libvirt's default guest."""
    try:
        done = subprocess.run(
            ["virsh", "--quiet", "--connect", uri, "domcapabilities"],
            capture_output=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise SideError(f"{uri}: a libvirt is asked through virsh, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise SideError(f"{uri}: no answer within {seconds:g} s") from error
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").replace("error: ", "")
        raise SideError(f"{uri}: {' '.join(complaint.split()) or 'virsh failed'}")
    return done.stdout


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

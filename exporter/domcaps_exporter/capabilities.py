"""What one kind of guest can have, flat, so that two can be compared: from a report, or from an exporter's `/metrics`. Pure.

CPU models that are only another name of a listed one (`EPYC-v1`) are left out: whether they are shown is a setting.

Everything has a place of three words, as in `domcaps_lost_timestamp_seconds`: `hostdev pciBackend vfio`; an element as a whole
`sev`; a CPU model `cpu model EPYC`; a feature of the host's CPU `cpu feature invtsc`; a firmware file `loader /CODE.fd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from domcaps_exporter.claims import GUEST, MODEL, claims
from domcaps_exporter.model import Document, Identity, Report, Truth, Verdict
from domcaps_exporter.truths import Key, parameters, unmet

FEATURE = ("cpu", "feature")
_IDENTITY = ("driver", "emulator", "arch", "machine", "virttype")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One kind of guest.

    Attributes:
        guest: can it run at all?
        truths: place -> can a guest have it; what nobody knows may be left out.
        enums: (element, enum) pairs that are known in full: a value without a truth is none that a guest can have.
        numbers: (element, parameter) -> number; the most vCPUs are `("vcpu", "max")`.
        reasons: place -> the prerequisites that it lacks.
    """

    driver: str
    identity: Identity
    guest: Truth
    truths: Mapping[Key, Truth]
    enums: frozenset[tuple[str, str]]
    numbers: Mapping[tuple[str, str], float]
    reasons: Mapping[Key, tuple[str, ...]]

    def truth(self, place: Key) -> Truth:
        """Also of what is not spoken of: no, where its enum is known or its element is not supported."""
        element, enum, value = place
        if place in self.truths:
            return self.truths[place]
        refused = (element, enum) in self.enums or self.truths.get((element, "", "")) is False
        return False if value and refused else None


def truth_of(driver: str, report: Report) -> Capabilities:
    """What a guest can have by the driver's verdicts."""
    said = claims(report)
    truths = {place: truth for place, truth in said.truths.items() if place not in said.aliases and place != GUEST}
    numbers = dict(parameters(report))
    if report.told is not None and report.told.vcpus_max is not None:
        numbers["vcpu", "max"] = float(report.told.vcpus_max)
    enums = _enums(truths) | said.lists
    return Capabilities(driver, report.identity, report.guest.supported, truths, enums, numbers, _reasons(unmet(report)))


def words_of(driver: str, identity: Identity, document: Document) -> Capabilities:
    """What libvirt lists, and no more."""
    return truth_of(driver, Report(identity, Verdict(*GUEST, True), document))


def exposed_by(families: Iterable[Metric]) -> Iterator[Capabilities]:
    """What each kind of guest of an exposition can have; samples that make no sense are left out."""
    guests: dict[tuple[str, ...], list[Sample]] = {}
    for sample in chain.from_iterable(family.samples for family in families):
        if sample.name.startswith("domcaps_") and all(label in sample.labels for label in _IDENTITY):
            guests.setdefault(tuple(sample.labels[label] for label in _IDENTITY), []).append(sample)
    return (_of_samples(identity, samples) for identity, samples in guests.items())


def _of_samples(labels: tuple[str, ...], samples: Sequence[Sample]) -> Capabilities:
    driver, emulator, arch, machine, virttype = labels
    aliases = {(*MODEL, _said(one, "canonical")) for one in samples if one.name == "domcaps_cpu_model_info"}
    found = {place: sample.value == 1 for sample in samples if (place := _place(sample)) is not None}
    truths = {place: truth for place, truth in found.items() if place not in aliases}
    numbers = {number: sample.value for sample in samples if (number := _number(sample)) is not None}
    runs: Truth = next((sample.value == 1 for sample in samples if sample.name == "domcaps_guest_supported"), None)
    lacks = ((*_key(one), _said(one, "prerequisite")) for one in samples if one.name == "domcaps_unmet_prerequisite")
    identity = Identity(emulator, arch, machine, virttype)
    return Capabilities(driver, identity, runs, truths, _enums(truths), numbers, _reasons(lacks))


def _place(sample: Sample) -> Key | None:
    """Which place a sample speaks of; None where it is of another family."""
    match sample.name:
        case "domcaps_supported":
            return _key(sample)
        case "domcaps_element_supported":
            return _said(sample, "element"), "", ""
        case "domcaps_cpu_model_usable":
            return (*MODEL, _said(sample, "model"))
        case "domcaps_cpu_host_feature":
            return (*FEATURE, _said(sample, "feature"))
        case "domcaps_loader_present":
            return "loader", "", _said(sample, "loader")
    return None


def _key(sample: Sample) -> Key:
    return _said(sample, "element"), _said(sample, "enum"), _said(sample, "value")


def _said(sample: Sample, label: str) -> str:
    return str(sample.labels.get(label, ""))


def _number(sample: Sample) -> tuple[str, str] | None:
    """Which number a sample is; None where it is none."""
    if sample.name == "domcaps_vcpus_max":
        return "vcpu", "max"
    return (_said(sample, "element"), _said(sample, "parameter")) if sample.name == "domcaps_parameter" else None


def _enums(truths: Iterable[Key]) -> frozenset[tuple[str, str]]:
    """All but the host CPU's features: which of those are looked at is a setting."""
    return frozenset((element, enum) for element, enum, value in truths if value and (element, enum) != FEATURE)


def _reasons(lacks: Iterable[tuple[str, ...]]) -> dict[Key, tuple[str, ...]]:
    reasons: dict[Key, tuple[str, ...]] = {}
    for element, enum, value, prerequisite, *_ in lacks:
        place = (element, enum, value)
        reasons[place] = (*reasons.get(place, ()), prerequisite)
    return reasons

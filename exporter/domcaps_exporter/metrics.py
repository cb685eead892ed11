"""Outcomes -> samples of metric families, and their lines; one set of five identity labels on everything about a document. Pure.

What a host with KVM and QEMU 11.1.3 but no IOMMU says of its Q35 guests. The identity is left out: everywhere
`driver="qemu",emulator="/usr/bin/qemu-system-x86_64",arch="x86_64",machine="q35",virttype="kvm"`::

    domcaps_guest_supported{} 1.0
    domcaps_supported{element="hostdev",enum="pciBackend",value="vfio"} 0.0
    domcaps_supported{element="tpm",enum="backendModel",value="passthrough"} 1.0
    domcaps_unmet_prerequisite{element="hostdev",enum="pciBackend",libvirt="refuses",prerequisite="iommu-groups",value="vfio"} 1.0
    domcaps_element_supported{element="sev"} 0.0
    domcaps_parameter{element="cpu",parameter="maxphysaddr"} 48.0
    domcaps_vcpus_max{} 1024.0
    domcaps_loader_present{loader="/usr/share/OVMF/OVMF_CODE_4M.fd"} 1.0
    domcaps_cpu_model_usable{model="EPYC-Rome"} 0.0
    domcaps_cpu_model_info{canonical="EPYC-Rome-v1",deprecated="no",model="EPYC-Rome",vendor="AMD"} 1.0
    domcaps_cpu_model_blockers{model="EPYC-Rome"} 35.0
    domcaps_cpu_host_model_info{fallback="forbid",model="kvm64",vendor="AMD"} 1.0
    domcaps_machine_info{canonical="pc-q35-11.1",deprecated="no"} 1.0

Which value is true is decided in `truths`. All families are gauges, also those named `_info`: their labels change while we live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from domcaps_exporter.exposition import Family, line
from domcaps_exporter.model import CpuModel, Failure, Identity, Outcome, Report
from domcaps_exporter.truths import elements, fingerprint, host_model, loaders, models, parameters, unmet, values

_VALUE = ("element", "enum", "value")
_EMULATOR = ("driver", "emulator", "arch", "machine")
_IDENTITY = (*_EMULATOR, "virttype")


@dataclass(frozen=True, slots=True)
class Options:
    """What is shown on request, and which families are not.

    Attributes:
        model_details: of each CPU model, whose it is, what else it is called, whether it is deprecated, and how many features block
            it: three series for each of a hundred models, not one.
        model_versions: also the `-vN` models that are another name of a listed one, and which are.
        blockers: how many features block a model, and which.
    """

    blockers: bool = False
    model_versions: bool = False
    without: frozenset[str] = frozenset()
    model_details: bool = False

    @property
    def infos(self) -> bool:
        return self.model_details or self.model_versions

    @property
    def counts(self) -> bool:
        return self.model_details or self.blockers


class _About(NamedTuple):
    help: str
    labels: tuple[str, ...]


_FAMILIES = {
    "domcaps_guest_supported": _About("Whether such a guest can run on this host at all, as checked by the driver.", _IDENTITY),
    "domcaps_supported": _About(
        "Whether a guest can have this value of a domainCapabilities enum now (1), or is known not to (0), by the driver's rules.",
        (*_IDENTITY, *_VALUE),
    ),
    "domcaps_unmet_prerequisite": _About(
        "What is lacking where a value, an element or the guest (element guest, no enum and value) is 0, by the driver's rules.",
        (*_IDENTITY, *_VALUE, "prerequisite", "libvirt"),
    ),
    "domcaps_element_supported": _About(
        "The supported attribute of a domainCapabilities element: yes is 1, no is 0.", (*_IDENTITY, "element")
    ),
    "domcaps_parameter": _About(
        "A number, or yes/no and on/off as 1/0, inside a domainCapabilities element; sizes in bytes.",
        (*_IDENTITY, "element", "parameter"),
    ),
    "domcaps_vcpus_max": _About("How many vCPUs a guest can have: the max attribute of the vcpu element.", _IDENTITY),
    "domcaps_loader_present": _About(
        "Whether a firmware file named by a descriptor or by libvirt's list is there.", (*_IDENTITY, "loader")
    ),
    "domcaps_cpu_model_usable": _About(
        "The usable attribute of a CPU model of the mode custom: yes is 1, no is 0, no sample where it is unknown.",
        (*_IDENTITY, "model"),
    ),
    "domcaps_cpu_model_info": _About(
        "A CPU model of the mode custom, with the attributes of its element.",
        (*_IDENTITY, "model", "vendor", "canonical", "deprecated"),
    ),
    "domcaps_cpu_model_blockers": _About(
        "How many CPU features keep a model from being usable, from the blockers element.", (*_IDENTITY, "model")
    ),
    "domcaps_cpu_model_blocker": _About(
        "A CPU feature that keeps a model from being usable, from the blockers element.", (*_IDENTITY, "model", "feature")
    ),
    "domcaps_cpu_host_model_info": _About(
        "The CPU model that the mode host-model means on this host.", (*_IDENTITY, "model", "vendor", "fallback")
    ),
    "domcaps_cpu_host_feature": _About(
        "Whether the host CPU, as the hypervisor expands it, offers this feature to guests that run on it, not to emulated ones.",
        (*_IDENTITY, "feature"),
    ),
    "domcaps_machine_info": _About(
        "Which versioned machine type the machine's name means today, from the emulator.", (*_IDENTITY, "canonical", "deprecated")
    ),
    "domcaps_document_info": _About(
        "Where the answer comes from: the emulator's version and resolved path, and a hash that is equal for equal capabilities.",
        (*_IDENTITY, "version", "source", "path", "fingerprint"),
    ),
    "domcaps_lost_timestamp_seconds": _About(
        "When a guest on this host lost something that it could have before, as seen by this exporter; see --state.file.",
        (*_IDENTITY, *_VALUE),
    ),
    "domcaps_machine_type_info": _About("A machine type that the emulator offers.", (*_EMULATOR, "alias", "deprecated")),
    "domcaps_machine_type_vcpus_max": _About("How many vCPUs a machine type can have, from the emulator.", _EMULATOR),
}

NAMES = tuple(_FAMILIES)
"""Every family that documents can make, those on request included."""

INDISPENSABLE = frozenset({"domcaps_lost_timestamp_seconds", "domcaps_guest_supported"})
"""What cannot be left out: without it a host with losses looks like one that has none."""


class Sample(NamedTuple):
    """One sample: its family, its labels' values in the family's order, its value."""

    family: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Exposed:
    """What one driver's outcome comes to: its samples, or why they are not shown."""

    samples: tuple[Sample, ...] = ()
    failure: Failure | None = None


def exposed(outcome: Outcome, limit: int, options: Options) -> Exposed:
    """The outcome as it may be shown: `limit` where it makes more than `limit` samples, `contract` where it is not well formed."""
    failure = outcome.failure or _twice(outcome)
    if failure is not None:
        return Exposed(failure=failure)
    try:
        samples = tuple(wanted(_samples(outcome, options), options))
    except Exception as error:  # noqa: BLE001 - reports are a stranger's: whatever is in them costs their own driver only
        return Exposed(failure=Failure("contract", f"a report that cannot be shown: {type(error).__name__}: {error}"))
    return _bounded(samples, limit)


def wanted(samples: Iterable[Sample], options: Options) -> Iterable[Sample]:
    """Those of families that are not left out."""
    return (sample for sample in samples if sample.family not in options.without)


def completed(shown: Exposed, more: Iterable[Sample], limit: int) -> Exposed:
    """The same with what the reports leave out (`recall`)."""
    return shown if shown.failure is not None else _bounded((*shown.samples, *more), limit)


def _bounded(samples: tuple[Sample, ...], limit: int) -> Exposed:
    if len(samples) > limit:
        name, most = Counter(sample.family for sample in samples).most_common(1)[0]
        text = f"{len(samples)} series are more than the {limit} allowed (--series.limit); {most} of them are {name}"
        return Exposed(failure=Failure("limit", text))
    return Exposed(samples)


def lines(samples: Iterable[Sample]) -> Mapping[str, bytes]:
    """The samples of each family as they are written."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.family, []).append(sample)
    return {family: _lines(family, its).encode() for family, its in grouped.items()}


def _lines(family: str, samples: Iterable[Sample]) -> str:
    names = _FAMILIES[family].labels
    return "".join([line(family, zip(names, sample.labels, strict=True), sample.value) for sample in samples])


def families(said: Sequence[Mapping[str, bytes]]) -> Iterator[Family]:
    """The families that have lines, each once, in the order of the table above."""
    for name, family in _FAMILIES.items():
        found = [its[name] for its in said if name in its]
        if found:
            yield Family(name, family.help, "gauge", b"".join(found))


def identified(driver: str, guest: Identity, sample: Sample) -> Sample:
    """A sample about one kind of guest, with its five labels before its own."""
    labels = (driver, guest.emulator, guest.arch, guest.machine, guest.virttype, *sample.labels)
    return _showable(Sample(sample.family, labels, sample.value))


def _showable(sample: Sample) -> Sample:
    """As it can be written; whatever a stranger's driver put in it fails here or nowhere."""
    return Sample(sample.family, tuple(map(_encodable, sample.labels)), float(sample.value))


def _twice(outcome: Outcome) -> Failure | None:
    often = [identity for identity, count in Counter(report.identity for report in outcome.reports).items() if count > 1]
    return Failure("contract", f"two reports of one kind of guest: {often[0]}") if often else None


def _encodable(label: str) -> str:
    """File names may hold bytes that are no UTF-8 (lone surrogates in Python); they are shown as escapes, still distinct."""
    return label if label.isascii() else label.encode("utf-8", "backslashreplace").decode()


# ---- what a report has to say ------------------------------------------------------------------------------------------------


def _samples(outcome: Outcome, options: Options) -> Iterator[Sample]:
    for report in outcome.reports:
        for sample in _of_report(report, options):
            yield identified(outcome.driver, report.identity, sample)
    yield from _machine_types(outcome)


def _of_report(report: Report, options: Options) -> Iterator[Sample]:
    """While the guest itself is impossible, that and why is all there is to say: one alarm, not two hundred."""
    if report.guest.supported is not None:
        yield Sample("domcaps_guest_supported", (), report.guest.supported)
    yield from (Sample("domcaps_unmet_prerequisite", labels, 1) for labels in unmet(report))
    if report.guest.supported is not False:
        yield from chain(_truths(report), _numbers(report), _cpu_models(report, options), _host_cpu(report), _about(report))


def _truths(report: Report) -> Iterator[Sample]:
    for key, truth in values(report).items():
        if truth is not None:
            yield Sample("domcaps_supported", key, truth)
    for element, truth in elements(report).items():
        if truth is not None:
            yield Sample("domcaps_element_supported", (element,), truth)
    for path, present in loaders(report).items():
        yield Sample("domcaps_loader_present", (path,), present)


def _numbers(report: Report) -> Iterator[Sample]:
    for parameter, number in parameters(report).items():
        yield Sample("domcaps_parameter", parameter, number)
    if report.told is not None and report.told.vcpus_max is not None:
        yield Sample("domcaps_vcpus_max", (), report.told.vcpus_max)


def _cpu_models(report: Report, options: Options) -> Iterator[Sample]:
    listed = models(report)
    names = {model.canonical for model in listed.values()}
    for model in listed.values():
        if options.model_versions or model.name not in names:
            yield from _cpu_model(model, options)


def _cpu_model(model: CpuModel, options: Options) -> Iterator[Sample]:
    """A model that is not usable though nothing is named that blocks it has no number of blockers: nobody knows it."""
    about = (model.name, model.vendor or "", model.canonical or "", model.deprecated or "no")
    if options.infos:
        yield Sample("domcaps_cpu_model_info", about, 1)
    if model.usable in ("yes", "no"):
        yield Sample("domcaps_cpu_model_usable", (model.name,), model.usable == "yes")
    if options.counts and (model.blockers or model.usable == "yes"):
        yield Sample("domcaps_cpu_model_blockers", (model.name,), len(set(model.blockers)))
    if options.blockers:
        for feature in dict.fromkeys(model.blockers):
            yield Sample("domcaps_cpu_model_blocker", (model.name, feature), 1)


def _host_cpu(report: Report) -> Iterator[Sample]:
    model = host_model(report)
    if model is not None:
        yield Sample("domcaps_cpu_host_model_info", (model.model, model.vendor or "", model.fallback or ""), 1)
    for feature, offered in dict(report.host_features).items():
        yield Sample("domcaps_cpu_host_feature", (feature,), offered)


def _about(report: Report) -> Iterator[Sample]:
    document = report.told
    canonical = report.canonical or (document.machine if document is not None else None)
    if canonical:
        yield Sample("domcaps_machine_info", (canonical, _word(report.deprecated)), 1)
    path = report.path or (document.path if document is not None else None) or ""
    yield Sample("domcaps_document_info", (report.version, report.source, path, fingerprint(report)), 1)


def _machine_types(outcome: Outcome) -> Iterator[Sample]:
    """Once per emulator, however many reports repeat them."""
    offered = {
        (outcome.driver, report.identity.emulator, report.identity.arch, machine.machine): machine
        for report in outcome.reports
        for machine in report.machine_types
    }
    for labels, machine in offered.items():
        yield _showable(Sample("domcaps_machine_type_info", (*labels, machine.alias, _word(machine.deprecated)), 1))
        if machine.vcpus_max is not None:
            yield _showable(Sample("domcaps_machine_type_vcpus_max", labels, machine.vcpus_max))


def _word(truth: bool) -> str:
    return "yes" if truth else "no"

"""What the past adds to the exposition: zeros for what has vanished, when things were lost, and what blocks lost CPU models. Pure.

domcaps_lost_timestamp_seconds{element="os",enum="firmware",value="efi"} 1.77e+09
domcaps_cpu_model_usable{model="Opteron_G1"} 0.0        # the emulator no longer lists it
domcaps_cpu_model_blocker{model="EPYC-Milan",feature="erms"} 1.0
domcaps_guest_supported{} 0.0                           # its emulator is gone
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from domcaps_exporter.claims import GUEST, MODEL, claims
from domcaps_exporter.metrics import Options, Sample, identified, wanted
from domcaps_exporter.model import Outcome, Report
from domcaps_exporter.past import Past, Trace, losses
from domcaps_exporter.truths import Key, models


def lost(driver: str, past: Past) -> Iterator[Sample]:
    """When each missing thing was lost; whatever became of the last probe."""
    for loss in losses(driver, past):
        yield identified(driver, loss.identity, Sample("domcaps_lost_timestamp_seconds", loss.key, loss.since))


def recalled(outcome: Outcome, past: Past, options: Options) -> Iterable[Sample]:
    """What the reports of a driver that answers leave out."""
    return wanted(_recalled(outcome, past, options), options)


def _recalled(outcome: Outcome, past: Past, options: Options) -> Iterator[Sample]:
    for report in outcome.reports:
        guest = past.guests.get(report.identity)
        if guest is not None and report.guest.supported is not False:
            for sample in (*_vanished(report, guest.traces), *_blockers(report, guest.traces, options)):
                yield identified(outcome.driver, report.identity, sample)
    for identity, guest in past.guests.items():
        if guest.presence == "gone" and GUEST in guest.traces and guest.traces[GUEST].lost is not None:
            for sample in _GONE:
                yield identified(outcome.driver, identity, sample)


_GONE = (
    Sample("domcaps_guest_supported", (), 0),
    Sample("domcaps_unmet_prerequisite", (*GUEST, "emulator", "refuses"), 1),
)


def _vanished(report: Report, traces: Mapping[Key, Trace]) -> Iterator[Sample]:
    """A zero for each value and CPU model that was listed, and is missing from its list."""
    said = claims(report)
    for key, trace in traces.items():
        if key not in said.truths and said.of(key, listed=trace.listed) is False:
            element, enum, value = key
            is_model = (element, enum) == MODEL
            yield Sample("domcaps_cpu_model_usable", (value,), 0) if is_model else Sample("domcaps_supported", key, 0)


def _blockers(report: Report, traces: Mapping[Key, Trace], options: Options) -> Iterator[Sample]:
    """What keeps a CPU model from being usable that was, unless that is told of every model."""
    for name, model in models(report).items() if not options.blockers else ():
        trace = traces.get((*MODEL, name))
        if trace is not None and trace.lost is not None:
            yield from (Sample("domcaps_cpu_model_blocker", (name, feature), 1) for feature in dict.fromkeys(model.blockers))

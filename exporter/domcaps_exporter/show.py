"""A host on the terminal: outcomes as a table of at most 80 columns, or as JSON with everything in it. Pure.

Per kind of guest a headline, then one paragraph per element: what a guest can have, and below it, marked `-`, what it cannot and
what that lacks (in parentheses, as the table says: what libvirt does not look at, so that it lists the value all the same); marked
`?`, what nobody knows::

    qemu: x86_64 q35 (pc-q35-7.2) kvm
      emulator          /usr/bin/qemu-system-x86_64 7.2.17
      guest             yes, up to 288 vcpus
      hostdev           mode: subsystem
                        - pciBackend vfio: iommu-groups, dev-vfio
      meaning           dev-vfio: there is no /dev/vfio/vfio (is the module vfio
                          loaded?)

Of a guest that cannot run here it says that, why, how to look and what mends it; its values are left out, as in the metrics.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap

from domcaps_exporter.causes import causes, silence
from domcaps_exporter.durations import moment
from domcaps_exporter.model import Identity, Outcome, Report, Truth, Unmet
from domcaps_exporter.past import Loss, labels
from domcaps_exporter.reasons import foreign, summary
from domcaps_exporter.selector import Selector
from domcaps_exporter.terminal import line
from domcaps_exporter.truths import Key, elements, host_model, loaders, models, parameters, values

WIDTH = 80
_INDENT = 20
_BLOCKERS = 5
_GUESTS = 5
"""Kinds of guests that are named where none was selected."""
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "qemu": ("machine", "arch", "virttype", "emulator"),
    "xen": ("machine", "arch"),
    "libvirt": ("machine", "arch", "virttype"),
}
"""Driver -> the labels that its section has a list for (`machines`), the most telling first."""


def table(outcomes: Sequence[Outcome], missed: Sequence[Loss] = ()) -> str:
    """What is lost and not back, as far as it is `missed`; then every report of every driver; at last who has nothing to ask."""
    losses = tuple(_losses(outcomes, missed))
    lines = (line for outcome in sorted(outcomes, key=lambda outcome: outcome.is_absent) for line in _outcome(outcome))
    return "".join(f"{line}\n" for line in (*losses, *([""] if losses else []), *lines))


def as_json(outcomes: Iterable[Outcome], missed: Sequence[Loss] | None = None) -> str:
    """A JSON array with an object per driver: everything that is known but the raw facts (`record` writes those).

    `missed` is what is known to be lost and not back; None: nobody looked.
    """
    return json.dumps([_plain(outcome) | _lost(outcome, missed) for outcome in outcomes], indent=2) + "\n"


def nothing(chosen: Selector, outcomes: Iterable[Outcome]) -> str:
    """That nothing of these is as it was selected, what there is instead, and how others come to be there."""
    answers = [outcome for outcome in outcomes if outcome.reports]
    there = [f"{outcome.driver} {report.identity.kind}".strip() for outcome in answers for report in outcome.reports]
    more = f", and {len(there) - _GUESTS} more" if len(there) > _GUESTS else ""
    listed = f"there is {', '.join(there[:_GUESTS])}{more}" if there else "there is no kind of guest at all"
    said = f"this host has nothing of what was selected; {listed}"
    for outcome in answers:
        for label in _SETTINGS.get(outcome.driver, ()):
            if chosen.wanted.get(label):
                example = f"drivers: {{{outcome.driver}: {{{label}s: [{chosen.wanted[label]}]}}}}"
                return f"{said}; others are asked for in --config.file, as by {example}"
    return said


def _lost(outcome: Outcome, missed: Sequence[Loss] | None) -> dict[str, object]:
    if missed is None:
        return {}
    its = [{**labels(loss), "since": loss.since} for loss in missed if loss.driver == outcome.driver]
    return {"losses": its}


def _losses(outcomes: Iterable[Outcome], missed: Sequence[Loss]) -> Iterator[str]:
    """Under the kind of guest that misses them."""
    for outcome in outcomes:
        reports = {report.identity: report for report in outcome.reports}
        its: dict[Identity, list[Loss]] = {}
        for loss in missed:
            if loss.driver == outcome.driver:
                its.setdefault(loss.identity, []).append(loss)
        for guest, losses in its.items():
            reasons = causes(reports.get(guest), outcome.failure)
            yield from _wrapped(f"{outcome.driver}: ", f"lost, and not back: {guest.kind} {guest.emulator}")
            for loss in losses:
                why = silence(outcome) or ", ".join(reasons.get(loss.key, ()))
                words = ": ".join(filter(None, (" ".join(filter(None, loss.key)), why)))
                yield from _row(moment(loss.since), [words])


def _plain(outcome: Outcome) -> dict[str, object]:
    return {
        "driver": outcome.driver,
        "failure": None if outcome.failure is None else asdict(outcome.failure),
        "duration_seconds": round(outcome.duration, 6),
        "finished": outcome.finished,
        "reports": [asdict(report) for report in outcome.reports],
    }


def _outcome(outcome: Outcome) -> Iterator[str]:
    if outcome.failure is not None:
        yield from _wrapped(f"{outcome.driver}: ", f"no answer ({outcome.failure.reason}): {outcome.failure.text}")
    for report in outcome.reports:
        yield from _report(outcome.driver, report)
        yield ""


def _report(driver: str, report: Report) -> Iterator[str]:
    emulator = f"{report.identity.emulator} {report.version}"
    if report.guest.supported is False:
        yield from _wrapped(f"{driver}: ", f"{_headline(report)}: such a guest cannot run here")
        yield from _row("guest", [_guest(report), *_remedies(report.guest.unmet)])
        yield from _row("emulator", [emulator])
        yield from _row("note", [*report.notes, "the rest is left out; --format json has it"])
        return
    yield from _wrapped(f"{driver}: ", _headline(report))
    yield from _row("emulator", [emulator])
    yield from _row("guest", [_guest(report)])
    for element, texts in _paragraphs(report).items():
        yield from _row(element, texts)
    yield from _row("cpu models", _cpu_models(report))
    yield from _row("host cpu", _host_cpu(report))
    yield from _row("firmware files", _loaders(report))
    yield from _row("note", report.notes)
    yield from _row("meaning", _meanings(report))


def _headline(report: Report) -> str:
    identity = report.identity
    canonical = f"({report.canonical})" if report.canonical not in ("", identity.machine) else ""
    return " ".join(filter(None, (identity.arch, identity.machine, canonical, identity.virttype)))


def _guest(report: Report) -> str:
    if report.guest.supported is False:
        return f"no: {_lacks(report.guest.unmet)}"
    word = "yes" if report.guest.supported else "unknown"
    most = report.told.vcpus_max if report.told is not None else None
    return word if most is None else f"{word}, up to {most} vcpus"


def _lacks(unmet: Iterable[Unmet]) -> str:
    names = (lack.prerequisite if lack.libvirt == "refuses" else f"({lack.prerequisite})" for lack in unmet)
    return ", ".join(names) or "no reason given"


def _remedies(unmet: Iterable[Unmet]) -> Iterator[str]:
    """What each of these means, how to look at it, and what mends it."""
    for name, known in summary(lack.prerequisite for lack in unmet):
        yield from (f"{name}: {known.means}", f"- look: {known.look}", f"- mends: {known.mend}")


def _meanings(report: Report) -> Iterator[str]:
    """What parentheses mean, and the names of those prerequisites about which something could be done here."""
    denied = [one for one in report.verdicts if one.supported is False]
    if any(lack.libvirt == "accepts" for verdict in denied for lack in verdict.unmet):
        yield "(in parentheses): libvirt does not look at it, and lists the value all the same"
    names = (lack.prerequisite for verdict in denied for lack in verdict.unmet)
    for name, known in summary(name for name in names if not foreign(name, report.identity.arch)):
        yield f"{name}: {known.means}"


# ---- elements ----------------------------------------------------------------------------------------------------------------


def _paragraphs(report: Report) -> dict[str, list[str]]:
    """Element -> its lines: first what is there, then what is not."""
    truths = values(report)
    reasons = {(verdict.element, verdict.enum, verdict.value): verdict.unmet for verdict in report.verdicts}
    flags = elements(report)
    names = dict.fromkeys((*(element for element, _, _ in truths), *flags))
    there = {name: _there(name, truths, flags.get(name), parameters(report)) for name in names}
    return {name: [there[name], *_missing(name, truths, reasons)] for name in names}


def _there(name: str, truths: Mapping[Key, Truth], flag: Truth, numbers: Mapping[tuple[str, str], float]) -> str:
    enums: dict[str, list[str]] = {}
    for (element, enum, value), truth in truths.items():
        if element == name and truth:
            enums.setdefault(enum, []).append(value)
    words = [f"{enum}: {' '.join(listed)}" for enum, listed in enums.items()]
    words += [f"{parameter} {_number(number)}" for (element, parameter), number in numbers.items() if element == name]
    return "; ".join(words) or {True: "yes", False: "no", None: "-"}[flag]


def _missing(name: str, truths: Mapping[Key, Truth], reasons: Mapping[Key, tuple[Unmet, ...]]) -> Iterator[str]:
    whole = reasons.get((name, "", ""), ())
    if whole:
        yield f"- lacks {_lacks(whole)}"
    for key, truth in truths.items():
        if key[0] == name and truth is False:
            yield f"- {key[1]} {key[2]}: {_lacks(reasons.get(key, ()))}"
        elif key[0] == name and truth is None:
            yield f"? {key[1]} {key[2]}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


# ---- what is summed up -------------------------------------------------------------------------------------------------------


def _cpu_models(report: Report) -> Iterator[str]:
    listed = models(report).values()
    if not listed:
        return
    count = Counter(model.usable for model in listed)
    yield f"{count['yes']} of {len(listed)} usable" + (f", {count['unknown']} unknown" if count["unknown"] else "")
    blockers = Counter(blocker for model in listed for blocker in model.blockers)
    if blockers:
        yield f"- blocked most often by {', '.join(f'{name} ({times})' for name, times in blockers.most_common(_BLOCKERS))}"


def _host_cpu(report: Report) -> Iterator[str]:
    model = host_model(report)
    if model is not None:
        yield " ".join(filter(None, ("host-model", model.model, model.vendor)))
    offered = [name for name, there in report.host_features if there]
    lacking = [name for name, there in report.host_features if not there]
    if offered:
        yield f"offers {' '.join(offered)}"
    if lacking:
        yield f"- lacks {' '.join(lacking)}"


def _loaders(report: Report) -> Iterator[str]:
    files = loaders(report)
    if files:
        yield f"{sum(files.values())} of {len(files)} there"
    yield from (f"- {path}" for path, there in files.items() if not there)


# ---- lines -------------------------------------------------------------------------------------------------------------------


def _row(name: str, texts: Iterable[str]) -> Iterator[str]:
    """`name` beside the first text, the others below it."""
    label = f"  {name}"
    for text in texts:
        yield from _wrapped(f"{label} ".ljust(_INDENT), text)
        label = ""


def _wrapped(label: str, text: str) -> list[str]:
    """`text` beside `label`, folded."""
    return wrap(line(text), WIDTH, initial_indent=label, subsequent_indent=" " * (_INDENT + 2), break_on_hyphens=False) or [
        label.rstrip()
    ]

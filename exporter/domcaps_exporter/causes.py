"""Why a kind of guest is without what it could have: by thing, the prerequisites that are lacking. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from domcaps_exporter.claims import GUEST, MODEL
from domcaps_exporter.model import Failure, Outcome, Report
from domcaps_exporter.truths import Key, loaders, models, unmet


def silence(outcome: Outcome) -> str:
    """Why nobody knows a cause: the driver gives no answer; empty where it gives one, or has no hypervisor."""
    return f"the driver {outcome.driver} gives no answer now" if outcome.problem is not None else ""


def causes(report: Report | None, failure: Failure | None) -> Mapping[Key, tuple[str, ...]]:
    """As far as it is known: by the guest's report, or, where it has none any more, by what became of the driver."""
    if report is None:
        return {GUEST: ("hypervisor" if failure is not None else "emulator",)}
    found: dict[Key, tuple[str, ...]] = {}
    if report.guest.supported is not False:
        found |= {(*MODEL, name): model.blockers for name, model in models(report).items()}
        found |= {("loader", "", path): ("firmware-file",) for path, present in loaders(report).items() if not present}
    for element, enum, value, prerequisite, _ in unmet(report):
        key = element, enum, value
        found[key] = (*found.get(key, ()), prerequisite)
    return found

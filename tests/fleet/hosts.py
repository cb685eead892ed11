"""A simulated host with its exporter: the exporter's own code from the reports on, and a clock from outside. Nothing is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple, TypeAlias

from prometheus_client.core import Metric
from tests.fleet.worlds import World, described, heard, hindsight, retold
from tests.reading import parsed

from domcaps_exporter.basis import Basis
from domcaps_exporter.exposition import TEXT_0, Part, written
from domcaps_exporter.ledger import Ledger
from domcaps_exporter.memoir import decode, encode
from domcaps_exporter.metrics import Options, Sample, completed, exposed
from domcaps_exporter.model import Failure, Outcome, Report, Unmet, Verdict
from domcaps_exporter.past import Past, fold, forgotten, revised
from domcaps_exporter.recall import lost, recalled
from domcaps_exporter.truths import listed

Reports: TypeAlias = tuple[Report, ...]

_LIMIT = 10_000


class _Folded(NamedTuple):
    """What an exporter makes of a driver's reports and its past: the same as long as both are."""

    reports: Reports
    past: Past
    series: int
    families: tuple[Metric, ...]


class Host:
    """One host. Tests change its attributes from scrape to scrape.

    `up`: it can be scraped; `failure`: the reason why its probe fails; `libvirt`: the world that its libvirt answers for;
    `version`: that of the exporter; `options`: what its configuration asks for (the dashboards show CPU models' details);
    `knows_all`: the exporter is no earlier one, which knew less; `is_strict`: it is a later one, which says no to `STRICT`.
    """

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world
        self.up, self.failure = True, ""
        self.libvirt: World | None = None
        self.version, self.knows_all, self.is_strict = "1.0.0", True, False
        self.options = Options(model_details=True)
        self._memory: dict[str, Past] = {}
        self._folded: dict[str, _Folded] = {}
        self._ledger = self._started()

    def scrape(self, now: float) -> tuple[Metric, ...] | None:
        """The families that its exporter shows at that time, in seconds since the epoch; None where it cannot be scraped."""
        if not self.up:
            return None
        outcomes = self._outcomes(now)
        shown = (family for outcome in outcomes for family in self._shown(outcome))
        return (*shown, *self._ledger.families(frozenset(outcome.driver for outcome in outcomes)))

    def documents(self, now: float) -> tuple[Metric, ...]:
        """The same without what is about the exporter."""
        return tuple(family for outcome in self._outcomes(now) for family in self._shown(outcome))

    def exposition(self, now: float) -> bytes | None:
        """The same as bytes."""
        found = self.scrape(now)
        return None if found is None else Part(written(merged(found))).plain(TEXT_0)

    def restart(self, version: str = "") -> None:
        """A new process, with the state file of the old one; with a version, an upgrade."""
        self.version = version or self.version
        self._memory = decode(encode(self._memory))
        self._ledger = self._started()

    def forget(self) -> None:
        """All losses are acknowledged."""
        self._memory = {driver: forgotten(driver, past, lambda _: True)[0] for driver, past in self._memory.items()}

    def change(self, qemu: str = "", cpu: str = "", machine: str = "") -> None:
        """Another QEMU, processor or name of the machines."""
        world = self.world
        self.world = replace(world, qemu=qemu or world.qemu, cpu=cpu or world.cpu, machine=machine or world.machine)

    def _started(self) -> Ledger:
        return Ledger(("qemu", "libvirt"), (), self.version)

    def _outcomes(self, now: float) -> list[Outcome]:
        outcomes = [self._outcome("qemu", self._reports(), now)]
        return outcomes if self.libvirt is None else [*outcomes, self._outcome("libvirt", retold(self.libvirt), now)]

    def _reports(self) -> Reports:
        made = (described if self.knows_all else _possible)(self.world)
        return _strictly(made) if self.is_strict else made

    def _outcome(self, driver: str, reports: Reports, now: float) -> Outcome:
        failure = Failure(self.failure, "as was told") if self.failure else None
        return Outcome(driver, () if failure else reports, failure, 0.01, now, now)

    def _shown(self, outcome: Outcome) -> tuple[Metric, ...]:
        """As in the exporter, what has not changed is not looked at again."""
        past, folded = self._memory.get(outcome.driver, Past()), self._folded.get(outcome.driver)
        if folded is None or folded.reports is not outcome.reports or folded.past is not past:
            past = self._remembered(past, outcome)
            samples = _told(outcome, past, self.options)
            folded = _Folded(outcome.reports, past, len(samples), tuple(parsed(samples)))
            self._memory[outcome.driver], self._folded[outcome.driver] = past, folded
        self._ledger.note(outcome, folded.series)
        return folded.families

    def _remembered(self, past: Past, outcome: Outcome) -> Past:
        """As the exporter's chronicle does it."""
        native = outcome.driver == "qemu" and outcome.failure is None
        if native and past.basis is not None and past.basis.code != self.version:
            looked_back = hindsight(self.world, past.basis)
            past = revised(past, outcome.reports, _strictly(looked_back) if self.is_strict else looked_back)
        past, _ = fold(past, outcome, lambda _: True)
        return replace(past, basis=Basis(self.version, heard(self.world))) if native else past


@cache
def _possible(world: World) -> Reports:
    """As an exporter would report that has never heard of the values that are impossible here, nor of features of the CPU."""
    return tuple(replace(report, verdicts=tuple(_heard_of(report)), host_features=()) for report in described(world))


STRICT = ("interface", "backendType", "passt")


@cache
def _strictly(made: Reports) -> Reports:
    """As an exporter would report whose rules want something of everybody's passt that nobody has."""
    return tuple(replace(report, verdicts=tuple(map(_denied, report.verdicts))) for report in made)


def _denied(verdict: Verdict) -> Verdict:
    is_strict = (verdict.element, verdict.enum, verdict.value) == STRICT
    return replace(verdict, supported=False, unmet=(Unmet("program:passt-repair", "accepts"),)) if is_strict else verdict


def _heard_of(report: Report) -> Iterator[Verdict]:
    named = frozenset(listed(report))
    for verdict in report.verdicts:
        if verdict.supported is not False or (verdict.element, verdict.enum, verdict.value) in named:
            yield verdict


def merged(found: Iterable[Metric]) -> tuple[Metric, ...]:
    """Two drivers' families of one name are one."""
    merged: dict[str, Metric] = {}
    for family in found:
        kept = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        kept.samples = [*kept.samples, *family.samples]
    return tuple(merged.values())


def _told(outcome: Outcome, past: Past, options: Options) -> tuple[Sample, ...]:
    missed = tuple(lost(outcome.driver, past))
    if outcome.failure is not None:
        return missed
    shown = exposed(outcome, _LIMIT, options)
    return (*completed(shown, recalled(outcome, past, options), _LIMIT).samples, *missed)

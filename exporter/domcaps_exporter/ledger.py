"""What the exporter says about itself: how each driver's probes went, and which plugins there are. It only remembers.

A driver is *seen* once it gave an answer, also before a restart where there is a state file, and while it fails otherwise. Until it
gave one, its absence is the expected thing: no `domcaps_probe_success`, no failure counted, so that a host without Xen does not
raise Xen's alarm, whatever came between.
"""

from __future__ import annotations

import math
import platform
from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.model import REASONS, Outcome

_NOTED = 8
"""Outcomes of a driver that may still be on their way to several scrapes at once."""


@dataclass(slots=True)
class _Record:
    """One driver's: the last outcome (None: not seen), when its last good probe began and ended, its series, failures by reason.

    `noted`: when those began and ended that were entered last. A slow scrape may bring an outcome when later ones are known.
    """

    last: Outcome | None = None
    noted: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_NOTED))
    good: float = -math.inf
    success: float | None = None
    series: int = 0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))


class Ledger:
    """The exporter's own metrics. Not for several threads."""

    def __init__(self, drivers: Iterable[str], plugins: Iterable[Plugin], version: str, seen: Container[str] = ()) -> None:
        """`seen`: the drivers that were seen before this process began."""
        self._seen = seen
        self.revision = 0
        """Another number whenever `lasting` says something else."""
        self._records = {driver: _Record() for driver in drivers}
        self.constant = (*_of_plugins(tuple(plugins)), _of_build(version))
        """What never changes: the plugins and the build."""

    def note(self, outcome: Outcome, series: int) -> None:
        """Enter what became of a driver and how many series it makes. An outcome that several scrapes share is entered once."""
        record = self._records[outcome.driver]
        if outcome.is_absent and not self._was_there(outcome.driver):
            self.revision += record.last is not None
            record.last = None
            return
        if record.last is None or not _alike(record.last, outcome) or record.series != series:
            self.revision += 1
        when = outcome.started, outcome.finished
        if when not in record.noted:
            record.noted.append(when)
            if outcome.failure is not None:
                record.failures[outcome.failure.reason] += 1
            elif outcome.started >= record.good:
                record.good, record.success = outcome.started, outcome.finished
        record.last, record.series = outcome, series

    def _was_there(self, driver: str) -> bool:
        return self._records[driver].success is not None or driver in self._seen

    def families(self, drivers: Container[str]) -> Iterator[Metric]:
        """The exporter's own families; of the drivers those in `drivers`."""
        yield from self.lasting(drivers)
        yield from self.passing(drivers)
        yield from self.constant

    def lasting(self, drivers: Container[str]) -> Iterator[Metric]:
        """What became of the probes of these drivers: the same as long as each of them goes on answering."""
        yield from _of_answers(self._seen_of(drivers))
        yield _of_failures({driver: record for driver, record in self._records.items() if driver in drivers})

    def passing(self, drivers: Container[str]) -> Iterator[Metric]:
        """What differs from probe to probe."""
        return _of_times(self._seen_of(drivers))

    def _seen_of(self, drivers: Container[str]) -> dict[str, _Record]:
        return {driver: record for driver, record in self._records.items() if driver in drivers and record.last is not None}


def _alike(one: Outcome, other: Outcome) -> bool:
    """An answer as before; each failure is another one."""
    return one.failure is None and other.failure is None


def _of_answers(seen: dict[str, _Record]) -> Iterator[Metric]:
    success = GaugeMetricFamily(
        "domcaps_probe_success",
        "Whether the driver's last probe gave an answer; its documents are withheld at 0.",
        labels=["driver"],
    )
    series = GaugeMetricFamily(
        "domcaps_series",
        "How many series of the driver's documents are served; none where there are more than --series.limit.",
        labels=["driver"],
    )
    for driver, record in seen.items():
        success.add_metric([driver], record.last is not None and record.last.failure is None)
        series.add_metric([driver], record.series)
    return iter((success, series))


def _of_times(seen: dict[str, _Record]) -> Iterator[Metric]:
    duration = GaugeMetricFamily("domcaps_probe_duration_seconds", "How long the driver's last probe took.", labels=["driver"])
    last = GaugeMetricFamily(
        "domcaps_probe_last_success_timestamp_seconds",
        "When the driver's last good probe ended, by this host's clock.",
        labels=["driver"],
    )
    for driver, record in seen.items():
        if record.last is not None:
            duration.add_metric([driver], record.last.duration)
        if record.success is not None:
            last.add_metric([driver], record.success)
    return iter((duration, last))


def _of_failures(records: dict[str, _Record]) -> Metric:
    failures = CounterMetricFamily(
        "domcaps_probe_failures",
        "Probes without an answer by reason, counted by the exporter since it started.",
        labels=["driver", "reason"],
    )
    for driver, record in records.items():
        for reason, count in record.failures.items():
            failures.add_metric([driver, reason], count)
    return failures


def _of_plugins(plugins: tuple[Plugin, ...]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "domcaps_plugin_info", "A plugin found in the entry points, with its distribution's version.", labels=["plugin", "version"]
    )
    loaded = GaugeMetricFamily(
        "domcaps_plugin_loaded", "Whether a plugin found in the entry points could be loaded.", labels=["plugin"]
    )
    for name, version in dict.fromkeys((plugin.name, plugin.version) for plugin in plugins):
        info.add_metric([name, version], 1)
    for name in dict.fromkeys(plugin.name for plugin in plugins):
        loaded.add_metric([name], all(plugin.error is None for plugin in plugins if plugin.name == name))
    return iter((info, loaded))


def _of_build(version: str) -> Metric:
    build = GaugeMetricFamily(
        "domcaps_exporter_build_info", "The exporter's version and that of its Python.", labels=["version", "python_version"]
    )
    build.add_metric([version, platform.python_version()], 1)
    return build

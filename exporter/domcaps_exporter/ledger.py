"""What the exporter says about itself: how each driver's probes went, and which plugins there are. It only remembers.

A driver is *seen* once its hypervisor was there, also before a restart where there is a state file. Until then its absence is the
expected thing: no `domcaps_probe_success`, no failure counted, so that a host without Xen does not raise Xen's alarm.
"""

from __future__ import annotations

import platform
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.model import REASONS, Outcome


@dataclass(slots=True)
class _Record:
    """One driver's: the last outcome (None: never seen), when it last succeeded, its series, and its failures by reason."""

    last: Outcome | None = None
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
        if (
            outcome.failure is not None
            and outcome.failure.reason == "absent"
            and record.last is None
            and outcome.driver not in self._seen
        ):
            return
        if record.last is None or not _alike(record.last, outcome) or record.series != series:
            self.revision += 1
        if not _same(record.last, outcome):
            if outcome.failure is None:
                record.success = outcome.finished
            else:
                record.failures[outcome.failure.reason] += 1
        record.last, record.series = outcome, series

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


def _same(one: Outcome | None, other: Outcome) -> bool:
    return one is not None and (one.started, one.finished, one.failure) == (other.started, other.finished, other.failure)


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
        "domcaps_series", "How many series the driver's documents make; bounded by --series.limit.", labels=["driver"]
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

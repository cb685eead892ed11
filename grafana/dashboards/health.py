"""The dashboard Exporter health: which exporters do not answer and why, how long they take, how much they tell."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.dashboards.columns import host
from grafana.dashboards.frame import HEALTH, Options, framed
from grafana.dashboards.look import ORANGE, RED, Column, Told, bars, course, lines, listing, named, number, verdict
from grafana.dashboards.promql import PLACE, Scope
from grafana_foundation_sdk.builders import bargauge, dashboard, stat, table, timeseries

NOBODY = "No host is scraped in this job and group"
OLD = 1800
"""Seconds after which an answer is old, as in the alert DomcapsAnswerTooOld."""


def health(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.fleet
    said = "Which exporters do not answer and why, how long they take and what they cost."
    made = framed(HEALTH, "Exporter health", said, options)
    for count in _counts(scope):
        made = made.with_panel(count)
    made = made.with_panel(_problems(scope, options)).with_panel(_failures(scope)).with_panel(_versions(scope))
    made = made.with_row(dashboard.Row("In time"))
    for course_of_time in (_scrapes(scope), _probes(scope), _silent(scope), _changes(scope), _memory(scope), _time(scope)):
        made = made.with_panel(course_of_time)
    return made.with_row(dashboard.Row("Most")).with_panel(_slowest(scope, options)).with_panel(_largest(scope, options))


def _counts(scope: Scope) -> Iterator[stat.Panel]:
    up = scope.of("up")
    none = f"0 * count({up})"
    yield number(Told("Exporters", "Exporters that are scraped, whether they answer or not.", NOBODY), f"count({up})")
    yield number(Told("Not answering", "Exporters that could not be scraped just now.", NOBODY), f"sum({up} == bool 0)", bad=RED)
    failing = f"count({scope.of('domcaps_probe_success')} == 0) or {none}"
    yield number(
        Told("Failing probes", "Drivers that got no answer from their hypervisor, over all hosts.", NOBODY), failing, bad=RED
    )
    plugins = f"count({scope.of('domcaps_plugin_loaded')} == 0) or {none}"
    yield number(Told("Refused plugins", "Plugins that could not be loaded, over all hosts.", NOBODY), plugins, bad=ORANGE)
    series = Told("Series", "How many series the exporters tell in one scrape, all together.", NOBODY)
    yield number(series, f"sum({scope.of('scrape_samples_scraped')})")
    rules = Told("Recording rules", "Whether Prometheus works out what these dashboards read.", "✗ not loaded")
    yield verdict(rules, f"count({scope.of('domcaps:capability')}) > bool 0", {1.0: ("✓ loaded", "#0072B2")})


def _problems(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Hosts with problems",
        "Not scraped; a driver without an answer; a scrape without any hypervisor; an answer that is older than half an hour; a "
        "plugin that was refused. What the reasons mean is in the runbook.",
        "All exporters are well",
        14,
        8,
    )
    up, success = scope.of("up"), scope.of("domcaps_probe_success")
    known = (scope.of("domcaps_document_info"), scope.of("domcaps_guest_supported"), f"({success} == 0)")
    silent = " ".join(f"unless on ({PLACE}) {one}" for one in known)
    last = scope.of("domcaps_probe_last_success_timestamp_seconds")
    problems = {
        "cannot be scraped": f"{up} == 0",
        "probe fails": f"{success} == 0",
        "finds no hypervisor": f"{up} == 1 {silent}",
        "answer is old": f"time() - {last} > {OLD} and on ({PLACE}, driver) {success} == 1",
        "plugin refused": f'label_replace({scope.of("domcaps_plugin_loaded")} == 0, "driver", "$1", "plugin", "(.+)")',
    }
    told_each = (f'label_replace({expr}, "problem", "{what}", "", "")' for what, expr in problems.items())
    expr = "max by (instance, driver, problem) (\n  " + "\n  or ".join(told_each) + "\n)"
    columns = (host(options), Column("problem", "Problem"), Column("driver", "Driver or plugin", width=150))
    return listing(told, expr, columns, "Host")


def _failures(scope: Scope) -> table.Panel:
    told = Told(
        "Failed probes in the last hour",
        "How many probes failed, by driver and reason, over all hosts.",
        "No probe failed",
        6,
        8,
    )
    failures = f"increase({scope.of('domcaps_probe_failures_total')}[1h])"
    columns = (Column("driver", "Driver"), Column("reason", "Reason"), Column("Value", "Probes", "short", 90))
    return listing(told, f"round(sum by (driver, reason) ({failures})) > 0", columns, "Probes", desc=True)


def _versions(scope: Scope) -> bargauge.Panel:
    told = Told("Exporters by version", "How many hosts have which version of the exporter.", NOBODY, 4, 8)
    return bars(told, f"sort_desc(count by (version) ({scope.of('domcaps_exporter_build_info')}))", "{{version}}", "short")


# ---- in time -----------------------------------------------------------------------------------------------------------------


def _spread(told: Told, series: str, unit: str) -> timeseries.Panel:
    """The median, the 95th percentile and the greatest over hosts."""
    quantiles = {"median": 0.5, "95%": 0.95, "greatest": 1}
    targets = [
        course(f"quantile({share:g}, {series})", name, ref) for (name, share), ref in zip(quantiles.items(), "ABC", strict=True)
    ]
    return named(lines(told, *targets, unit=unit), list(quantiles))


def _scrapes(scope: Scope) -> timeseries.Panel:
    told = Told("Scrapes", "How long Prometheus waited for an answer at most in four minutes, over hosts.", NOBODY, 12, 8)
    return _spread(told, scope.of("domcaps:scrape_seconds"), "s")


def _probes(scope: Scope) -> timeseries.Panel:
    told = Told(
        "Probes",
        "How long a driver took for an answer at most in four minutes; an unchanged host takes milliseconds.",
        NOBODY,
        12,
        8,
    )
    return _spread(told, scope.of("domcaps:probe_seconds"), "s")


def _silent(scope: Scope) -> timeseries.Panel:
    told = Told("Without an answer", "Exporters that cannot be scraped, and drivers that get no answer.", NOBODY, 12, 8)
    down = course(f"sum({scope.of('up')} == bool 0)", "not scraped")
    failing = course(f"sum({scope.of('domcaps_probe_success')} == bool 0)", "probe fails", "B")
    return named(lines(told, down, failing, unit="short"), ("not scraped", "probe fails"))


def _changes(scope: Scope) -> timeseries.Panel:
    words = "Changes that the exporters noticed, over all hosts, in the five minutes before."
    told = Told("Capabilities lost and gained", words, "None was noticed", 12, 8)
    changes = f"sum by (direction) ({scope.of('domcaps:changes')})"
    return named(lines(told, course(changes, "{{direction}}"), unit="short"), ("gained", "lost"))


def _memory(scope: Scope) -> timeseries.Panel:
    told = Told(
        "Memory", "What the exporters' processes hold at most in four minutes, over hosts.", "Not told, as by a textfile", 12, 8
    )
    return _spread(told, scope.of("domcaps:memory_bytes"), "bytes")


def _time(scope: Scope) -> timeseries.Panel:
    told = Told("Processor time", "How much of a processor the exporters take, over hosts.", "Not told, as by a textfile", 12, 8)
    return _spread(told, scope.of("domcaps:cores"), "percentunit")


# ---- most --------------------------------------------------------------------------------------------------------------------


def _slowest(scope: Scope, options: Options) -> table.Panel:
    told = Told("Slowest probes", "The twenty that took longest just now.", NOBODY, 12)
    expr = f"topk(20, max by (instance, driver) ({scope.of('domcaps_probe_duration_seconds')}))"
    return listing(told, expr, (host(options), Column("driver", "Driver"), Column("Value", "Took", "s")), "Took", desc=True)


def _largest(scope: Scope, options: Options) -> table.Panel:
    told = Told("Most series", "The twenty drivers that tell most. Beyond the limit (--series.limit) a probe fails.", NOBODY, 12)
    expr = f"topk(20, max by (instance, driver) ({scope.of('domcaps_series')}))"
    return listing(told, expr, (host(options), Column("driver", "Driver"), Column("Value", "Series", "short")), "Series", desc=True)

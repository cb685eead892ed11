"""The dashboard Fleet: which hosts can do what, what was lost and why, and which hypervisors there are."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.alerts.losses import KINDS
from grafana.dashboards.capabilities import CAPABILITIES
from grafana.dashboards.frame import DRIFT, FLEET, HEALTH, HOST, Options, framed
from grafana.dashboards.look import RED, Column, Told, address, bars, course, lines, listing, matrix, named, number
from grafana.dashboards.promql import IDENTITY, PLACE, THING, Scope
from grafana_foundation_sdk.builders import bargauge, dashboard, stat, table, timeseries

SHOWN = 500
"""How many rows a table of losses has at most."""

NONE_LOST = "Nothing was lost"


def fleet(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.fleet
    made = framed(FLEET, "Fleet", "Which hosts can give their guests what, what they lost and why.", options)
    for panel in (*_counts(scope), _hosts(scope, options)):
        made = made.with_panel(panel)
    made = made.with_row(dashboard.Row("What was lost")).with_panel(_losses(scope, options))
    made = made.with_panel(_losses_in_time(scope)).with_panel(_waves(scope, options)).with_panel(_alerts(scope))
    made = made.with_row(dashboard.Row("What there is")).with_panel(_coverage(scope))
    return made.with_panel(_versions(scope)).with_panel(_versions_in_time(scope))


def _counts(scope: Scope) -> Iterator[stat.Panel]:
    up, loss = scope.of("up"), scope.of("domcaps:loss")
    critical = scope.of("domcaps:loss", 'severity="critical"')
    failing = scope.of("domcaps_probe_success")
    none = f"0 * count({up})"
    yield number(Told("Hosts", "Hosts that are scraped, whether they answer or not."), f"count({up})")
    yield number(
        Told("Not answering", "Hosts whose exporter could not be scraped just now. What they lost before is kept for an hour."),
        f"sum({up} == bool 0)",
        bad=RED,
        link=HEALTH,
    )
    yield number(
        Told(
            "Without an answer",
            "Hosts that are scraped, and where a driver's probe fails: nobody knows what their guests can have.",
        ),
        f"count(count by ({PLACE}) ({failing} == 0)) or {none}",
        bad=RED,
        link=HEALTH,
    )
    yield number(
        Told(
            "Hosts with losses", "Hosts that lack something that they once had, however long ago, until it is back or acknowledged."
        ),
        f"count(count by ({PLACE}) ({loss})) or {none}",
        bad=RED,
    )
    yield number(
        Told(
            "With critical losses",
            "Of these, hosts that lost KVM, VFIO, UEFI, secure boot, confidential guests or a security feature.",
        ),
        f"count(count by ({PLACE}) ({critical})) or {none}",
        bad=RED,
    )
    yield number(
        Told("Versions", "How many versions of hypervisors there are on these hosts."),
        f"count(count by (driver, version) ({scope.of('domcaps_document_info')}))",
        link=DRIFT,
    )


def _hosts(scope: Scope, options: Options) -> table.Panel:
    up = f'label_replace({scope.of("up")}, "capability", "up", "", "")'
    columns = {"up": "Answers", **{one.name: one.label for one in CAPABILITIES}}
    return matrix(
        Told(
            "Capabilities of each host",
            "✓ a guest can have it, ✗ the host knows that no guest can, · unknown: it has no such thing to tell of, or gives no "
            "answer. Click on a host for everything about it.",
            "No host is scraped in this job and group",
        ),
        f"max by (instance, capability) ({scope.of('domcaps:capability')} or {up})",
        "capability",
        columns,
        (
            ("Everything about this host", address(HOST, "${__value.raw}")),
            ("Its exporter's page", options.page_of("${__value.raw}")),
        ),
        24,
        14,
    )


def _recent(scope: Scope) -> str:
    """Losses of the time that is shown."""
    return f"({scope.of('domcaps:loss')} > time() - $__range_s)"


def _losses(scope: Scope, options: Options) -> table.Panel:
    on = f"on ({PLACE}, {IDENTITY}, {THING})"
    reasons, recent = scope.of("domcaps:loss_reason"), _recent(scope)
    labels = f"instance, {scope.group}, severity, kind, {THING}, prerequisite"
    columns = (
        Column(
            "instance",
            "Host",
            width=180,
            links=(
                ("Everything about this host", address(HOST, "${__value.raw}")),
                ("Its exporter's page", options.page_of("${__value.raw}")),
            ),
        ),
        Column(scope.group, "Group", width=120),
        Column("Value", "Since", "dateTimeFromNow", 150),
        Column("severity", "Severity", width=100),
        Column("kind", "Kind", width=130),
        Column("element", "Element", width=140),
        Column("enum", "Enum", width=140),
        Column("value", "Value"),
        Column("prerequisite", "What it lacks"),
    )
    return listing(
        Told(
            "Lost in this time, and why",
            "What hosts had and lost within the time that is shown (a day at first) and lack still, with the reason: a row for each "
            f"thing that is lacking. The newest {SHOWN}.",
            NONE_LOST,
        ),
        f"topk({SHOWN}, 1000 * max by ({labels}) (\n"
        f"  0 * {reasons} + {on} group_left (severity) {recent}\n"
        f"  or {recent} unless {on} {reasons}\n"
        "))",
        columns,
        24,
        10,
        "Since",
        desc=True,
    )


def _losses_in_time(scope: Scope) -> timeseries.Panel:
    return named(
        lines(
            Told("Hosts that lack what they had", "How many hosts have losses, by kind. One host may have several.", NONE_LOST),
            course(f"count by (kind) (count by ({PLACE}, kind) ({scope.of('domcaps:loss')}))", "{{kind}}"),
            unit="short",
            width=12,
            height=9,
        ),
        [kind.name for kind in KINDS],
    )


def _waves(scope: Scope, options: Options) -> table.Panel:
    columns = (
        Column(options.group, "Group"),
        Column("kind", "Kind"),
        Column("element", "Element"),
        Column("enum", "Enum"),
        Column("value", "Value"),
        Column("Value", "Hosts", "short", 80),
    )
    return listing(
        Told(
            "Lost by many hosts of a group",
            "What five hosts or more of a group have lost, as after a rollout: one alert stands for all of them.",
            "No group lost the same on many hosts",
        ),
        f'domcaps:wave{{{options.group}=~"$group"}}',
        columns,
        12,
        9,
        "Hosts",
        desc=True,
    )


def _alerts(scope: Scope) -> table.Panel:
    columns = (
        Column("alertname", "Alert"),
        Column("severity", "Severity", width=100),
        Column("alertstate", "State", width=100),
        Column("Value", "How many", "short", 90),
    )
    return listing(
        Told(
            "Alerts",
            "Alerts of these rules that Prometheus fires or is about to fire. Empty where Grafana does the alerting.",
            "No alert",
        ),
        f'count by (alertname, severity, alertstate) (ALERTS{{alertname=~"Domcaps.+",{scope.group}=~"$group"}})',
        columns,
        24,
        7,
        "Alert",
    )


def _coverage(scope: Scope) -> bargauge.Panel:
    return bars(
        Told(
            "Coverage",
            "The share of hosts, of those that know, on which a guest can have it.",
            "No host is known",
        ),
        f"sort_desc(avg by (capability) ({scope.of('domcaps:capability')}))",
        "{{capability}}",
        "percentunit",
        8,
        12,
        1,
    )


def _of_versions(scope: Scope) -> str:
    return f"count by (driver, version) (count by ({PLACE}, driver, version) ({scope.of('domcaps_document_info')}))"


def _versions(scope: Scope) -> bargauge.Panel:
    return bars(
        Told("Hosts by hypervisor", "How many hosts have each version of an emulator or hypervisor.", "No host is known"),
        f"sort_desc({_of_versions(scope)})",
        "{{driver}} {{version}}",
        "short",
        6,
        12,
    )


def _versions_in_time(scope: Scope) -> timeseries.Panel:
    return lines(
        Told("Hosts by hypervisor, in time", "The same in time: how a rollout goes.", "No host is known"),
        course(_of_versions(scope), "{{driver}} {{version}}"),
        unit="short",
        width=10,
        height=12,
        stacked=True,
    )

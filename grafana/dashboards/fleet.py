"""The dashboard Fleet: which hosts can do what, what was lost and why, and which hypervisors there are."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.alerts.losses import KINDS
from grafana.dashboards.capabilities import CAPABILITIES
from grafana.dashboards.columns import LACKS, THING, group, host, links
from grafana.dashboards.frame import DRIFT, FLEET, HEALTH, Options, address, framed
from grafana.dashboards.look import RED, STATES, YES_NO, Column, Grid, Told, bars, course, lines, listing, matrix, named, number
from grafana.dashboards.promql import IDENTITY, PLACE, VALUE, Scope
from grafana_foundation_sdk.builders import bargauge, dashboard, stat, table, timeseries

SHOWN = 500
"""How many rows a table of losses has at most."""

NAMES = {one.name: one.label for one in CAPABILITIES}
NOBODY = "No host is scraped in this job and group"


def fleet(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.fleet
    made = framed(FLEET, "Fleet", "Which hosts can give their guests what, what they lost and why.", options)
    for panel in (*_counts(scope), _hosts(scope, options)):
        made = made.with_panel(panel)
    made = made.with_row(dashboard.Row("What was lost")).with_panel(_losses(scope, options))
    made = made.with_panel(_losses_in_time(scope)).with_panel(_waves(options)).with_panel(_alerts(options))
    made = made.with_row(dashboard.Row("What there is")).with_panel(_coverage(scope))
    return made.with_panel(_versions(scope)).with_panel(_versions_in_time(scope))


def _counts(scope: Scope) -> Iterator[stat.Panel]:
    up, none = scope.of("up"), f"0 * count({scope.of('up')})"
    failing, loss = scope.of("domcaps_probe_success"), scope.of("domcaps:loss")
    critical = scope.of("domcaps:loss", 'severity="critical"')
    health = address(HEALTH)
    yield number(Told("Hosts", "Hosts that are scraped, whether they answer or not.", NOBODY), f"count({up})")
    down = Told("Not answering", "Hosts whose exporter could not be scraped just now. What they lost before is kept.", NOBODY)
    yield number(down, f"sum({up} == bool 0)", bad=RED, link=health)
    unknown = Told(
        "Without an answer",
        "Hosts that are scraped, where a driver's probe fails: nobody knows what their guests can have.",
        NOBODY,
    )
    yield number(unknown, f"count(count by ({PLACE}) ({failing} == 0)) or {none}", bad=RED, link=health)
    losing = Told(
        "Hosts with losses", "Hosts that lack what they once had, however long ago, until it is back or acknowledged.", NOBODY
    )
    yield number(losing, f"count(count by ({PLACE}) ({loss})) or {none}", bad=RED)
    worst = Told(
        "With critical losses",
        "Of these, hosts that lost KVM, VFIO, UEFI, secure boot, confidential guests or a security feature of the CPU.",
        NOBODY,
    )
    yield number(worst, f"count(count by ({PLACE}) ({critical})) or {none}", bad=RED)
    versions = Told("Hypervisors", "How many versions of emulators and hypervisors there are on these hosts.", NOBODY)
    yield number(versions, f"count({_of_versions(scope)})", link=address(DRIFT))


def _hosts(scope: Scope, options: Options) -> table.Panel:
    up = f'label_replace({scope.of("up")}, "capability", "up", "", "")'
    told = Told(
        "Capabilities of each host",
        "✓ a guest can have it; ○ none can, and that is no loss; ✗ it was lost; · unknown: the host has no such thing to tell of, "
        "or gives no answer. Click on a host for everything about it.",
        NOBODY,
        height=13,
    )
    answers = {"Answers": YES_NO}
    grid = Grid("instance", "Host", "capability", {"up": "Answers", **NAMES}, links(options), words=answers)
    return matrix(told, f"{scope.of('domcaps:capability')} or {up}", grid, STATES)


# ---- what was lost -----------------------------------------------------------------------------------------------------------


def _losses(scope: Scope, options: Options) -> table.Panel:
    on = f"on ({PLACE}, {IDENTITY}, {VALUE})"
    reasons, recent = scope.of("domcaps:loss_reason"), f"({scope.of('domcaps:loss')} > time() - $__range_s)"
    labels = f"instance, {options.group}, severity, kind, {VALUE}, prerequisite"
    columns = (
        host(options),
        group(options),
        Column("Value", "Since", "dateTimeFromNow", 150),
        Column("severity", "Severity", width=100),
        Column("kind", "Kind", width=130),
        *THING,
        LACKS,
    )
    told = Told(
        "Lost in this time, and why",
        "What hosts had, lost within the time that is shown (a day, at first) and lack still; and why: a row for each thing that "
        f"is lacking. The newest {SHOWN}.",
        "Nothing was lost",
        height=10,
    )
    expr = (
        f"topk({SHOWN}, 1000 * max by ({labels}) (\n"
        f"  0 * {reasons} + {on} group_left (severity) {recent}\n"
        f"  or {recent} unless {on} {reasons}\n"
        "))"
    )
    return listing(told, expr, columns, "Since", desc=True)


def _losses_in_time(scope: Scope) -> timeseries.Panel:
    told = Told(
        "Hosts that lack what they had", "How many hosts have losses, by kind. A host may have several.", "Nothing was lost", 12
    )
    asked = course(f"count by (kind) (count by ({PLACE}, kind) ({scope.of('domcaps:loss')}))", "{{kind}}")
    return named(lines(told, asked, unit="short"), [kind.name for kind in KINDS])


def _waves(options: Options) -> table.Panel:
    told = Told(
        "Lost by many hosts of a group",
        "What many hosts of a group have lost, as after a rollout: one alert stands for all of them.",
        "No group lost the same on many hosts",
        12,
    )
    columns = (group(options), Column("kind", "Kind", width=130), *THING, Column("Value", "Hosts", "short", 80))
    return listing(told, f'domcaps:wave{{{options.group}=~"$group"}}', columns, "Hosts", desc=True)


def _alerts(options: Options) -> table.Panel:
    told = Told(
        "Alerts",
        "Alerts about domain capabilities that Prometheus fires, or is about to fire (pending). Empty where Grafana alerts.",
        "No alert",
        height=7,
    )
    columns = (
        Column("alertname", "Alert"),
        Column("severity", "Severity", width=120),
        Column("alertstate", "State", width=120),
        Column("Value", "How many", "short", 100),
    )
    alerts = f'ALERTS{{alertname=~"Domcaps.+",{options.group}=~"$group"}}'
    return listing(told, f"count by (alertname, severity, alertstate) ({alerts})", columns, "Alert")


# ---- what there is -----------------------------------------------------------------------------------------------------------


def _coverage(scope: Scope) -> bargauge.Panel:
    told = Told("Coverage", "The share of hosts, among those that know, on which a guest can have it.", NOBODY, 8, 12)
    expr = f"sort_desc(avg by (capability) ({scope.of('domcaps:capability')} > bool 0))"
    return bars(told, expr, "{{capability}}", "percentunit", NAMES)


def _of_versions(scope: Scope) -> str:
    return f"count by (driver, version) ({scope.of('domcaps:hypervisor')})"


def _versions(scope: Scope) -> bargauge.Panel:
    told = Told(
        "Hosts by hypervisor",
        "How many hosts have which version of an emulator or hypervisor; looked at every four minutes.",
        NOBODY,
        6,
        12,
    )
    return bars(told, f"sort_desc({_of_versions(scope)})", "{{driver}} {{version}}", "short")


def _versions_in_time(scope: Scope) -> timeseries.Panel:
    told = Told("Hosts by hypervisor, in time", "The same in time: how far a rollout is.", NOBODY, 10, 12)
    return lines(told, course(_of_versions(scope), "{{driver}} {{version}}"), unit="short", stacked=True)

"""The dashboard Drift: which hosts of a group are alike by their fingerprints, and what the odd one lacks."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.dashboards.columns import THING, group, links
from grafana.dashboards.frame import DRIFT, Options, address, framed, one
from grafana.dashboards.look import BLUE, ORANGE, RED, Column, Told, course, lines, listing, named, number
from grafana.dashboards.promql import NATIVE, PLACE, VALUE, Scope
from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries

NO_GROUPS = "No host has the label of a group"
LACKS_OR_HAS = {0.0: ("✗ lacks it", RED), 1.0: ("+ has it", BLUE)}


def drift(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.fleet
    said = "Which hosts of a group are alike, and what the odd one lacks. Groups are told by a label of the targets."
    odd = f"label_values({scope.of('domcaps:odd')}, instance)"
    same = f'domcaps:fingerprint and on ({_alike(options)}) domcaps:odd{{instance="$odd"}} unless on ({PLACE}) domcaps:odd'
    like = one("like", "Beside", f"query_result(topk(1, {same}))").regex('/instance="([^"]+)"/')
    made = framed(DRIFT, "Drift", said, options, one("odd", "Compare", odd), like)
    for count in _counts(scope, options):
        made = made.with_panel(count)
    made = made.with_panel(_odd(scope, options)).with_panel(_things()).with_panel(_numbers())
    made = made.with_panel(_fingerprints(scope, options)).with_panel(_versions(scope, options))
    return made.with_panel(_in_time(scope))


def _sizes(seen: str, options: Options) -> str:
    """How many hosts share a fingerprint."""
    return f"count by ({_alike(options)}, fingerprint) ({seen})"


def _alike(options: Options) -> str:
    """The labels of documents that ought to be equal."""
    return f"{options.group}, driver, arch, machine, virttype, version, exporter"


def _counts(scope: Scope, options: Options) -> Iterator[stat.Panel]:
    seen = scope.of("domcaps:fingerprint")
    none = f"0 * count({seen})"
    yield number(
        Told("Groups", "Groups with hosts that can be compared.", NO_GROUPS), f"count(count by ({options.group}) ({seen}))"
    )
    compared = (
        "Hosts in groups, without losses: a host that lost something has its own alert and is compared again when it is whole."
    )
    yield number(Told("Compared hosts", compared, NO_GROUPS), f"count(count by ({PLACE}) ({seen}))")
    odd = Told("Odd hosts", "Hosts that differ from most hosts of their group with the same versions.", NO_GROUPS)
    yield number(odd, f"count(count by ({PLACE}) ({scope.of('domcaps:odd')})) or {none}", bad=ORANGE)
    kinds = f"count by ({_alike(options)}) ({_sizes(seen, options)}) > 1"
    mixed = Told("Groups that differ within", "Groups in which there are several fingerprints for the same versions.", NO_GROUPS)
    yield number(mixed, f"count(count by ({options.group}) ({kinds})) or {none}", bad=ORANGE)
    named = f'{options.group}!=""'
    known = scope.of("domcaps:hypervisor", NATIVE, named)
    versions = f"count by ({options.group}) (count by ({options.group}, driver, version) ({known})) > 1"
    alone = f"count({scope.of('up')} unless on ({PLACE}) {scope.of('up', named)}) or {none}"
    yield number(
        Told("Without a group", "Hosts whose targets have no label of a group: they are compared with nobody.", NO_GROUPS), alone
    )
    several = Told("Groups with several versions", "Groups whose hosts have several versions of a hypervisor.", NO_GROUPS)
    yield number(several, f"count({versions}) or {none}", bad=ORANGE)


def _odd(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Odd ones",
        "Hosts whose fingerprint is not that of most hosts of their group with the same versions of hypervisor and exporter.",
        "No host differs from its group",
        10,
        8,
    )
    labels = f"instance, {options.group}, machine, virttype, version, fingerprint"
    compare = ("What it lacks", f"{address(DRIFT)}&var-odd=${{__value.raw}}")
    columns = (
        Column("instance", "Host", width=180, links=(compare, *links(options))),
        group(options),
        *(Column(name, name.capitalize()) for name in ("machine", "virttype", "version", "fingerprint")),
    )
    return listing(told, f"max by ({labels}) ({scope.of('domcaps:odd')})", columns, "Group")


def _things() -> table.Panel:
    told = Told(
        "What $odd lacks or has, beside $like",
        "Values, CPU models and CPU features that guests can have on one of these two hosts and not on the other. At first an odd "
        "host stands beside one of the majority of its group; any two can be chosen.",
        "No host is odd, or the two do not differ in what guests can have",
        14,
        8,
    )
    expr = "\nor ".join(_differing(metric, labels) for metric, labels in COMPARED.items())
    return listing(told, expr, (Column("Value", "It", width=110, words=LACKS_OR_HAS), *THING), "Element")


COMPARED = {"domcaps_supported": "", "domcaps_cpu_model_usable": "model", "domcaps_cpu_host_feature": "feature"}
"""What is compared, with the label that it has in the place of a value; empty where it has one."""

ODD, LIKE = Scope(('job=~"$job"', 'instance="$odd"')), Scope(('job=~"$job"', 'instance="$like"'))


def _differing(metric: str, label: str) -> str:
    """The one host's values that are not the other's."""
    by = f"virttype, {label or VALUE}"
    own, other = (f"max by ({by}) ({host.of(metric, NATIVE)})" for host in (ODD, LIKE))
    found = f"({own} != on ({by}) {other})"
    if not label:
        return found
    named = f'label_replace({found}, "value", "$1", "{label}", "(.+)")'
    return f'label_replace(label_replace({named}, "element", "cpu", "", ""), "enum", "{label}", "", "")'


def _numbers() -> table.Panel:
    told = Told(
        "Numbers of $odd",
        "Numbers (vCPUs, sizes, defaults) that differ between these two hosts, as they are on the odd one.",
        "No host is odd, or the two do not differ in a number",
        10,
    )
    by = "element, parameter, arch, machine, virttype"
    numbers, others = (f"max by ({by}) ({host.of('domcaps_parameter', NATIVE)})" for host in (ODD, LIKE))
    most, other = (f"max by (arch, machine, virttype) ({host.of('domcaps_vcpus_max', NATIVE)})" for host in (ODD, LIKE))
    vcpus = f'label_replace(label_replace({most} != {other}, "element", "vcpu", "", ""), "parameter", "max", "", "")'
    columns = (Column("element", "Element"), Column("parameter", "Parameter"), Column("Value", "Number", "none"))
    return listing(told, f"({numbers} != {others})\nor {vcpus}", columns, "Element")


def _fingerprints(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Fingerprint groups",
        "Hosts of a group with equal capabilities are one row. A group with several rows for the same versions is not of one kind.",
        NO_GROUPS,
        14,
    )
    columns = (
        group(options),
        *(Column(name, name.capitalize()) for name in ("machine", "virttype", "version", "exporter", "fingerprint")),
        Column("Value", "Hosts", "short", 80),
    )
    return listing(told, _sizes(scope.of("domcaps:fingerprint"), options), columns, "Group")


def _versions(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Versions in each group",
        "Hosts with different versions of a hypervisor are not compared with each other; guests may still move only one way.",
        "No host is known",
        14,
        8,
    )
    expr = f"count by ({options.group}, driver, version) ({scope.of('domcaps:hypervisor', NATIVE)})"
    columns = (group(options), Column("driver", "Driver"), Column("version", "Version"), Column("Value", "Hosts", "short", 80))
    return listing(told, expr, columns, "Group")


def _in_time(scope: Scope) -> timeseries.Panel:
    told = Told("Odd ones, in time", "How many hosts differ from most of their group.", NO_GROUPS, 10, 8)
    odd = f"count(count by ({PLACE}) ({scope.of('domcaps:odd')})) or 0 * count({scope.of('domcaps:fingerprint')})"
    return named(lines(told, course(odd, "odd ones"), unit="short"), ("odd ones",))

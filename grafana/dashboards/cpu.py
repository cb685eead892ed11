"""The dashboard CPU and migration: which CPU models guests can have everywhere, and which host and feature stand in the way."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.dashboards.columns import LACKING, group, host
from grafana.dashboards.frame import CPU, Options, framed, one
from grafana.dashboards.look import RED, Column, Grid, Told, course, lines, listing, matrix, named, number
from grafana.dashboards.promql import HARDWARE, PLACE, Scope
from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries

SHOWN = 500
NOBODY = "No host is scraped in this job and group"
MODEL = 'model="$model"'
CHOSEN = f"{HARDWARE},{MODEL}"
ALL = {1.0: ("✓ all", "#0072B2"), 0.0: ("✗ none", RED)}


def cpu(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.fleet
    said = "Which CPU models can guests have on every selected host, and what stands in the way of the others."
    listed = f'label_values(domcaps_cpu_model_usable{{job=~"$job",{options.group}=~"$group",instance=~"$instance"}}, model)'
    made = framed(CPU, "CPU and migration", said, options, one("model", "CPU model", listed))
    for count in _counts(scope):
        made = made.with_panel(count)
    made = made.with_panel(_everywhere(scope)).with_panel(_models(scope)).with_panel(_silent(scope, options))
    made = made.with_row(dashboard.Row("The model $model")).with_panel(_blocking(scope, options)).with_panel(_in_time(scope))
    made = made.with_row(dashboard.Row("Baselines")).with_panel(_baselines(scope, options))
    return made.with_panel(_features(scope, options)).with_panel(_lacked(scope, options))


def _usable(scope: Scope, *labels: str) -> str:
    """A series for each host and each model that is usable there, of guests that are not emulated."""
    return scope.of("domcaps:cpu_model_usable", *labels)


def _able(scope: Scope) -> str:
    """On how many hosts a model is usable."""
    return f"count by (model) ({_usable(scope)})"


def _everywhere_expr(scope: Scope) -> str:
    """A host that answers and tells of no model (as without KVM) has none; one that is down is not asked."""
    return f"{_able(scope)} == on () group_left () count({scope.of('up')} == 1)"


def _counts(scope: Scope) -> Iterator[stat.Panel]:
    up = scope.of("up")
    yield number(Told("Hosts", "Selected hosts that answer. Those that do not are left out here.", NOBODY, 6), f"count({up} == 1)")
    silent = Told("Without CPU models", "Hosts that answer, but tell of no CPU models: no model can be usable on all.", NOBODY, 6)
    yield number(silent, f"count({up} == 1 unless on ({PLACE}) {scope.of('domcaps:cpu_models')}) or 0 * count({up})", bad=RED)
    everywhere = Told("Usable everywhere", "How many CPU models are usable on every selected host that answers.", NOBODY, 6)
    yield number(everywhere, f"count({_everywhere_expr(scope)}) or 0 * count({up})")
    here = Told("With $model", "Selected hosts on which the chosen CPU model is usable.", NOBODY, 6)
    yield number(here, f"count({_usable(scope, MODEL)}) or 0 * count({up})")


def _everywhere(scope: Scope) -> table.Panel:
    told = Told(
        "Usable on every selected host",
        "A guest with one of these CPU models can run on, and move between, all selected hosts that answer.",
        "No model is usable on all of them: are there hosts that tell of none?",
        7,
        12,
    )
    return listing(told, _everywhere_expr(scope), (Column("model", "Model"), Column("Value", "Hosts", "short", 80)), "Model")


def _models(scope: Scope) -> table.Panel:
    told = Told(
        "CPU models by hosts",
        "On how many of the selected hosts each model is usable, on how many it is not, and the share of those that tell of it. "
        "Models that are usable nowhere are left out. Deprecation is told with `model_details: true`.",
        "No host tells of CPU models",
        11,
        12,
    )
    able, hosts = _able(scope), f"on () group_left () count({scope.of('domcaps:cpu_models')})"
    asked = {"A": able, "B": f"-({able} - {hosts})", "C": f"{able} / {hosts}"}
    deprecated = scope.of("domcaps_cpu_model_info", HARDWARE, 'deprecated="yes"')
    asked["D"] = f"count by (model) (count by ({PLACE}, model) ({deprecated}))"
    columns = (
        Column("model", "Model"),
        Column("Value #C", "Share", share=True, width=160),
        Column("Value #A", "Usable on", "short", 90),
        Column("Value #B", "Not on", "short", 90),
        Column("Value #D", "Deprecated on", "short", 120),
    )
    return listing(told, asked, columns, "Share", desc=True, join="model")


def _silent(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Hosts without CPU models",
        "They answer and tell of no CPU models: no KVM, a failing probe, or a hypervisor without models. While they are "
        "selected, no model is usable everywhere.",
        "All selected hosts tell of CPU models",
        6,
        12,
    )
    expr = f"max by (instance, {options.group}) ({scope.of('up')} == 1 unless on ({PLACE}) {scope.of('domcaps:cpu_models')})"
    return listing(told, expr, (host(options), group(options)), "Host")


# ---- one model ---------------------------------------------------------------------------------------------------------------


def _blocking(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Hosts that block it, and by which feature",
        "Selected hosts on which the chosen model is not usable, and how many features they lack for it, where the exporter's "
        "configuration has `model_details: true`. Features are named of models that were lost, and of all with `blockers: true`.",
        "No selected host blocks this model",
        14,
        11,
    )
    lacking, names = scope.of("domcaps_cpu_model_blockers", CHOSEN), scope.of("domcaps_cpu_model_blocker", CHOSEN)
    on = f"on ({PLACE}, driver, emulator, arch, machine, virttype, model)"
    expr = (
        f"max by (instance, {options.group}, feature) (\n"
        f"  0 * {names} + {on} group_left () {lacking}\n"
        f"  or 0 * {names} - 1 unless {on} {lacking}\n"
        f"  or {scope.native('domcaps_cpu_model_blockers', CHOSEN, '> 0')} unless {on} {names}\n"
        f"  or {scope.native('domcaps_cpu_model_usable', CHOSEN, '== 0')} - 1 unless {on} ({lacking} > 0 or {names})\n"
        ")"
    )
    columns = (
        host(options),
        group(options),
        Column("Value", "Features lacking", "suffix:lacking", 150, LACKING, most=1),
        Column("feature", "Feature"),
    )
    return listing(told, expr, columns, "Host")


def _in_time(scope: Scope) -> timeseries.Panel:
    told = Told("Hosts on which it is usable, in time", "And on how many it is not, of those that tell of it.", NOBODY, 10, 11)
    none, hosts = f"0 * count({scope.of('up')})", scope.of("domcaps:cpu_models")
    able = f"count({_usable(scope, MODEL)}) or {none}"
    unable = f"count({hosts} unless on ({PLACE}) {_usable(scope, MODEL)}) or {none}"
    return named(lines(told, course(able, "usable"), course(unable, "not usable", "B"), unit="short"), ("usable", "not usable"))


# ---- baselines ---------------------------------------------------------------------------------------------------------------


def _baselines(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Baseline of each group",
        "The share of a group's hosts that answer on which a model is usable. ✓ all: a guest with it can move anywhere in the "
        "group. Models that are usable nowhere are left out.",
        "No host tells of CPU models",
        height=8,
    )
    able = f"count by ({options.group}, model) ({_usable(scope)})"
    expr = f"{able} / on ({options.group}) group_left () count by ({options.group}) ({scope.of('up')} == 1)"
    grid = Grid("grouped", "Group", "model", unknown="○ none")
    shown = f'label_replace(label_replace({expr}, "grouped", "(none)", "", ""), "grouped", "$1", "{options.group}", "(.+)")'
    return matrix(told, shown, grid, ALL, "percentunit")


def _features(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "CPU features of each group",
        "The share of a group's hosts that offer a feature which matters to security or migration. Features that all selected "
        "hosts offer, or none, are left out.",
        "All selected hosts offer the same",
        height=8,
    )
    lacking = f"count by ({options.group}, feature) ({_lacking(scope)})"
    hosts = f"count by ({options.group}) ({scope.of('domcaps:cpu_models')})"
    share = f"1 - {lacking} / on ({options.group}) group_left () {hosts}"
    grid = Grid("grouped", "Group", "feature", unknown="✓ all")
    shown = f'label_replace(label_replace({share}, "grouped", "(none)", "", ""), "grouped", "$1", "{options.group}", "(.+)")'
    return matrix(told, shown, grid, ALL, "percentunit")


def _lacking(scope: Scope) -> str:
    """A series for each host and each feature that it lacks and another selected host offers."""
    lacking = scope.of("domcaps:cpu_feature_lacking")
    everybody = f"on () group_left () count({scope.of('domcaps:cpu_models')})"
    return f"({lacking} and on (feature) (count by (feature) ({lacking}) < {everybody}))"


def _lacked(scope: Scope, options: Options) -> table.Panel:
    told = Told(
        "Hosts that lack a CPU feature which others offer",
        f"Features that matter to security or migration, at most {SHOWN} rows.",
        "All selected hosts offer the same",
        height=8,
    )
    expr = f"topk({SHOWN}, {_lacking(scope)})"
    return listing(told, expr, (host(options), group(options), Column("feature", "Feature it lacks")), "Host")

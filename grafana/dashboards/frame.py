"""What all dashboards have in common: their variables, the links between them, time and tags."""

from __future__ import annotations

from dataclasses import dataclass

from grafana.dashboards.look import SOURCE
from grafana.dashboards.promql import SINGLE, Scope, chosen
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

FLEET, HOST, CPU, DRIFT, HEALTH = "domcaps-fleet", "domcaps-host", "domcaps-cpu", "domcaps-drift", "domcaps-exporter"
TAG = "domcaps"


@dataclass(frozen=True, slots=True)
class Options:
    """What differs from one Grafana to the next. `group`: the label of hosts that ought to be alike; `page`: where a host's
    exporter shows its page, with `HOST` for what `instance` says; `runbooks`: where the runbook is; empty: no link.
    """

    group: str = "group"
    page: str = "http://HOST/"
    runbooks: str = ""

    def page_of(self, host: str) -> str:
        return self.page.replace("HOST", host)

    @property
    def fleet(self) -> Scope:
        return chosen(self.group)

    @property
    def single(self) -> Scope:
        return chosen(self.group, SINGLE)


def framed(
    uid: str, title: str, description: str, options: Options, *further: dashboard.QueryVariable, single: bool = False
) -> dashboard.Dashboard:
    """A dashboard without panels. `single`: it is about one host."""
    made = dashboard.Dashboard(f"Domain capabilities / {title}").uid(uid).description(description).tags([TAG]).readonly()
    made = made.time("now-24h", "now").refresh("1m").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    up = f'up{{job=~"$job",{options.group}=~"$group"}}'
    made = made.with_variable(_source())
    made = made.with_variable(several("job", "Job", "label_values(domcaps_exporter_build_info, job)"))
    made = made.with_variable(several("group", "Group", f'label_values(up{{job=~"$job"}}, {options.group})').all_value(".*"))
    host = f"label_values({up}, instance)"
    made = made.with_variable(one("instance", "Host", host) if single else several("instance", "Host", host).all_value(".+"))
    for variable in further:
        made = made.with_variable(variable)
    links = dashboard.DashboardLink("Domain capabilities").type(DashboardLinkType.DASHBOARDS).tags([TAG]).icon("external link")
    made = made.link(links.include_vars(True).keep_time(True))
    if options.runbooks:
        runbook = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).icon("doc").url(options.runbooks)
        made = made.link(runbook.target_blank(True))
    return made


def _source() -> dashboard.DatasourceVariable:
    made = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return made.current(VariableOption(selected=True, text="default", value="default"))


def several(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """All are chosen at first."""
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return _queried(name, label, query).multi(True).include_all(True).current(everything)


def one(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """One is chosen."""
    return _queried(name, label, query).multi(False).include_all(False)


def _queried(name: str, label: str, query: str) -> dashboard.QueryVariable:
    asked: dict[str, object] = {"query": query, "refId": f"variable-{name}", "qryType": 1}
    made = dashboard.QueryVariable(name).label(label).query(asked).datasource(SOURCE)
    return made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NATURAL_ASC)


_KEPT = "${datasource:queryparam}&${job:queryparam}&${group:queryparam}&${__url_time_range}"


def address(uid: str, host: str = "") -> str:
    """Of another dashboard, with what was chosen here; `host` is what names one there."""
    return f"/d/{uid}?{_KEPT}" + (f"&var-instance={host}" if host else "&${instance:queryparam}")

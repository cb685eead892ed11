"""Every query of every panel and variable, asked of a real Prometheus that has scraped a fleet to which everything happened."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml
from grafana.dashboards.capabilities import CAPABILITIES
from grafana.dashboards.generate import HERE
from grafana.dashboards.promql import EVERYWHERE, HARDWARE
from grafana.dashboards.queries import Query, panels, queries, substitute
from tests.dashboards.demo import ODD, RACKS, SIZE
from tests.dashboards.watching import REAL, RULES, Series, Watched, watching
from tests.endtoend import EMULATOR, NAME

from domcaps_exporter.chronicle import Chronicle

pytestmark = pytest.mark.slow

DASHBOARDS = [json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))]
PANELS = {(whole["title"], panel["title"]): panel for whole in DASHBOARDS for panel in panels(whole)}
ALL = queries(HERE)
ABOUT_A_HOST = "Domain capabilities / Host"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: it is asked what the dashboards ask")
    if not EMULATOR:
        pytest.skip(f"needs {NAME}: a real exporter is scraped besides the simulated ones")
    with watching(tmp_path_factory.mktemp("dashboards"), pace=1) as found:
        yield found


def asked(watched: Watched, query: Query, group: str = ".*", host: str = ".+", odd: str = "c-2", like: str = "c-3") -> list[Series]:
    return watched.ask(substitute(query.expr, group=group, host=host, model="EPYC-Milan", odd=odd, like=like), query.kind)


def shown(watched: Watched, dashboard: str, panel: str, **variables: str) -> list[Series]:
    """What the queries of a panel find."""
    found = [query for query in ALL if query.dashboard.endswith(f"/ {dashboard}") and query.panel == panel]
    assert found, (dashboard, panel)
    return [series for query in found for series in asked(watched, query, **variables)]


def hosts(found: Sequence[Series]) -> set[str]:
    return {one.labels["instance"] for one in found}


def number(watched: Watched, dashboard: str, panel: str, **variables: str) -> float:
    (found,) = shown(watched, dashboard, panel, **variables)
    return found.value


# ---- all of them -----------------------------------------------------------------------------------------------------------------


def test_every_query_of_every_panel_is_answered_with_something(watched: Watched) -> None:
    silent = {(query.dashboard, query.panel) for query in ALL if not found_by(watched, query)}
    assert silent == {("Domain capabilities / CPU and migration", "CPU models by hosts"), (ABOUT_A_HOST, "Last change")}


def found_by(watched: Watched, query: Query) -> list[Series]:
    """With several choices of hosts."""
    pairs = (("c-2", "c-3"), ("a-7", "a-2")) if "$odd" in query.expr else (("", ""),)
    return [one for host in selected(query) for odd, like in pairs for one in asked(watched, query, host=host, odd=odd, like=like)]


def selected(query: Query) -> Sequence[str]:
    """All hosts, or one after the other where a dashboard is about one."""
    return ("a-1", "a-5", "b-1", REAL) if query.dashboard == ABOUT_A_HOST else (".+", "[bc]-[1-6]")


def test_every_label_that_a_panel_names_is_in_what_it_is_answered(watched: Watched) -> None:
    """Its columns, its legends, and the rows and columns of its matrices."""
    for (dashboard, title), panel in PANELS.items():
        mine = [query for query in ALL if (query.dashboard, query.panel) == (dashboard, title)]
        labels = {label for query in mine for one in found_by(watched, query) for label in one.labels}
        wanted = set(named(panel))
        assert title == "Last change" or wanted <= labels, (dashboard, title, wanted - labels)


def named(panel: Mapping[str, Any]) -> Iterator[str]:
    for target in panel["targets"]:
        yield from re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
    for transformation in panel.get("transformations", ()):
        options = transformation["options"]
        if transformation["id"] == "organize" and "includeByName" in options:
            yield from (
                name for name in options["includeByName"] if "Value" not in name and "\\" not in name and name not in MATRIX
            )
        yield from (options[one] for one in ("rowField", "columnField") if one in options)
        yield from (options[one] for one in ("byField",) if one in options)


MATRIX = {"up", *(one.name for one in CAPABILITIES)}
"""Columns that are values of a label."""


def test_every_metric_and_every_label_that_a_query_or_a_rule_looks_at_was_scraped(watched: Watched) -> None:
    """But for when something last changed while an exporter ran: it is in the exposition from the first change on."""
    exprs = {f"{query.dashboard}: {query.panel}": query.expr for query in ALL}
    exprs |= {rule["record"]: rule["expr"] for group in yaml.safe_load(RULES[1].read_text())["groups"] for rule in group["rules"]}
    known: dict[str, set[str]] = {one.name: {"driver"} for one in Chronicle().families(())}
    for where, expr in exprs.items():
        for metric, matchers in re.findall(r"\b(up|ALERTS|(?:domcaps|process|scrape)[_:][a-z_:]+)(?:\{([^}]*)\})?", expr):
            if metric not in known:
                known[metric] = {label for one in watched.ask(metric) for label in one.labels}
            assert known[metric], (where, metric)
            looked_at = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers))
            assert looked_at <= known[metric] | {"job", "instance", "group"}, (where, metric, looked_at - known[metric])


def test_every_variable_has_values(watched: Watched) -> None:
    for whole in DASHBOARDS:
        for variable in whole["templating"]["list"]:
            if variable["type"] == "query" and variable["name"] != "like":
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert match is not None
                values = watched.api(f"label/{match[2]}/values", **{"match[]": substitute(match[1])})
                assert values, (whole["title"], variable["name"])


def test_nothing_is_found_and_nothing_fails_where_no_host_is_chosen(watched: Watched) -> None:
    for query in ALL:
        found = asked(watched, query, host="nobody")
        assert not found or any(one in query.expr for one in ("ALERTS", "domcaps:wave", "$odd")), query


# ---- what they say ---------------------------------------------------------------------------------------------------------------


def test_the_matrix_says_what_each_host_can_do(watched: Watched) -> None:
    cells = {
        (one.labels["instance"], one.labels["capability"]): one.value
        for one in shown(watched, "Fleet", "Capabilities of each host")
    }
    assert cells["a-0", "vfio"] == cells["a-0", "guests"] == cells["a-0", "up"] == 1
    assert cells["a-1", "vfio"] == -1
    assert cells["a-3", "guests"] == -1
    assert (cells["c-4", "secure-boot"], cells["c-4", "uefi"]) == (-1, 1)
    assert cells["b-5", "sev"] == 0
    assert cells["c-7", "up"] == 0
    assert ("c-7", "vfio") not in cells
    assert ("c-0", "vfio") not in cells
    assert {host for host, _ in cells} == {REAL, *(f"{rack[-1]}-{one}" for rack in RACKS for one in range(SIZE))}


def test_a_stale_libvirt_hides_no_loss(watched: Watched) -> None:
    (found,) = watched.ask('domcaps:capability{instance="b-1",capability="virtiofs"}')
    assert found.value == -1
    assert {one.value for one in watched.ask('domcaps_supported{instance="b-1",value="virtiofs",enum="driverType"}')} == {0, 1}


def test_what_was_lost_is_listed_with_the_reason_for_every_thing_that_is_lacking(watched: Watched) -> None:
    found = shown(watched, "Fleet", "Lost in this time, and why")
    reasons: dict[str, set[str]] = {}
    for one in found:
        reasons.setdefault(one.labels["instance"], set()).add(one.labels.get("prerequisite", ""))
    assert reasons["a-1"] == {"dev-vfio"}
    assert reasons["b-1"] == {"program:virtiofsd"}
    assert {"program:swtpm", "program:swtpm_setup"} <= reasons["b-2"]
    assert "cpu-feature:erms" in reasons["a-5"]
    assert "c-4" in reasons
    assert not {"a-0", "b-0", "c-3", "d-7"} & set(reasons)
    assert number(watched, "Fleet", "Hosts with losses") == len(reasons)


def test_a_rollout_is_told_once_for_its_group(watched: Watched) -> None:
    found = shown(watched, "Fleet", "Lost by many hosts of a group")
    assert {one.labels["group"] for one in found} == {"rack-d"}
    assert ("graphics", "spice") in {(one.labels["element"], one.labels["value"]) for one in found}
    assert {one.value for one in found} == {SIZE - 2}


def test_versions_are_counted(watched: Watched) -> None:
    counted = {one.labels["version"]: one.value for one in shown(watched, "Fleet", "Hosts by hypervisor", host="d-.")}
    assert counted == {"7.2.22": 2, "10.0.13": SIZE - 2}


@pytest.mark.parametrize(
    ("recorded", "metric", "label", "value"),
    [
        ("domcaps:cpu_model_usable", "domcaps_cpu_model_usable", "model", "== 1"),
        ("domcaps:cpu_feature_lacking", "domcaps_cpu_host_feature", "feature", "== 0"),
    ],
)
def test_what_is_read_in_parts_is_recorded_whole_and_once(
    watched: Watched, recorded: str, metric: str, label: str, value: str
) -> None:
    told = watched.ask(f"count by (job, instance, group, {label}) {EVERYWHERE.native(metric, HARDWARE, value)}")
    found, all_of_it = (
        sorted((one.labels["instance"], one.labels[label]) for one in series) for series in (watched.ask(recorded), told)
    )
    assert found == all_of_it
    assert found


def test_the_models_of_selected_hosts_are_those_that_all_of_them_can_have(watched: Watched) -> None:
    both = {one.labels["model"] for one in shown(watched, "CPU and migration", "Usable on every selected host", host="a-0|b-0")}
    own = {one.labels["model"] for one in shown(watched, "CPU and migration", "Usable on every selected host", host="a-0|a-2")}
    assert {"EPYC", "EPYC-Rome"} <= both
    assert "EPYC-Milan" in own - both


def test_a_host_without_kvm_lets_no_model_be_usable_everywhere_and_is_named(watched: Watched) -> None:
    selected = "a-[0-4]"
    assert shown(watched, "CPU and migration", "Usable on every selected host", host=selected) == []
    assert hosts(shown(watched, "CPU and migration", "Hosts without CPU models", host=selected)) == {"a-3"}
    assert number(watched, "CPU and migration", "Without CPU models", host=selected) == 1


def test_the_feature_that_blocks_a_lost_model_is_named(watched: Watched) -> None:
    found = shown(watched, "CPU and migration", "Hosts that block it, and by which feature", group="rack-a")
    assert [(one.labels["instance"], one.labels.get("feature"), one.value) for one in found] == [("a-5", "erms", 1)]
    others = shown(watched, "CPU and migration", "Hosts that block it, and by which feature", group="rack-b")
    assert hosts(others) == {f"b-{one}" for one in range(SIZE)}
    assert all(one.value > 1 for one in others)


def test_a_groups_baseline_tells_what_part_of_it_can_have_a_model(watched: Watched) -> None:
    found = shown(watched, "CPU and migration", "Baseline of each group", group="rack-a|rack-b")
    share = {(one.labels["group"], one.labels["model"]): one.value for one in found}
    assert share["rack-b", "EPYC-Rome"] == 1
    assert share["rack-a", "EPYC-Milan"] == (SIZE - 2) / SIZE


def test_the_odd_ones_are_named_with_what_they_lack(watched: Watched) -> None:
    assert hosts(shown(watched, "Drift", "Odd ones")) == set(ODD) - {"a-6"}
    lacking, numbers = (compared(watched, panel) for panel in ("What $odd lacks or has, beside $like", "Numbers of $odd"))
    assert ("model", "EPYC-Milan", 0) in lacking("c-2", "c-3")
    assert {enum for enum, _, _ in lacking("c-2", "c-3")} == {"model"}
    assert ("model", "EPYC-Milan", 1) in lacking("c-3", "c-2")
    assert lacking("b-5", "b-6") == {("sectype", "sev", 0)}
    assert lacking("a-2", "a-4") == set()
    assert numbers("a-7", "a-2") == {("", "maxESGuests", 0), ("", "maxGuests", 509)}
    assert numbers("a-2", "a-4") == set()


def compared(watched: Watched, panel: str) -> Callable[[str, str], set[tuple[str, str, float]]]:
    """What a panel says of two hosts."""

    def of(odd: str, like: str) -> set[tuple[str, str, float]]:
        found = shown(watched, "Drift", panel, odd=odd, like=like)
        return {(one.labels.get("enum", ""), one.labels.get("value") or one.labels["parameter"], one.value) for one in found}

    return of


def test_an_odd_host_is_put_beside_one_of_the_majority_of_its_group(watched: Watched) -> None:
    (whole,) = [one for one in DASHBOARDS if one["uid"] == "domcaps-drift"]
    (like,) = [one for one in whole["templating"]["list"] if one["name"] == "like"]
    match = re.fullmatch(r"query_result\((.*)\)", like["query"]["query"])
    assert match is not None
    (found,) = watched.ask(substitute(match[1], odd="c-2"))
    assert found.labels["instance"] in {"c-3", "c-5", "c-6", "c-1"}
    printed = f"domcaps:fingerprint{{{','.join(f'{name}={json.dumps(value)}' for name, value in found.labels.items())}}} 1 0"
    assert re.findall(like["regex"].strip("/"), printed) == [found.labels["instance"]]


def test_exporters_with_problems_are_named_with_what_is_wrong(watched: Watched) -> None:
    found = shown(watched, "Exporter health", "Hosts with problems")
    assert {(one.labels["instance"], one.labels["problem"]) for one in found} == {
        ("c-7", "cannot be scraped"),
        ("c-0", "probe fails"),
    }
    reasons = {one.labels["reason"] for one in shown(watched, "Exporter health", "Failed probes in the last hour")}
    assert reasons == {"timeout", "refused"}
    assert number(watched, "Exporter health", "Recording rules") == 1


def test_the_course_of_a_hosts_capabilities_shows_when_it_lost_one_and_had_it_again(watched: Watched) -> None:
    (vfio,) = [one for one in shown(watched, "Host", "Capabilities in time", host="a-1") if one.labels["capability"] == "vfio"]
    values = [value for _, value in vfio.samples]
    changes = [value for place, value in enumerate(values) if place == 0 or value != values[place - 1]]
    assert [value for value in changes if value] == [1, -1, 1, -1]
    assert {one.labels["enum"] for one in shown(watched, "Host", "What changed in this time", host="a-1")} >= {
        "pciBackend",
        "iommufd",
    }

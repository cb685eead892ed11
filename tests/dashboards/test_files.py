"""The dashboards' files: made by the generator, in Grafana's own types, and as Grafana's dashboard-linter would have them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from grafana.dashboards.frame import Options
from grafana.dashboards.generate import HERE, files, main
from grafana.dashboards.queries import panels, queries, substitute

SCHEMA = Path(__file__).parent / "schema"
TYPES = Path(__file__).parent.parent.parent / ".venv" / "schema"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
HOST = "domcaps-host"

Needs = Callable[[str, object, str], None]
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def every_panel() -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, panel) for name, whole in DASHBOARDS.items() for panel in panels(whole))


def variables(name: str) -> dict[str, Mapping[str, Any]]:
    return {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}


def whole_text(panel: Mapping[str, Any]) -> str:
    return json.dumps(panel, ensure_ascii=False)


# ---- made ------------------------------------------------------------------------------------------------------------------------


def test_there_are_the_five_dashboards() -> None:
    assert set(DASHBOARDS) == {"domcaps-fleet", HOST, "domcaps-cpu", "domcaps-drift", "domcaps-exporter"}


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    assert main(["--directory", str(tmp_path)]) == 0
    committed = {path.name for path in HERE.iterdir() if path.suffix in {".json", ".yml"}}
    assert {path.name for path in tmp_path.iterdir()} == committed
    for made in tmp_path.iterdir():
        assert made.read_text() == (HERE / made.name).read_text(), made.name


def test_another_label_for_groups_and_another_page_are_asked_for_by_the_command_line() -> None:
    made = files(Options(group="cluster", page="https://HOST:9443/"))
    assert not [name for name, text in made.items() if re.search(r"\bgroup=|by \([^)]*\bgroup\b|\bgroup!=", text)]
    assert 'cluster=~\\"$group\\"' in made["domcaps-fleet.json"]
    assert "https://${instance}:9443/" in made[f"{HOST}.json"]


def test_a_file_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--directory", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert f"--directory {tmp_path / 'nowhere'}: there is no such folder" in capsys.readouterr().err


def test_a_page_without_its_host_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--page", "http://example.org/"])
    assert ended.value.code == 2
    assert "--page http://example.org/: HOST must stand in it" in capsys.readouterr().err


def test_the_dashboards_are_of_grafanas_own_types(tmp_path: Path, needs: Needs) -> None:
    """TypeScript refuses words that Grafana's schema has not, so a wrong option is found as well as a wrong type."""
    needs(
        "npm",
        shutil.which("npm") and (TYPES / "complete").exists(),
        "it brings Grafana's types, that the dashboards are checked against",
    )
    texts = {name: (HERE / f"{name}.json").read_text() for name in DASHBOARDS}
    texts["wrong"] = texts["domcaps-fleet"].replace('"cellHeight"', '"cellHeigth"', 1)
    for name, text in texts.items():
        (tmp_path / f"{name}.ts").write_text(f'import type {{ Whole }} from "./dashboard";\nexport const checked: Whole = {text}')
    for name in ("dashboard.ts", "tsconfig.json"):
        shutil.copy(SCHEMA / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(TYPES / "node_modules")
    done = subprocess.run(
        ["node", TYPES / "node_modules/typescript/bin/tsc"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    complaints = done.stdout.splitlines()
    assert [line for line in complaints if not line.startswith(("wrong.ts", " "))] == []
    assert any("'\"cellHeigth\"' does not exist" in line for line in complaints)


@every_dashboard
def test_no_two_panels_have_one_place_number_or_title(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    for told in ("id", "title"):
        all_of_them = [panel[told] for panel in DASHBOARDS[name]["panels"]]
        assert len(set(all_of_them)) == len(all_of_them)


# ---- readable --------------------------------------------------------------------------------------------------------------------


def test_every_panel_says_what_it_shows_where_nothing_is_found() -> None:
    for name, panel in every_panel():
        assert panel["fieldConfig"]["defaults"]["noValue"] not in ("", "No data"), (name, panel["title"])


def test_no_colour_is_used_but_those_that_colour_blind_people_tell_apart() -> None:
    palette = {"#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#767676", "#D9D9D9"}
    for name, panel in every_panel():
        text = whole_text(panel)
        assert set(re.findall(r"#[0-9A-Fa-f]{6}", text)) <= palette, (name, panel["title"])
        assert not re.search(r'"(?:color|fixedColor)": "(?!#)[a-z-]+"', text), (name, panel["title"])


def test_every_value_that_has_a_colour_has_a_sign_of_its_own() -> None:
    for name, panel in every_panel():
        for mapping in mappings(panel):
            shown = [one["text"] for one in mapping["options"].values()]
            assert len({text[0] for text in shown}) == len(shown), (name, panel["title"], shown)


def mappings(panel: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of values, of a panel and of its columns."""
    config = panel["fieldConfig"]
    columns = (one["value"] for override in config["overrides"] for one in override["properties"] if one["id"] == "mappings")
    for found in itertools.chain([config["defaults"].get("mappings") or []], columns):
        yield from (one for one in found if one["type"] == "value")


def test_no_two_columns_of_a_table_have_one_heading() -> None:
    for name, panel in every_panel():
        for transformation in panel.get("transformations", ()):
            headings = list(transformation["options"].get("renameByName", {}).values())
            assert len(set(headings)) == len(headings), (name, panel["title"])


def test_lines_with_a_colour_in_common_differ_in_their_strokes() -> None:
    for name, panel in every_panel():
        looks = []
        for override in panel["fieldConfig"]["overrides"] if panel["type"] == "timeseries" else ():
            properties = {one["id"]: one["value"] for one in override["properties"]}
            looks.append((properties["color"]["fixedColor"], properties["custom.lineStyle"]["fill"]))
        assert len(set(looks)) == len(looks), (name, panel["title"])


# ---- links -----------------------------------------------------------------------------------------------------------------------


def test_links_lead_to_dashboards_that_there_are_and_keep_what_was_chosen() -> None:
    for name, whole in DASHBOARDS.items():
        leading = re.findall(r'"(/d/([a-z-]+)\?[^"]*)"', json.dumps(whole))
        for url, uid in leading:
            assert uid in DASHBOARDS, (name, uid)
            assert all(f"${{{one}:queryparam}}" in url for one in ("datasource", "job", "group")), url
            assert "${__url_time_range}" in url, url


@every_dashboard
def test_every_dashboard_leads_to_all_others(name: str) -> None:
    (link,) = [one for one in DASHBOARDS[name]["links"] if one["type"] == "dashboards"]
    assert link["tags"] == ["domcaps"] == DASHBOARDS[name]["tags"]
    assert link["includeVars"]
    assert link["keepTime"]


def test_a_host_leads_to_its_exporters_page() -> None:
    assert "http://${instance}/" in [link.get("url") for link in DASHBOARDS[HOST]["links"]]
    for name in ("domcaps-fleet", "domcaps-cpu", "domcaps-drift", "domcaps-exporter"):
        assert '"http://${__value.raw}/"' in json.dumps(DASHBOARDS[name]), name


# ---- the rules of grafana/dashboard-linter ---------------------------------------------------------------------------------------


@every_dashboard
def test_template_datasource_rule(name: str) -> None:
    (source,) = [one for one in variables(name).values() if one["type"] == "datasource"]
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@every_dashboard
def test_template_job_rule(name: str) -> None:
    """But for allValue: with `.+`, `up` would tell of every target that the Prometheus has; so all jobs are the exporters' jobs."""
    job = variables(name)["job"]
    assert (job["type"], job["label"], job["multi"], job["includeAll"]) == ("query", "Job", True, True)
    assert job["datasource"]["uid"] == "${datasource}"
    assert "allValue" not in job


@every_dashboard
def test_template_instance_rule(name: str) -> None:
    """But for the label, which says Host; and one dashboard is about one host."""
    instance = variables(name)["instance"]
    assert (instance["type"], instance["label"], instance["datasource"]["uid"]) == ("query", "Host", "${datasource}")
    expected = (False, None) if name == HOST else (True, ".+")
    assert (instance["multi"], instance.get("allValue")) == expected


@every_dashboard
def test_template_label_promql_and_on_time_change_reload_rules(name: str) -> None:
    for variable in variables(name).values():
        if variable["type"] == "query":
            assert re.fullmatch(r"label_values\([\w:]+(\{[^}]*\})?, \w+\)|query_result\(.+\)", variable["query"]["query"])
            assert variable["refresh"] == 2


def test_panel_datasource_rule() -> None:
    for name, panel in every_panel():
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources), (name, panel["title"])


def test_panel_title_description_and_no_targets_rules() -> None:
    for name, panel in every_panel():
        assert panel["title"], name
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["targets"], panel["title"]


UNITS = {"none", "short", "suffix:lacking", "s", "bytes", "percentunit", "dateTimeFromNow"}
"""Those of Grafana's that are used here."""


def test_panel_units_rule() -> None:
    for name, panel in every_panel():
        overrides = (one for override in panel["fieldConfig"]["overrides"] for one in override["properties"])
        used = {panel["fieldConfig"]["defaults"].get("unit"), *(one["value"] for one in overrides if one["id"] == "unit")}
        assert used <= UNITS, (name, panel["title"])


def test_target_job_rule_and_target_instance_rule() -> None:
    """Of every series, but for waves (of a group) and alerts (whose jobs differ)."""
    for query in queries(HERE):
        for metric, labels in re.findall(r"([a-zA-Z_:]+)\{([^}]*)\}", query.expr):
            if metric not in {"domcaps:wave", "ALERTS"}:
                assert 'job=~"$job"' in labels, query
                assert re.search(r'instance(?:=~"\$instance"|="\$(?:instance|odd|like)")', labels), query


def test_target_rate_interval_rule_and_target_counter_agg_rule() -> None:
    for query in queries(HERE):
        for window in re.findall(r"(?:rate|irate)\([^\[]*\[([^\]]*)\]", query.expr):
            assert window == "$__rate_interval", query
        for counter in re.finditer(r"\w+_total\{[^}]*\}(.?)", query.expr):
            assert counter[1] == "[", query
            assert re.search(r"(?:rate|increase)\($", query.expr[: counter.start()]), query


@every_dashboard
def test_uneditable_rule(name: str) -> None:
    assert DASHBOARDS[name]["editable"] is False


def test_target_promql_rule(tmp_path: Path, needs: Needs) -> None:
    needs("promtool", shutil.which("promtool"), "it knows what is PromQL")
    rules = [
        {"record": f"query:{number}", "expr": substitute(query.expr, model="EPYC")} for number, query in enumerate(queries(HERE))
    ]
    assert rules
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Writes the rules as files for Prometheus and for Grafana: python -m grafana.alerts.generate, and the files are up to date.

--job, --group, --many, --runbooks and --datasource make them for another setup, --directory puts them elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml
from grafana.alerts.losses import KINDS
from grafana.alerts.rules import Alert, Options, Recording, alerts, recordings

HERE = Path(__file__).parent
Tree: TypeAlias = Mapping[str, "Tree"] | Sequence["Tree"] | str | int | bool


def files(options: Options, datasource: str = "prometheus") -> dict[str, str]:
    """Names and texts."""
    records = [_recording(one) for one in recordings(options)]
    rules = [_alert(one, options) for one in alerts(options)]
    managed = [_managed(one, options, datasource) for one in alerts(options)]
    group: Tree = {"orgId": 1, "name": "domcaps", "folder": "domcaps", "interval": "1m", "rules": managed}
    return {
        "domcaps-recording.rules.yml": _yaml({"groups": [{"name": "domcaps-recording", "rules": records}]}),
        "domcaps.rules.yml": _yaml({"groups": [{"name": "domcaps", "rules": [*records, *rules]}]}),
        "domcaps-grafana.yml": _yaml({"apiVersion": 1, "groups": [group]}),
    }


# ---- Prometheus --------------------------------------------------------------------------------------------------------------


def _recording(rule: Recording) -> Tree:
    labels: Mapping[str, Tree] = {"labels": rule.labels} if rule.labels else {}
    return {"record": rule.name, "expr": rule.expr, **labels}


def _alert(rule: Alert, options: Options) -> Tree:
    return {
        "alert": rule.name,
        "expr": rule.expr,
        "for": rule.wait,
        "labels": _severity(rule),
        "annotations": {"summary": rule.summary, "description": rule.description, "runbook_url": _runbook(rule, options)},
    }


def _severity(rule: Alert) -> Mapping[str, str]:
    """A wave has that of what was lost, as a label of its series."""
    return {"severity": rule.severity or "{{ .Labels.severity }}"}


def _runbook(rule: Alert, options: Options) -> str:
    return f"{options.runbooks}#{rule.name.lower()}"


# ---- Grafana -----------------------------------------------------------------------------------------------------------------


def _managed(rule: Alert, options: Options, datasource: str) -> Tree:
    """Grafana looks at values, so each is made 1; and expands `$`, so there is none."""
    summary = _summary(rule)
    query = f"({_reasoned(rule)}) * 0 + 1"
    threshold: Tree = {
        "refId": "B",
        "type": "threshold",
        "expression": "A",
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
    }
    return {
        "uid": rule.name.lower(),
        "title": rule.name,
        "condition": "B",
        "data": [
            _step("A", datasource, 600, {"refId": "A", "expr": query, "instant": True, "range": False, "editorMode": "code"}),
            _step("B", "__expr__", 0, threshold),
        ],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.wait,
        "labels": _severity(rule),
        "annotations": {"summary": summary, "description": rule.bare or rule.description, "runbook_url": _runbook(rule, options)},
    }


def _step(name: str, datasource: str, start: int, model: Tree) -> Tree:
    return {"refId": name, "datasourceUid": datasource, "relativeTimeRange": {"from": start, "to": 0}, "model": model}


def _reasoned(rule: Alert) -> str:
    """One series for each thing that is lacking, as Grafana's templates cannot ask for them; one without where nothing is known."""
    if not rule.reasoned:
        return rule.expr
    without = "driver, emulator, arch, machine, virttype, element, enum, value"
    reasons = f'count without ({without}) (domcaps:loss_reason{{kind="{rule.reasoned}"}})'
    return f"{reasons}\nand on (instance, job) (\n{rule.expr}\n)\nor (\n{rule.expr}\n) unless on (instance, job) {reasons}"


def _summary(rule: Alert) -> str:
    if not rule.reasoned:
        return rule.bare or rule.summary
    (kind,) = (one for one in KINDS if one.name == rule.reasoned)
    because = "{{ if .Labels.prerequisite }}: {{ .Labels.prerequisite }}{{ end }}"
    return f"{{{{ .Labels.instance }}}} lost {kind.what}{because}"


# ---- YAML --------------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and long ones on one line."""


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)

_HEAD = "# Made by `python -m grafana.alerts.generate`; change grafana/alerts/{losses,rules}.py, not this file.\n"


def _yaml(tree: Tree) -> str:
    return _HEAD + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=1_000_000, allow_unicode=True)


# ---- the command -------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Write the files that the command line asks for."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m grafana.alerts.generate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--job", default=usual.job, help="the job that scrapes the exporters (%(default)s)")
    parser.add_argument("--group", default=usual.group, help="the label of hosts that ought to be alike (%(default)s)")
    parser.add_argument("--many", type=int, default=usual.many, help="how many hosts that lose the same are a wave (%(default)s)")
    parser.add_argument("--runbooks", default=usual.runbooks, help="where the runbook is (%(default)s)")
    parser.add_argument("--datasource", default="prometheus", help="the uid of Grafana's Prometheus (%(default)s)")
    parser.add_argument("--directory", type=Path, default=HERE, help="where the files go (%(default)s)")
    said = parser.parse_args(argv)
    if not said.directory.is_dir():
        parser.error(f"argument --directory {said.directory}: there is no such folder")
    options = Options(said.job, said.group, said.many, said.runbooks)
    for name, text in files(options, said.datasource).items():
        (said.directory / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

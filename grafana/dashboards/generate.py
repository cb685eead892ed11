"""Writes the dashboards and their recording rules: python -m grafana.dashboards.generate, and the files are up to date.

--group, --page and --runbooks make them for another setup, --directory puts them elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from grafana.alerts.rules import Recording
from grafana.dashboards.cpu import cpu
from grafana.dashboards.drift import drift
from grafana.dashboards.fleet import fleet
from grafana.dashboards.frame import Options
from grafana.dashboards.health import health
from grafana.dashboards.host import host
from grafana.dashboards.rules import groups
from grafana_foundation_sdk.cog.encoder import JSONEncoder

HERE = Path(__file__).parent
ALL = (fleet, host, cpu, drift, health)


def files(options: Options) -> dict[str, str]:
    """Names and texts."""
    built = (json.loads(json.dumps(make(options).build(), cls=JSONEncoder)) for make in ALL)
    made = {f"{one['uid']}.json": json.dumps(_known(one), indent=1, ensure_ascii=False) + "\n" for one in built}
    return {**made, "domcaps-dashboards.rules.yml": _rules(options)}


def _known(dashboard: dict[str, Any]) -> dict[str, Any]:
    """With numbers for its panels, and without what the builders write though Grafana's schema has no such words (any more)."""
    for variable in dashboard["templating"]["list"]:
        for name in ("auto", "auto_min", "auto_count"):
            variable.pop(name, None)
    for number, panel in enumerate(dashboard["panels"], 1):
        panel["id"] = number
        if panel["type"] == "table":
            panel["options"].pop("footer", None)
    return dashboard


_HEAD = "# Made by `python -m grafana.dashboards.generate`; change grafana/dashboards/{capabilities,rules}.py, not this file.\n"


def _rules(options: Options) -> str:
    made = [
        {"name": one.name, **({"interval": one.interval} if one.interval else {}), "rules": _recorded(one.rules)}
        for one in groups(options.group)
    ]
    return _HEAD + yaml.safe_dump({"groups": made}, sort_keys=False, width=1_000_000)


def _recorded(rules: Iterable[Recording]) -> list[dict[str, object]]:
    return [{"record": one.name, "expr": one.expr, **({"labels": dict(one.labels)} if one.labels else {})} for one in rules]


def main(argv: Sequence[str]) -> int:
    """Write the files that the command line asks for."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m grafana.dashboards.generate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--group", default=usual.group, help="the label of hosts that ought to be alike (%(default)s)")
    parser.add_argument("--page", default=usual.page, help="where the exporter of a HOST shows its page (%(default)s)")
    parser.add_argument("--runbooks", default=usual.runbooks, help="where the runbook is (no link to it)")
    parser.add_argument("--directory", type=Path, default=HERE, help="where the files go (%(default)s)")
    said = parser.parse_args(argv)
    if "HOST" not in said.page:
        parser.error(f"argument --page {said.page}: HOST must stand in it, for what `instance` says")
    if not said.directory.is_dir():
        parser.error(f"argument --directory {said.directory}: there is no such folder")
    for name, text in files(Options(said.group, said.page, said.runbooks)).items():
        (said.directory / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

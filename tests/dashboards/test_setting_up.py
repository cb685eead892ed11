"""The commands of grafana/README.md, with a folder for /: from this repository to rules that run and dashboards in their place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.endtoend import eventually, free_port
from tests.test_alerts_end_to_end import running
from tests.test_prometheus import Prometheus

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "grafana" / "README.md").read_text()
OURS = ("install ", "echo ", "promtool ", "amtool ")
"""What the commands that are run begin with; the others install packages and start services (tests/systemd does that)."""

Needs = Callable[[str, object, str], None]


def commands() -> list[str]:
    chapter = README.partition("## From a clone to dashboards and alerts")[2].partition("\n## ")[0]
    return [
        line.partition("  #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
        for line in block.splitlines()
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with what Debian's and Grafana's packages bring, after the commands."""
    for program in ("promtool", "amtool"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: it looks at what was set up")
    root = tmp_path_factory.mktemp("root")
    for folder in ("default", "prometheus", "grafana/provisioning/dashboards", "grafana/provisioning/datasources"):
        (root / "etc" / folder).mkdir(parents=True)
    script = "\n".join(re.sub(r"(?<=[ >])/(?=etc|var)", f"{root}/", line) for line in commands() if line.startswith(OURS))
    done = subprocess.run(["sh", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 2 rule files found" in done.stdout
    return root


def test_the_commands_are_those_of_packages_services_and_files() -> None:
    others = {line.split()[0] for line in commands() if not line.startswith(OURS)}
    assert others == {"docs/systemd/install", "apt-get", "systemctl"}
    assert (ROOT / "docs/systemd/install").exists()


def test_a_prometheus_runs_all_rules_with_the_configuration_that_is_in_place(place: Path, tmp_path: Path, needs: Needs) -> None:
    needs("prometheus", shutil.which("prometheus"), "it runs the rules")
    address = f"127.0.0.1:{free_port()}"
    argv = ("prometheus", f"--config.file={place}/etc/prometheus/prometheus.yml", f"--storage.tsdb.path={tmp_path}")
    with running(tmp_path, (*argv, f"--web.listen-address={address}")):
        prometheus = Prometheus(f"http://{address}", tmp_path / "prometheus.log")
        assert eventually(lambda: prometheus.api("rules"), 30), prometheus.log.read_text()
        groups = {group["name"]: len(group["rules"]) for group in prometheus.api("rules")["groups"]}
        files = (yaml.safe_load(file.read_text()) for file in (place / "etc/prometheus").glob("*.rules.yml"))
        assert groups == {group["name"]: len(group["rules"]) for whole in files for group in whole["groups"]}
        assert {"domcaps", "domcaps-dashboards"} < groups.keys()
        assert eventually(lambda: prometheus.api("targets")["activeTargets"], 10)
        (target,) = prometheus.api("targets")["activeTargets"]
        assert (target["labels"]["job"], target["scrapeUrl"]) == ("domcaps", "http://localhost:19177/metrics")
        assert eventually(lambda: prometheus.api("alertmanagers")["activeAlertmanagers"], 10)
        (manager,) = [one["url"] for one in prometheus.api("alertmanagers")["activeAlertmanagers"]]
        assert manager.startswith("http://localhost:9093/")


def test_grafana_is_told_of_the_folder_in_which_the_dashboards_are_and_of_the_data_source_that_the_alerts_name(place: Path) -> None:
    (provider,) = yaml.safe_load((place / "etc/grafana/provisioning/dashboards/domcaps.yml").read_text())["providers"]
    folder = place / provider["options"]["path"].lstrip("/")
    assert {path.name for path in folder.iterdir()} == {path.name for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert all(json.loads(path.read_text())["uid"] == path.stem for path in folder.iterdir())
    (source,) = yaml.safe_load((place / "etc/grafana/provisioning/datasources/domcaps.yml").read_text())["datasources"]
    alerts = yaml.safe_load((ROOT / "grafana/alerts/domcaps-grafana.yml").read_text())["groups"][0]["rules"]
    assert {step["datasourceUid"] for rule in alerts for step in rule["data"]} == {source["uid"], "__expr__"}

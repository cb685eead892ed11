"""docs/container against the exporter: what its files say can be, without a container being built or run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.container.podman import README, ROOT, block, in_a_pod

from domcaps_exporter.flags import parse

FOLDER = README.parent
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
DAEMONSET: Any = yaml.safe_load((FOLDER / "daemonset.yaml").read_text())
MONITOR: Any = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
POD: Any = DAEMONSET["spec"]["template"]["spec"]
CONTAINER: Any = POD["containers"][0]
PORT = 19177


def commands() -> list[list[str]]:
    """The words of every `podman run` in the README."""
    text = README.read_text().replace("\\\n", " ").replace('"$(stat -c %g /dev/kvm)"', "36")
    return [shlex.split(line) for line in text.splitlines() if line.startswith("podman run")]


def test_what_the_image_is_made_of_is_in_the_clone() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    assert copied
    assert not [path for words in copied for path in words.split() if not (ROOT / path).exists()]


def test_the_image_is_made_of_debian_and_of_what_is_asked_for() -> None:
    bases = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", CONTAINERFILE, re.MULTILINE)
    assert [base for base, _ in bases] == ["debian:trixie-slim", "debian:trixie-slim", "${BASE:-debian-qemu}"]
    assert "debian-qemu" in [name for _, name in bases]


def test_the_image_runs_as_nobody_in_particular_and_reaps_orphans() -> None:
    final = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", final, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["\S+/tini", "--", "\S+/domcaps-exporter"\]$', final, re.MULTILINE)
    assert f"EXPOSE {PORT}" in final
    assert not re.findall(r"^RUN", final, re.MULTILINE)


def test_the_readme_says_what_is_in_the_folder() -> None:
    assert {str(Path(name)) for name in re.findall(r"docs/container/([\w.]+)", README.read_text())} <= {
        path.name for path in FOLDER.iterdir()
    }


@pytest.mark.parametrize("words", commands(), ids=["guests in containers", "guests of the host"])
def test_flags_that_the_readme_gives_a_container_are_the_exporters(words: list[str], tmp_path: Path) -> None:
    flags = words[words.index("domcaps-exporter") + 1 :]
    assert flags
    assert mounts(words) >= {value for value in values(flags) if value.startswith("/host")}
    assert understood(flags, tmp_path)


def mounts(words: list[str]) -> set[str]:
    """What lies below a volume, as far as it is looked for: the volume's place, and its /proc and /sys."""
    places = {words[place + 1].split(":")[1] for place, word in enumerate(words) if word == "--volume"}
    return places | {f"{place}/{name}" for place in places for name in ("proc", "sys")}


def values(flags: list[str]) -> list[str]:
    return [flag.partition("=")[2] for flag in flags]


def understood(flags: list[str], host: Path) -> bool:
    """An unknown one ends the process; `host` stands for the folder /host."""
    for name in ("proc", "sys"):
        (host / name).mkdir()
    parse([flag.replace("=/host", f"={host}") for flag in flags])
    return True


def test_the_run_command_gives_nothing_away() -> None:
    for words in commands():
        assert {"--read-only", "no-new-privileges"} <= set(words)
        assert words[words.index("--cap-drop") + 1] == "all"
        assert not {"--privileged", "--pid", "--ipc"} & set(words)
    assert block("run").split()[:2] == ["podman", "run"]


def test_what_the_readme_runs_in_a_pod_has_the_flags_of_the_daemonset(tmp_path: Path) -> None:
    calls = [in_a_pod(command) for command in ("show", "forget")]
    assert {program for program, *_ in calls} == {"/opt/domcaps-exporter/bin/domcaps-exporter"}
    flags = [flag for _, _, *flags in calls for flag in flags]
    assert sorted(flags) == sorted(CONTAINER["args"])
    assert understood(flags, tmp_path)


# ---- Kubernetes --------------------------------------------------------------------------------------------------------------


def test_the_daemonset_selects_its_own_pods_and_so_does_the_monitor() -> None:
    labels = DAEMONSET["spec"]["template"]["metadata"]["labels"]
    assert labels
    assert DAEMONSET["spec"]["selector"]["matchLabels"] == labels == MONITOR["spec"]["selector"]["matchLabels"]
    assert DAEMONSET["metadata"]["namespace"] == MONITOR["metadata"]["namespace"]


def test_its_pods_have_no_privileges() -> None:
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()


def test_its_flags_are_the_exporters_and_their_folders_are_mounted(tmp_path: Path) -> None:
    places = [mount["mountPath"] for mount in CONTAINER["volumeMounts"]]
    assert understood(CONTAINER["args"], tmp_path)
    assert all(any(value.startswith(place) for place in places) for value in values(CONTAINER["args"]))


def test_every_folder_of_the_node_is_mounted_for_reading_only() -> None:
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes.keys()
    assert {mount["name"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")} == {"state"}
    assert "hostPath" not in volumes["state"]


def test_it_is_asked_where_the_exporter_answers() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    probes = [CONTAINER[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert {probe["path"] for probe in probes} == {"/-/healthy", "/-/ready"}
    assert {probe["port"] for probe in probes} == {MONITOR["spec"]["podMetricsEndpoints"][0]["port"]} == ports.keys()
    assert list(ports.values()) == [PORT] == [int(port) for port in re.findall(r"^EXPOSE (\d+)", CONTAINERFILE, re.MULTILINE)]


def test_the_monitors_series_have_the_job_that_the_alerts_look_for() -> None:
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    jobs = {one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"}
    asked = set(re.findall(r'up\{job="(\w+)"\}', (ROOT / "grafana/alerts/domcaps.rules.yml").read_text()))
    assert jobs == asked == {"domcaps"}

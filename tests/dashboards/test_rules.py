"""What the dashboards' recording rules say, of series as they are written here: promtool judges."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from grafana.dashboards.generate import HERE
from tests.fleet.crowd import body, crowd

from domcaps_exporter.exposition import TEXT_0

RULES = HERE / "domcaps-dashboards.rules.yml"

Needs = Callable[[str, object, str], None]
Judge = Callable[[Mapping[str, str], Mapping[str, Mapping[str, float]]], None]


@pytest.fixture
def judge(tmp_path: Path, needs: Needs) -> Judge:
    """Takes series with their values, and expressions with what they are ten minutes later."""
    needs("promtool", shutil.which("promtool"), "it evaluates the rules")

    def judged(series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]]) -> None:
        given = [{"series": name, "values": values} for name, values in series.items()]
        asked = [
            {
                "expr": expr,
                "eval_time": "10m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
            }
            for expr, found in expected.items()
        ]
        case = {"interval": "1m", "input_series": given, "promql_expr_test": asked}
        (tmp_path / "cases.yml").write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
        done = subprocess.run(["promtool", "test", "rules", tmp_path / "cases.yml"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return judged


def named(metric: str, host: str, **labels: str) -> str:
    """A series of a host."""
    about = {"job": "domcaps", "instance": host, "group": "a", **labels}
    return f"{metric}{{{','.join(f'{label}={json.dumps(value)}' for label, value in about.items())}}}"


EFI = {"element": "os", "enum": "firmware", "value": "efi"}


def test_a_capability_is_there_or_lost_or_never_was_there(judge: Judge) -> None:
    series = {
        named("domcaps_supported", host, driver="qemu", machine="q35", **EFI): f"{value}x10"
        for host, value in {"has": 1, "never": 0, "lost": 0, "one-of-two": 1}.items()
    }
    series[named("domcaps_supported", "one-of-two", driver="qemu", machine="pc", **EFI)] = "0x10"
    for host, machines in {"lost": ("q35", "pc"), "one-of-two": ("pc",), "down": ("q35",)}.items():
        for machine in machines:
            series[named("domcaps:lost", host, driver="qemu", machine=machine, **EFI)] = "1000x10"
    expected = {"has": 1.0, "never": 0.0, "lost": -1.0, "one-of-two": 1.0, "down": -1.0}
    judge(series, states(expected))


def states(expected: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    """What is to be recorded of hosts."""
    found = {named("domcaps:capability", host, capability="uefi"): value for host, value in expected.items()}
    return {'domcaps:capability{capability="uefi"}': found}


def test_libvirts_word_counts_where_no_native_driver_is_asked(judge: Judge) -> None:
    series = {named("domcaps_supported", host, driver="libvirt", **EFI): "1x10" for host in ("both", "libvirt")}
    series[named("domcaps_supported", "both", driver="qemu", **EFI)] = "0x10"
    series[named("domcaps_probe_success", "both", driver="qemu")] = "1x10"
    judge(series, states({"both": 0.0, "libvirt": 1.0}))


def test_what_is_recorded_over_time_is_the_most_of_exporters_alone(judge: Judge) -> None:
    series = {
        named("domcaps_exporter_build_info", "a", version="1"): "1x10",
        named("scrape_duration_seconds", "a"): "1 1 1 1 1 1 1 7 1 1 1",
        named("scrape_duration_seconds", "no-exporter"): "2x10",
        named("domcaps_probe_duration_seconds", "a", driver="qemu"): "1 1 1 1 1 1 1 5 1 1 1",
        named("process_cpu_seconds_total", "a"): "0+30x10",
        named("process_resident_memory_bytes", "a"): "8x10",
        named("domcaps_document_info", "a", driver="qemu", version="10", machine="pc"): "1x10",
        named("domcaps_document_info", "a", driver="qemu", version="10", machine="q35"): "1x10",
    }
    expected = {
        "domcaps:scrape_seconds": ({}, 7.0),
        "domcaps:probe_seconds": ({"driver": "qemu"}, 5.0),
        "domcaps:cores": ({}, 0.5),
        "domcaps:memory_bytes": ({}, 8.0),
        "domcaps:hypervisor": ({"driver": "qemu", "version": "10"}, 1.0),
    }
    judge(series, {name: {named(name, "a", **labels): value} for name, (labels, value) in expected.items()})


# ---- parts -----------------------------------------------------------------------------------------------------------------------


def parts(label: str) -> Iterator[tuple[str, str]]:
    """The matcher of each group that reads a label in parts: its sign and its pattern."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        if group["name"].startswith("domcaps-dashboards-cpu-"):
            yield from {found for rule in group["rules"] for found in re.findall(rf'\b{label}(=~|!~)"([^"]*)"', rule["expr"])}


@pytest.mark.parametrize(
    ("label", "metric", "further"),
    [
        ("model", "domcaps_cpu_model_usable", ("neoverse-n1", "z13", "POWER9", "max")),
        ("feature", "domcaps_cpu_host_feature", ("sve", "zkr")),
    ],
)
def test_every_cpu_model_and_feature_is_read_by_one_group_and_none_reads_most(
    label: str, metric: str, further: Sequence[str]
) -> None:
    texts = "".join(body(kind).plain(TEXT_0).decode() for kind in set(crowd(100, lacking=0).kinds.values()))
    names = {*re.findall(rf'^{metric}\{{.*\b{label}="([^"]+)"', texts, re.MULTILINE), *further}
    assert len(names) > 20
    read = [[name for name in names if bool(re.fullmatch(pattern, name)) == (sign == "=~")] for sign, pattern in parts(label)]
    assert sorted(name for part in read for name in part) == sorted(names)
    assert max(map(len, read)) <= 30

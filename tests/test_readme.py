"""The README against the code: metrics, flags, commands and the example of a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.core import Metric
from tests.reading import parsed

from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.commands import COMMANDS
from domcaps_exporter.flags import parse
from domcaps_exporter.ledger import Ledger
from domcaps_exporter.metrics import NAMES, Options, exposed
from domcaps_exporter.model import (
    Cpu,
    CpuMode,
    CpuModel,
    Document,
    Element,
    HostModel,
    Identity,
    MachineType,
    Outcome,
    Report,
    Unmet,
    Verdict,
)
from domcaps_exporter.past import Guest, Past, Trace
from domcaps_exporter.recall import lost
from domcaps_qemu.settings import wanted

README = (Path(__file__).parent.parent / "README.md").read_text()

CPU = Cpu(
    (
        CpuMode("host-model", supported=True, host_model=HostModel("EPYC")),
        CpuMode("custom", supported=True, models=(CpuModel("qemu64", "no", blockers=("svm",)),)),
    )
)
BIT = Element("cbitpos", text="51")
TELLING = Report(
    identity=Identity("/bin/emulator", "x86_64", "q35", "kvm"),
    guest=Verdict("guest", "", "", supported=True),
    document=Document(
        "kvm", "x86_64", machine="q35", vcpus_max=8, children=(CPU, Element("sev", (("supported", "yes"),), children=(BIT,)))
    ),
    verdicts=(
        Verdict("hostdev", "pciBackend", "vfio", False, (Unmet("dev-vfio", "refuses"),)),
        Verdict("sev", "", "", supported=True),
    ),
    loaders=(("/CODE.fd", True),),
    host_features=(("svm", True),),
    machine_types=(MachineType("q35", vcpus_max=8),),
)
"""A report that has something for every family."""


PAST = Past({TELLING.identity: Guest({("hostdev", "pciBackend", "vfio"): Trace(False, 1.0)})})
"""What such a guest could have before."""


def told(options: Options) -> list[Metric]:
    samples = exposed(Outcome("qemu", (TELLING,)), 10_000, options).samples
    return parsed((*samples, *lost("qemu", PAST)))


def emitted(options: Options) -> set[str]:
    return {family.name for family in told(options)}


def own() -> set[str]:
    """The names of the exporter's own series."""
    made = (*Ledger((), (), "1").families(()), *Chronicle().families(()))
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in made}


def test_the_metrics_that_the_readme_names_are_those_that_are_served() -> None:
    assert (
        set(re.findall(r"\bdomcaps_[a-z_]+", README)) - {"domcaps_exporter", "domcaps_qemu", "domcaps_acme", "domcaps_drivers"}
        == set(NAMES) | own()
    )


def test_every_family_that_there_is_was_looked_for() -> None:
    assert emitted(Options(blockers=True, model_versions=True)) == set(NAMES)


def test_the_labels_in_the_readmes_table_are_those_that_are_served() -> None:
    rows = re.findall(r"^\| `(domcaps_[a-z_]+)` \|([^|]*)\|", README, re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    identity = {"driver", "emulator", "arch", "machine", "virttype"}
    assert documented == {
        family.name: set(family.samples[0].labels) - identity for family in told(Options(blockers=True, model_details=True))
    }


def test_the_flags_that_the_readme_names_are_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    there = re.findall(r"--(?:\[no-\])?[a-z][A-Za-z.-]*[A-Za-z]", capsys.readouterr().out)
    rows = "".join(re.findall(r"^\| `--.*$", README, re.MULTILINE))
    short = {f"--path{name}" for name in re.findall(r"`(\.[a-z]+)`", rows)}
    ours = re.sub("`virsh [^`]*`", "", README)
    assert set(re.findall(r"--[a-z][A-Za-z.-]*[A-Za-z]", ours)) | short == both_ways(there)


def both_ways(flags: list[str]) -> set[str]:
    """`--[no-]driver.NAME` is two flags."""
    return {flag.replace("[no-]", no) for flag in flags for no in ("", "no-")}


def test_the_commands_that_the_readme_names_are_those_that_there_are() -> None:
    rows = re.findall(r"^\| `(?:domcaps-exporter` or `)?… (\w+)([^`]*)`", README, re.MULTILINE)
    assert {name: tuple(operands.split()) for name, operands in rows} == COMMANDS


def test_the_readmes_example_of_a_configuration_is_understood() -> None:
    (example,) = re.findall(r"```yaml\n(drivers:.*?)```", README, re.DOTALL)
    assert wanted(yaml.safe_load(example)["drivers"]["qemu"], "auto").guest_user == "libvirt-qemu"

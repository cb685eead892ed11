"""The exporter in the dom0 of a real Xen, against what `xl create` accepts there and what a real libvirt said in such a dom0."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.xen.machine import VARIANTS, Machine

pytestmark = pytest.mark.xen

LIBVIRT = Path(__file__).parents[1] / "data/xen/xen420-sid-pv-libvirt128"
MACHINES = ("xenpv", "xenpvh", "xenfv")
WANTED = os.environ.get("DOMCAPS_XEN_VARIANT", "all")
"""`all`, or some of them with commas between."""


class Dom0:
    """What was found out in one dom0."""

    def __init__(self, variant: str, folder: Path) -> None:
        self.variant, self.folder = variant, folder
        self.created: Mapping[str, bool | str] = json.loads((folder / "created.json").read_text())
        self._samples = [
            sample for family in text_string_to_metric_families((folder / "metrics").read_text()) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample with these labels, None without one."""
        found = [one.value for one in self._samples if one.name == name and labels.items() <= one.labels.items()]
        assert len(found) < 2
        return found[0] if found else None


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(Path(os.environ["DOMCAPS_XEN"]), tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module", params=VARIANTS if WANTED == "all" else WANTED.split(","))
def dom0(request: pytest.FixtureRequest, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Dom0:
    variant = str(request.param)
    results = tmp_path_factory.mktemp(variant)
    machine.run(VARIANTS[variant], results)
    assert (results / "created.json").exists(), (results / "examination.log").read_text()
    return Dom0(variant, results)


def test_the_probe_succeeds(dom0: Dom0) -> None:
    assert dom0.value("domcaps_probe_success", driver="xen") == 1


def test_guests_run_that_xl_creates_and_no_others(dom0: Dom0) -> None:
    told = {machine: dom0.value("domcaps_guest_supported", machine=machine) for machine in MACHINES}
    assert told == {machine: dom0.created[machine] is True for machine in MACHINES}, dom0.created


def test_hardware_virtualisation_is_seen_where_it_is(dom0: Dom0) -> None:
    assert dom0.value("domcaps_guest_supported", machine="xenfv") == (dom0.variant != "pv")


def test_a_pci_device_can_be_passed_to_guests_that_xl_creates_with_one(dom0: Dom0) -> None:
    for machine in MACHINES:
        told = dom0.value("domcaps_supported", machine=machine, element="hostdev", enum="pciBackend", value="xen")
        expected = dom0.created[f"{machine}-pci"] is True if dom0.created[machine] is True else None
        assert told == expected, (machine, dom0.created)


def test_pci_passthrough_is_there_only_with_an_iommu(dom0: Dom0) -> None:
    told = dom0.value("domcaps_supported", machine="xenpv", element="hostdev", enum="pciBackend", value="xen")
    assert told == (dom0.variant == "vtd")


def test_the_documents_are_libvirts_to_the_byte(dom0: Dom0) -> None:
    for machine in MACHINES:
        libvirts = (LIBVIRT / f"virsh-domcapabilities-{machine}-x86_64.out").read_bytes()
        assert (dom0.folder / f"{machine}.xml").read_bytes() + b"\n" == libvirts  # virsh adds an empty line


def test_an_unchanged_host_is_scraped_again_without_starting_anything(dom0: Dom0) -> None:
    seconds = json.loads((dom0.folder / "seconds.json").read_text())
    assert seconds["metrics-again"] < seconds["metrics"] / 2, seconds

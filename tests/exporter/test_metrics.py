"""Outcomes as metric families: what is said, what is withheld, and that nothing is said twice."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from prometheus_client.core import Metric
from tests.reading import parsed

from domcaps_exporter.document import read
from domcaps_exporter.exposition import TEXT_0, Part, written
from domcaps_exporter.metrics import Exposed, Options, exposed, lines
from domcaps_exporter.model import (
    Cpu,
    CpuMode,
    CpuModel,
    Document,
    Element,
    Enum,
    Failure,
    HostModel,
    Identity,
    MachineType,
    Outcome,
    Report,
    Unmet,
    Verdict,
)
from domcaps_exporter.truths import fingerprint

Told: TypeAlias = dict[str, dict[tuple[str, ...], float]]

RECORDED = Path(__file__).parent.parent / "data" / "libvirt-12.8"
IDENTITY = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
CAN = Verdict("guest", "", "", True)
VFIO = Verdict(
    "hostdev",
    "pciBackend",
    "vfio",
    False,
    (Unmet("iommu-groups", "refuses"), Unmet("dev-vfio", "accepts"), Unmet("dev-vfio", "refuses")),
)
DOCUMENT = Document(
    "kvm",
    "x86_64",
    "/usr/bin/qemu-system-x86_64",
    "pc-q35-10.0",
    4096,
    (
        Element("iothreads", (("supported", "yes"),)),
        Element(
            "os",
            (("supported", "yes"),),
            children=(
                Enum("firmware", ("bios", "efi")),
                Element("loader", (("supported", "yes"),), children=(Element("value", text="/fw/a.fd"), Enum("type", ("rom",)))),
            ),
        ),
        Cpu(
            (
                CpuMode("host-passthrough", True, (Enum("hostPassthroughMigratable", ("on", "off")),)),
                CpuMode("host-model", True, host_model=HostModel("EPYC", "forbid", "AMD")),
                CpuMode("maximum", False),
                CpuMode(
                    "custom",
                    True,
                    models=(
                        CpuModel("EPYC", "yes", None, "AMD", "EPYC-v1"),
                        CpuModel("EPYC-v1", "yes", None, "AMD"),
                        CpuModel("Haswell", "no", "yes", "Intel", None, ("hle", "rtm")),
                        CpuModel("pentium", "unknown"),
                    ),
                ),
            )
        ),
        Element("devices", children=(Element("tpm", (("supported", "yes"),), children=(Enum("model", ("tpm-tis",)),)),)),
        Element("features", children=(Element("sev", (("supported", "no"),)), Element("gic", (("supported", "no"),)))),
    ),
)
REPORT = Report(IDENTITY, CAN, DOCUMENT, (VFIO,), version="10.0.2", path="/usr/bin/qemu", canonical="pc-q35-10.0")


def outcome(*reports: Report, driver: str = "qemu") -> Outcome:
    return Outcome(driver, reports)


DETAILS = Options(model_details=True)


def told(*reports: Report, options: Options = DETAILS) -> Told:
    """Family -> (labels beyond the identity, in alphabetical order) -> value."""
    found: Told = {}
    for family in parsed(exposed(outcome(*reports), 10_000, options).samples):
        for sample in family.samples:
            extra = tuple(
                text for name, text in sorted(sample.labels.items()) if name not in ("driver", "emulator", "arch", "virttype")
            )
            found.setdefault(sample.name, {})[extra] = sample.value
    return found


def test_a_value_has_its_verdict_and_what_only_the_document_lists_is_supported() -> None:
    supported = told(REPORT)["domcaps_supported"]
    assert supported["hostdev", "pciBackend", "q35", "vfio"] == 0
    assert supported["os", "firmware", "q35", "efi"] == 1
    assert supported["loader", "type", "q35", "rom"] == 1


def test_a_verdict_wins_over_the_document_and_an_unknown_one_silences_it() -> None:
    verdicts = (Verdict("tpm", "model", "tpm-tis", False), Verdict("os", "firmware", "efi", None))
    supported = told(replace(REPORT, verdicts=verdicts))["domcaps_supported"]
    assert supported["tpm", "model", "q35", "tpm-tis"] == 0
    assert ("os", "firmware", "q35", "efi") not in supported


def test_cpu_modes_are_an_enum_and_the_enums_below_them_keep_their_names() -> None:
    supported = told(REPORT)["domcaps_supported"]
    assert supported["cpu", "mode", "q35", "host-passthrough"] == 1
    assert supported["cpu", "mode", "q35", "maximum"] == 0
    assert supported["cpu", "hostPassthroughMigratable", "q35", "off"] == 1


def test_elements_say_yes_or_no_and_containers_are_none() -> None:
    elements = {key[0]: value for key, value in told(REPORT)["domcaps_element_supported"].items()}
    assert elements == {"iothreads": 1, "os": 1, "loader": 1, "tpm": 1, "sev": 0, "gic": 0}


def test_a_verdict_without_enum_and_value_speaks_of_the_element() -> None:
    said = told(replace(REPORT, verdicts=(Verdict("tpm", "", "", False, (Unmet("swtpm", "accepts"),)),)))
    assert said["domcaps_element_supported"]["tpm", "q35"] == 0
    assert said["domcaps_unmet_prerequisite"] == {("tpm", "", "accepts", "q35", "swtpm", ""): 1}
    assert ("tpm", "", "q35", "") not in said["domcaps_supported"]


def test_each_lack_of_a_value_is_said_once_and_libvirt_refuses_if_it_looks_at_all() -> None:
    assert told(REPORT)["domcaps_unmet_prerequisite"] == {
        ("hostdev", "pciBackend", "refuses", "q35", "iommu-groups", "vfio"): 1,
        ("hostdev", "pciBackend", "refuses", "q35", "dev-vfio", "vfio"): 1,
    }


def test_nothing_is_lacking_beside_what_is_supported_or_unknown() -> None:
    lacks = (Unmet("dev-vfio", "refuses"),)
    verdicts = (Verdict("hostdev", "pciBackend", "vfio", True, lacks), Verdict("tpm", "model", "tpm-crb", None, lacks))
    assert "domcaps_unmet_prerequisite" not in told(replace(REPORT, verdicts=verdicts))


def test_a_guest_that_cannot_run_says_so_and_why_and_nothing_else() -> None:
    said = told(replace(REPORT, guest=Verdict("guest", "", "", False, (Unmet("dev-kvm", "refuses"),))))
    assert said == {
        "domcaps_guest_supported": {("q35",): 0},
        "domcaps_unmet_prerequisite": {("guest", "", "refuses", "q35", "dev-kvm", ""): 1},
    }


def test_a_guest_of_whom_nobody_knows_has_all_but_its_own_sample() -> None:
    said = told(replace(REPORT, guest=Verdict("guest", "", "", None)))
    assert "domcaps_guest_supported" not in said
    assert said.keys() == told(REPORT).keys() - {"domcaps_guest_supported"}


def test_cpu_models_that_are_another_name_of_a_listed_one_appear_on_request_only() -> None:
    usable = told(REPORT)["domcaps_cpu_model_usable"]
    assert usable == {("q35", "EPYC"): 1, ("q35", "Haswell"): 0}
    assert ("q35", "EPYC-v1") in told(REPORT, options=Options(model_versions=True))["domcaps_cpu_model_usable"]


def test_cpu_models_have_their_attributes_and_the_number_of_their_blockers() -> None:
    said = told(REPORT)
    assert ("EPYC-v1", "no", "q35", "EPYC", "AMD") in said["domcaps_cpu_model_info"]
    assert ("", "yes", "q35", "Haswell", "Intel") in said["domcaps_cpu_model_info"]
    assert ("", "no", "q35", "pentium", "") in said["domcaps_cpu_model_info"]
    assert said["domcaps_cpu_model_blockers"] == {("q35", "EPYC"): 0, ("q35", "Haswell"): 2}


def test_blockers_are_named_on_request_only() -> None:
    assert "domcaps_cpu_model_blocker" not in told(REPORT)
    named = told(REPORT, options=Options(blockers=True))["domcaps_cpu_model_blocker"]
    assert named == {("hle", "q35", "Haswell"): 1, ("rtm", "q35", "Haswell"): 1}


def test_what_is_left_out_is_not_there_and_nothing_else_is_missing() -> None:
    without = frozenset({"domcaps_cpu_model_info", "domcaps_supported"})
    left, whole = told(REPORT, options=replace(DETAILS, without=without)), told(REPORT)
    assert left == {name: samples for name, samples in whole.items() if name not in without}
    assert without <= whole.keys()


def test_the_host_model_the_machine_and_the_document_have_an_info_each() -> None:
    said = told(REPORT)
    assert said["domcaps_cpu_host_model_info"] == {("forbid", "q35", "EPYC", "AMD"): 1}
    assert said["domcaps_machine_info"] == {("pc-q35-10.0", "no", "q35"): 1}
    assert said["domcaps_document_info"] == {(fingerprint(REPORT), "q35", "/usr/bin/qemu", "native", "10.0.2"): 1}
    assert said["domcaps_vcpus_max"] == {("q35",): 4096}


def test_loaders_are_there_unless_the_driver_says_that_they_are_not() -> None:
    said = told(replace(REPORT, loaders=(("/fw/gone.fd", False),)))["domcaps_loader_present"]
    assert said == {("/fw/a.fd", "q35"): 1, ("/fw/gone.fd", "q35"): 0}


def test_machine_types_are_said_once_per_emulator() -> None:
    machines = (MachineType("pc-q35-10.0", "q35", False, 4096), MachineType("isapc", "", True))
    reports = [replace(REPORT, machine_types=machines, identity=replace(IDENTITY, virttype=kind)) for kind in ("kvm", "qemu")]
    said = told(*reports)
    assert said["domcaps_machine_type_info"] == {("q35", "no", "pc-q35-10.0"): 1, ("", "yes", "isapc"): 1}
    assert said["domcaps_machine_type_vcpus_max"] == {("pc-q35-10.0",): 4096}


def test_a_driver_of_documents_alone_needs_no_verdicts() -> None:
    said = told(Report(IDENTITY, CAN, DOCUMENT))
    assert set(said["domcaps_supported"].values()) == {0, 1}
    assert ("no", "pc-q35-10.0", "q35") not in said["domcaps_machine_info"]
    assert said["domcaps_machine_info"] == {("pc-q35-10.0", "no", "q35"): 1}


def test_bhyve_has_no_machine_and_so_no_machine_info() -> None:
    bare = Report(Identity("/usr/sbin/bhyve", "x86_64", "", "bhyve"), CAN, Document("bhyve", "x86_64", "/usr/sbin/bhyve"))
    assert "domcaps_machine_info" not in told(bare)


def test_the_fingerprint_is_of_capabilities_not_of_names_paths_versions_or_longer_vocabularies() -> None:
    elsewhere = replace(
        REPORT,
        identity=Identity("/opt/qemu", "x86_64", "pc", "qemu"),
        document=replace(DOCUMENT, path="/opt/qemu", machine="pc-q35-99.0"),
        version="99",
        path="/nix/store/qemu",
        verdicts=(VFIO, Verdict("hostdev", "pciBackend", "iommufd", False), Verdict("tpm", "model", "new", None)),
    )
    assert fingerprint(elsewhere) == fingerprint(REPORT)


@pytest.mark.parametrize(
    "changed",
    [
        replace(REPORT, verdicts=(replace(VFIO, supported=True),)),
        replace(REPORT, document=replace(DOCUMENT, vcpus_max=288)),
        replace(REPORT, host_features=(("invtsc", True),)),
        replace(REPORT, verdicts=(Verdict("tpm", "", "", False),)),
    ],
)
def test_another_capability_is_another_fingerprint(changed: Report) -> None:
    assert fingerprint(changed) != fingerprint(REPORT)


def with_sgx(sections: str, flc: str = "yes") -> Report:
    xml = f"""<domainCapabilities><domain>kvm</domain><arch>x86_64</arch><features><sgx supported='yes'><flc>{flc}</flc>
        <section_size unit='KiB'>{sections}</section_size></sgx></features></domainCapabilities>"""
    return Report(IDENTITY, CAN, read(xml.encode()))


def test_what_differs_from_chip_to_chip_does_not_count_in_the_fingerprint() -> None:
    assert told(with_sgx("4"))["domcaps_parameter"]["sgx", "q35", "section_size"] == 4096
    assert fingerprint(with_sgx("4")) == fingerprint(with_sgx("8"))
    assert fingerprint(with_sgx("4")) != fingerprint(with_sgx("4", flc="no"))


def test_more_series_than_the_limit_fail_the_driver_with_the_numbers() -> None:
    count = len(exposed(outcome(REPORT), 10_000, Options()).samples)
    assert exposed(outcome(REPORT), count, Options()).failure is None
    failed = exposed(outcome(REPORT), count - 1, Options())
    assert failed.failure is not None
    assert failed.failure.reason == "limit"
    assert failed.failure.text.startswith(f"{count} series are more than the {count - 1} allowed (--series.limit); ")
    assert not failed.samples


def test_two_reports_of_one_identity_break_the_contract() -> None:
    failed = exposed(outcome(REPORT, REPORT), 10_000, Options())
    assert failed.failure is not None
    assert failed.failure.reason == "contract"
    assert not failed.samples


def test_a_report_that_cannot_be_shown_costs_its_driver_only() -> None:
    nonsense = replace(REPORT, loaders=(("/fw", None),))  # type: ignore[arg-type]  # a stranger's driver is not type-checked
    failed = exposed(outcome(nonsense), 10_000, Options())
    assert failed.failure is not None
    assert failed.failure.reason == "contract"
    assert "TypeError" in failed.failure.text


ODD = b"/bin/\xff".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "machine",
    [
        MachineType("q", None),  # type: ignore[arg-type]
        MachineType("q", 3),  # type: ignore[arg-type]
        MachineType(None),  # type: ignore[arg-type]
        MachineType("q", vcpus_max="a dozen"),  # type: ignore[arg-type]
        MachineType("q", vcpus_max=10**400),
    ],
    ids=str,
)
def test_a_machine_type_that_cannot_be_shown_costs_its_driver_only(machine: MachineType) -> None:
    failed = exposed(outcome(replace(REPORT, machine_types=(machine,))), 10_000, Options())
    assert failed.failure is not None
    assert failed.failure.reason == "contract"


def test_a_machine_type_by_an_odd_name_is_shown_escaped() -> None:
    report = replace(REPORT, identity=replace(IDENTITY, emulator=ODD), machine_types=(MachineType(ODD, ODD, vcpus_max=8),))
    shown = lines(exposed(outcome(report), 10_000, Options()).samples)
    assert shown["domcaps_machine_type_info"].count(b"udcff") == 3
    assert shown["domcaps_machine_type_vcpus_max"].endswith(b" 8.0\n")


def test_a_failure_stays_what_it_is() -> None:
    failure = Failure("timeout", "no answer")
    assert exposed(Outcome("qemu", failure=failure), 0, Options()) == Exposed((), failure)


def recorded() -> list[Outcome]:
    documents = [(path.name, read(path.read_bytes(), path.name)) for path in sorted(RECORDED.glob("*.xml"))]
    reports = [
        Report(Identity(document.path or "", document.arch, name, document.domain), CAN, document, canonical=document.machine or "")
        for name, document in documents
    ]
    return [outcome(*reports)]


def everything() -> list[Metric]:
    outcomes = [*recorded(), outcome(replace(REPORT, machine_types=(MachineType("isapc"),)))]
    return parsed(sample for one in outcomes for sample in exposed(one, 100_000, Options(True, True)).samples)


def test_no_two_samples_of_real_documents_have_equal_name_and_labels() -> None:
    samples = [(sample.name, *sorted(sample.labels.items())) for family in everything() for sample in family.samples]
    assert len(samples) > 2000
    assert len(samples) == len(set(samples))


def test_every_sample_carries_exactly_its_familys_labels() -> None:
    for family in everything():
        assert len({tuple(sample.labels) for sample in family.samples}) == 1
        assert {"driver", "emulator", "arch", "machine"} <= set(family.samples[0].labels)
        assert family.type == "gauge"


def test_a_path_that_is_no_utf_8_is_shown_escaped() -> None:
    odd = b"/fw/\xff.fd".decode("utf-8", "surrogateescape")
    said = told(replace(REPORT, loaders=((odd, True),)))["domcaps_loader_present"]
    assert ("/fw/\\udcff.fd", "q35") in said
    assert fingerprint(replace(REPORT, host_features=((odd, True),)))


def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: it checks metric names, help and types")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=Part(written(everything())).plain(TEXT_0), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")

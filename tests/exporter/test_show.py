from __future__ import annotations

import json
from dataclasses import replace

import pytest

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
    Outcome,
    Report,
    Unmet,
    Verdict,
)
from domcaps_exporter.past import Loss
from domcaps_exporter.selector import LABELS, selector
from domcaps_exporter.show import WIDTH, as_json, nothing, table

IDENTITY = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
MODELS = (
    CpuModel("EPYC", "no", blockers=("sse4a", "xsavec")),
    CpuModel("Opteron_G3", "no", blockers=("sse4a",)),
    CpuModel("qemu64", "yes"),
    CpuModel("odd"),
)
DOCUMENT = Document(
    "kvm",
    "x86_64",
    path="/usr/bin/qemu-system-x86_64",
    machine="pc-q35-7.2",
    vcpus_max=288,
    children=(
        Cpu(
            (
                CpuMode("host-model", True, host_model=HostModel("Skylake-Client-IBRS", vendor="Intel")),
                CpuMode("custom", True, models=MODELS),
            )
        ),
        Element(
            "devices",
            children=(
                Element("hostdev", (("supported", "yes"),), children=(Enum("mode", ("subsystem",)), Enum("pciBackend", ()))),
            ),
        ),
        Element(
            "features",
            children=(
                Element("genid", (("supported", "yes"),)),
                Element("sev", (("supported", "no"),)),
                Element("sgx", (("supported", "yes"),), children=(Element("section_size", (("unit", "KiB"),), "1048576"),)),
            ),
        ),
    ),
)
VERDICTS = (
    Verdict("hostdev", "mode", "subsystem", True),
    Verdict("hostdev", "pciBackend", "vfio", False, (Unmet("iommu-groups", "refuses"), Unmet("dev-vfio", "accepts"))),
    Verdict("hostdev", "pciBackend", "xen", None),
)
REPORT = Report(
    IDENTITY,
    Verdict("guest", "", "", True),
    DOCUMENT,
    VERDICTS,
    loaders=(("/usr/share/OVMF/OVMF_CODE_4M.fd", True), ("/usr/share/OVMF/GONE.fd", False)),
    version="7.2.17",
    canonical="pc-q35-7.2",
    host_features=(("vmx", True), ("invtsc", False)),
    notes=("the descriptor 50-broken.json is not JSON",),
)


def shown(report: Report) -> str:
    return table([Outcome("qemu", (report,))])


def test_a_report_begins_with_who_was_asked_about_what() -> None:
    lines = shown(REPORT).splitlines()
    assert lines[0] == "qemu: x86_64 q35 (pc-q35-7.2) kvm"
    assert lines[1].split() == ["emulator", "/usr/bin/qemu-system-x86_64", "7.2.17"]
    assert lines[2].split() == ["guest", "yes,", "up", "to", "288", "vcpus"]


def test_what_is_missing_stands_below_what_is_there_with_its_reasons() -> None:
    lines = [line.strip() for line in shown(REPORT).splitlines()]
    place = lines.index("hostdev           mode: subsystem")
    assert lines[place + 1] == "- pciBackend vfio: iommu-groups, (dev-vfio)"
    assert lines[place + 2] == "? pciBackend xen"


def test_parentheses_are_explained_where_there_are_any() -> None:
    legend = "(in parentheses): libvirt does not look at it, and lists"
    assert legend in shown(REPORT)
    strict = tuple(replace(one, unmet=tuple(replace(lack, libvirt="refuses") for lack in one.unmet)) for one in VERDICTS)
    assert "parentheses" not in shown(replace(REPORT, verdicts=strict))


@pytest.mark.parametrize(
    "row",
    [
        "genid             yes",
        "sev               no",
        "sgx               section_size 1073741824",
        "cpu models        1 of 4 usable, 1 unknown",
        "                  - blocked most often by sse4a (2), xsavec (1)",
        "host cpu          host-model Skylake-Client-IBRS Intel",
        "                  offers vmx",
        "                  - lacks invtsc",
        "firmware files    1 of 2 there",
        "                  - /usr/share/OVMF/GONE.fd",
        "note              the descriptor 50-broken.json is not JSON",
    ],
)
def test_each_kind_of_finding_has_its_row(row: str) -> None:
    assert f"  {row}" in shown(REPORT).splitlines()


def test_a_guest_that_cannot_run_says_so_first_with_what_mends_it() -> None:
    lacking = (Unmet("dev-kvm", "refuses"), Unmet("acme-licence", "refuses"))
    lines = shown(replace(REPORT, guest=Verdict("guest", "", "", False, lacking))).splitlines()
    assert lines[0] == "qemu: x86_64 q35 (pc-q35-7.2) kvm: such a guest cannot run here"
    assert lines[1] == "  guest             no: dev-kvm, acme-licence"
    assert lines[2].startswith("                    dev-kvm: there is no /dev/kvm ")
    assert lines[4].startswith("                    - look: `ls -l /dev/kvm`")
    assert [line for line in lines if line.startswith("                    - mends: ")]


def test_the_values_of_a_guest_that_cannot_run_are_left_out() -> None:
    text = shown(replace(REPORT, guest=Verdict("guest", "", "", False)))
    assert "  guest             no: no reason given" in text
    assert "is left out; --format json has it" in text
    assert not [word for word in ("hostdev", "cpu models", "firmware files", "meaning") if word in text]


def test_an_element_that_is_refused_as_a_whole_says_why() -> None:
    verdicts = (Verdict("sev", "", "", False, (Unmet("dev-sev", "refuses"),)),)
    report = Report(IDENTITY, Verdict("guest", "", "", True), DOCUMENT, verdicts)
    assert "  sev               no\n                    - lacks dev-sev\n" in shown(report)


def test_a_driver_that_only_has_documents_is_shown_too() -> None:
    report = Report(IDENTITY, Verdict("guest", "", "", None), DOCUMENT)
    assert "  hostdev           mode: subsystem\n" in shown(report)
    assert "  guest             unknown, up to 288 vcpus\n" in shown(report)


def test_a_driver_without_an_answer_says_why() -> None:
    assert table([Outcome("xen", failure=Failure("absent", "no /proc/xen"))]) == "xen: no answer (absent): no /proc/xen\n"


def test_who_has_nothing_to_ask_stands_at_the_end() -> None:
    outcomes = [Outcome("bhyve", failure=Failure("absent", "no bhyve")), Outcome("xen", failure=Failure("timeout", "late"))]
    lines = table([*outcomes, Outcome("qemu", (REPORT,))]).splitlines()
    heads = [line.partition(":")[0] for line in lines if line.startswith(("bhyve", "xen", "qemu"))]
    assert heads == ["xen", "qemu", "bhyve"]


def test_no_line_is_wider_than_the_terminal() -> None:
    lacks = tuple(Unmet(f"qemu-device:a-rather-long-name-{number}", "refuses") for number in range(20))
    path = "/opt/" + "x" * 200
    verdicts = (
        *(Verdict("e" * 30, "enum", f"value{number}", True) for number in range(99)),
        Verdict("disk", "bus", "ufs", False, lacks),
    )
    report = Report(Identity(path, "x86_64", "q35", "kvm"), Verdict("guest", "", "", True), None, verdicts, version="10.0.2")
    assert max(map(len, shown(report).splitlines())) <= WIDTH


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    report = Report(Identity("/bin/\x1b[2Jqemu\udc80", "x86_64", "", "kvm"), Verdict("guest", "", "", True))
    assert "/bin/?[2Jqemu?" in shown(report)


def test_json_holds_everything_but_the_facts() -> None:
    (driver,) = json.loads(as_json([Outcome("qemu", (REPORT,), duration=0.25, finished=1.5)]))
    assert (driver["driver"], driver["failure"], driver["duration_seconds"], driver["finished"]) == ("qemu", None, 0.25, 1.5)
    assert driver["reports"][0]["verdicts"][1]["unmet"][0] == {"prerequisite": "iommu-groups", "libvirt": "refuses"}
    assert driver["reports"][0]["document"]["children"][0]["modes"][1]["models"][0]["blockers"] == ["sse4a", "xsavec"]
    assert "facts" not in driver


def test_json_names_the_reason_of_a_failure() -> None:
    (driver,) = json.loads(as_json([Outcome("qemu", failure=Failure("timeout", "no answer within 30 s"))]))
    assert driver["failure"] == {"reason": "timeout", "text": "no answer within 30 s"}


GONE = Identity("/usr/bin/qemu-system-aarch64", "aarch64", "virt", "qemu")
LOSSES = (
    Loss("qemu", IDENTITY, ("hostdev", "pciBackend", "vfio"), 1_770_000_000.0),
    Loss("qemu", IDENTITY, ("cpu", "feature", "invtsc"), 1_770_000_060.5),
    Loss("qemu", GONE, ("guest", "", ""), 0.0),
    Loss("xen", GONE, ("guest", "", ""), 0.0),
)


def test_what_is_lost_and_not_back_stands_at_the_top_with_its_time_and_reasons() -> None:
    lines = table([Outcome("qemu", (REPORT,))], LOSSES).splitlines()
    assert lines[: lines.index("") + 2] == [
        "qemu: lost, and not back: x86_64 q35 kvm /usr/bin/qemu-system-x86_64",
        "  2026-02-02T02:40:00Z hostdev pciBackend vfio: iommu-groups, dev-vfio",
        "  2026-02-02T02:41:00Z cpu feature invtsc",
        "qemu: lost, and not back: aarch64 virt qemu /usr/bin/qemu-system-aarch64",
        "  1970-01-01T00:00:00Z guest: emulator",
        "",
        "qemu: x86_64 q35 (pc-q35-7.2) kvm",
    ]
    assert "lost, and not back" not in shown(REPORT)


def test_of_a_driver_that_gives_no_answer_nobody_knows_why_its_losses_are_not_back() -> None:
    hanging = Outcome("qemu", failure=Failure("timeout", "no answer within 5 s"))
    assert table([hanging], LOSSES[:1]).splitlines()[1:3] == [
        "  2026-02-02T02:40:00Z hostdev pciBackend vfio: the driver qemu gives no answer",
        "                      now",
    ]


def test_json_has_the_losses_where_somebody_looked_for_them() -> None:
    outcomes = [Outcome("qemu", (REPORT,)), Outcome("bhyve")]
    qemu, bhyve = json.loads(as_json(outcomes, LOSSES))
    assert [(loss["value"], loss["since"]) for loss in qemu["losses"]] == [
        ("vfio", 1_770_000_000),
        ("invtsc", 1_770_000_060.5),
        ("", 0),
    ]
    assert bhyve["losses"] == []
    assert "losses" not in json.loads(as_json(outcomes))[0]


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        (
            "machine=pc",
            1,
            "there is qemu x86_64 m0 kvm; others are asked for in --config.file, as by drivers: {qemu: {machines: [pc]}}",
        ),
        ("virttype=qemu,driver=qemu", 1, "as by drivers: {qemu: {virttypes: [qemu]}}"),
        ("machine=pc", 7, "qemu x86_64 m4 kvm, and 2 more; others"),
        ("machine=", 1, "there is qemu x86_64 m0 kvm"),
        ("machine=pc", 0, "there is no kind of guest at all"),
    ],
)
def test_where_nothing_is_as_it_was_selected_it_is_said_what_there_is(text: str, count: int, words: str) -> None:
    reports = tuple(replace(REPORT, identity=replace(IDENTITY, machine=f"m{number}")) for number in range(count))
    found = nothing(selector(text, LABELS), [Outcome("bhyve"), Outcome("qemu", reports), Outcome("xen")])
    assert found.startswith("this host has nothing of what was selected; there is ")
    assert words in found
    assert ("as by" in found) is (text != "machine=" and count > 0)


def test_no_setting_is_advised_that_the_driver_has_not() -> None:
    found = nothing(selector("machine=pc", LABELS), [Outcome("bhyve", (replace(REPORT, identity=replace(IDENTITY, machine="")),))])
    assert found == "this host has nothing of what was selected; there is bhyve x86_64 kvm"

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from lxml import etree

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.model import (
    Cpu,
    CpuFeature,
    CpuMode,
    CpuModel,
    Document,
    Failure,
    HostModel,
    Identity,
    MachineType,
    Outcome,
    Report,
    Unmet,
    Verdict,
)
from domcaps_exporter.page import POLICY, guests, render
from domcaps_exporter.past import Change
from domcaps_exporter.style import STYLE

HOSTILE = "<script>alert('1')</script>\udcff"
GUEST = Identity("/bin/qemu", "x86_64", "q35", "kvm")
MODELS = (
    CpuModel("EPYC", "no", vendor="AMD", deprecated="yes", canonical="EPYC-v1", blockers=("sse4a",)),
    CpuModel("EPYC-v1", "no"),
    CpuModel("qemu64", "yes"),
    CpuModel("odd"),
)
HOST_MODEL = HostModel("Skylake", vendor="Intel", features=(CpuFeature("vmx", "require"), CpuFeature("hle", "disable")))
DOCUMENT = Document(
    "kvm",
    "x86_64",
    vcpus_max=288,
    children=(Cpu((CpuMode("host-model", True, host_model=HOST_MODEL), CpuMode("custom", True, models=MODELS))),),
)
REPORT = Report(
    GUEST,
    Verdict("guest", "", "", True),
    DOCUMENT,
    (
        Verdict("hostdev", "pciBackend", "vfio", False, (Unmet("iommu-groups", "refuses"), Unmet("vfio-pci-driver", "accepts"))),
        Verdict("panic", "model", "s390", False, (Unmet("arch:s390", "refuses"),)),
    ),
    loaders=(("/CODE.fd", True), ("/GONE.fd", False)),
    version="10.0",
    canonical="pc-q35-10.0",
    deprecated=True,
    host_features=(("svm", True), ("vmx", False)),
    machine_types=(MachineType("pc-q35-10.0", "q35", vcpus_max=288), MachineType("isapc", deprecated=True)),
    notes=("something could not be read",),
)


def page(*outcomes: Outcome, plugins: tuple[Plugin, ...] = (), changes: tuple[Change, ...] = ()) -> str:
    return render(outcomes, plugins, "1.0", "/metrics", changes)


def told(text: str) -> str:
    """What a reader is told: the text alone, wherever it may be broken."""
    body = etree.fromstring(text.replace("<wbr>", ""), etree.HTMLParser()).find("body")
    assert body is not None
    return " ".join(" ".join(map(str, body.itertext())).split())


@pytest.mark.parametrize(
    "words",
    [
        "the kernel shows no IOMMU groups (is the IOMMU on, in the firmware and on the kernel command line?)",
        "the kernel has no driver vfio-pci (libvirt does not look)",
        "Only for other machines or architectures: 1",
        "s390 (only for guests of the architecture s390)",
        "pc-q35-10.0 (deprecated)",
        "Most vCPUs 288",
        "CPU models: 1 of 3 usable",
        "EPYC AMD, deprecated ✗ blocked sse4a",
        "odd ? nobody knows",
        "The mode host-model means Skylake (Intel)",
        "Firmware: 1 of 2 files there",
        "/GONE.fd ✗ missing",
        "offers 1 of the 2 features looked at",
        "Machine types: 2",
        "something could not be read",
        "Nothing was lost or gained since the exporter started.",
    ],
)
def test_the_page_tells_all_that_a_report_has(words: str) -> None:
    assert words in told(page(Outcome("qemu", (REPORT,))))


def test_a_guest_that_cannot_run_says_why_and_nothing_else() -> None:
    impossible = replace(REPORT, guest=Verdict("guest", "", "", False, (Unmet("dev-kvm", "refuses"),)))
    text = told(page(Outcome("qemu", (impossible,))))
    assert "Such a guest cannot run here: there is no /dev/kvm" in text
    assert "To look: ls -l /dev/kvm , lsmod | grep kvm" in text
    assert "What mends what is missing: 1 " in text
    assert "IOMMU" not in text
    assert "✗ cannot run there is no /dev/kvm (is virtualisation on in the firmware, and the module kvm_intel or" in text
    assert "kvm_amd loaded?) - - -" in text


def test_what_is_lacking_has_its_remedy_once_whatever_the_number_of_guests() -> None:
    other = replace(REPORT, identity=replace(GUEST, machine="pc"))
    text = page(Outcome("qemu", (REPORT, other)))
    assert told(text).count("dmesg | grep -iE 'dmar|iommu|amd-vi' → VT-d or AMD-Vi on in the firmware") == 1
    assert "s390" not in text[text.index("What mends what is missing") :]
    assert 'title="iommu-groups\nlook: `ls /sys/kernel/iommu_groups`' in text


def test_drivers_and_plugins_say_how_they_are() -> None:
    text = told(
        page(
            Outcome("qemu", (REPORT,), duration=0.0123),
            Outcome("xen", failure=Failure("absent", "no /dev/xen")),
            Outcome("acme", failure=Failure("timeout", "no answer")),
            plugins=(Plugin("qemu", "1.0", None, ("qemu",)), Plugin("broken", "2.0", "does not import")),
        )
    )
    assert "qemu qemu 1.0 ✓ answered kinds of guests: 1, in 0.012 s" in text
    assert "xen - not here no /dev/xen" in text
    assert "acme - ✗ timeout no answer" in text
    assert "- broken 2.0 ✗ not loaded does not import" in text


def test_changes_are_told_with_their_time_and_reason_the_latest_first() -> None:
    changes = (
        Change(1_770_000_000, "qemu", GUEST, ("hostdev", "pciBackend", "vfio"), "lost", ("iommu-groups",)),
        Change(1_770_000_060, "qemu", GUEST, ("guest", "", ""), "gained"),
    )
    text = told(page(Outcome("qemu", (REPORT,)), changes=changes))
    assert "2026-02-02 02:40:00 UTC ✗ lost hostdev pciBackend vfio qemu x86_64 q35 kvm /bin/qemu the kernel shows no IOMMU" in text
    assert text.index("✓ gained") < text.index("✗ lost")


def test_the_host_is_named_where_its_name_is_known() -> None:
    assert "<h1>What guests can have on a&lt;b</h1>" in render((), (), "1.0", "/metrics", host="a<b")
    assert "<h1>What guests can have on this host</h1>" in render((), (), "1.0", "/metrics")


def test_a_host_without_any_guest_is_no_empty_page() -> None:
    assert "There is no kind of guest to show." in told(page(Outcome("xen", failure=Failure("absent", "no /dev/xen"))))


def test_what_is_said_of_the_same_reports_is_written_once() -> None:
    first = (Outcome("qemu", (REPORT,)), Outcome("xen", failure=Failure("absent", "no /dev/xen")))
    told = guests(first)
    again = (replace(first[0], duration=1.5), first[1])
    assert guests(again, told) is told
    assert render(again, (), "1.0", "/metrics", told=told) == render(again, (), "1.0", "/metrics")
    for other in (first[:1], (Outcome("qemu", (replace(REPORT, version="2"),)), first[1]), (first[0], Outcome("xen", (REPORT,)))):
        assert guests(other, told) is not told
        assert guests(other, told) == guests(other)


def test_many_guests_are_folded_and_few_are_not() -> None:
    def of(count: int) -> str:
        reports = tuple(replace(REPORT, identity=replace(GUEST, machine=f"m{number}")) for number in range(count))
        return page(Outcome("qemu", reports))

    assert '<details class="document" open>' in of(2)
    assert '<details class="document" open>' not in of(3)
    assert of(3).count('<details class="document">') == 3


def test_whatever_a_driver_says_is_text() -> None:
    hostile = replace(
        REPORT,
        identity=Identity(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        verdicts=(Verdict(HOSTILE, HOSTILE, HOSTILE, False, (Unmet(HOSTILE, "refuses"),)),),
        loaders=((HOSTILE, False),),
        host_features=((HOSTILE, True),),
        machine_types=(MachineType(HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
        version=HOSTILE,
        canonical=HOSTILE,
        source=HOSTILE,
        document=replace(
            DOCUMENT,
            children=(Cpu((CpuMode("custom", True, models=(CpuModel(HOSTILE, "no", vendor=HOSTILE, blockers=(HOSTILE,)),)),)),),
        ),
    )
    change = Change(0, HOSTILE, hostile.identity, (HOSTILE, HOSTILE, HOSTILE), "lost", (HOSTILE,))
    outcomes = (Outcome(HOSTILE, (hostile,)), Outcome("b", failure=Failure("crashed", HOSTILE)))
    text = render(outcomes, (Plugin(HOSTILE, HOSTILE, HOSTILE),), HOSTILE, "/metrics", (change,))
    assert "<script" not in text
    text.encode()


def test_the_policy_lets_in_this_style_and_this_server_only() -> None:
    assert re.fullmatch(
        r"default-src 'self'; style-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        POLICY,
    )
    text = page(Outcome("qemu", (REPORT,)))
    assert f"<style>{STYLE}</style>" in text
    assert not re.search(r"<(script|img|link|iframe|object)|style=|\son[a-z]+=|https?://", text)


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    red, green, blue = (
        part / 12.92 if (part := int(digits[at : at + 2], 16) / 255) <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for at in (0, 2, 4)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("ink", "ground"),
        ("ink", "panel"),
        ("soft", "panel"),
        ("soft", "ground"),
        ("link", "ground"),
        ("link", "panel"),
        ("yes", "yes-ground"),
        ("no", "no-ground"),
        ("ink", "no-ground"),
    ],
)
def test_everything_can_be_read_in_both_schemes(scheme: str, ink: str, ground: str) -> None:
    light, dark = STYLE.split("prefers-color-scheme: dark")
    found = colours(light if scheme == "light" else dark)
    assert contrast(found[ink], found[ground]) >= 4.5

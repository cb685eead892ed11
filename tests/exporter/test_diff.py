from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from tests.reading import parsed

from domcaps_exporter.capabilities import Capabilities, exposed_by, truth_of, words_of
from domcaps_exporter.claims import GUEST
from domcaps_exporter.diff import Comparison, Difference, Guest, Side, as_json, as_text, compared, unlike
from domcaps_exporter.metrics import Options, exposed
from domcaps_exporter.model import Cpu, CpuMode, CpuModel, Document, Element, Enum, Identity, Outcome, Report, Truth, Unmet, Verdict

IDENTITY = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
MODELS = (CpuModel("EPYC", "yes", canonical="EPYC-v1"), CpuModel("EPYC-v1", "yes"), CpuModel("qemu64", "no", blockers=("svm",)))
SEV = Element("sev", (("supported", "yes"),), children=(Element("cbitpos", text="51"),))


def video(*models: str) -> Element:
    return Element("video", (("supported", "yes"),), children=(Enum("modelType", models),))


def document(*devices: Element, features: tuple[Element, ...] = (SEV,), vcpus: int = 288) -> Document:
    cpu = Cpu((CpuMode("custom", True, models=MODELS),))
    children = (cpu, Element("devices", children=devices), Element("features", children=features))
    return Document("kvm", "x86_64", "/usr/bin/qemu-system-x86_64", "pc-q35-7.2", vcpus, children)


def vfio(truth: Truth) -> Verdict:
    return Verdict("hostdev", "pciBackend", "vfio", truth, () if truth else (Unmet("iommu-groups", "refuses"),))


REPORT = Report(
    IDENTITY,
    Verdict("guest", "", "", True),
    document(video("vga", "qxl")),
    (vfio(True), Verdict("tpm", "model", "tpm-tis", None), Verdict("varstore", "", "", False)),
    loaders=(("/CODE.fd", True), ("/GONE.fd", False)),
    host_features=(("svm", True), ("invtsc", False)),
)


def proven(report: Report) -> Guest:
    words = None if report.document is None else words_of("qemu", report.identity, report.document)
    return Guest(truth_of("qemu", report), words, proven=True)


def listed(words: Document, identity: Identity = IDENTITY) -> Guest:
    known = words_of("", identity, words)
    return Guest(known, known, proven=False)


def found(before: Guest, after: Guest) -> list[tuple[str, str]]:
    """Kinds and places of what differs."""
    (pair,) = compared(Side("a", (before,), whole=True), Side("b", (after,), whole=True)).pairs
    return [(one.kind, " ".join(one.place)) for one in pair.differences]


# ---- where it comes from -----------------------------------------------------------------------------------------------------


class Exposing(Collector):
    def __init__(self, made: Iterable[Metric]) -> None:
        self._made = list(made)

    def collect(self) -> Iterable[Metric]:
        return self._made


@pytest.mark.parametrize("options", [Options(), Options(blockers=True, model_versions=True)])
@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        replace(REPORT, guest=Verdict("guest", "", "", False, (Unmet("dev-kvm", "refuses"),))),
        replace(REPORT, document=None),
    ],
)
def test_an_exporters_metrics_say_the_same_as_its_host(report: Report, options: Options) -> None:
    registry = CollectorRegistry()
    registry.register(Exposing(parsed(exposed(Outcome("qemu", (report,)), 10_000, options).samples)))
    (told,) = exposed_by(text_string_to_metric_families(generate_latest(registry).decode()))
    here = truth_of("qemu", report)
    known = {place: truth for place, truth in here.truths.items() if truth is not None}
    assert (told.driver, told.identity, told.guest, told.truths) == ("qemu", IDENTITY, here.guest, known)
    if report.guest.supported:
        assert (told.numbers, told.reasons) == (here.numbers, here.reasons)
    assert not any(one.kind != "unclear" for pair in compare(told, here).pairs for one in pair.differences)
    assert compare(told, here).equal


def compare(one: Capabilities, other: Capabilities) -> Comparison:
    return compared(*(Side("", (Guest(known, None, proven=True),), whole=True) for known in (one, other)))


# ---- what differs ------------------------------------------------------------------------------------------------------------


def test_nothing_differs_from_itself() -> None:
    assert found(proven(REPORT), proven(REPORT)) == []


def test_what_a_guest_could_have_and_cannot_is_lost_with_the_reason() -> None:
    after = replace(REPORT, verdicts=(vfio(False),))
    (pair,) = compared(Side("a", (proven(REPORT),), whole=True), Side("b", (proven(after),), whole=True)).pairs
    assert pair.differences == (Difference("lost", ("hostdev", "pciBackend", "vfio"), True, False, ("iommu-groups",)),)


def test_what_was_lacking_of_what_is_gained_is_told_as_past() -> None:
    before, after = proven(replace(REPORT, verdicts=(vfio(False),))), proven(REPORT)
    shown = as_text(compared(Side("a", (before,), whole=True), Side("b", (after,), whole=True)))
    assert "+ hostdev pciBackend vfio\n    before: the kernel shows no IOMMU groups" in shown


def test_what_is_no_longer_listed_in_a_list_that_is_there_is_lost() -> None:
    fewer = replace(REPORT, document=document(video("vga")))
    assert found(proven(REPORT), proven(fewer)) == [("lost", "video modelType qxl")]
    assert found(proven(fewer), proven(REPORT)) == [("gained", "video modelType qxl")]


def test_what_the_other_side_does_not_speak_of_is_unclear_and_no_loss() -> None:
    older = listed(document())
    assert found(listed(document(video("vga"))), older) == [("unclear", "video"), ("unclear", "video modelType vga")]


def test_numbers_change() -> None:
    assert found(listed(document()), listed(document(vcpus=240))) == [("changed", "vcpu max")]


def test_the_numbers_of_an_element_that_is_lost_are_not_told_besides() -> None:
    gone = Element("sev", (("supported", "no"),))
    assert found(listed(document()), listed(document(features=(gone,)))) == [("lost", "sev")]


def test_a_guest_that_cannot_run_is_one_difference() -> None:
    impossible = replace(REPORT, guest=Verdict("guest", "", "", False, (Unmet("dev-kvm", "refuses"),)), document=None)
    assert found(proven(REPORT), proven(impossible)) == [("lost", "guest")]
    assert found(listed(document()), proven(impossible)) == [("lost", "guest")]
    assert found(proven(impossible), proven(impossible)) == []


LAME = replace(REPORT, guest=Verdict("guest", "", "", False, (Unmet("kvm-access", "accepts"),)))
"""What libvirt lists all the same."""


def test_a_guest_that_cannot_run_though_libvirt_lists_it_is_equal_in_words_and_said_to_be_that() -> None:
    words, lame = Side("vk.xml", (listed(document(video("vga", "qxl"))),), whole=False), Side("local", (proven(LAME),), whole=True)
    there = compared(words, lame)
    assert there.equal
    assert as_text(there) == (
        "from vk.xml\nto   local\n\nx86_64 q35 kvm\n  local says that such a guest cannot run:\n"
        "    the user that runs guests may not open /dev/kvm (is it in the group kvm?)\n  equal\n"
    )
    for comparison, side in ((there, "after"), (compared(lame, words), "before")):
        ((told,),) = [one["cannot_run"] for one in json.loads(as_json(comparison))["guests"]]
        assert (told["side"], told["reasons"][0]["prerequisite"]) == (side, "kvm-access")


def test_that_a_guest_cannot_run_is_told_once() -> None:
    lost = compared(Side("a", (proven(REPORT),), whole=True), Side("b", (proven(LAME),), whole=True))
    both = compared(Side("a", (proven(LAME),), whole=True), Side("b", (proven(LAME),), whole=True))
    assert (as_text(lost).count("may not open"), "such a guest" in as_text(lost)) == (1, False)
    assert [line for line in as_text(both).splitlines() if "cannot run" in line] == [
        "  a says that such a guest cannot run:",
        "  b says that such a guest cannot run:",
    ]
    assert both.equal


def test_words_are_compared_with_words() -> None:
    """What libvirt lists though no guest can have it is no difference between libvirt's answer and ours."""
    untrue = replace(REPORT, verdicts=(Verdict("video", "modelType", "qxl", False, (Unmet("x", "accepts"),)),))
    assert found(listed(document(video("vga", "qxl"))), proven(untrue)) == []
    both = found(proven(REPORT), proven(untrue))
    assert both == [("lost", "video modelType qxl"), ("unclear", "hostdev pciBackend vfio")]


def test_which_features_of_the_cpu_are_looked_at_is_no_difference() -> None:
    more = replace(REPORT, host_features=(*REPORT.host_features, ("npt", True)))
    assert found(proven(REPORT), proven(more)) == []
    assert found(proven(REPORT), proven(replace(REPORT, host_features=(("svm", False),)))) == [("lost", "cpu feature svm")]


# ---- who is compared with whom -----------------------------------------------------------------------------------------------


def named(machine: str, virttype: str = "kvm", emulator: str = "/bin/q") -> Guest:
    return listed(document(), Identity(emulator, "x86_64", machine, virttype))


def couples(before: tuple[Guest, ...], after: tuple[Guest, ...], *, whole: bool = True) -> tuple[list[str], int, int]:
    comparison = compared(Side("a", before, whole=whole), Side("b", after, whole=True))
    pairs = [f"{one.before.name} = {one.after.name}" for one in comparison.pairs]
    return pairs, len(comparison.gone), len(comparison.new)


def test_of_two_documents_the_only_two_are_compared_and_it_is_said_that_they_are_no_like() -> None:
    other = compared(Side("a", (named("q35"),), whole=False), Side("b", (named("pc", "qemu"),), whole=False))
    assert as_text(other) == (
        "from a\nto   b\n\nx86_64 q35 kvm -> x86_64 pc qemu\n"
        "  two kinds of guests: what differs may be theirs, not the hosts'\n  equal\n"
    )
    like = compared(Side("a", (named("q35"),), whole=False), Side("b", (named("pc-q35-7.2"),), whole=False))
    assert "two kinds" not in as_text(like)
    assert [json.loads(as_json(one))["guests"][0]["same_kind"] for one in (other, like)] == [False, True]


@pytest.mark.parametrize("told", [as_text, as_json])
def test_what_a_libvirt_refuses_or_a_file_has_twice_is_not_passed_over(told: Callable[[Comparison], str]) -> None:
    kvm, qemu, other = named("q35"), named("q35", "qemu"), named("q35", emulator="/bin/other")
    host, libvirt = Side("here", (kvm, qemu), whole=True), Side("qemu:///system", (qemu,), whole=False, asked=True)
    for one, two in ((host, libvirt), (libvirt, host)):
        left = compared(one, two)
        assert (left.left, left.gone, left.new, left.equal) == ((kvm,), (), (), False)
        assert "x86_64 q35 kvm" in told(left)
    assert compared(host, Side("one.xml", (qemu,), whole=False)).equal
    twice = compared(
        Side("a.xml", (kvm, other, qemu), whole=False), Side("b.xml", (named("q35", emulator="/c"), qemu), whole=False)
    )
    assert (len(twice.pairs), len(twice.left), twice.equal) == (1, 3, False)


def test_what_is_not_compared_is_said_to_be_missing_or_to_be_there_several_times() -> None:
    kvm, qemu = named("q35"), named("q35", "qemu")
    none = compared(Side("a.xml", (kvm, qemu), whole=False), Side("b.xml", (qemu,), whole=False))
    assert "x86_64 q35 kvm\n? not compared: the other side has none\n" in as_text(none)
    two = (named("q35", emulator="/a"), named("q35", emulator="/b"), qemu)
    for whole in (True, False):
        several = compared(Side("a.xml", (kvm, qemu), whole=False), Side("b", two, whole=whole))
        assert as_text(several).count("? not compared: one side has several of this kind\n") == (1 if whole else 3)


def test_a_guest_that_cannot_run_here_is_no_loss_where_it_is_refused_and_told() -> None:
    lame = replace(named("q35").known, guest=False, reasons={GUEST: ("dev-kvm",)})
    host = Side("here", (Guest(lame, None, proven=True), named("q35", "qemu")), whole=True)
    agreed = compared(host, Side("qemu:///system", (named("q35", "qemu"),), whole=False, asked=True))
    assert agreed.equal
    assert "\n\nx86_64 q35 kvm\n  such a guest cannot run, and libvirt refuses it:\n    there is no /dev/kvm " in as_text(agreed)
    assert json.loads(as_json(agreed))["refused"][0]["reasons"][0]["prerequisite"] == "dev-kvm"
    assert compared(host, Side("one.xml", (named("q35", "qemu"),), whole=False)).refused == ()


def test_a_hosts_only_guest_is_not_taken_for_another_kind() -> None:
    assert couples((named("pc-i440fx-7.2"),), (named("q35"),), whole=False) == ([], 0, 0)
    assert couples((named("pc"),), (named("q35"),)) == ([], 1, 1)


def test_who_has_nothing_in_common_is_told_what_each_has_and_how_to_ask() -> None:
    machines = tuple(named(machine) for machine in ("q35", "microvm", "isapc", "a", "b", "c", "d"))
    assert unlike(Side("virsh.xml", (named("pc-i440fx-7.2"),), whole=False), Side("local", machines, whole=True)) == (
        "virsh.xml and local have no kind of guest in common: virsh.xml has x86_64 pc-i440fx-7.2 kvm; "
        "local has x86_64 q35 kvm, x86_64 microvm kvm, x86_64 isapc kvm, x86_64 a kvm, x86_64 b kvm and 2 more; "
        "expected one kind on both: virsh domcapabilities --arch x86_64 --machine q35 --virttype kvm asks a libvirt for it, "
        "machines in the configuration this exporter"
    )
    assert unlike(Side("a", (), whole=True), Side("b", (), whole=True)) == (
        "a and b have no kind of guest in common: a has none; b has none"
    )


def test_documents_of_several_emulators_find_their_own() -> None:
    before = named("pc-q35-7.2", emulator="/bin/a"), named("pc-q35-7.2", emulator="/bin/b")
    after = named("q35", emulator="/bin/b"), named("q35", emulator="/bin/a")
    pairs = compared(Side("a", before, whole=False), Side("b", after, whole=True)).pairs
    assert [(one.before.known.identity.emulator, one.after.known.identity.emulator) for one in pairs] == [
        ("/bin/a", "/bin/a"),
        ("/bin/b", "/bin/b"),
    ]


def test_what_two_drivers_tell_of_one_guest_is_compared_driver_by_driver() -> None:
    native, told = (Guest(words_of(name, IDENTITY, document()), None, proven=True) for name in ("qemu", "libvirt"))
    comparison = compared(Side("a", (native, told), whole=True), Side("b", (told, native), whole=True))
    assert [(one.before.known.driver, one.after.known.driver) for one in comparison.pairs] == [
        ("qemu", "qemu"),
        ("libvirt", "libvirt"),
    ]
    listed_twice = compared(Side("a", (named("pc-q35-7.2"),) * 2, whole=False), Side("b", (named("q35"),) * 2, whole=True))
    assert len(listed_twice.pairs) == 2


def test_like_is_compared_with_like_and_what_is_left_over_is_gone_or_new() -> None:
    before = named("q35"), named("pc"), named("microvm")
    after = named("pc", emulator="/other/q"), named("q35"), named("isapc")
    assert couples(before, after) == (["x86_64 q35 kvm = x86_64 q35 kvm", "x86_64 pc kvm = x86_64 pc kvm"], 1, 1)


def test_a_versioned_machine_is_what_its_name_means() -> None:
    assert couples((named("pc-q35-7.2"),), (named("q35"), named("pc")), whole=False) == (
        ["x86_64 pc-q35-7.2 kvm = x86_64 q35 kvm"],
        0,
        0,
    )
    assert couples((named("virt-10.0"),), (named("virt"), named("pc")), whole=False)[0] == [
        "x86_64 virt-10.0 kvm = x86_64 virt kvm"
    ]


def test_nothing_in_common_is_no_pair() -> None:
    assert couples((named("q35"),), (named("pc"), named("isapc")), whole=False) == ([], 0, 0)


# ---- how it is told ----------------------------------------------------------------------------------------------------------


def comparison() -> Comparison:
    after = replace(REPORT, document=document(video("vga", "bochs"), vcpus=4096), verdicts=(vfio(False),))
    return compared(Side("monday.xml", (proven(REPORT),), whole=True), Side("local\x1b[31m", (proven(after),), whole=True))


def test_a_person_reads_what_is_lost_first_and_why() -> None:
    assert as_text(comparison()) == (
        "from monday.xml\n"
        "to   local?[31m\n"
        "\n"
        "x86_64 q35 kvm\n"
        "- video modelType qxl\n"
        "- hostdev pciBackend vfio\n"
        "    the kernel shows no IOMMU groups (is the IOMMU on, in the firmware and on\n"
        "    the kernel command line?)\n"
        "+ video modelType bochs\n"
        "~ vcpu max: 288 -> 4096\n"
    )


def test_a_program_reads_the_same() -> None:
    told = json.loads(as_json(comparison()))
    assert (told["equal"], told["gone"], told["new"]) == (False, [], [])
    (guest,) = told["guests"]
    assert [(one["kind"], one["before"], one["after"]) for one in guest["differences"]] == [
        ("lost", True, False),
        ("lost", True, False),
        ("gained", False, True),
        ("changed", 288, 4096),
    ]

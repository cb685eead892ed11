"""What the libvirt driver makes of libvirt's words: which guests, which values are 0, and what it refuses. Nothing is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from domcaps_bhyve import table as bhyve
from domcaps_exporter import (
    ABSENT,
    Document,
    Facts,
    Identity,
    Refusal,
    Report,
    SettingError,
    Settings,
    UnreadableAnswer,
    Verdict,
    question,
)
from domcaps_exporter.config import load
from domcaps_exporter.document import read, write
from domcaps_exporter.rules import vocabulary
from domcaps_exporter.truths import values
from domcaps_exporter.view import View
from domcaps_libvirt import domcaps_drivers
from domcaps_libvirt.describe import reports
from domcaps_libvirt.settings import Wanted, hypervisor, wanted
from domcaps_libvirt.vocabulary import BHYVE, QEMU, VOCABULARIES, XEN, Vocabulary
from domcaps_qemu import table as qemu
from domcaps_xen import table as xen

DATA = Path(__file__).parents[1] / "data"
URI = "qemu:///system"
EMULATOR = "/usr/bin/qemu-system-x86_64"
Q35 = (DATA / "libvirt-12.8/qemu_11.1.3-q35.kvm.x86_64.xml").read_bytes()


def offering(*guests: str, arch: str = "x86_64") -> bytes:
    return f"<capabilities><host><cpu><arch>{arch}</arch></cpu></host>{''.join(guests)}</capabilities>".encode()


def offered(arch: str, *virttypes: str, machines: Iterable[str] = (), emulator: str = EMULATOR) -> str:
    """A guest of <capabilities>; a machine is `name` or `alias=canonical`."""
    named = (
        f"<machine canonical='{canonical}'>{name}</machine>" if canonical else f"<machine>{name}</machine>"
        for name, _, canonical in (machine.partition("=") for machine in machines)
    )
    domains = "".join(f"<domain type='{virttype}'/>" for virttype in virttypes)
    return f"<guest><arch name='{arch}'><emulator>{emulator}</emulator>{''.join(named)}{domains}</arch></guest>"


X86 = ("pc-i440fx-9.0", "pc=pc-i440fx-9.0", "pc-q35-8.0", "pc-q35-9.0", "q35=pc-q35-9.0")


def asked(capabilities: bytes, uri: str = URI, **section: object) -> list[tuple[str, ...]]:
    """What is asked next, once the host's capabilities are known."""
    view = View({question("libvirt", uri, "capabilities"): capabilities})
    list(reports(view, wanted({"uris": [uri], **section})))
    return sorted(one.args[2:] for one in view.missed)


def understood(capabilities: bytes, answer: bytes | Refusal, uri: str = URI, **section: object) -> list[Report]:
    """The reports where every question about a guest has this answer."""
    first = question("libvirt", uri, "capabilities")
    view = View({first: capabilities})
    list(reports(view, wanted({"uris": [uri], **section})))
    known: Facts = {first: capabilities, **dict.fromkeys(view.missed, answer)}
    return list(reports(View(known), wanted({"uris": [uri], **section})))


# ---- which guests ------------------------------------------------------------------------------------------------------------


def test_the_machine_that_new_guests_get_is_asked_about_under_kvm() -> None:
    assert asked(offering(offered("x86_64", "qemu", "kvm", machines=X86))) == [(EMULATOR, "x86_64", "q35", "kvm")]


def test_of_other_architectures_nothing_is_asked_unless_wanted() -> None:
    alpha = offered("alpha", "qemu", machines=["clipper"], emulator="/usr/bin/qemu-system-alpha")
    both = offering(offered("x86_64", "kvm", machines=X86), alpha)
    assert [words[1] for words in asked(both)] == ["x86_64"]
    assert asked(both, archs=["alpha"]) == [("/usr/bin/qemu-system-alpha", "alpha", "clipper", "qemu")]
    assert [words[1] for words in asked(both, archs=["all"])] == ["alpha", "x86_64"]


def test_machines_are_known_by_their_alias_and_found_by_either_name() -> None:
    x86 = offering(offered("x86_64", "kvm", machines=X86))
    assert asked(x86, machines=["pc-q35-9.0", "pc-q35-8.0", "no-such"]) == [
        (EMULATOR, "x86_64", "pc-q35-8.0", "kvm"),
        (EMULATOR, "x86_64", "q35", "kvm"),
    ]
    assert [words[2] for words in asked(x86, machines=["all"])] == ["pc", "pc-q35-8.0", "q35"]


def test_a_host_without_kvm_says_so_and_is_asked_about_emulation() -> None:
    x86 = offering(offered("x86_64", "qemu", machines=X86))
    assert asked(x86) == [(EMULATOR, "x86_64", "q35", "qemu")]
    found = {report.identity.virttype: report.guest.supported for report in understood(x86, Q35)}
    assert found == {"qemu": True, "kvm": False}


def test_only_kvm_is_missed_where_only_kvm_is_wanted() -> None:
    (report,) = understood(offering(offered("x86_64", "qemu", machines=X86)), Q35, virttypes=["kvm"])
    assert (report.identity, report.guest.supported) == (Identity(EMULATOR, "x86_64", "q35", "kvm"), False)


def test_of_xen_every_machine_is_asked_about_and_libvirt_finds_the_emulator() -> None:
    kinds = (offered(arch, "xen", machines=[name]) for name, arch in (("xenpv", "x86_64"), ("xenfv", "x86_64"), ("xenfv", "i686")))
    assert asked(offering(*kinds), "xen:///system") == [("", "x86_64", "xenfv", "xen"), ("", "x86_64", "xenpv", "xen")]


def test_a_domain_with_machines_of_its_own_has_those() -> None:
    own = "<domain type='kvm'><emulator>/usr/bin/kvm</emulator><machine canonical='pc-q35-9.1'>q35</machine></domain>"
    guest = offered("x86_64", "qemu", machines=X86).replace("</arch>", f"{own}</arch>")
    (report,) = understood(offering(guest), Q35)
    assert (report.identity.emulator, report.canonical) == ("/usr/bin/kvm", "pc-q35-9.1")


def test_bhyve_has_no_machines() -> None:
    bhyve = offering(offered("x86_64", "bhyve", emulator="/usr/sbin/bhyve"))
    assert asked(bhyve, "bhyve:///system") == [("", "x86_64", "", "bhyve")]


# ---- what is true ------------------------------------------------------------------------------------------------------------


def test_the_document_is_libvirts_byte_for_byte() -> None:
    (report,) = understood(offering(offered("x86_64", "kvm", machines=X86)), Q35)
    assert report.document is not None
    assert write(report.document) == Q35
    assert (report.identity, report.source, report.canonical) == (Identity(EMULATOR, "x86_64", "q35", "kvm"), URI, "pc-q35-9.0")
    assert report.guest.supported is True


def told(xml: bytes) -> Mapping[tuple[str, str, str], object]:
    (report,) = understood(offering(offered("x86_64", "kvm", machines=X86)), xml)
    return values(report)


def test_a_known_value_that_an_enum_leaves_out_is_a_0() -> None:
    truths = told(Q35.replace(b"        <value>vfio</value>\n", b""))
    assert truths["hostdev", "pciBackend", "vfio"] is False
    assert truths["disk", "bus", "virtio"] is True


def test_the_values_of_an_element_that_is_not_supported_are_0() -> None:
    truths = told(
        b"<domainCapabilities><domain>kvm</domain><arch>x86_64</arch><devices><tpm supported='no'/></devices></domainCapabilities>"
    )
    assert truths["tpm", "model", "tpm-crb"] is False
    assert {element for element, _, _ in truths} == {"tpm"}


def test_nobody_knows_about_an_element_that_is_not_there() -> None:
    assert not told(b"<domainCapabilities><domain>kvm</domain><arch>x86_64</arch></domainCapabilities>")


def test_the_migratable_switch_of_a_cpu_mode_is_a_0_where_it_is_left_out() -> None:
    mode = "<mode name='maximum' supported='yes'><enum name='maximumMigratable'><value>on</value></enum></mode>"
    truths = told(f"<domainCapabilities><domain>kvm</domain><arch>x86_64</arch><cpu>{mode}</cpu></domainCapabilities>".encode())
    assert truths == {
        ("cpu", "mode", "maximum"): True,
        ("cpu", "maximumMigratable", "on"): True,
        ("cpu", "maximumMigratable", "off"): False,
    }


def test_what_no_libvirt_has_listed_yet_is_reported_as_it_comes() -> None:
    novelty = b"<teleport supported='yes'><enum name='range'><value>far</value></enum><speed unit='KiB'>3</speed></teleport>"
    xml = Q35.replace(b"<devices>", b"<devices>" + novelty).replace(b"<value>virtio</value>", b"<value>quantum</value>")
    truths = told(xml)
    assert truths["teleport", "range", "far"] is True
    assert truths["disk", "bus", "quantum"] is True
    assert truths["disk", "bus", "virtio"] is False


def test_a_refused_guest_is_unknown_and_says_why() -> None:
    (report,) = understood(offering(offered("x86_64", "kvm", machines=X86)), Refusal("error", "error: no such thing"))
    assert (report.guest.supported, report.document, report.notes) == (None, None, ("error: no such thing",))


@pytest.mark.parametrize("nonsense", [b"", b"<", b"<capabilities/>", b"\xff\xfe", b"<domainCapabilities><domain>kvm</domain>"])
def test_nonsense_names_the_question(nonsense: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="libvirt qemu:///system domcapabilities"):
        understood(offering(offered("x86_64", "kvm", machines=X86)), nonsense)


@pytest.mark.parametrize(
    "nonsense", [b"", b"<domainCapabilities/>", b"<capabilities/>", b"<!DOCTYPE a [<!ENTITY b SYSTEM '/etc/passwd'>]>"]
)
def test_nonsense_about_the_host_names_the_question(nonsense: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="libvirt qemu:///system capabilities"):
        asked(nonsense)


def test_facts_without_libvirt_give_no_reports() -> None:
    (driver,) = domcaps_drivers(Settings({"libvirt": {"uris": [URI]}}))
    assert list(driver.describe({})) == []
    assert list(driver.describe({question("libvirt", URI, "capabilities"): ABSENT})) == []


# ---- the vocabulary ----------------------------------------------------------------------------------------------------------


def triples(known: Vocabulary) -> set[tuple[str, str, str]]:
    return {(element, enum, value) for (element, enum), values in known.items() for value in values.split()}


def test_the_vocabularies_are_those_of_the_native_drivers_tables() -> None:
    migratable = {("cpu", f"{mode}Migratable", value) for mode in ("hostPassthrough", "maximum") for value in ("on", "off")}
    assert triples(QEMU) == set(vocabulary((*qemu.OS_AND_MEMORY, *qemu.AFTER_CPU))) | migratable
    assert triples(XEN) == set(vocabulary((*xen.BEFORE_CPU, *xen.AFTER_CPU)))
    assert triples(BHYVE) <= set(vocabulary((*bhyve.OS, *bhyve.AFTER_CPU)))  # which also has what no libvirt lists


def listed(document: Document) -> set[tuple[str, str, str]]:
    report = Report(Identity("", "", "", ""), Verdict("guest", "", "", True), document)
    return {key for key, truth in values(report).items() if truth and key[:2] != ("cpu", "mode")}


@pytest.mark.parametrize(
    "path", sorted((DATA / "xen").glob("*/virsh-domcapabilities*.out")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_the_vocabulary_of_xen_holds_what_real_ones_list(path: Path) -> None:
    assert listed(read(path.read_bytes())) <= triples(XEN)


def test_the_vocabularies_hold_what_libvirts_own_tests_list() -> None:
    folder = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    if not folder:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS does not say where it is")
    seen = set()
    for path in sorted(Path(folder, "domaincapsdata").glob("*.xml")):
        document = read(path.read_bytes())
        seen.add(document.domain)
        assert listed(document) <= triples(VOCABULARIES[document.domain]), path.name
    assert seen >= {"kvm", "qemu", "xen", "bhyve"}


def test_bhyve_and_xen_list_nothing_twice() -> None:
    for known in (BHYVE, XEN, QEMU):
        for values_of in known.values():
            assert len(set(values_of.split())) == len(values_of.split())


# ---- settings ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_configured_by_default() -> None:
    assert wanted({}) == Wanted()


def test_one_uri_of_each_hypervisor_is_understood() -> None:
    section = {"uris": ["qemu:///system", "xen+ssh://root@there:22/system?no_verify=1"], "archs": ["x86_64"]}
    assert wanted(section) == Wanted(("qemu:///system", "xen+ssh://root@there:22/system?no_verify=1"), ("x86_64",))


@pytest.mark.parametrize(("uri", "name"), [("qemu:///system", "qemu"), ("qemu+ssh://a/b", "qemu"), ("bhyve+tls://a/", "bhyve")])
def test_a_uri_says_whose_it_is(uri: str, name: str) -> None:
    assert hypervisor(uri) == name


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"uri": "qemu:///system"}, "uri: no such key; allowed: uris, archs, machines, virttypes"),
        ({"uris": "qemu:///system"}, "uris: found 'qemu:///system', expected a list"),
        ({"uris": ["--help"]}, "uris: found '--help', expected a libvirt URI such as qemu:///system"),
        ({"uris": ["qemu:///system; quit"]}, "uris: found 'qemu:///system; quit', expected a libvirt URI"),
        (
            {"uris": ["qemu:///system", "qemu+tls://there/system"]},
            "uris: found qemu:///system and qemu+tls://there/system, expected one",
        ),
        (
            {"uris": ["qemu:///system", "xen+ssh://me:secret@host:22/"]},
            "uris: found a password in xen+ssh://me@host:22/, expected none: libvirt takes it from its auth.conf",
        ),
        ({"uris": ["qemu+tcp://me:s3/cret@host/system"]}, "uris: found a password in qemu+tcp://me@host/system, expected none"),
        ({"uris": [["qemu+tcp://me:s3?cret@host/"]]}, "uris: found ['qemu+tcp://me@host/'], expected a libvirt URI"),
        ({"uris": {"a": "qemu+tcp://me:s3#cret@host/"}}, "uris: found {'a': 'qemu+tcp://me@host/'}, expected a list"),
        ({"uris": {"qemu+tcp://me:secret@host/": None}}, "uris: found {'qemu+tcp://me@host/': nothing}, expected a list"),
        (
            {"uris": "qemu:///system qemu+tcp://me:secret@host/"},
            "uris: found a password in qemu:///system qemu+tcp://me@host/, expected none",
        ),
        ({"machines": ["qemu+tcp://me:my secret@host/"]}, "machines: found 'qemu+tcp://me@host/', expected a name"),
        ({"qemu+tcp://me:secret@host/": []}, "qemu+tcp://me@host/: no such key; allowed: uris"),
        ({"machines": ["-x"]}, "machines: found '-x', expected a name"),
        ({"archs": [1]}, "archs: found 1, expected a name"),
        ({"virttypes": "kvm"}, "virttypes: found 'kvm', expected a list"),
    ],
)
def test_what_means_nothing_is_refused_with_its_key(section: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(SettingError) as caught:
        wanted(section)
    assert str(caught.value).startswith(complaint)


def test_the_readmes_example_is_understood(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(drivers:.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    (tmp_path / "domcaps.yaml").write_text(example)
    config = load(tmp_path / "domcaps.yaml")
    assert wanted(config.drivers["libvirt"]).uris == ("qemu:///system",)
    (target,) = config.targets.values()
    assert target.timeout == 10
    assert hypervisor(wanted({**target.section, "uris": [target.uri]}).uris[0]) == "qemu"

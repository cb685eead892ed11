"""libvirt's own expected documents, made again from libvirt's own recordings: byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from lxml import etree
from tests.plugins import corpus

from domcaps_exporter import Truth, document
from domcaps_exporter.model import Verdict, question

Fact = tuple[str, tuple[tuple[str, str], ...], str]
"""A leaf of a document: where it is (names, with the `name` attributes on the way), its attributes, its text."""


def facts(xml: bytes) -> Counter[Fact]:
    """Every leaf, as often as it is there."""
    return Counter(_leaves(etree.fromstring(xml), ""))


def _leaves(node: etree._Element, above: str) -> Iterator[Fact]:
    name = node.get("name") if node.tag in ("enum", "mode") else None
    path = f"{above}/{node.tag}" + (f"[{name}]" if name else "")
    attributes = tuple(sorted((str(key), str(value)) for key, value in node.attrib.items()))
    if attributes or not len(node):
        yield path, attributes, (node.text or "").strip()
    for child in node:
        yield from _leaves(child, path)


@dataclass(frozen=True)
class Comparison:
    """One document: what libvirt says of it, and what the driver does."""

    name: str
    expected: bytes
    found: bytes

    @property
    def lost(self) -> Counter[Fact]:
        return facts(self.expected) - facts(self.found)

    @property
    def invented(self) -> Counter[Fact]:
        return facts(self.found) - facts(self.expected)

    def differences(self) -> str:
        """The first facts that are lost or invented; with neither, the order or the spelling is another."""
        told = [f"-{fact}" for fact in self.lost] + [f"+{fact}" for fact in self.invented]
        return "\n  ".join([self.name, *(told[:6] or ["the same facts, written otherwise"])])


def test_every_recorded_document_is_the_same_byte_for_byte(record_property: Callable[[str, object], None]) -> None:
    root = corpus.folder()
    compared = [
        Comparison(case.expected.name, case.expected.read_bytes(), document.write(corpus.answer(root, case)))
        for case in corpus.recorded(root)
    ]
    different = [one for one in compared if one.expected != one.found]
    whole = sum(facts(one.expected).total() for one in compared)
    found = whole - sum(one.lost.total() for one in compared)
    counted = f"{len(compared) - len(different)} of {len(compared)} documents identical, {found} of {whole} facts"
    record_property("said", f"libvirt's corpus: {counted}")
    assert len(compared) > 40
    assert not different, "\n".join(one.differences() for one in different[:10])


def test_understanding_twice_gives_the_same_document() -> None:
    root = corpus.folder()
    for case in corpus.recorded(root)[::7]:
        assert corpus.answer(root, case) == corpus.answer(root, case)


ASIDS = question("cpuid", "8000001f", "0")


def truths(name: str, asids: bytes = b"0 0 1fd 1c3", **answers: bytes) -> dict[tuple[str, str], Verdict]:
    """The verdicts on a recording's guest by element and value.

    `answers` are those of files by their last name, `asids` what CPUID says: the highest, and the lowest that is not for SEV-ES.
    """
    root = corpus.folder()
    case = next(one for one in corpus.recorded(root) if one.expected.name == name)
    files = {question("read", f"/sys/module/kvm_amd/parameters/{parameter}"): value for parameter, value in answers.items()}
    return {(one.element, one.value): one for one in corpus.verdicts(root, case, {**files, ASIDS: asids})}


def supported(found: dict[tuple[str, str], Verdict], *keys: tuple[str, str]) -> list[Truth]:
    return [found[key].supported for key in keys]


def test_an_emulated_guest_has_nothing_that_takes_kvm_though_libvirt_lists_it() -> None:
    keys = ("hyperv", ""), ("hyperv", "relaxed"), ("sev", ""), ("launchSecurity", ""), ("launchSecurity", "sev")
    emulated = truths("qemu_10.0.0-tcg.x86_64+amdsev.xml")
    assert supported(truths("qemu_10.0.0-q35.x86_64+amdsev.xml"), *keys) == [True] * len(keys)
    assert supported(emulated, *keys) == [False] * len(keys)
    assert ("kvm", "accepts") in [(one.prerequisite, one.libvirt) for one in emulated["hyperv", "relaxed"].unmet]


def test_sev_snp_takes_a_kernel_that_has_it_switched_on_though_libvirt_does_not_look() -> None:
    snp, sev = ("launchSecurity", "sev-snp"), ("launchSecurity", "sev")
    name = "qemu_10.0.0-q35.x86_64+amdsev.xml"
    assert supported(truths(name, sev_snp=b"Y\n"), snp, sev) == [True, True]
    for off in (truths(name, sev_snp=b"N\n"), truths(name)):
        assert supported(off, snp, sev) == [False, True]
        assert [(one.prerequisite, one.libvirt) for one in off[snp].unmet] == [("kernel-parameter:sev_snp", "accepts")]


@pytest.mark.parametrize(
    ("asids", "sev", "snp", "lacks"),
    [
        (b"0 0 1fd 1", True, False, "sev-es-asids"),  # maxESGuests is 0, for the firmware leaves none to them
        (b"0 0 1fd 1fe", False, True, "sev-asids"),
        (b"0 0 0 0", False, False, "sev-asids"),
    ],
)
def test_secure_guests_of_a_kind_that_has_no_asids_left_cannot_be_though_libvirt_lists_them(
    asids: bytes, sev: bool, snp: bool, lacks: str
) -> None:
    found = truths("qemu_10.0.0-q35.x86_64+amdsev.xml", asids, sev_snp=b"Y\n")
    assert supported(found, ("launchSecurity", "sev"), ("launchSecurity", "sev-snp")) == [sev, snp]
    unmet = found["launchSecurity", "sev" if not sev else "sev-snp"].unmet
    assert [(one.prerequisite, one.libvirt) for one in unmet] == [(lacks, "accepts")]


def test_what_libvirt_lists_for_every_qemu_takes_a_qemu_that_has_it() -> None:
    dbus, pci = ("console", "dbus"), ("hostdev", "pci")
    assert supported(truths("qemu_6.2.0-q35.x86_64.xml"), dbus, pci) == [False, False]
    assert supported(truths("qemu_10.0.0-q35.x86_64.xml"), dbus, ("filesystem", "path")) == [True, True]


def test_a_lost_and_an_invented_fact_are_told_apart() -> None:
    one = Comparison(
        "x", b"<a><enum name='e'><value>1</value><value>2</value></enum></a>", b"<a><enum name='e'><value>3</value></enum></a>"
    )
    assert one.lost == Counter({("/a/enum[e]/value", (), "1"): 1, ("/a/enum[e]/value", (), "2"): 1})
    assert one.invented == Counter({("/a/enum[e]/value", (), "3"): 1})
    assert "-('/a/enum[e]/value', (), '1')" in one.differences()

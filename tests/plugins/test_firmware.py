"""Firmware descriptors, chosen as libvirt chooses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from domcaps_exporter import ABSENT, Answer, Question, Refusal, question
from domcaps_exporter.view import View
from domcaps_qemu.firmware import FALLBACK, Firmware, read

SYSTEM, ADMIN = "/usr/share/qemu/firmware", "/etc/qemu/firmware"


def descriptor(**changed: object) -> dict[str, object]:
    """A descriptor of UEFI firmware for x86 guests, with these parts changed."""
    return {
        "interface-types": ["uefi"],
        "features": ["secure-boot"],
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "mapping": flash("/ovmf.fd"),
        **changed,
    }


def flash(path: str, **changed: object) -> dict[str, object]:
    return {
        "device": "flash",
        "executable": {"filename": path, "format": "raw"},
        "nvram-template": {"filename": f"{path}.vars", "format": "raw"},
        **changed,
    }


def facts(files: Mapping[str, object], there: tuple[str, ...] = ()) -> dict[Question, Answer]:
    """A host with these descriptors, by path, and these firmware files."""
    found: dict[Question, Answer] = {}
    for folder in (SYSTEM, ADMIN):
        names = sorted(path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == folder)
        found[question("list", folder)] = "\0".join(names).encode()
    for path, content in files.items():
        found[question("read", path)] = b"" if content is None else json.dumps(content).encode()
    known = ("/ovmf.fd", "/ovmf.fd.vars", "/other.fd", "/other.fd.vars", *FALLBACK)
    return found | {question("exists", path): b"file" if path in there else ABSENT for path in known}


def firmware(told: Mapping[Question, Answer], arch: str = "x86_64", machine: str = "pc-q35-9.0", profile: int = 11) -> Firmware:
    return Firmware(View(told), arch, machine, (profile, 3))


UEFI = {f"{SYSTEM}/50-uefi.json": descriptor()}
FILES = ("/ovmf.fd", "/ovmf.fd.vars")


def test_a_descriptor_for_this_guest_offers_its_interface_and_features() -> None:
    found = firmware(facts(UEFI, FILES))
    assert found.offers("uefi") is found.offers("uefi", "secure-boot") is found.whole("uefi") is True
    assert found.offers("bios") is found.offers("uefi", "enrolled-keys") is False


@pytest.mark.parametrize(("arch", "machine"), [("aarch64", "pc-q35-9.0"), ("x86_64", "pc-i440fx-9.0"), ("x86_64", "q35")])
def test_a_descriptor_for_another_guest_offers_nothing(arch: str, machine: str) -> None:
    assert firmware(facts(UEFI, FILES), arch, machine).offers("uefi") is False


def test_firmware_is_whole_with_all_its_files_only() -> None:
    found = firmware(facts(UEFI, FILES[:1]))
    assert (found.offers("uefi"), found.whole("uefi")) == (True, False)


def test_the_readmes_descriptor_watches_its_files() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (written,) = re.findall(r"`(/etc/qemu/firmware/[^`]+)` with\n\n```json\n(.*?)```", readme, re.DOTALL)
    path, told = written[0], json.loads(written[1])
    (one,) = read(written[1].encode())
    here = {question("exists", file): b"file" for file in one.files}
    there = firmware(facts({path: told}) | here)
    assert there.whole("uefi") is there.whole("uefi", "secure-boot", "enrolled-keys") is True
    for file in one.files:
        assert firmware(facts({path: told}) | here | {question("exists", file): ABSENT}).whole("uefi") is False


def test_a_folder_in_a_files_place_is_no_firmware_though_libvirt_lists_it() -> None:
    host = facts(UEFI, FILES) | {question("exists", FILES[0]): b"directory"}
    assert firmware(host).whole("uefi") is False
    assert firmware(host).listed() == FILES[:1]


def test_one_whole_firmware_is_enough() -> None:
    both = {**UEFI, f"{SYSTEM}/60-other.json": descriptor(mapping=flash("/other.fd", mode="stateless"))}
    assert firmware(facts(both, ("/other.fd",))).whole("uefi") is True


def test_the_administrators_folder_wins_by_name_and_an_empty_file_masks() -> None:
    assert firmware(facts({**UEFI, f"{ADMIN}/50-uefi.json": descriptor(features=[])}, FILES)).offers("uefi", "secure-boot") is False
    assert firmware(facts({**UEFI, f"{ADMIN}/50-uefi.json": None}, FILES)).offers("uefi") is False


def test_hidden_files_are_no_descriptors() -> None:
    assert firmware(facts({f"{SYSTEM}/.50-uefi.json": descriptor()}, FILES)).offers("uefi") is False


def test_loaders_come_in_the_order_of_the_descriptors_names_each_once() -> None:
    files = {
        f"{SYSTEM}/70-again.json": descriptor(),
        f"{ADMIN}/40-first.json": descriptor(mapping=flash("/other.fd")),
        f"{SYSTEM}/50-second.json": descriptor(),
    }
    assert firmware(facts(files, ("/ovmf.fd", "/other.fd"))).listed() == ("/other.fd", "/ovmf.fd")


def test_a_loader_that_is_gone_is_told_and_not_listed() -> None:
    found = firmware(facts(UEFI))
    assert found.listed() == ()
    assert ("/ovmf.fd", False) in found.present()


def test_libvirts_own_list_stands_in_where_no_descriptors_file_is_there() -> None:
    assert firmware(facts({}, FALLBACK[:2])).listed() == FALLBACK[:2]
    assert firmware(facts(UEFI, FALLBACK[:1])).listed() == FALLBACK[:1]
    assert firmware(facts(UEFI, (*FILES, *FALLBACK))).listed() == ("/ovmf.fd",)


def test_kernels_are_firmware_without_a_loader_for_older_libvirts() -> None:
    told = facts({f"{SYSTEM}/1.json": descriptor(mapping={"device": "kernel", "filename": "/ovmf.fd"})}, FILES)
    assert (firmware(told).offers("uefi"), firmware(told).listed()) == (True, ())
    assert firmware(told, profile=12).offers("uefi") is False


def test_a_store_of_variables_that_qemu_keeps_is_known_by_its_template() -> None:
    mapping = {"device": "memory", "filename": "/ovmf.fd", "uefi-vars": {"template": "/ovmf.fd.vars"}}
    found = firmware(facts({f"{SYSTEM}/1.json": descriptor(mapping=mapping)}, FILES))
    assert (found.variables(), found.listed()) == (True, ("/ovmf.fd",))
    assert firmware(facts(UEFI)).variables() is False


@pytest.mark.parametrize("refusal", [Refusal("denied"), Refusal("error"), None])
@pytest.mark.parametrize("lost", [question("list", SYSTEM), question("read", f"{SYSTEM}/50-uefi.json")])
def test_what_cannot_be_read_leaves_a_no_unknown(lost: Question, refusal: Refusal | None) -> None:
    told = facts(UEFI, FILES)
    del told[lost]
    found = firmware(told if refusal is None else {**told, lost: refusal})
    assert found.offers("uefi") is found.whole("uefi") is found.offers("bios") is None


def test_what_cannot_be_read_does_not_take_away_a_yes() -> None:
    assert firmware({**facts(UEFI, FILES), question("list", ADMIN): Refusal("denied")}).whole("uefi") is True


def test_a_folder_that_is_not_there_holds_nothing() -> None:
    told = {**facts({}), question("list", SYSTEM): ABSENT, question("list", ADMIN): ABSENT}
    assert firmware(told).offers("uefi") is False


def test_a_star_matches_anything_and_a_bracket_is_a_bracket() -> None:
    def offers(pattern: str) -> object:
        files = {f"{SYSTEM}/1.json": descriptor(targets=[{"architecture": "x86_64", "machines": [pattern]}])}
        return firmware(facts(files)).offers("uefi")

    assert [offers(one) for one in ("*", "pc-q35-?.0", "pc-q35-9.0")] == [True, True, True]
    assert [offers(one) for one in ("pc-q35-[0-9].0", "pc-q35", "q35-*", "pc.q35.9.0")] == [False, False, False, False]


@pytest.mark.parametrize(
    "changed",
    [
        {"interface-types": "uefi"},
        {"interface-types": ["uefi", "magic"]},
        {"features": "secure-boot"},
        {"features": [1]},
        {"targets": [{"architecture": "vax", "machines": ["*"]}]},
        {"targets": [{"architecture": "x86_64", "machines": "*"}]},
        {"targets": {"architecture": "x86_64", "machines": ["*"]}},
        {"mapping": {"device": "floppy", "filename": "/ovmf.fd"}},
        {"mapping": {"device": "kernel", "filename": 5}},
        {"mapping": flash("/ovmf.fd", mode="twice")},
        {"mapping": {"device": "flash", "executable": {"filename": "/ovmf.fd", "format": "raw"}}},
        {"mapping": None},
    ],
    ids=str,
)
def test_a_descriptor_that_libvirt_cannot_read_is_passed_over(changed: dict[str, object]) -> None:
    assert read(json.dumps(descriptor()).encode())
    assert read(json.dumps(descriptor(**changed)).encode()) == ()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"], ids=["empty", "cut", "list", "no text", "deep", "null"]
)
def test_what_is_no_descriptor_is_passed_over(data: bytes) -> None:
    assert read(data) == ()

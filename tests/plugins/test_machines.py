"""Which machines a list has, and which one a name means."""

from __future__ import annotations

import json

import pytest

from domcaps_qemu.machines import Machine, default, machines, misnamed, named, preferred


def listed(*entries: dict[str, object]) -> tuple[Machine, ...]:
    return machines(json.dumps({"return": entries}).encode())


OFFERED = listed(
    {"name": "pc-q35-9.0", "cpu-max": 288},
    {"name": "none", "cpu-max": 1},
    {"name": "pc-i440fx-9.0", "alias": "pc", "is-default": True, "cpu-max": 255},
    {"name": "pc-q35-9.1", "alias": "q35", "cpu-max": 4096},
    {"name": "pc-q35-2.12", "deprecated": True, "cpu-max": 288},
)


def test_machines_keep_qemus_order_and_none_is_none() -> None:
    assert [one.name for one in OFFERED] == ["pc-q35-9.0", "pc-i440fx-9.0", "pc-q35-9.1", "pc-q35-2.12"]


def test_what_qemu_says_of_a_machine_is_kept() -> None:
    assert OFFERED[1] == Machine("pc-i440fx-9.0", "pc", 255, deprecated=False, default=True)
    assert OFFERED[3].deprecated


def test_a_machine_goes_by_its_name_and_its_alias() -> None:
    assert named(OFFERED, "q35") is named(OFFERED, "pc-q35-9.1") is OFFERED[2]
    assert named(OFFERED, "pc-q35-1.0") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("q35", ()),
        ("q53", ("machines: found 'q53', which /bin/qemu does not have; did you mean q35?",)),
        (
            "pc-q35-9.O",
            ("machines: found 'pc-q35-9.O', which /bin/qemu does not have; did you mean pc-q35-9.1 or pc-q35-9.0 or pc-q35-2.12?",),
        ),
        ("virt", ("machines: found 'virt', which /bin/qemu does not have; /bin/qemu -machine help lists what it has",)),
    ],
)
def test_a_name_that_no_machine_has_is_told_with_those_that_may_have_been_meant(name: str, said: tuple[str, ...]) -> None:
    assert misnamed(OFFERED, name, "/bin/qemu") == said


def test_an_alias_wins_over_a_name() -> None:
    offered = listed({"name": "virt"}, {"name": "virt-9.0", "alias": "virt"})
    found = named(offered, "virt")
    assert found is not None
    assert found.name == "virt-9.0"


def test_libvirt_takes_its_favourite_then_qemus_default_then_the_first() -> None:
    assert default(OFFERED, "x86_64", (11, 3)) is OFFERED[1]
    assert default(OFFERED, "sparc", (11, 3)) is OFFERED[1]
    assert default(OFFERED[2:], "sparc", (11, 3)) is OFFERED[2]
    assert default((), "x86_64", (11, 3)) is None


@pytest.mark.parametrize(
    ("arch", "profile", "machine"),
    [("aarch64", (9, 0), "integratorcp"), ("aarch64", (11, 3), "virt"), ("riscv64", (9, 0), "spike_v1.10"), ("avr", (11, 3), "")],
)
def test_older_libvirts_had_other_favourites(arch: str, profile: tuple[int, int], machine: str) -> None:
    assert preferred(arch, profile) == machine


def test_a_refused_list_is_empty() -> None:
    assert machines(b'{"error": {"class": "CommandNotFound", "desc": ""}}') == ()


@pytest.mark.parametrize(
    "entry", [{}, {"name": 5}, {"name": "x", "alias": None}, {"name": "x", "cpu-max": "9"}, {"name": "x", "cpu-max": -1}]
)
def test_a_machine_that_makes_no_sense_is_no_machine(entry: dict[str, object]) -> None:
    with pytest.raises((TypeError, KeyError)):
        listed(entry)

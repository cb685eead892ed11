"""The driver's section of the configuration."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from domcaps_exporter import SettingError, Settings
from domcaps_qemu import domcaps_drivers
from domcaps_qemu.settings import ARCHS, Wanted, wanted


def test_an_empty_section_is_the_default() -> None:
    assert wanted({}, "auto") == Wanted()


def test_everything_can_be_said() -> None:
    section: dict[str, object] = {
        "archs": ["x86_64", "aarch64"],
        "machines": ["q35", "pc"],
        "virttypes": ["kvm", "qemu"],
        "emulators": ["/opt/qemu/bin/qemu-system-x86_64"],
        "guest_user": "libvirt-qemu",
    }
    found = wanted(section, "11.3")
    assert found.archs == ("x86_64", "aarch64")
    assert found.machines == {"": ("q35", "pc")}
    assert (found.virttypes, found.guest_user) == (("kvm", "qemu"), "libvirt-qemu")
    assert (found.emulators, found.profile) == (("/opt/qemu/bin/qemu-system-x86_64",), (11, 3))


def test_machines_can_be_said_by_architecture() -> None:
    assert wanted({"machines": {"aarch64": ["virt"], "x86_64": ["all"]}}, "auto").machines == {
        "aarch64": ("virt",),
        "x86_64": ("all",),
    }


def test_all_architectures_are_all_that_qemu_has() -> None:
    assert wanted({"archs": ["all"]}, "auto").archs == tuple(ARCHS)


def test_what_is_said_twice_is_said_once() -> None:
    assert wanted({"archs": ["x86_64", "x86_64"]}, "auto").archs == ("x86_64",)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"arches": []}, "arches: no such key; allowed: archs, machines, virttypes, emulators, guest_user"),
        ({"archs": "x86_64"}, "archs: found 'x86_64', expected a list of names"),
        ({"archs": ["vax"]}, "archs: found 'vax', allowed are x86_64"),
        ({"archs": [1]}, "archs: found [1], expected a list of names"),
        ({"machines": {"vax": ["q35"]}}, "machines: found the architecture 'vax'"),
        ({"machines": {"x86_64": "q35"}}, "machines.x86_64: found 'q35', expected a list of names"),
        ({"machines": ["q35", "qemu+tcp://me:secret@host/"]}, "machines: found 'qemu+tcp://me@host/', expected a machine's name"),
        ({"machines": {"x86_64": ["a/b"]}}, "machines.x86_64: found 'a/b', expected a machine's name"),
        ({"guest_user": "qemu+tcp://me:secret@host/"}, "guest_user: found 'qemu+tcp://me@host/', expected a user's name"),
        ({"machines": 5}, "machines: found 5, expected a list of names"),
        ({"virttypes": ["xen"]}, "virttypes: found 'xen', allowed are kvm, qemu"),
        ({"emulators": ["qemu-kvm"]}, "emulators: found 'qemu-kvm', expected an absolute path"),
        ({"emulators": ["/a\0b"]}, "expected an absolute path"),
        ({"emulators": None}, "emulators: found nothing, expected a list of names"),
        ({"guest_user": 107}, "guest_user: found 107, expected a user's name"),
        ({"host_features": True}, "host_features: found true, expected 'all', or leave it out"),
        ({"machine_types": [True, {"a": None}]}, "machine_types: found [true, {'a': nothing}], expected true or false"),
        ({"guest_user": ["x" * 300]}, f"guest_user: found ['{'x' * 195}..., expected a user's name"),
        ({5: []}, "5: no such key"),
    ],
)
def test_what_means_nothing_is_refused_with_its_key(section: Mapping[str, object], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        wanted(section, "auto")
    assert message in str(caught.value)


def test_the_plugin_brings_one_driver_of_its_section() -> None:
    drivers = domcaps_drivers(Settings(drivers={"qemu": {"archs": ["s390x"]}}))
    assert [driver.name for driver in drivers] == ["qemu"]
    with pytest.raises(SettingError):
        domcaps_drivers(Settings(drivers={"qemu": {"archs": "s390x"}}))

"""The section `drivers: xen:` of the configuration."""

from __future__ import annotations

import pytest

from domcaps_exporter import SettingError
from domcaps_xen.settings import LOADERS, MACHINES, Wanted, wanted


def test_nothing_means_every_machine_and_what_libvirt_was_built_with() -> None:
    assert wanted({}) == Wanted(machines=MACHINES, loaders=LOADERS)


def test_everything_can_be_said() -> None:
    said = wanted(
        {
            "archs": ["x86_64", "i686"],
            "machines": ["xenfv"],
            "emulator": "/usr/lib/xen/bin/qemu-system-i386",
            "loaders": ["/usr/libexec/xen/boot/hvmloader"],
            "toolstack": "/opt/xen/",
            "device_model": "/opt/qemu",
        }
    )
    assert said == Wanted(
        archs=("x86_64", "i686"),
        machines=("xenfv",),
        emulator="/usr/lib/xen/bin/qemu-system-i386",
        loaders=("/usr/libexec/xen/boot/hvmloader",),
        toolstack="/opt/xen",
        device_model="/opt/qemu",
    )


def test_no_loaders_are_not_the_usual_ones() -> None:
    assert wanted({"loaders": []}).loaders == ()


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ({"machine": []}, "machine", "allowed: archs, machines"),
        ({"machines": ["pc"]}, "machines", "allowed are xenpv, xenpvh, xenfv"),
        ({"machines": "xenfv"}, "machines", "expected a list"),
        ({"archs": ["ia64"]}, "archs", "allowed are x86_64"),
        ({"loaders": ["hvmloader"]}, "loaders", "expected an absolute path"),
        ({"toolstack": 5}, "toolstack", "expected an absolute path"),
        ({"device_model": "/a\0b"}, "device_model", "expected an absolute path"),
        ({"emulator": ""}, "emulator", "expected an absolute path"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(section: dict[str, object], key: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        wanted(section)
    assert caught.value.key == key

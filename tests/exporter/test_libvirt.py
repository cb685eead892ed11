"""Which libvirt a host has."""

from __future__ import annotations

import pytest

from domcaps_exporter import Answer, Question, question
from domcaps_exporter.libvirt import installed, without_password
from domcaps_exporter.view import View


@pytest.mark.parametrize(
    ("arch", "folder"),
    [
        ("x86_64", "/usr/lib/x86_64-linux-gnu"),
        ("i686", "/usr/lib/i386-linux-gnu"),
        ("armv7l", "/usr/lib/arm-linux-gnueabihf"),
        ("ppc64le", "/usr/lib/powerpc64le-linux-gnu"),
        ("x86_64", "/usr/lib64"),
        ("x86_64", "/usr/lib"),
    ],
)
def test_a_libvirts_version_is_read_off_its_library_wherever_distributions_put_it(arch: str, folder: str) -> None:
    library: dict[Question, Answer] = {question("resolve", f"{folder}/libvirt.so.0"): f"{folder}/libvirt.so.0.11003.0".encode()}
    assert installed(View(library), arch) == (11, 3)


def test_without_a_library_there_is_none() -> None:
    assert installed(View({}), "x86_64") is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+ssh://me@host:22/system", "qemu+ssh://me@host:22/system"),
        ("qemu+ssh://me:secret@host:22/system", "qemu+ssh://me@host:22/system"),
        ("Esx://me:s@cr:t@host/?x=1", "Esx://me@host/?x=1"),
        ("test://:secret@[::1]:16509/", "test://@[::1]:16509/"),
        ("qemu+ssh://[::1]/system?keyfile=/a:b@c", "qemu+ssh://[::1]/system?keyfile=/a:b@c"),
    ],
)
def test_what_stands_in_a_passwords_place_is_not_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown

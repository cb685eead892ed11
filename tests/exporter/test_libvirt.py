"""Which libvirt a host has, and what its URIs may not have."""

from __future__ import annotations

import pytest

from domcaps_exporter import Answer, Question, question
from domcaps_exporter.libvirt import insist_on_no_password, installed, said
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


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+ssh://me@host:22/system", "qemu+ssh://[::1]/system?keyfile=/a:b@c"])
def test_a_uri_without_a_password_is_taken(uri: str) -> None:
    insist_on_no_password(uri)


@pytest.mark.parametrize("secret", ["secret", "s3/cret", "s3?cret", "s3#cret", "s@cr:t", "12/34"])
def test_a_password_in_a_uri_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^found a password in qemu\+tcp://me@host/system, expected none: .* auth\.conf$"):
        insist_on_no_password(f"qemu+tcp://me:{secret}@host/system")


def test_what_libvirt_says_in_several_lines_is_one_sentence() -> None:
    told = "error: failed to connect to the hypervisor\nerror: Failed to connect socket: \t No such file\n\n"
    assert said(told) == "failed to connect to the hypervisor: Failed to connect socket: No such file"
    assert said("\n") == ""

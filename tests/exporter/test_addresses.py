"""What of an address may be printed."""

from __future__ import annotations

from itertools import product

import pytest

from domcaps_exporter.addresses import without_password, without_passwords


@pytest.mark.parametrize(
    "address",
    [
        "qemu:///system",
        "qemu+ssh://me@host:22/system",
        "qemu+ssh://me@corp.example@host/system",
        "qemu+ssh://[::1]:22/system?keyfile=/a:b@c",
        "qemu+ssh://[::1]/system?keyfile=/a:b@c",
        "qemu+ssh://host:22/system?x=a@b",
        "xen+ssh://host:22?keyfile=/a@b",
        "qemu+ssh://host/a:b@c",
        "qemu+unix:///system?socket=/run/a:b@c",
        "test:///tmp/a:b@c.xml",
        "http://host:9100",
        "a:b@c",
        "",
    ],
)
def test_where_no_password_stands_nothing_is_hidden(address: str) -> None:
    assert without_password(address) == address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("qemu+ssh://me:secret@host:22/system", "qemu+ssh://me@host:22/system"),
        ("Esx://me:s@cr:t@host/?x=1", "Esx://me@host/?x=1"),
        ("test://:secret@[::1]:16509/", "test://@[::1]:16509/"),
        ("qemu+tcp://me:12/34@host/system", "qemu+tcp://me@host/system"),
        ("qemu+tcp://me@corp:s3/cret@host/system", "qemu+tcp://me@corp@host/system"),
        ("qemu+tcp:/me:secret@host/system", "qemu+tcp:/me@host/system"),
        ("qemu+tcp://me:my secret@host/system", "qemu+tcp://me@host/system"),
        ("qemu:///system,qemu+tcp://me:secret@host/system", "qemu:///system,qemu+tcp://me@host/system"),
    ],
)
def test_what_stands_in_a_passwords_place_is_hidden(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize("user", ["me", ""])
def test_a_password_is_hidden_whatever_stands_in_it(user: str) -> None:
    for length in (1, 2, 3, 4):
        for signs in product("a1/?#@:[", repeat=length):
            assert without_password(f"qemu+tcp://{user}:{''.join(signs)}@host/system") == f"qemu+tcp://{user}@host/system"


def test_of_a_message_only_the_word_with_the_password_is_changed() -> None:
    said = "found x+ssh://host:22/a and 'q+tcp://me:s3/cret@host/', expected one (you@example.org)"
    assert without_passwords(said) == "found x+ssh://host:22/a and 'q+tcp://me@host/', expected one (you@example.org)"

"""Whom a real libvirt makes of the user that qemu.conf names, against what we make of it."""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.live.libvirtd import lacking, private
from tests.plugins import standins

from domcaps_qemu.guests import built_with

RELEASE = Path("/etc/os-release")


@pytest.fixture
def emulator(needs: Callable[[str, object, str], None]) -> Iterator[Path]:
    """One in a folder where everybody may write, that notes as whom it is started."""
    needs("root", os.geteuid() == 0, "a system libvirt starts emulators as somebody else")
    needs(lacking() or "libvirtd", not lacking(), "it starts an emulator")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = folder / "qemu-system-x86_64"
        path.write_text(f'#!/bin/sh\nid -g >{folder}/gid; id -G >{folder}/gids\nexec {standins.real_qemu()} "$@"\n')
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("user", ["nobody", "mail"])
def test_a_user_without_a_group_is_in_its_own_groups_and_in_that_of_libvirts_build(
    emulator: Path, user: str, needs: Callable[[str, object, str], None]
) -> None:
    group = built_with(RELEASE.read_bytes())
    needs("a distribution whose libvirt is known", group, "its group is what is compared")
    with private(account=f'user = "{user}"\n') as libvirt:
        libvirt.domcapabilities(str(emulator))
    expected = grp.getgrnam(group).gr_gid
    assert int((emulator.parent / "gid").read_text()) == expected
    own = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    assert {*map(int, (emulator.parent / "gids").read_text().split())} == {expected, *own}

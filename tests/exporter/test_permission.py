"""May a user open a file? The kernel is the judge where it can be asked."""

import grp
import os
import pwd
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from domcaps_exporter.permission import Entry, may, person_named, read_acl

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may search, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def nobody() -> Iterator[None]:
    """This process, root's, as the user nobody with nobody's groups."""
    groups, group = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist("nobody", NOBODY.pw_gid))
    os.setegid(NOBODY.pw_gid)
    os.seteuid(NOBODY.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def disguised(path: Path, dice: random.Random) -> Path:
    """A file with an owner, a mode and perhaps an ACL that the dice choose."""
    path.touch()
    os.chown(path, dice.choice([0, NOBODY.pw_uid]), dice.choice([0, 5, NOBODY.pw_gid]))
    path.chmod(dice.randrange(0o1000))
    if dice.random() < 0.7:
        users = [(2, dice.randrange(8), uid) for uid in sorted(dice.sample([1, 2, NOBODY.pw_uid], dice.randrange(3)))]
        groups = [(8, dice.randrange(8), gid) for gid in sorted(dice.sample([5, 6, 7, NOBODY.pw_gid], dice.randrange(3)))]
        none = 0xFFFFFFFF
        ends = [(0x10, dice.randrange(8), none), (0x20, dice.randrange(8), none)]
        entries = [(1, dice.randrange(8), none), *users, (4, dice.randrange(8), none), *groups, *ends]
        os.setxattr(path, "system.posix_acl_access", acl(*entries))
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of other users")
def test_the_kernel_agrees_about_random_modes_owners_and_acls(open_folder: Path) -> None:
    dice = random.Random(7)  # noqa: S311
    try:
        files = [disguised(open_folder / str(number), dice) for number in range(300)]
    except OSError as error:
        pytest.skip(f"needs POSIX ACLs: {error}")
    modes = {"r": os.R_OK, "w": os.W_OK, "rw": os.R_OK | os.W_OK}
    with nobody():
        judged = [os.access(path, bits, effective_ids=True) for path in files for bits in modes.values()]
    assert [may(str(path), mode, "nobody") for path in files for mode in modes] == judged
    assert True in judged
    assert False in judged


def test_the_exporters_own_user_is_asked_of_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    assert may(str(file), "rw", "")


def test_root_may_read_and_write_whatever_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o000)
    assert may(str(file), "rw", "root")


@pytest.mark.parametrize("name", ["nobody", str(NOBODY.pw_uid), f"+{NOBODY.pw_uid}"])
def test_a_user_is_found_by_name_and_by_libvirts_numbers(name: str) -> None:
    assert person_named(name).uid == NOBODY.pw_uid
    assert NOBODY.pw_gid in person_named(name).gids


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file of another group")
def test_a_group_that_a_user_is_put_into_counts(open_folder: Path) -> None:
    group, file = grp.getgrnam("daemon"), open_folder / "file"
    file.touch(0o660)
    os.chown(file, 0, group.gr_gid)
    file.chmod(0o660)
    assert not may(str(file), "rw", "nobody")
    assert [may(str(file), "rw", "nobody", name) for name in ("daemon", str(group.gr_gid), f"+{group.gr_gid}")] == [True] * 3
    with pytest.raises(ValueError, match="there is no group"):
        may(str(file), "rw", "nobody", "no-such-group")


@pytest.mark.parametrize("name", ["nobody-of-that-name", "4000000000", "99999999999999999999"])
def test_an_unknown_user_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="there is no user"):
        may(str(tmp_path), "r", name)


def test_a_user_that_is_misspelt_is_told_who_may_have_been_meant() -> None:
    with pytest.raises(ValueError, match=r"there is no user 'nobodyy' \(did you mean .*nobody"):
        person_named("nobodyy")


def test_an_acl_is_read_from_the_kernels_form() -> None:
    assert read_acl(acl((1, 6, 0), (2, 4, 107))) == (Entry(1, 6, 0), Entry(2, 4, 107))


@pytest.mark.parametrize("data", [b"", b"\2\0\0", b"\3\0\0\0", acl((1, 6, 0))[:-1]])
def test_an_acl_of_another_form_is_no_guess(data: bytes) -> None:
    with pytest.raises(ValueError, match="not known"):
        read_acl(data)

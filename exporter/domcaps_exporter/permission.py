"""May a user open a file? Mode bits, groups and POSIX ACLs, as the kernel weighs them; reads what it needs, opens nothing.

Limits: the search permission of the folders above, read-only mounts and security modules are not looked at, except for the
exporter's own user, for whom the kernel itself is asked. ACLs are looked at on Linux only. Users and groups are those of the
exporter's own system.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import NamedTuple

_BITS = {"r": 4, "w": 2, "rw": 6}
_ACL = "system.posix_acl_access"
_USERS = "/etc/passwd"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


class Entry(NamedTuple):
    """One line of an ACL: its tag (see acl(5)), its permission bits, and whose it is, for a named user or group."""

    tag: int
    bits: int
    owner: int


@dataclass(frozen=True)
class Person:
    """A user. `own` are the groups that are known without asking: the primary one, and the one they are put into."""

    uid: int
    name: str
    own: frozenset[int]

    @cached_property
    def gids(self) -> frozenset[int]:
        """All their groups. To ask for them takes ten times as long as all else: every service of nsswitch.conf is asked."""
        return self.own.union(os.getgrouplist(self.name, next(iter(self.own))))


def may(path: str, mode: str, user: str, group: str = "") -> bool:
    """May `user` open `path` for `mode` (`r`, `w` or `rw`)? An empty user is the exporter's own, with the rights it has now.

    `group` is one that the user is put into besides its own.

    Raises:
        OSError: the file is not there or cannot be looked at.
        ValueError: no such mode, user or group.
    """
    if mode not in _BITS:
        raise ValueError(f"the mode is r, w or rw, not {mode!r}")
    found = os.stat(path)
    if not user:
        return os.access(path, _BITS[mode], effective_ids=True)
    person = person_named(user, group)
    return person.uid == 0 or _granted(_entries(path, found), found, person, _BITS[mode])


def person_named(user: str, group: str = "") -> Person:
    """A user by name, or by number as libvirt's qemu.conf writes it (`64055`, `+64055`), in a group besides its own.

    Raises:
        ValueError: there is no such user or group.
    """
    try:
        record = pwd.getpwuid(int(user)) if user.removeprefix("+").isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError) as error:
        raise ValueError(f"there is no user {user!r}{_near(user)}") from error
    more = {_group_named(group)} if group else frozenset()
    return Person(record.pw_uid, record.pw_name, frozenset({record.pw_gid}) | more)


def _group_named(group: str) -> int:
    if group.removeprefix("+").isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ValueError(f"there is no group {group!r}") from error


def _near(user: str) -> str:
    """Those of the file with a similar name; a directory of users (LDAP) may be too long to be looked through."""
    try:
        near = _similar(user, os.stat(_USERS).st_mtime_ns)
    except OSError:
        near = []
    return f" (did you mean {' or '.join(near)}?)" if near else ""


@lru_cache(maxsize=16)
def _similar(user: str, _version: int) -> list[str]:
    with open(_USERS, encoding="utf-8", errors="replace") as file:
        return get_close_matches(user, [entry.partition(":")[0] for entry in file], 3)


def read_acl(data: bytes) -> tuple[Entry, ...]:
    """The kernel's form of an ACL: a version (2), then tag, permissions and id of each entry, little-endian.

    Raises:
        ValueError: it is none.
    """
    if len(data) < 4 or len(data) % 8 != 4 or struct.unpack_from("<I", data)[0] != 2:
        raise ValueError("the file's ACL has a form that is not known here")
    return tuple(Entry(*fields) for fields in struct.iter_unpack("<HHI", data[4:]))


def _entries(path: str, found: os.stat_result) -> tuple[Entry, ...]:
    """The file's ACL, or its mode in the form of one. Linux ignores an ACL whose mask (the mode's group bits) is empty."""
    acl = _acl(path) if found.st_mode & stat.S_IRWXG else None
    if acl is not None:
        return read_acl(acl)
    owner, group, other = found.st_mode >> 6 & 7, found.st_mode >> 3 & 7, found.st_mode & 7
    return Entry(_USER_OBJ, owner, 0), Entry(_GROUP_OBJ, group, 0), Entry(_OTHER, other, 0)


def _acl(path: str) -> bytes | None:
    """The file's ACL as Linux keeps it; None where it has none, or the system is another."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return os.getxattr(path, _ACL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise


def _granted(acl: tuple[Entry, ...], found: os.stat_result, person: Person, wanted: int) -> bool:
    """The first class that the person is in decides: owner, named users, any of the groups, others."""
    mask = next((entry.bits for entry in acl if entry.tag == _MASK), 7)
    if person.uid == found.st_uid:
        return _allows(_of(acl, _USER_OBJ), wanted)
    named = [entry.bits & mask for entry in acl if entry.tag == _USER and entry.owner == person.uid]
    if named:
        return _allows(named, wanted)
    groups = [(_group_of(entry, found), _allows([entry.bits & mask], wanted)) for entry in acl if entry.tag in (_GROUP_OBJ, _GROUP)]
    others = _allows(_of(acl, _OTHER), wanted)
    if all(granted is others for _, granted in groups):
        return others  # whatever they are in
    if any(granted and gid in person.own for gid, granted in groups):
        return True
    mine = [granted for gid, granted in groups if gid in person.gids]
    return any(mine) if mine else others


def _group_of(entry: Entry, found: os.stat_result) -> int:
    return found.st_gid if entry.tag == _GROUP_OBJ else entry.owner


def _of(acl: tuple[Entry, ...], tag: int) -> list[int]:
    return [entry.bits for entry in acl if entry.tag == tag]


def _allows(granted: list[int], wanted: int) -> bool:
    return any(bits & wanted == wanted for bits in granted)

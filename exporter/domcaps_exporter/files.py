"""The questions about a host's files: read, list, exists, stat, resolve, access. Never opens what is not a regular file.

Every method answers in bytes or raises OSError or ValueError, whose meaning `RealHost` decides.
"""

from __future__ import annotations

import errno
import os
import stat

from domcaps_exporter.permission import may
from domcaps_exporter.rootfs import Paths

LIMIT = 4 * 1024 * 1024
"""The largest answer, in bytes."""


def head(path: str, size: int) -> bytes:
    """At most the first `size` bytes of a regular file.

    What is not regular is refused before it is opened (opening a watchdog's device arms it), and once more after it, should it
    have been exchanged meanwhile; O_NONBLOCK keeps a FIFO from waiting for its writer even then.
    """
    _insist_on_regular(os.stat(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _insist_on_regular(os.fstat(descriptor))
        parts = []
        while size > 0 and (part := os.read(descriptor, min(size, 65536))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _insist_on_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"a {_kind(status)}, not a regular file")


def _kind(status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "device" if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else "other"


class Files:
    """The files of one host, wherever its root is mounted."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def read(self, path: str) -> bytes:
        """All its bytes."""
        data = head(self._paths.real(path), LIMIT + 1)
        if len(data) > LIMIT:
            raise OSError(errno.EFBIG, f"over {LIMIT} bytes")
        return data

    def entries(self, path: str) -> bytes:
        """A directory's names, sorted by their bytes, joined by NUL."""
        return b"\0".join(sorted(os.listdir(os.fsencode(self._paths.real(path)))))

    def exists(self, path: str) -> bytes:
        """`file`, `directory`, `device` or `other`."""
        return _kind(os.stat(self._paths.real(path))).encode()

    def stat(self, path: str) -> bytes:
        """What changes when the file does, blank-separated: type, device, inode, size, mtime, ctime, mode, owner, device number.

        procfs and sysfs make up inodes, sizes and times whenever the kernel needs the memory, so `-` stands in their place there.
        """
        found = os.stat(self._paths.real(path))
        made_up = path.startswith(("/proc/", "/sys/"))
        moving = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        shown = ("-",) * len(moving) if made_up else moving
        owner = f"{found.st_uid}:{found.st_gid}"
        return " ".join(map(str, (_kind(found), found.st_dev, *shown, oct(found.st_mode), owner, found.st_rdev))).encode()

    def resolve(self, path: str) -> bytes:
        """The path without symbolic links, as the host names it."""
        return os.fsencode(self._paths.resolved(path))

    def access(self, path: str, mode: str, user: str, group: str = "") -> bytes:
        """`yes` or `no`: see `permission.may`."""
        return b"yes" if may(self._paths.real(path), mode, user, group) else b"no"

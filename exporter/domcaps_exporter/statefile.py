"""The state file: read, replaced as a whole, set aside where it is damaged. It acts on files, and decides nothing.

After a crash at any moment the file is the old one or the new one. Who replaces it keeps its owner and its mode, so that root can
`forget` in the file of an exporter that is not root's. Who may write it holds a lock on the empty file beside it, `….lock`, which
only its owner can open (whoever can open a file, or a folder, can lock it). That one stays: a lock on what goes away is none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from domcaps_exporter.memoir import Damaged, Memory, decode, encode
from domcaps_exporter.past import Past

LIMIT = 16 << 20
"""Bytes."""

_Stamp: TypeAlias = tuple[int, ...] | None
"""What changes when a file is replaced; None where there is none."""


class StateFile:
    """One exporter's, of `limit` bytes at most. Its folder must be there; it need not be."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path, self._limit = path.resolve(), limit
        self._stamp: _Stamp = None

    def moved(self) -> bool:
        """Has somebody else put another file here since it was last read or written?"""
        with suppress(OSError):
            return self._looked() not in (None, self._stamp)
        return False

    def vanished(self) -> bool:
        """Has it been taken away since?"""
        with suppress(OSError):
            return self._stamp is not None and self._looked() is None
        return False

    def read(self) -> dict[str, Past]:
        """What it says; nothing where there is no file.

        Raises:
            Damaged: it is no state file.
            OSError: it cannot be read.
        """
        stamp = self._looked()
        if stamp is None:
            self._stamp = None
            return {}
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(self.path))
        with self.path.open("rb") as file:
            data = file.read(self._limit + 1)
        self._stamp = stamp  # not before: what could not be read is still to be read, and not to be written over
        if len(data) > self._limit:
            raise Damaged(f"is larger than {self._limit} bytes")
        return decode(data)

    def existing(self) -> dict[str, Past]:
        """What it says.

        Raises:
            Damaged: it is no state file.
            OSError: there is none, or it cannot be read.
        """
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        return self.read()

    def write(self, memory: Memory) -> None:
        """Replace it.

        Raises:
            OSError: it cannot be written, or would be too large.
        """
        data = encode(memory)
        if len(data) > self._limit:
            raise OSError(errno.EFBIG, f"it would be larger than {self._limit} bytes", str(self.path))
        new = self._beside("new")
        try:
            self._write(new, data)
            new.replace(self.path)
            self._stamp = self._looked()
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
        self._flush_folder()

    def set_aside(self) -> Path:
        """Give it another name, under which a person may look at it.

        Raises:
            OSError: it keeps its name.
        """
        aside = self._beside(f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        self.path.rename(aside)
        self._stamp = None
        return aside

    @contextmanager
    def locked(self, patience: float = 0.0) -> Generator[None]:
        """Keep everybody else from replacing it; readers need no lock. Waits so many seconds for who has it now.

        Raises:
            BlockingIOError: somebody else still has it.
            OSError: there is no folder for it, or this user may not write there.
        """
        until = time.monotonic() + patience
        lock = self._lock()
        try:
            while not _locks(lock):
                if time.monotonic() >= until:
                    raise BlockingIOError(errno.EAGAIN, "another process has its lock", str(self.path))
                time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _lock(self) -> int:
        """Open for writing, which NFS wants of who locks."""
        path = self._beside("lock")
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with suppress(FileExistsError):
            return self._made(path)
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # somebody else was quicker

    def _made(self, path: Path) -> int:
        """An empty file that was not there before, with the owner of the state file: no link that somebody has laid out there."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._give_to_its_owner(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _give_to_its_owner(self, descriptor: int) -> None:
        with suppress(FileNotFoundError):
            old, new = self.path.stat(), os.fstat(descriptor)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)

    def _write(self, new: Path, data: bytes) -> None:
        with suppress(FileNotFoundError):
            new.unlink()  # of who died while writing
        descriptor = self._made(new)
        with open(descriptor, "wb") as file:  # noqa: PTH123  it is open already
            with suppress(FileNotFoundError):
                os.fchmod(descriptor, stat.S_IMODE(self.path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)

    def _flush_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _looked(self) -> _Stamp:
        try:
            found = os.stat(self.path)  # noqa: PTH116  every scrape does
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _locks(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False

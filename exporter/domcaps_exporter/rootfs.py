"""Where the host's files are when the exporter does not stand at the host's root. Reads symbolic links only.

In a container the host's root is mounted somewhere else, and so are its /proc and /sys. A host's absolute symbolic link
(`/usr/share/OVMF -> /usr/share/ovmf`) then means a place below that mount, so paths are followed here, name by name.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

_LINKS = 40
"""How many symbolic links one path may take, as in Linux."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The three mounts. Host paths below /proc and /sys are looked for in `procfs` and `sysfs`, all others in `rootfs`."""

    rootfs: str = "/"
    procfs: str = "/proc"
    sysfs: str = "/sys"

    def real(self, path: str) -> str:
        """Where the host's `path` is for this process, its symbolic links followed within the host.

        Raises:
            OSError: it is not there, cannot be followed, or is a loop of links (ELOOP).
            ValueError: it is not absolute.
        """
        if (self.rootfs, self.procfs, self.sysfs) == ("/", "/proc", "/sys") and path.startswith("/"):
            return path  # the kernel follows the links itself
        return self._placed(self.resolved(path))

    def resolved(self, path: str) -> str:
        """The host's `path` without symbolic links, still as the host names it. Raises as `real` does."""
        if not path.startswith("/"):
            raise ValueError("not an absolute path")
        todo = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                done = done[:-1]
            if name in ("", ".", ".."):
                continue
            target = self._link([*done, name])
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            done = [] if target.startswith("/") else done
            todo += target.split("/")[::-1]
        return "/" + "/".join(done)

    def _link(self, names: list[str]) -> str | None:
        try:
            return os.readlink(self._placed("/" + "/".join(names)))
        except OSError as error:
            if error.errno == errno.EINVAL:  # there, and no link
                return None
            raise

    def _placed(self, path: str) -> str:
        for mount, place in (("/proc", self.procfs), ("/sys", self.sysfs)):
            if path == mount or path.startswith(mount + "/"):
                return place + path[len(mount) :]
        return self.rootfs + path

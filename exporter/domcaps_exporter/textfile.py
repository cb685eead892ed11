"""The exposition as a file for node_exporter's textfile collector: the new one or the old one, never half. Writes files."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

_MODE = 0o644
"""Readable by node_exporter, which runs as another user."""
_LOG = logging.getLogger(__name__)


def check(path: Path) -> None:
    """Before the host is asked.

    Raises:
        ValueError: a stream or a device is meant, in whose place no file can be put.
    """
    names_a_stream = str(path.parent.resolve()) in ("/dev", "/dev/fd", f"/proc/{os.getpid()}/fd")  # which may be a file just now
    if str(path) == "-" or names_a_stream or (path.exists() and not path.is_file() and not path.is_dir()):
        raise ValueError(f"found {str(path)!r}; expected a file, such as domcaps.prom; `show --format=metrics` writes to stdout")


def write(path: Path, exposition: bytes) -> None:
    """Put it in the place of `path`. Until then it has a name that the collector, which reads `*.prom`, passes over;
    where it has afterwards as well, that is a warning.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    if path.is_dir():
        raise IsADirectoryError(21, "a file was expected, not a folder", str(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(exposition)
            stream.flush()
            os.fchmod(stream.fileno(), _MODE)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    if path.suffix != ".prom":
        _LOG.warning("node_exporter reads *.prom only", extra={"fields": {"file": path}})

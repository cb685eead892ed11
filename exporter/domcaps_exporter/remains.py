"""What running somebody's code does besides what it returns: processes, threads and files that stay, and Python's audit events."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_SETTLING = 1.0
"""Seconds in which what was told to end may do so."""

_OPENS = ("open", "os.", "subprocess.", "socket.", "shutil.", "glob.", "tempfile.", "urllib.")
"""What audit events begin with that a pure function does not cause."""


@contextmanager
def left_behind() -> Generator[list[str]]:
    """The processes, threads and open files that are there after the block and were not before: filled as the block ends."""
    before, remains = _belongings(), list[str]()
    yield remains
    until = time.monotonic() + _SETTLING
    while (left := _belongings() - before) and time.monotonic() < until:
        time.sleep(0.02)
    remains += sorted(left)


def _belongings() -> frozenset[str]:
    """This process' children, threads and open files, as far as the system tells them (Linux' /proc; elsewhere threads only)."""
    threads = (f"the thread {thread.name}" for thread in threading.enumerate() if not thread.name.startswith("probe-"))
    return frozenset((*threads, *_children(), *_open_files()))


def _children() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = entry.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid():
            yield f"the process {entry.parent.name} ({name.partition('(')[2]})"


def _open_files() -> Iterator[str]:
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            yield f"the open file {entry.name} ({entry.readlink()})"
        except OSError:
            continue


@contextmanager
def overheard() -> Generator[set[str]]:
    """What this thread does to the world in the block, as audit events."""
    with _ear().listening() as heard:
        yield heard


class _Ear:
    """Hears what Python's audit events tell of one thread, while it listens. A hook cannot be taken away: there is one."""

    def __init__(self) -> None:
        self._thread = 0
        self._heard: set[str] = set()
        sys.addaudithook(self._hear)

    @contextmanager
    def listening(self) -> Generator[set[str]]:
        self._heard, self._thread = set(), threading.get_ident()
        try:
            yield self._heard
        finally:
            self._thread = 0

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if self._thread and event.startswith(_OPENS) and threading.get_ident() == self._thread:
            self._heard.add(" ".join((event, *(str(arg) for arg in args[:1]))))


@cache
def _ear() -> _Ear:
    return _Ear()

"""What the tests of the QEMU driver put around it: emulators of their own, and a host that says what it was asked."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import ABSENT, Answer, Child, Question, question

_PROGRAM = Path(__file__).parents[1] / "tools" / "qemu.py"

SCRAPE = 9.5
"""Seconds that a Prometheus which was told nothing else waits for an answer, less what the web server keeps for itself."""


def real_qemu() -> str:
    """The QEMU for x86 that is installed, or a skip."""
    found = shutil.which("qemu-system-x86_64")
    if found is None:
        pytest.skip("needs qemu-system-x86_64: it is asked for real")
    return found


def emulator(folder: Path, behaviour: str) -> str:
    """A program by a QEMU's name that behaves like this."""
    return _script(folder, f'REAL={shutil.which("qemu-system-x86_64")} exec {sys.executable} -I -S {_PROGRAM} {behaviour} "$@"')


def moody(folder: Path, behaviour: str, mood: Path) -> str:
    """One that behaves like this while `mood` is there, and is the real QEMU otherwise: the same file all the time."""
    misbehaving = f'exec {sys.executable} -I -S {_PROGRAM} {behaviour} "$@"'
    return _script(folder, f'[ ! -e {mood} ] || {misbehaving}\nexec {shutil.which("qemu-system-x86_64")} "$@"')


def wrapper(folder: Path, real: str, note: str = "", more: str = "") -> str:
    """A shell script that becomes the real QEMU, as on Debian's for i386; another note makes another file. `more`: arguments."""
    return _script(folder, f'# {note}\nexec {real} "$@" {more}')


def _script(folder: Path, body: str) -> str:
    folder.mkdir(exist_ok=True)
    new, path = folder / "new", folder / "qemu-system-x86_64"
    new.write_text(f"#!/bin/sh\n{body}\n")
    new.chmod(0o755)
    new.rename(path)
    return str(path)


class Watched(RealHost):
    """A real host that keeps what it was asked and what it launched, and that can be told to answer otherwise."""

    def __init__(self, deadline: float, paths: Paths, store: Store, otherwise: Mapping[Question, Answer]) -> None:
        super().__init__(deadline, paths, store)
        self.asked: list[Question] = []
        self.launched: list[str] = []
        self._otherwise = otherwise

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return self._otherwise[question] if question in self._otherwise else super().ask(question)

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        self.launched.append(argv[0])
        return super().launch(argv, pass_fds)


class Hosts:
    """The same host, probe after probe. It has no emulator in PATH: a driver finds those that it is given."""

    def __init__(self, paths: Paths | None = None) -> None:
        self.paths = paths or Paths()
        self.otherwise: dict[Question, Answer] = {question("which", f"qemu-system-{platform.machine()}"): ABSENT}
        self._store = Store()

    def __call__(self, seconds: float = 30) -> Watched:
        return Watched(time.monotonic() + seconds, self.paths, self._store, self.otherwise)


def left_behind(marker: str) -> list[str]:
    """Command lines of processes that still run and say this word, or that are this process's children."""
    others = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit() and folder.name != str(os.getpid())]
    return [f"{process.name} {_read(process / 'cmdline')}" for process in others if _is_ours(process, marker)]


def _is_ours(process: Path, marker: str) -> bool:
    stat = _read(process / "stat").rpartition(")")[2].split()
    return bool(stat) and (marker in _read(process / "cmdline") or int(stat[1]) == os.getpid())


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""

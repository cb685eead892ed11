"""Stands in for a QEMU that misbehaves: `qemu.py BEHAVIOUR ARGV…`, where ARGV is what the probe gave QEMU. Run, never imported.

REAL names the QEMU behind those behaviours that end well.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 9}}, "capabilities": []}}\n'
AGREED = b'{"return": {}}\n'
EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RTC_CHANGE"}\n'
BUSY = b'{"error": {"class": "GenericError", "desc": "SEV: Failed to get PDH cert ret=-16"}}\n'
REAL = os.environ.get("REAL", "/usr/bin/qemu-system-x86_64")


def monitor(argv: Sequence[str]) -> socket.socket:
    """The inherited socket."""
    return socket.socket(fileno=int(re.findall(r"fd=(\d+)", " ".join(argv))[0]))


def says(*parts: bytes) -> Callable[[Sequence[str]], None]:
    """Says this, and then nothing more."""

    def behave(argv: Sequence[str]) -> None:
        stream = monitor(argv)
        for part in parts:
            stream.sendall(part)
        time.sleep(1000)

    return behave


def senseless(argv: Sequence[str]) -> None:
    """Answers everything with 5."""
    stream = monitor(argv)
    stream.sendall(GREETING + AGREED)
    for line in stream.makefile("rb"):
        if json.loads(line)["execute"] != "qmp_capabilities":
            stream.sendall(b'{"return": 5}\n')


def half_and_gone(argv: Sequence[str]) -> None:
    monitor(argv).sendall(GREETING + AGREED + b'{"return": [{"na')


def floods(part: bytes) -> Callable[[Sequence[str]], None]:
    def behave(argv: Sequence[str]) -> None:
        stream = monitor(argv)
        stream.sendall(GREETING + AGREED)
        while True:
            stream.sendall(part * 4096)

    return behave


def gone(_: Sequence[str]) -> None:
    sys.exit("qemu: no such accelerator")


def late(argv: Sequence[str]) -> None:
    time.sleep(0.3)
    os.execv(REAL, [REAL, *argv])  # noqa: S606


@contextmanager
def between(argv: Sequence[str]) -> Iterator[tuple[IO[bytes], socket.socket, socket.socket]]:
    """What the real one says, the socket on which it is asked, and that of who asks."""
    ours, theirs = socket.socketpair()
    relayed = [re.sub(r"fd=\d+", f"fd={theirs.fileno()}", word) for word in argv]
    with subprocess.Popen([REAL, *relayed], pass_fds=[theirs.fileno()]), theirs, ours.makefile("rb") as told:
        yield told, ours, monitor(argv)


def eventful(argv: Sequence[str]) -> None:
    """The real one, with an event before everything it says."""
    with between(argv) as (told, ours, stream):
        pass_on(told, ours, stream)


def pass_on(told: IO[bytes], ours: socket.socket, stream: socket.socket) -> None:
    stream.sendall(told.readline())
    for line in stream.makefile("rb"):
        ours.sendall(line)
        while not (reply := told.readline()).startswith((b'{"return"', b'{"error"')):
            stream.sendall(reply)
        stream.sendall(EVENT + reply + EVENT)


def answering(wrong: bytes, asked: str) -> Callable[[Sequence[str]], None]:
    """The real one, but for this answer to this question."""

    def behave(argv: Sequence[str]) -> None:
        with between(argv) as (told, ours, stream):
            stream.sendall(told.readline())
            for line in stream.makefile("rb"):
                ours.sendall(line)
                reply = told.readline()
                stream.sendall(wrong if json.loads(line)["execute"] == asked else reply)

    return behave


def changing(argv: Sequence[str]) -> None:
    """The real one up to its list of machines; then it is killed."""
    stream = monitor(argv)
    stream.sendall(GREETING + AGREED)
    for line in stream.makefile("rb"):
        if json.loads(line)["execute"] == "query-machines":
            os.kill(os.getpid(), 9)
        stream.sendall(AGREED)


LISTS = ("qom-list-types", "query-machines", "query-qmp-schema", "query-command-line-options")

BEHAVIOURS: dict[str, Callable[[Sequence[str]], None]] = {
    "never-answers": says(),
    "garbage": says(b"I am no QEMU\n"),
    "greets-only": says(GREETING),
    "half": says(GREETING, AGREED, b'{"return": [{"na'),
    "half-and-gone": half_and_gone,
    "endless-line": floods(b"x"),
    "endless-events": floods(EVENT),
    "senseless": senseless,
    "gone": gone,
    "refuses-capabilities": says(GREETING, b'{"error": {"class": "CommandNotFound", "desc": "no"}}\n'),
    "killed": changing,
    "late": late,
    "busy": answering(BUSY, "query-sev-capabilities"),  # the processor's firmware has no time for it just now
    **{f"fails {asked}": answering(BUSY, asked) for asked in LISTS},
    **{f"lists nothing, {asked}": answering(b'{"return": []}\n', asked) for asked in LISTS},
    "eventful": eventful,
}

if __name__ == "__main__":
    BEHAVIOURS[sys.argv[1]](sys.argv[2:])

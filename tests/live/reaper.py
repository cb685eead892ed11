"""Runs a program as the parent of all that it leaves behind: reaps that at once, and ends it when the program is over.

libvirt starts QEMU as a daemon, and waits until the process it ended is gone from the process table. Who inherits it must reap it
at once, and not every container's first process does. Usage: python reaper.py PROGRAM [ARGUMENT]...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 10
"""Seconds that the program has to end when it is told to."""


def main(argv: list[str]) -> int:
    """Run it to its end; its exit code, or minus the signal that ended it. SIGTERM is handed on to it, after a while as SIGKILL."""
    _inherit_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    program = os.posix_spawnp(argv[0], argv, os.environ, setsigmask=[])
    signal.signal(signal.SIGTERM, lambda *_: _end(program))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(program, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ended, status = os.wait()
    while ended != program:
        ended, status = os.wait()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})
    _end_orphans()
    return os.waitstatus_to_exitcode(status)


def _inherit_orphans() -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(program: int) -> None:
    os.kill(program, signal.SIGTERM)
    signal.alarm(_GRACE)


def _end_orphans() -> None:
    """One after the other: ending one may hand its own children on to us."""
    while orphans := Path("/proc/thread-self/children").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(orphans[0]), signal.SIGKILL)
        os.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

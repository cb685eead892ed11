"""The programs that probes start: each in a session of its own, killed with its whole group, and always reaped.

A child ends with the `with` block, with the deadline, and with the exporter. What leaves its session (a daemon) is out of reach.
The thread that starts a child must outlive it, because the kernel's parent-death signal follows the thread. The timer that kills at
the deadline is a thread as well: a driver that hangs in its own code would else keep its emulator.
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from domcaps_exporter.errors import ProbeRefused, ProbeTimeout
from domcaps_exporter.files import LIMIT
from domcaps_exporter.model import Answer, Refusal

_LOG = logging.getLogger(__name__)
_TAIL = 2048
_PR_SET_PDEATHSIG = 1


class Program:
    """A child that runs, or has ended and is not reaped yet. `pid` is its group's and its session's as well."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: int) -> None:
        self.process, self.stderr = process, stderr
        self._said = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exe(self) -> str:
        """The file that really runs now; empty if it cannot be read."""
        try:
            return str(Path(f"/proc/{self.pid}/exe").readlink())
        except OSError:
            return ""

    @property
    def said(self) -> str:
        """The last 2 KiB that were heard of it."""
        return self._said.decode("utf-8", "replace").strip()

    def listen(self) -> bool:
        """Hear what it has written to stderr, without waiting; False once that is closed.

        While nobody listens to a launched program the pipe keeps the first 64 KiB; what it writes beyond fails for it.
        """
        try:
            while part := os.read(self.stderr, 65536):
                self._said = (self._said + part)[-_TAIL:]
        except BlockingIOError:
            return True
        return False

    def ended(self) -> bool:
        """Is it over? It stays unreaped, so that its group is still its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def kill(self) -> None:
        """End it and its whole group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@contextmanager
def launched(argv: tuple[str, ...], pass_fds: tuple[int, ...], deadline: float) -> Generator[Program]:
    """A program that runs beside the `with` block, without stdin and stdout. An exception that leaves the block notes what it said.

    Raises:
        ProbeRefused: it cannot be started.
        ProbeTimeout: the block failed after the deadline, when the program had been killed.
    """
    try:
        program = _started(argv, subprocess.DEVNULL, pass_fds, heard=False)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ProbeRefused(f"{argv[0] if argv else 'nothing'} cannot be started: {error}") from error
    with _reaped(program), _killed_at(deadline, program):
        try:
            yield program
        except Exception as error:
            if time.monotonic() >= deadline:
                raise ProbeTimeout(f"{argv[0]} had to be ended at the deadline") from error
            program.listen()
            error.add_note(f"{argv[0]} said: {program.said or 'nothing'}")
            raise


def run(argv: tuple[str, ...], deadline: float, limit: int = LIMIT) -> Answer:
    """What a program writes to stdout, or a refusal that says how it failed.

    Raises:
        OSError, ValueError: it cannot be started.
        ProbeTimeout: it took longer than the deadline.
    """
    stdout, its_stdout = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(stdout, "rb", buffering=0):
        try:
            program = _started(argv, its_stdout, (), heard=True)
        finally:
            os.close(its_stdout)
        with _reaped(program):
            output = _output(program, stdout, deadline, limit)
            if len(output) > limit:
                return Refusal("error", f"over {limit} bytes of output")
            _await_end(program, deadline)
    status = program.process.returncode
    return output if status == 0 else Refusal("error", _epitaph(status, program.said))


def _epitaph(status: int, said: str) -> str:
    how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    return f"{how}: {said}" if said else how


def _started(argv: tuple[str, ...], stdout: int, pass_fds: tuple[int, ...], heard: bool) -> Program:
    """`heard`: somebody listens to its stderr all the time, so it may wait until there is room."""
    if not argv:
        raise ValueError("no program is named")
    stderr, its_stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(its_stderr, heard)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=its_stderr,
            pass_fds=pass_fds,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=_tied_to_parent(),
        )
    except BaseException:
        os.close(stderr)
        raise
    finally:
        os.close(its_stderr)
    return Program(process, stderr)


def _tied_to_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the program: it asks the kernel to be killed when its parent dies.

    Only the child itself can ask this, hence `preexec_fn`, between fork and exec. It is sound here because everything was looked up
    before the fork: the child imports nothing, logs nothing and takes no lock of another thread. A parent that died before the
    request was made is noticed by the child's having another one.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
    parent, getppid, leave = os.getpid(), os.getppid, os._exit

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, 9)
        if getppid() != parent:
            leave(1)

    return arm


@contextmanager
def _reaped(program: Program) -> Generator[None]:
    try:
        with program.process:  # closes stdout, and waits
            try:
                yield
            finally:
                program.kill()
        program.listen()
        _LOG.debug("%s (process %d) is over, and said: %s", program.process.args, program.pid, program.said or "nothing")
    finally:
        os.close(program.stderr)


@contextmanager
def _killed_at(deadline: float, program: Program) -> Generator[None]:
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), program.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it must not kill a process id that was given away again


def _output(program: Program, stdout: int, deadline: float, limit: int) -> bytes:
    """What comes up to the end of stdout, or a little more than the limit."""
    output = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(stdout, selectors.EVENT_READ)
        ready.register(program.stderr, selectors.EVENT_READ)
        while len(output) <= limit:
            for key, _ in ready.select(_left(program, deadline)):
                if key.fd == program.stderr:
                    if not program.listen():
                        ready.unregister(program.stderr)
                elif part := os.read(stdout, 65536):
                    output += part
                else:
                    return bytes(output)
    return bytes(output)


def _await_end(program: Program, deadline: float) -> None:
    pause = 0.0005
    while not program.ended():
        time.sleep(min(pause, _left(program, deadline)))
        pause = min(2 * pause, 0.05)


def _left(program: Program, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ProbeTimeout(f"{program.process.args!r} had not finished at the deadline")
    return left

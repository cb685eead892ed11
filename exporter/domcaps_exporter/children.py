"""The programs that probes start: each in a session of its own, killed with its whole group, and always reaped.

A child ends with the `with` block, with the deadline, and with the exporter. What leaves its session (a daemon) is out of reach.
The thread that starts a child must outlive it, because the kernel's parent-death signal follows the thread. The timer that kills at
the deadline is a thread as well: a driver that hangs in its own code would else keep its emulator.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from domcaps_exporter.errors import ProbeRefused, ProbeTimeout
from domcaps_exporter.files import LIMIT
from domcaps_exporter.model import Answer, Refusal

_LOG = logging.getLogger(__name__)
_TAIL = 2048
_LONG_TAIL = 65536
"""Bytes of stderr that are kept where they are the answer."""
_PR_SET_PDEATHSIG = 1
"""Linux's include/uapi/linux/prctl.h."""
_PROC_PDEATHSIG_CTL = 11
"""FreeBSD's sys/sys/procctl.h, since 11.2."""
_P_PID = 0
"""FreeBSD's sys/sys/wait.h; there, process 0 is the caller."""
_STDERR = 2


class Group:
    """A child with its group: it runs, or has ended and is not reaped yet. `pid` is its group's and its session's as well."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> bool:
        """Is it over? It stays unreaped, so that its group is still its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def kill(self) -> None:
        """End it and its whole group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Program(Group):
    """One that is listened to."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: int, tail: int) -> None:
        super().__init__(process)
        self.stderr = stderr
        self._said, self._tail = b"", tail

    @property
    def exe(self) -> str:
        """The file that really runs now; empty if it cannot be read."""
        try:
            return str(Path(f"/proc/{self.pid}/exe").readlink())
        except OSError:
            return ""

    @property
    def said(self) -> str:
        """What was heard of it, the last `tail` bytes."""
        return self._said.decode("utf-8", "replace").strip()

    def listen(self) -> bool:
        """Hear what it has written to stderr, without waiting; False once that is closed.

        While nobody listens to a launched program the pipe keeps the first 64 KiB; what it writes beyond fails for it.
        """
        try:
            while part := os.read(self.stderr, 65536):
                self._said = (self._said + part)[-self._tail :]
        except BlockingIOError:
            return True
        return False


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
    with _reaped(program), killed_at(deadline, program):
        try:
            yield program
        except Exception as error:
            if time.monotonic() >= deadline:
                raise ProbeTimeout(f"{argv[0]} had to be ended at the deadline") from error
            program.listen()
            error.add_note(f"{argv[0]} said: {program.said or 'nothing'}")
            raise


@contextmanager
def attended(argv: tuple[str, ...], pass_fds: tuple[int, ...], environment: Mapping[str, str]) -> Generator[Group]:
    """A program of this project's own for as long as the block; whatever it writes goes to this process' stderr.

    Its return code is there after the block.

    Raises:
        OSError, ValueError, subprocess.SubprocessError: it cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,
        pass_fds=pass_fds,
        cwd="/",
        env=environment,
        start_new_session=True,
        preexec_fn=_tied_to_parent(),
    )
    group = Group(process)
    with process:
        try:
            yield group
        finally:
            group.kill()


def run(argv: tuple[str, ...], deadline: float, limit: int = LIMIT) -> Answer:
    """What a program writes to stdout, or a refusal that says how it failed.

    Raises:
        OSError, ValueError: it cannot be started.
        ProbeTimeout: it took longer than the deadline.
    """
    ended = _ended(argv, deadline, limit, _TAIL)
    if isinstance(ended, Refusal) or ended.status == 0:
        return ended if isinstance(ended, Refusal) else ended.stdout
    return Refusal("error", _epitaph(ended.status, ended.stderr))


def say(argv: tuple[str, ...], deadline: float, limit: int = LIMIT) -> Answer:
    """How a program ended and what it wrote, as JSON: `status` (negative: the signal), `stdout`, and the end of `stderr`.

    For programs that tell by failing. Raises as `run` does.
    """
    ended = _ended(argv, deadline, limit, _LONG_TAIL)
    if isinstance(ended, Refusal):
        return ended
    told = {"status": ended.status, "stdout": ended.stdout.decode("utf-8", "backslashreplace"), "stderr": ended.stderr}
    return json.dumps(told, indent=1).encode()


@dataclass(frozen=True, slots=True)
class _Ended:
    """A program that is over: its exit status or the negative signal, and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def _ended(argv: tuple[str, ...], deadline: float, limit: int, tail: int) -> _Ended | Refusal:
    stdout, its_stdout = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(stdout, "rb", buffering=0):
        try:
            program = _started(argv, its_stdout, (), heard=True, tail=tail)
        finally:
            os.close(its_stdout)
        with _reaped(program):
            output = _output(program, stdout, deadline, limit)
            if len(output) > limit:
                return Refusal("error", f"over {limit} bytes of output")
            _await_end(program, deadline)
    return _Ended(program.process.returncode, output, program.said)


def _epitaph(status: int, said: str) -> str:
    how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    return f"{how}: {said}" if said else how


def _started(argv: tuple[str, ...], stdout: int, pass_fds: tuple[int, ...], heard: bool, tail: int = _TAIL) -> Program:
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
    return Program(process, stderr, tail)


def _tied_to_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the program: it asks the kernel to be killed when its parent dies.

    Only the child itself can ask this, hence `preexec_fn`, between fork and exec. It is sound here because everything was looked up
    before the fork: the child imports nothing, logs nothing and takes no lock of another thread. A parent that died before the
    request was made is noticed by the child's having another one.
    """
    request = _parent_death_request()
    if request is None:
        return None
    parent, getppid, leave = os.getpid(), os.getppid, os._exit

    def arm() -> None:
        request()
        if getppid() != parent:
            leave(1)

    return arm


def _parent_death_request() -> Callable[[], object] | None:
    """The system call that asks for SIGKILL at the parent's death; None where the kernel has none.

    FreeBSD's has been tried by nobody here.
    """
    if sys.platform.startswith("linux"):
        prctl = ctypes.CDLL(None).prctl
        prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
        return partial(prctl, _PR_SET_PDEATHSIG, 9)
    if sys.platform.startswith("freebsd"):
        procctl = ctypes.CDLL(None).procctl
        procctl.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
        return partial(procctl, _P_PID, 0, _PROC_PDEATHSIG_CTL, ctypes.byref(ctypes.c_int(9)))
    return None


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


def _named(argv: object) -> str:
    return str(argv[0]) if isinstance(argv, (tuple, list)) and argv else str(argv)


@contextmanager
def killed_at(deadline: float, program: Group) -> Generator[None]:
    """At the deadline the program is killed, if the block is still on.

    Raises:
        ProbeRefused: there is no thread to be had for that.
    """
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), program.kill)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:
        raise ProbeRefused(f"there is no thread to end {_named(program.process.args)} with at its deadline: {error}") from error
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

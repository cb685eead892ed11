"""The host that probes ask: files, the kernel, the processor and programs, each question answered or refused by the deadline.

`--path.rootfs`, `--path.procfs` and `--path.sysfs` move the files that are looked at: read, list, exists, stat, resolve, access and
cpu. Programs and the device nodes that programs use are the exporter's own: exec, which, program, run, within, said, kvm, msr
and `launch` don't move.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from domcaps_exporter import children, processor
from domcaps_exporter.errors import ProbeTimeout
from domcaps_exporter.files import Files
from domcaps_exporter.memory import Store
from domcaps_exporter.model import ABSENT, DENIED, LATE, Answer, Child, Facts, Identifying, Question, Refusal
from domcaps_exporter.rootfs import Paths

__all__ = ["Paths", "RealHost", "Store"]

_KVM_CREATE_VM, _KVM_CHECK_EXTENSION = 0xAE01, 0xAE03


class RealHost:
    """`model.Host` over the system this process runs on, for one probe. `store` is the driver's memory and outlives the probe."""

    def __init__(self, deadline: float, paths: Paths, store: Store) -> None:
        files = Files(paths)
        self._deadline, self._store = deadline, store
        self._told: dict[Question, Answer] = {}
        self._kinds: dict[str, Callable[..., Answer]] = {
            "read": files.read,
            "list": files.entries,
            "exists": files.exists,
            "stat": files.stat,
            "program": Files(Paths()).stat,
            "resolve": files.resolve,
            "access": files.access,
            "exec": executable,
            "which": which,
            "env": environment,
            "uname": uname,
            "cpu": partial(cpu, paths),
            "cpuid": processor.cpuid,
            "msr": processor.msr,
            "kvm": kvm,
            "run": partial(run, deadline),
            "within": partial(within, deadline),
            "said": partial(said, deadline),
        }

    @property
    def deadline(self) -> float:
        """When this probe must be over, in seconds of `time.monotonic()`."""
        return self._deadline

    def ask(self, question: Question) -> Answer:
        """As `model.Host.ask`. What is not there is absent, what may not be looked at is denied, all else that fails is an error.

        Raises:
            ProbeTimeout: the deadline is over.
        """
        told = self._told[question] = self._answer(question)
        return told

    def _answer(self, question: Question) -> Answer:
        self._keep_deadline()
        answer = self._kinds.get(question.kind)
        if answer is None:
            return Refusal("error", f"this host does not answer {question.kind!r}")
        try:
            return answer(*question.args)
        except ProbeTimeout:
            raise
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        except PermissionError as error:
            return Refusal("denied", _words(error))
        except Exception as error:  # noqa: BLE001  the port promises no other exception
            return Refusal("error", _words(error))

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        """As `model.Host.launch`; see `children.launched`."""
        self._keep_deadline()
        return children.launched(argv, pass_fds, self._deadline)

    def remember(
        self,
        questions: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
    ) -> Facts:
        """As `model.Host.remember`; see `memory.Store`."""
        self._keep_deadline()
        return self._store.remember(questions, identity, ask, self.ask, self._lately)

    def forget(self, questions: frozenset[Question]) -> None:
        """As `model.Host.forget`."""
        self._store.forget(questions)

    def _lately(self, question: Question) -> Answer:
        """What it was answered in this probe, which asks the host much that its memory asks too."""
        told = self._told.get(question)
        return self.ask(question) if told is None else told

    def _keep_deadline(self) -> None:
        if time.monotonic() >= self._deadline:
            raise ProbeTimeout("the probe did not end in time")


def executable(path: str) -> Answer:
    """`yes` for a regular file that this process may execute; denied for one that only others may."""
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode) and os.access(path, os.X_OK, effective_ids=True):
        return b"yes"
    return DENIED if _is_others(status) else ABSENT


def _is_others(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)


def which(name: str) -> Answer:
    """The first executable of that name in PATH; denied where there is one that only others may execute."""
    if not name or "/" in name:
        raise ValueError("a program's name, without a folder, is looked for")
    paths = [f"{folder or '.'}/{name}" for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    there = [path for path in paths if os.access(path, os.F_OK, effective_ids=True)]
    for path in there:
        if os.access(path, os.X_OK, effective_ids=True) and stat.S_ISREG(os.stat(path).st_mode):
            return os.fsencode(path)
    return DENIED if any(_is_others(os.stat(path)) for path in there) else ABSENT


def environment(variable: str) -> Answer:
    """The exporter's own environment variable."""
    value = os.environ.get(variable)
    return ABSENT if value is None else os.fsencode(value)


def uname() -> bytes:
    """System, release and machine."""
    system = os.uname()
    return "\0".join((system.sysname, system.release, system.machine)).encode()


def cpu(paths: Paths) -> bytes:
    """The first processor of /proc/cpuinfo."""
    return processor.first_processor(paths.real("/proc/cpuinfo"))


def run(deadline: float, *argv: str) -> Answer:
    """What a program wrote; see `children.run`."""
    return children.run(argv, deadline)


def within(deadline: float, seconds: str, *argv: str) -> Answer:
    """What a program wrote in so many seconds, or in half of what the probe has left."""
    now = time.monotonic()
    try:
        return children.run(argv, now + min(int(seconds), (deadline - now) / 2))
    except ProbeTimeout:
        return LATE


def said(deadline: float, *argv: str) -> Answer:
    """What a program said, and how it ended; see `children.say`."""
    return children.say(argv, deadline)


def kvm(asked: str) -> Answer:
    """KVM_CHECK_EXTENSION's number, or for `create` whether KVM makes a virtual machine now (another hypervisor may hold the CPU).

    A node that no driver stands behind (ENXIO, ENODEV: the module is not loaded) is absent too.
    """
    try:
        descriptor = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return ABSENT
        raise
    try:
        if asked == "create":
            os.close(fcntl.ioctl(descriptor, _KVM_CREATE_VM, 0))
            return b"yes"
        return str(fcntl.ioctl(descriptor, _KVM_CHECK_EXTENSION, int(asked))).encode()
    finally:
        os.close(descriptor)


def _words(error: Exception) -> str:
    """What happened, without the path: the question names it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

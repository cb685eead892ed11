"""Strangers' drivers, each in a process of its own, from the outside: what one does to its process, it does not do to the exporter.

The process is started at the first probe and stays, with what its driver remembers. It ends where it does not answer in time; the
next probe starts another. The exporter itself never imports a stranger's code. Starts processes, and one thread for each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from importlib.metadata import EntryPoint
from multiprocessing.connection import Pipe

from domcaps_exporter import children, drivers, parcel
from domcaps_exporter.errors import PluginLoadError, ProbeTimeout, SettingError
from domcaps_exporter.model import Driver, Facts, Failure, Host, Report, Settings
from domcaps_exporter.parcel import Ask, Explain, Failed, Found, Lease, Misset, Names, Reply, Request, Understood
from domcaps_exporter.probing import FailedApart
from domcaps_exporter.rootfs import Paths

PATIENCE = 15.0
"""Seconds in which a plugin must have loaded, and in which a recording must have been described."""

_GRACE = 0.5
"""Seconds beyond the deadline in which a driver may still say what kept it, before its process is ended."""


_ENDING = 0.2
"""Seconds in which a process that hung up should have ended: a little before it does, its end of the line is closed."""


def brought(point: EntryPoint, settings: Settings, paths: Paths) -> tuple[Driver, ...]:
    """A plugin's drivers: this project's own to run here, a stranger's apart.

    Raises:
        SettingError, PluginError: as `drivers.brought`.
    """
    if drivers.is_ours(point):
        return drivers.brought(point, settings)
    lease = Lease(point.name, point.value, settings, paths)
    apart = [(name, Apart(lease, name)) for name in _names(lease)]
    return tuple(Driver(name, one.probe, one.describe) for name, one in apart)


class Apart:
    """One driver in a process of its own, as a driver. One probe or description at a time."""

    def __init__(self, lease: Lease, driver: str) -> None:
        self._lease, self._driver = lease, driver
        self._tenant: Tenant | None = None
        self._facts: Facts = {}
        self._deadline = 0.0

    def probe(self, host: Host) -> Facts:
        """Let it ask the host itself: it is told the deadline, and the paths of its lease."""
        self._deadline = host.deadline
        match self._asked(Ask(self._driver, host.deadline), host.deadline):
            case Found(None):
                return self._facts
            case Found(facts) if facts is not None:
                self._facts = facts
                return facts
            case other:
                raise AssertionError(other)

    def describe(self, facts: Facts) -> tuple[Report, ...]:
        """Within what the probe left of its time where these are its facts."""
        own = self._tenant is not None and facts == self._facts
        deadline = self._deadline if own else time.monotonic() + PATIENCE
        match self._asked(Explain(self._driver, None if own else facts), deadline):
            case Understood(reports):
                return reports
            case other:
                raise AssertionError(other)

    def close(self) -> None:
        """End its process."""
        if self._tenant is not None:
            self._tenant.end()
            self._tenant = None

    def _asked(self, request: Request, deadline: float) -> Reply:
        try:
            if self._tenant is None:
                self._tenant = Tenant()
                _granted(self._tenant.ask(self._lease, deadline))
            return _granted(self._tenant.ask(request, deadline))
        except (ProbeTimeout, Gone):
            self.close()
            raise


def _names(lease: Lease) -> tuple[str, ...]:
    """The names of a plugin's drivers, from a process that loads it and ends."""
    try:
        tenant = Tenant()
    except Gone as error:
        raise PluginLoadError(lease.plugin, error.failure.text) from error
    try:
        match tenant.ask(lease, time.monotonic() + PATIENCE):
            case Names(names):
                return names
            case Misset(key, message):
                raise SettingError(key, message)
            case Failed(failure):
                raise PluginLoadError(lease.plugin, failure.text)
            case other:
                raise AssertionError(other)
    except ProbeTimeout as error:
        raise PluginLoadError(lease.plugin, f"it had not loaded after {PATIENCE:g} s, and its process was ended") from error
    except Gone as error:
        raise PluginLoadError(lease.plugin, f"{error.failure.text} while it was loaded") from error
    finally:
        tenant.end()


def _granted(reply: Reply) -> Reply:
    if isinstance(reply, Failed):
        raise FailedApart(reply.failure) from Elsewhere(reply.traceback)
    if isinstance(reply, Misset):
        raise FailedApart(Failure("contract", f"{reply.key}: {reply.message}"))
    return reply


class Elsewhere(Exception):
    """Where it happened: a traceback of another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Gone(FailedApart):
    """The process ended, or talks nonsense; it cannot be asked again."""


class Tenant:
    """A process in which a plugin may do as it likes; `domcaps_exporter.tenant` is what runs there.

    A thread holds it, because the kernel ends a child with the thread that started it.
    """

    def __init__(self) -> None:
        self._line, theirs = Pipe()
        self._over = threading.Event()
        self._patience = 0.0
        self._ended: Future[int] = Future()
        begun: Future[children.Group] = Future()
        with theirs:
            try:
                threading.Thread(target=self._hold, args=(theirs.fileno(), begun), name="tenant", daemon=True).start()
                self._process = begun.result()
            except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
                self._line.close()
                raise Gone(Failure("refused", f"no process can be started for it: {error}")) from error

    def ask(self, request: Request, deadline: float) -> Reply:
        """One request and its reply.

        Raises:
            ProbeTimeout: there was none in time; the process is gone.
            Gone: it ended, or said something that is no reply.
        """
        try:
            with children.killed_at(deadline + _GRACE, self._process):
                self._line.send_bytes(parcel.packed(request))
                data = self._line.recv_bytes(parcel.LIMIT)
            return parcel.reply(data)
        except (OSError, EOFError) as error:
            status = self.end(_ENDING)
            if time.monotonic() >= deadline:
                raise ProbeTimeout("no answer at the deadline; its process was ended") from error
            raise Gone(Failure("crashed", _epitaph(status))) from error
        except ValueError as error:
            self.end()
            raise Gone(Failure("contract", f"its process sent what is no answer: {error}")) from error

    def end(self, patience: float = 0.0) -> int:
        """Be rid of it, after as many seconds in which it may end by itself; its return code, which is negative for a signal."""
        self._patience = patience
        self._line.close()
        self._over.set()
        return self._ended.result()

    def _hold(self, line: int, begun: Future[children.Group]) -> None:
        try:
            with children.attended(_argv(line), (line,), _environment()) as process:
                begun.set_result(process)
                self._over.wait()
                _await_end(process, self._patience)
            self._ended.set_result(process.process.returncode)
        except BaseException as error:  # noqa: BLE001  for whoever waits
            (self._ended if begun.done() else begun).set_exception(error)


def _await_end(process: children.Group, patience: float) -> None:
    until = time.monotonic() + patience
    while not process.ended() and time.monotonic() < until:
        time.sleep(0.002)


def _argv(line: int) -> tuple[str, ...]:
    return sys.executable, "-P", "-m", "domcaps_exporter.tenant", str(line)


def _environment() -> dict[str, str]:
    """The exporter's own: a plugin is found there where it was found here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _epitaph(status: int) -> str:
    if status >= 0:
        return f"its process ended with exit status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"

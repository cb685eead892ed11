"""Conversations with QEMU monitors: every command at once, every reply word for word; and strict readers of replies.

In-band QMP commands are answered in the order in which they were sent (docs/interop/qmp-spec.rst), so the replies need no ids;
events come between them and are passed over. Several monitors are listened to at once, in one thread.

No conversation interprets a reply. A reader takes the JSON text of one, or a part of it, and fails (ValueError, LookupError,
TypeError) where it is not what it is read as; `View.form` makes UnreadableAnswer of that.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from domcaps_exporter.errors import ProbeError, ProbeRefused, ProbeTimeout, UnreadableAnswer

Object: TypeAlias = Mapping[str, Any]
"""A JSON object."""

REPLY_LIMIT = 32 * 1024 * 1024
"""The most that one conversation may bring, in bytes: ten times what the largest QEMU says."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_REPLY = (b'{"return"', b'{"error"')
_EVENT = b'{"timestamp"'
_GREETING = b'{"QMP"'
_AGREED = b'{"return"'


def command(name: str, **arguments: object) -> str:
    """A command as a question's argument: its name, and its arguments as JSON where it has any."""
    return f"{name} {json.dumps(arguments, sort_keys=True, separators=(',', ':'))}" if arguments else name


def _wire(asked: str) -> bytes:
    name, _, arguments = asked.partition(" ")
    tail = f',"arguments":{arguments}' if arguments else ""
    return f'{{"execute":"{name}"{tail}}}\n'.encode()


class Monitor:
    """One QEMU's monitor, on a connected stream socket whose other end QEMU has. What goes wrong is kept in `failure`."""

    def __init__(self, stream: socket.socket, emulator: str) -> None:
        stream.setblocking(False)
        self.stream, self.emulator = stream, emulator
        self.failure: ProbeError | None = None
        self._outgoing = _wire("qmp_capabilities")
        self._expected = 0
        self._handshake: tuple[bytes, ...] = (_GREETING, _AGREED)
        self._lines: list[bytes] = []
        self._rest: list[bytes] = []
        self._received = 0

    def say(self, commands: Sequence[str]) -> None:
        """Queue commands; `exchange` sends them."""
        self._outgoing += b"".join(map(_wire, commands))
        self._expected += len(commands)

    def replies(self, count: int) -> list[bytes]:
        """Take the oldest `count` replies, each the JSON text as it came."""
        taken, self._lines = self._lines[:count], self._lines[count:]
        self._expected -= count
        return taken

    @property
    def waiting(self) -> bool:
        """Is a reply still to come?"""
        return self.failure is None and len(self._lines) < self._expected

    @property
    def speaking(self) -> bool:
        """Is something still to be sent?"""
        return bool(self._outgoing)

    def fail(self, failure: ProbeError) -> None:
        """Give up on this conversation."""
        self.failure = self.failure or failure

    def missing(self) -> str:
        """What is still to come, for a message."""
        return f"{self._expected - len(self._lines)} of {self._expected} QMP replies missing"

    def send(self) -> None:
        """Send what the socket takes now."""
        try:
            self._outgoing = self._outgoing[self.stream.send(self._outgoing) :]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing = b""  # it hung up; what it said last is still to be read

    def receive(self) -> None:
        """Take what has come; whatever is wrong with it becomes the failure."""
        try:
            chunk = self.stream.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._received += len(chunk)
        if not chunk:
            self.fail(ProbeRefused(f"{self.emulator}: QEMU hung up, {self.missing()}"))
        elif self._received > REPLY_LIMIT:
            self.fail(UnreadableAnswer(f"{self.emulator}: more than {REPLY_LIMIT} bytes of QMP replies"))
        else:
            self._split(chunk)

    def _split(self, chunk: bytes) -> None:
        head, *tail = chunk.split(b"\n")
        self._rest.append(head)
        for piece in tail:
            self._take(b"".join(self._rest).strip())
            self._rest = [piece]

    def _take(self, line: bytes) -> None:
        if not line or line.startswith(_EVENT):
            return
        if not line.startswith(self._handshake[:1] or _REPLY):
            self.fail(UnreadableAnswer(f"{self.emulator}: no QMP reply but {line[:200]!r}"))
        elif self._handshake:
            self._handshake = self._handshake[1:]
        elif len(self._lines) < self._expected:
            self._lines.append(line)
        else:
            self.fail(UnreadableAnswer(f"{self.emulator}: more QMP replies than commands"))


def exchange(monitors: Sequence[Monitor], deadline: float) -> None:
    """Send and listen until every monitor has all its replies, or failed; at the deadline those that still wait have failed."""
    exchange_first([monitors], deadline)


def exchange_first(groups: Sequence[Sequence[Monitor]], deadline: float) -> None:
    """The same until all monitors of one of these groups have theirs, or failed."""
    while all(any(monitor.waiting for monitor in group) for group in groups):
        busy = [monitor for group in groups for monitor in group if monitor.waiting]
        left = deadline - time.monotonic()
        if left <= 0:
            for monitor in busy:
                monitor.fail(ProbeTimeout(f"{monitor.emulator}: {monitor.missing()} at the deadline"))
            return
        with selectors.DefaultSelector() as selector:
            for monitor in busy:
                selector.register(monitor.stream, _READ | (_WRITE if monitor.speaking else 0), monitor)
            for key, events in selector.select(left):
                _serve(key.data, events)


def _serve(monitor: Monitor, events: int) -> None:
    if events & _WRITE:
        monitor.send()
    if events & _READ:
        monitor.receive()


# ---- what a reply says, read strictly ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """A QMP reply: the value it returned, or the class of the error (`CommandNotFound`, `GenericError`, …)."""

    value: Any
    error: str | None = None


def reply(line: bytes) -> Reply:
    """Read a QMP reply."""
    match json.loads(line):
        case {"return": value}:
            return Reply(value)
        case {"error": {"class": str(name)}}:
            return Reply(None, name)
    raise ValueError("neither a return nor an error")


def listing(value: Any) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:60]!r} where an array was expected")
    return value


def objects(value: Any) -> list[Object]:
    """A JSON array of objects."""
    return [mapping(one) for one in listing(value)]


def text(value: Any) -> str:
    """A JSON string."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:60]!r} where a string was expected")
    return value


def number(value: Any) -> int:
    """A JSON number that counts something."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{str(value)[:60]!r} where a count was expected")
    return value


def flag(value: Any) -> bool:
    """JSON's true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:60]!r} where true or false was expected")
    return value


def mapping(value: Any) -> Object:
    """A JSON object."""
    if not isinstance(value, dict):
        raise TypeError(f"{str(value)[:60]!r} where an object was expected")
    return value


def entries(line: bytes) -> list[Object]:
    """A reply that is a list of objects; empty where QEMU knows no such command or device."""
    return _listed(answered(line))


def some(line: bytes) -> list[Object]:
    """A reply that is a list of objects which no QEMU has none of; empty where QEMU knows no such command."""
    told = answered(line)
    if told.error is None and not told.value:
        raise ValueError("an empty list")
    return _listed(told)


def returned(line: bytes) -> Object | None:
    """A reply that is an object; None where QEMU knows no such command or device."""
    return _mapped(answered(line))


def offered(line: bytes) -> list[Object]:
    """A reply that is a list of objects; empty where QEMU refused it, whatever it said.

    Of commands for some processors only: emulators of others fail with any error (since QEMU 10.1).
    """
    return _listed(reply(line))


def granted(line: bytes) -> Object | None:
    """A reply that is an object; None where QEMU refused it, whatever it said."""
    return _mapped(reply(line))


def answered(line: bytes) -> Reply:
    """A reply to what every QEMU answers that knows it: any other error is no answer, and may pass."""
    told = reply(line)
    if told.error not in (None, *_UNKNOWN):
        raise ValueError(f"an error ({told.error})")
    return told


def _listed(told: Reply) -> list[Object]:
    return [] if told.error is not None else objects(told.value)


def _mapped(told: Reply) -> Object | None:
    return None if told.error is not None else mapping(told.value)


_UNKNOWN = ("CommandNotFound", "DeviceNotFound")
"""The classes of errors by which QEMU says that there is no such thing."""

"""What systemd and a service tell one another: sockets that it opened, and how the service is. Without systemd, nothing happens."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress

_FIRST = 3
"""The descriptor of the first socket that is handed over (sd_listen_fds)."""


def inherited(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd opened for this process, which are told to nobody else.

    Raises:
        OSError: there are none, or one does not listen for connections.
    """
    ours = environment.get("LISTEN_PID") == str(os.getpid())
    count = environment.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    if not ours or not count.isdecimal() or int(count) == 0:
        raise OSError("--web.systemd-socket: systemd has opened no socket for this process")
    return [_listener(number) for number in range(_FIRST, _FIRST + int(count))]


def _listener(number: int) -> socket.socket:
    try:
        found = socket.socket(fileno=number)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise OSError(error.errno, f"--web.systemd-socket: descriptor {number}: {error.strerror}") from error
    if found.type != socket.SOCK_STREAM or not listens:
        raise OSError(f"--web.systemd-socket: descriptor {number}: expected a stream socket that listens (Accept=no)")
    found.set_inheritable(False)
    return found


class Notifier:
    """Tells systemd how the service is (sd_notify), and nobody where it did not ask."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        self._period = int(microseconds) / 1e6 if ours else 0.0

    def tell(self, state: str) -> None:
        """Send one state, such as `READY=1`; whether it arrives is systemd's business."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state.encode(), self._address)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While this lasts, systemd's watchdog hears from the event loop twice in its period."""
        beating = asyncio.create_task(self._beat()) if self._period else None
        try:
            yield
        finally:
            if beating is not None:
                beating.cancel()

    async def _beat(self) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._period / 2)

"""Addresses to listen on, and the sockets that do. It binds; who accepts on them is not its business."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKLOG = 1024
"""Connections that may wait to be accepted (the kernel may have its own bound)."""

_UNIX = "unix:"


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """Listen on `:19177` (every interface, IPv4 and IPv6), `127.0.0.1:0` (any free port), `[::1]:9100`, `name:9100`, `unix:/path`.

    Raises:
        OSError: that cannot be; the message names the address.
    """
    try:
        listener = _unix(_path(address)) if address.startswith(_UNIX) else _bound(*_split(address))
    except (OSError, ValueError, OverflowError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        raise OSError(number, f"cannot listen on {address}: {_reason(error)}") from error
    try:
        with listener:
            yield listener
    finally:
        if address.startswith(_UNIX):
            Path(_path(address)).unlink(missing_ok=True)


def url(listener: socket.socket, secure: bool = False) -> str:
    """An address that can be opened here. What means every interface is shown as that: who can reach it is told by it."""
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{os.fsdecode(listener.getsockname())}"
    host, port = listener.getsockname()[:2]
    return f"http{'s' if secure else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


def _reason(error: Exception) -> str:
    """In the system's words; asyncio's and socket's own have Python in them."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else "") or str(error)  # of a name that cannot be found, or no address


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or (":" in host and not bracketed):
        raise ValueError("an address is HOST:PORT, [IPV6]:PORT, :PORT or unix:/PATH")
    if int(port) > 65535:
        raise ValueError("a port is a number up to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _bound(host: str, port: int) -> socket.socket:
    """A name stands for its first address, IPv4 before IPv6, as with exporters written in Go."""
    if not host:
        dual = socket.has_dualstack_ipv6()
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual, backlog=BACKLOG
        )
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(place, family=family, backlog=BACKLOG)


def _path(address: str) -> str:
    path = address.removeprefix(_UNIX)
    if not path.startswith("/"):
        raise ValueError("the path of a socket starts with /")
    return path


def _unix(path: str) -> socket.socket:
    """A socket's file outlives one who is killed: where nobody listens on it any more, it makes way."""
    if _deserted(path):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _deserted(path: str) -> bool:
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(1)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False

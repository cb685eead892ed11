"""Connections: how they are accepted, how many there may be, and how long each may take over what. It knows sockets, not paths.

Every wait has an end that no trickle of bytes puts off: the handshake, the request's head (and the pause before it), its body, and
the reading of the answer. Where there is no room, the connection that has waited longest goes: an honest scraper's is among the
youngest, and has its answer before its turn would come.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from domcaps_exporter.tls import Context, welcome

_LOG = logging.getLogger(__name__)

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What accept says where there is no room for one more."""

_BROKEN = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
"""What it says of a socket that will never listen again; all else is one caller's trouble."""


_END_OF_HEAD = b"\r\n\r\n"

_LONGEST_LINE, _LONGEST_FIELD = 8190, 8192
"""Bytes of an address and of a header; they differ, so that it can be told which of them was too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at once, and how many seconds each may take over what.

    `head`: the pause before a request and its head; `body`: what is sent along with it; `answer`: reading the answer.
    """

    connections: int = 512
    handshake: float = 5.0
    head: float = 15.0
    body: float = 2.0
    answer: float = 20.0


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a connection is made: with TLS or without, and for which of a certificate's names."""

    context: Context | None = None
    allowed_sans: frozenset[str] | None = None


class Connection(web.RequestHandler):
    """One connection, spoken HTTP on by aiohttp. `busy`: a request of it is under way. `lost` ends with it."""

    def __init__(self, server: web.Server, terms: Terms, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=limits.head,
            lingering_time=limits.body,
            auto_decompress=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_FIELD,
            access_log=None,  # type: ignore[arg-type]  # means none, and aiohttp's own runner hands it over
            logger=_Requests(_LOG),  # type: ignore[arg-type]  # only ever logged to
        )
        self._terms, self._limits = terms, limits
        self.busy = False
        self.link: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = loop.create_future()
        self.unread_since: float | None = None
        self._begun = False
        """Some of a head has come, and not all of it."""
        self._bare = True
        """The last request is its head alone: what comes after it is the next one's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client without a name that is allowed is let go before it has said a word."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"not a stream: {transport!r}")
        self.link = transport
        if welcome(self._terms.allowed_sans, transport.get_extra_info("peercert")):
            super().connection_made(transport)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """See whether it ends with the beginning of a head; empty lines before it are nothing.

        What follows a request with a body in the same breath is not looked at: only the parser knows where the body ends.
        """
        waiting, before = self._waiter is not None, self._request_count
        super().data_received(data)
        if not data:
            return  # aiohttp went on with what it had put aside
        if self._request_count > before and self._messages:
            self._bare = self._messages[-1][1] is EMPTY_PAYLOAD
            self._begun = self._bare and bool(data.rpartition(_END_OF_HEAD)[2].strip(b"\r\n"))
        elif waiting or self._bare:
            self._begun = self._begun or bool(data.strip(b"\r\n"))

    def force_close(self) -> None:
        """At the deadline; who has sent some of a head, and has all answers, is told why."""
        if self._begun and self._waiter is not None and self.transport is not None and not self.transport.is_closing():
            self.transport.write(_refusal(HTTPStatus.REQUEST_TIMEOUT))
            self._part()
        super().force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who waits for it."""
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP in one plain line that neither quotes it nor says who answers; then the connection ends.

        aiohttp's own answer would do both; that there is nothing left to say, it is told by ConnectionError.
        """
        if self.transport is not None and not isinstance(exc, ConnectionError) and not request.writer.output_size:
            self.log_exception("a request failed", exc_info=exc)
            self.transport.write(_refusal(_too_long(exc) if isinstance(exc, LineTooLong) else HTTPStatus(status)))
            self._part()
        raise ConnectionAbortedError("answered already")

    def _part(self) -> None:
        """End the connection from our side first: to end it while the other still talks would take back what was answered."""
        link, self.transport = self.transport, None
        self.close()
        if link is not None:
            if link.can_write_eof():
                link.write_eof()
            self._loop.call_later(self._limits.body, link.close)

    def overdue(self, now: float, patience: float) -> bool:
        """Has what was written to it been unread (or its end been put off) for that many seconds?"""
        link = self.link
        if link is None or not (link.is_closing() or link.get_write_buffer_size()):
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        return self.unread_since is not None and now - self.unread_since >= patience


class Door:
    """Accepts connections for one server. `terms` says on which, for each connection anew."""

    def __init__(self, server: web.Server, terms: Callable[[], Terms], limits: Limits) -> None:
        self._server, self._terms, self._limits = server, terms, limits
        self._most = min(limits.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._guests: dict[asyncio.Task[None], Connection] = {}

    async def attend(self, listeners: Sequence[socket.socket], until: Callable[[], Awaitable[object]]) -> None:
        """Accept, until `until()` is done. What is connected by then stays so, until `close`."""
        work = [asyncio.ensure_future(until()), *(asyncio.create_task(self._accept(one)) for one in listeners)]
        work.append(asyncio.create_task(self._sweep()))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in work:
                one.cancel()

    async def close(self) -> None:
        """End every connection."""
        guests = list(self._guests)
        for guest in guests:
            guest.cancel()
        await asyncio.gather(*guests, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        """One connection at a time, and after each of them everybody else's turn."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                caller, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _BROKEN:
                    raise
                if error.errno in _FULL:
                    self._make_room(len(self._guests) - 1)
                await asyncio.sleep(0.05)
                continue
            self._make_room(self._most - 1)
            terms = self._terms()
            connection = Connection(self._server, terms, self._limits)
            guest = asyncio.create_task(self._entertain(caller, connection, terms.context))
            self._guests[guest] = connection
            guest.add_done_callback(lambda done: self._guests.pop(done, None))
            await asyncio.sleep(0)

    def _make_room(self, most: int) -> None:
        """Those who have been here longest go first, and those with a request under way last."""
        while len(self._guests) > max(most, 0):
            guest = next((one for one, connection in self._guests.items() if not connection.busy), next(iter(self._guests)))
            del self._guests[guest]
            guest.cancel()

    async def _entertain(self, caller: socket.socket, connection: Connection, context: Context | None) -> None:
        """From the handshake to the end."""
        limit = None if context is None else self._limits.handshake
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                caller,
                ssl=context,  # type: ignore[arg-type]  # it is only asked to wrap
                ssl_handshake_timeout=limit,
                ssl_shutdown_timeout=limit,
            )
        except OSError as error:
            _LOG.debug("no connection came about: %s", error)
            return
        try:
            if connection.link is not None:
                await connection.lost
        finally:
            transport.abort()

    async def _sweep(self) -> None:
        """Every second, end those who do not read."""
        while True:
            await asyncio.sleep(min(1.0, self._limits.answer))
            now = asyncio.get_running_loop().time()
            for connection in tuple(self._guests.values()):
                if connection.link is not None and connection.overdue(now, self._limits.answer):
                    connection.link.abort()


class _Requests(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log. What is no HTTP is its sender's fault: nobody from outside can fill our log with tracebacks."""

    def log(self, level: int, msg: object, *args: object, **rest: Any) -> None:
        error = rest.get("exc_info")
        if isinstance(error, BadHttpMessage):
            self.logger.debug("a request that is no HTTP: %s", " ".join(error.message.split()))
        else:
            self.logger.log(level, msg, *args, **rest)


def _too_long(error: LineTooLong) -> HTTPStatus:
    """What was: the address, or a header. aiohttp says by which limit."""
    _, limit, *_ = error.args
    return HTTPStatus.REQUEST_URI_TOO_LONG if limit == _LONGEST_LINE else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def _refusal(status: HTTPStatus) -> bytes:
    head = ("Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff", "Connection: close")
    body = f"{status.phrase}\n"
    lines = (f"HTTP/1.1 {status.value} {status.phrase}", *head, f"Content-Length: {len(body)}", "", body)
    return "\r\n".join(lines).encode()

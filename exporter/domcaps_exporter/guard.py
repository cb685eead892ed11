"""Who is answered: the web configuration must hold, then come its rate limit, its users, and the bound on requests under way.

It stands before every path, so that who may not come in learns nothing about what is there.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import HttpVersion10, web

from domcaps_exporter.config import ConfigError
from domcaps_exporter.connections import Connection
from domcaps_exporter.passwords import Crowded, Passwords
from domcaps_exporter.standing import Standing
from domcaps_exporter.webconfig import Rate, Web

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """The guard of one exporter.

    Args:
        max_requests: how many requests may be under way; 0: any number. Those for `/-/` do not count and are always let in.
        clock: monotonic.
    """

    def __init__(self, standing: Standing, max_requests: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._standing, self._max_requests, self._clock = standing, max_requests, clock
        self._passwords = Passwords()
        self._bucket: _Bucket | None = None
        self._under_way = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer in the handler's place, or let it."""
        if request.version < HttpVersion10:
            return _refusal(HTTPStatus.BAD_REQUEST)
        try:
            refused = await self._refused(request, self._standing.current().web)
        except ConfigError:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the web configuration does not hold; the log says why")
        return refused or await self._attended(request, handler)

    async def dress(self, _: web.Request, response: web.StreamResponse) -> None:
        """Add the configured headers; what a path says of itself is the better known."""
        for name, value in self._standing.last.web.headers.items():
            response.headers.setdefault(name, value)

    async def _refused(self, request: web.Request, settled: Web) -> web.Response | None:
        if settled.rate is not None and not self._filled(settled.rate).take():
            return _refusal(HTTPStatus.TOO_MANY_REQUESTS)
        try:
            if settled.users and not await self._known(request, settled):
                return _refusal(HTTPStatus.UNAUTHORIZED, challenge='Basic realm="domcaps-exporter"')
        except Crowded:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many passwords are being checked")
        if self._max_requests and self._under_way >= self._max_requests and _costs(request):
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are under way")
        return None

    async def _known(self, request: web.Request, settled: Web) -> bool:
        credentials = _credentials(request.headers.get("Authorization", ""))
        return credentials is not None and await self._passwords.right(settled.users, *credentials)

    async def _attended(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """A request under way counts, and its connection is not given up for another."""
        counted, connection = int(_costs(request)), request.protocol
        self._under_way += counted
        try:
            if isinstance(connection, Connection):
                connection.busy = True
            return await handler(request)
        finally:
            self._under_way -= counted
            if isinstance(connection, Connection):
                connection.busy = False

    def _filled(self, rate: Rate) -> _Bucket:
        """The bucket for that rate: the same until the rate changes."""
        if self._bucket is None or self._bucket.rate != rate:
            self._bucket = _Bucket(rate, self._clock)
        return self._bucket


class _Bucket:
    """Tokens: one more every interval, never more than a burst."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self.rate, self._clock = rate, clock
        self._tokens, self._filled = float(rate.burst), clock()

    def take(self) -> bool:
        now = self._clock()
        self._tokens = min(self.rate.burst, self._tokens + (now - self._filled) / self.rate.interval)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _costs(request: web.Request) -> bool:
    return not request.path.startswith("/-/")


def _credentials(header: str) -> tuple[str, bytes] | None:
    """Name and password of basic authentication; None where there are none that make sense."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip().encode("ascii"), validate=True).partition(b":")
    except (binascii.Error, UnicodeEncodeError):
        return None
    return (name.decode("utf-8", "surrogateescape"), password) if colon else None


def _refusal(status: HTTPStatus, text: str = "", challenge: str = "") -> web.Response:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    return web.Response(status=status, text=f"{text or status.phrase}\n", headers=headers)

"""The HTTP server: which path answers what, and how. It knows HTTP and sockets only; the answers are the service's."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from aiohttp import web

from domcaps_exporter import page
from domcaps_exporter.config import ConfigError
from domcaps_exporter.connections import Door, Limits, Terms
from domcaps_exporter.exposition import Format, accepts_gzip, negotiate
from domcaps_exporter.guard import Guard
from domcaps_exporter.instalments import Instalments
from domcaps_exporter.listening import listening, url
from domcaps_exporter.model import Outcome
from domcaps_exporter.service import Entry, Service, catalogue
from domcaps_exporter.standing import Standing
from domcaps_exporter.targets import Target

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger(__name__)

_TIMEOUT = 10.0
"""Seconds that an asker is taken to wait who does not say: Prometheus' own default."""

_SHORTEST, _LONGEST = 0.1, 300.0
"""Seconds that everybody waits for probes at least, and that nobody is taken to wait longer than."""

_LARGE = 1 << 17
"""Bytes of an answer that is not copied for each of its askers."""

_FAREWELL = 0.25
"""Seconds that requests in progress have to end; aiohttp grants them twice, so that all is over within a second."""


class _Site:
    """The handlers of one service."""

    def __init__(self, service: Service, telemetry_path: str, targets: Mapping[str, Target]) -> None:
        self._service = service
        self._telemetry_path = telemetry_path
        self._targets = targets
        self._told: page.Guests | None = None
        """What the page last said of the guests."""
        self._missed: page.Missed | None = None
        """And of what is lost."""

    def application(self, guard: Guard) -> web.Application:
        app = web.Application(middlewares=[_plainly, guard.middleware])
        app.on_response_prepare.extend((_undressed, guard.dress))
        app.router.add_get(self._telemetry_path, self.metrics)
        if self._telemetry_path != "/":
            app.router.add_get("/", self.page)
        app.router.add_get("/documents", self.documents)
        app.router.add_get("/documents/{id}.xml", self.document)
        app.router.add_get("/probe", self.probe)
        app.router.add_get("/-/healthy", _answering("Healthy\n"))
        app.router.add_get("/-/ready", _answering("Ready\n"))
        return app

    async def metrics(self, request: web.Request) -> web.Response:
        outcomes = await self._service.scrape(_patience(request), self._collected(request))
        return _exposition(request, lambda wanted, gzip: self._service.metrics(outcomes, wanted, gzip))

    async def probe(self, request: web.Request) -> web.Response:
        target = self._target(request)
        outcomes = await target.probe(_patience(request))
        return _exposition(request, lambda wanted, gzip: target.metrics(outcomes, wanted, gzip))

    async def page(self, request: web.Request) -> web.Response:
        outcomes = await self._service.scrape(_patience(request))
        service, chronicle = self._service, self._service.chronicle
        self._told = page.guests(outcomes, self._told)
        self._missed = page.missed(outcomes, [chronicle.past(outcome.driver) for outcome in outcomes], self._missed)
        text = page.render(
            outcomes,
            service.plugins,
            service.version,
            self._telemetry_path,
            chronicle.changes,
            host=service.host,
            told=self._told,
            lost=self._missed,
        )
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": page.POLICY})

    async def documents(self, request: web.Request) -> web.Response:
        outcomes = await self._service.scrape(_patience(request))
        return web.json_response([_described(entry) for entry in catalogue(outcomes).values()])

    async def document(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        outcomes = await self._service.scrape(_patience(request))
        entry = catalogue(outcomes).get(wanted)
        if entry is None:
            raise _missing(wanted, outcomes)
        return web.Response(body=entry.xml(), content_type="application/xml")

    def _collected(self, request: web.Request) -> frozenset[str] | None:
        """The drivers named by `collect[]`; None for all."""
        names = frozenset(request.query.getall("collect[]", ()))
        if not names <= frozenset(self._service.drivers):
            raise web.HTTPBadRequest(text=f"collect[] takes these drivers: {', '.join(self._service.drivers)}")
        return names or None

    def _target(self, request: web.Request) -> Target:
        """The one that is named. What it may name is in the configuration only: a URI from the network is never opened."""
        names = request.query.getall("target", ())
        if len(names) != 1:
            raise web.HTTPBadRequest(text="one target is asked for: /probe?target=NAME, a name under targets: in the configuration")
        target = self._targets.get(names[0])
        if target is None:
            raise web.HTTPBadRequest(text="no such target; their names are under targets: in the configuration")
        return target


def _exposition(request: web.Request, metrics: Callable[[Format, bool], Sequence[bytes]]) -> web.Response:
    """The metrics as the asker likes them."""
    wanted, gzip = negotiate(_header(request, "Accept")), accepts_gzip(_header(request, "Accept-Encoding"))
    headers = {"Content-Type": wanted.content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    pieces = metrics(wanted, gzip)
    return web.Response(body=b"".join(pieces) if sum(map(len, pieces)) <= _LARGE else Instalments(pieces), headers=headers)


def _answering(text: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


def _header(request: web.Request, name: str) -> str:
    """A list header, however many lines it is spread over."""
    return ",".join(request.headers.getall(name, ()))


def _patience(request: web.Request) -> float:
    """How long to wait for probes: half a second less than the scraper waits for us, or half of that, whichever is longer.

    Who would not wait at all makes no probe a failed one.
    """
    try:
        timeout = float(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""))
    except ValueError:
        timeout = _TIMEOUT
    timeout = min(timeout, _LONGEST) if math.isfinite(timeout) and timeout > 0 else _TIMEOUT
    return max(timeout - 0.5, timeout / 2, _SHORTEST)


def _described(entry: Entry) -> Mapping[str, str | Mapping[str, str] | Sequence[str]]:
    guest = entry.report.identity
    return {
        "id": entry.id,
        "driver": entry.driver,
        "emulator": guest.emulator,
        "arch": guest.arch,
        "machine": guest.machine,
        "virttype": guest.virttype,
        "links": {"xml": f"/documents/{quote(entry.id, safe='')}.xml"},
        "notes": entry.report.notes,
    }


def _missing(wanted: str, outcomes: Sequence[Outcome]) -> web.HTTPException:
    """404, or 503 where the driver that may have had it gave no answer."""
    for outcome in outcomes:
        failure = outcome.problem
        if failure is not None and wanted.startswith(f"{outcome.driver}-"):
            return web.HTTPServiceUnavailable(text=f"{outcome.driver}: {failure.reason}: {failure.text}")
    return web.HTTPNotFound(text="no such document; /documents lists them")


@web.middleware
async def _plainly(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Errors in one plain line each, and our own never as a traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        said = error.text if error.text and not error.text.startswith(f"{error.status}:") else HTTPStatus(error.status).phrase
        return web.Response(status=error.status, text=f"{said}\n", headers=allow)
    except Exception:  # noqa: BLE001 - whatever it is, it costs this request only, and the log has it
        _LOG.exception("%s %r failed", request.method, request.path)
        return web.Response(status=500, text="the exporter failed; its log says why\n")


async def _undressed(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    response.headers["X-Content-Type-Options"] = "nosniff"


# ---- listening ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Front:
    """How callers are met: by which web configuration, how many requests may be under way (0: any number), in what time.

    `sockets` listen already; they are served besides the addresses, and closed at the end.
    """

    web_config: Path | None = None
    max_requests: int = 40
    limits: Limits = field(default_factory=Limits)
    sockets: Sequence[socket.socket] = ()


async def serve(
    service: Service,
    addresses: Sequence[str],
    telemetry_path: str,
    stop: asyncio.Event,
    ready: Callable[[Sequence[str]], None],
    targets: Mapping[str, Target] | None = None,
    front: Front | None = None,
) -> None:
    """Serve until `stop` is set; `ready` is told the addresses to open once all of them can be. `targets` are those of /probe.

    Args:
        addresses: see `listening.listening`.

    Raises:
        OSError: an address cannot be listened on; the message names it.
        ConfigError: the web configuration cannot be used.
    """
    front = front or Front()
    standing = Standing(front.web_config)
    application = _Site(service, telemetry_path, targets or {}).application(Guard(standing, front.max_requests))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_FAREWELL, handler_cancellation=True)
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in front.sockets]
        sockets += [stack.enter_context(listening(address)) for address in addresses]
        await runner.setup()
        door = Door(_server(runner), lambda: _terms(standing), front.limits)
        try:
            ready([url(listener, standing.last.context is not None) for listener in sockets])
            await door.attend(sockets, stop.wait)
        finally:
            await runner.cleanup()
            await door.close()


def _server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the application was not set up")
    return runner.server


def _terms(standing: Standing) -> Terms:
    """A connection is made also where the configuration holds no more: its requests are refused, and the log says why."""
    with suppress(ConfigError):
        standing.current()
    tls = standing.last.web.tls
    return Terms(standing.last.context, None if tls is None else tls.client_allowed_sans)

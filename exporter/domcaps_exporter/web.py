"""The HTTP server: which path answers what, and how. It knows HTTP and sockets only; the answers are the service's."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from domcaps_exporter import page
from domcaps_exporter.exposition import Format, accepts_gzip, negotiate
from domcaps_exporter.model import Outcome
from domcaps_exporter.service import Entry, Service, catalogue
from domcaps_exporter.targets import Target

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger(__name__)

_TIMEOUT = 10.0
"""Seconds that an asker is taken to wait who does not say: Prometheus' own default."""

_LONGEST = 300.0
"""Seconds that nobody is taken to wait longer than."""

_FAREWELL = 0.25
"""Seconds that requests in progress have to end; aiohttp grants them twice, so that all is over within a second."""


class _Site:
    """The handlers of one service."""

    def __init__(self, service: Service, telemetry_path: str, targets: Mapping[str, Target]) -> None:
        self._service = service
        self._telemetry_path = telemetry_path
        self._targets = targets

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_plainly])
        app.on_response_prepare.append(_undressed)
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
        text = page.render(outcomes, self._service.plugins, self._service.version, self._telemetry_path)
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


def _exposition(request: web.Request, metrics: Callable[[Format, bool], bytes]) -> web.Response:
    """The metrics as the asker likes them."""
    wanted, gzip = negotiate(_header(request, "Accept")), accepts_gzip(_header(request, "Accept-Encoding"))
    headers = {"Content-Type": wanted.content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=metrics(wanted, gzip), headers=headers)


def _answering(text: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


def _header(request: web.Request, name: str) -> str:
    """A list header, however many lines it is spread over."""
    return ",".join(request.headers.getall(name, ()))


def _patience(request: web.Request) -> float:
    """How long to wait for probes: half a second less than the scraper waits for us, or half of that, whichever is longer."""
    try:
        timeout = float(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""))
    except ValueError:
        timeout = _TIMEOUT
    timeout = min(timeout, _LONGEST) if math.isfinite(timeout) and timeout > 0 else _TIMEOUT
    return max(timeout - 0.5, timeout / 2)


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
        failure = outcome.failure
        if failure is not None and failure.reason != "absent" and wanted.startswith(f"{outcome.driver}-"):
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


class _Requests(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log. What is no HTTP is its sender's fault: nobody from outside can fill our log with tracebacks."""

    def log(self, level: int, msg: object, *args: object, **rest: Any) -> None:
        error = rest.get("exc_info")
        if isinstance(error, BadHttpMessage):
            self.logger.debug("a request that is no HTTP: %s", " ".join(error.message.split()))
        else:
            self.logger.log(level, msg, *args, **rest)


async def _undressed(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    response.headers["X-Content-Type-Options"] = "nosniff"


# ---- listening ---------------------------------------------------------------------------------------------------------------


async def serve(
    service: Service,
    addresses: Sequence[str],
    telemetry_path: str,
    stop: asyncio.Event,
    ready: Callable[[Sequence[str]], None],
    targets: Mapping[str, Target] | None = None,
) -> None:
    """Serve until `stop` is set; `ready` is told the addresses to open once all of them can be. `targets` are those of /probe.

    Args:
        addresses: `:19177` (every interface, IPv4 and IPv6), `127.0.0.1:0` (any free port), `[::1]:9100`, `name:9100`.

    Raises:
        OSError: an address cannot be listened on; the message names it.
    """
    runner = web.AppRunner(
        _Site(service, telemetry_path, targets or {}).application(),
        keepalive_timeout=15,
        access_log=None,
        logger=_Requests(_LOG),
        shutdown_timeout=_FAREWELL,
    )
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listening(address)) for address in addresses]
        await runner.setup()
        try:
            for listener in sockets:
                await web.SockSite(runner, listener).start()
            ready([_url(listener) for listener in sockets])
            await stop.wait()
        finally:
            await runner.cleanup()


def _listening(address: str) -> socket.socket:
    try:
        host, port = _split(address)
        return _bound(host, port)
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OSError(getattr(error, "errno", None) or errno.EINVAL, f"cannot listen on {address}: {reason}") from error


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or (":" in host and not bracketed):
        raise ValueError("an address is HOST:PORT, [IPV6]:PORT or :PORT")
    if int(port) > 65535:
        raise ValueError("a port is a number up to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _bound(host: str, port: int) -> socket.socket:
    """A name stands for its first address, IPv4 before IPv6, as with exporters written in Go."""
    if not host:
        dual = socket.has_dualstack_ipv6()
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual, backlog=128
        )
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(place, family=family, backlog=128)


def _url(listener: socket.socket) -> str:
    """An address that can be opened: one that means every interface is shown as this machine's own."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("::", "0.0.0.0") else f"[{host}]" if ":" in host else host  # noqa: S104 - compared, not bound
    return f"http://{shown}:{port}/"

"""The command `serve`, once there is a service: from its flags to the signal that ends it. `cli` loads it only to serve."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence

from domcaps_exporter import state, systemd
from domcaps_exporter.flags import Flags
from domcaps_exporter.service import Service
from domcaps_exporter.targets import Target
from domcaps_exporter.web import Front, serve

_LOG = logging.getLogger(__name__)


def front(said: Flags) -> Front:
    """What stands before the service. It takes the sockets that systemd opened out of the environment."""
    sockets = systemd.inherited(os.environ) if said.web_systemd_socket else ()
    return Front(said.web_config_file, said.web_max_requests, sockets=sockets)


async def serving(service: Service, aims: Mapping[str, Target], said: Flags, front: Front, notifier: systemd.Notifier) -> None:
    """Answer requests until SIGTERM or SIGINT, or until the terminal is gone; tell the log and systemd how far it is."""
    stop = asyncio.Event()

    def ready(urls: Sequence[str]) -> None:
        """Nothing was told before: where it cannot serve, the error is the one line."""
        _LOG.info("starting", extra={"fields": {"version": service.version, "drivers": ",".join(service.drivers)}})
        state.tell(said, os.environ, service.chronicle)
        for url in urls:
            _LOG.info("listening", extra={"fields": {"url": url}})
        notifier.tell("READY=1")

    def end() -> None:
        notifier.tell("STOPPING=1")
        stop.set()

    ends = {signal.SIGINT: end, signal.SIGTERM: end, signal.SIGHUP: end if os.isatty(0) else _keep_on}
    for number, handler in ends.items():
        asyncio.get_running_loop().add_signal_handler(number, handler)
    async with notifier.watched():
        await serve(service, _addresses(said), said.web_telemetry_path, stop, ready, aims, front)
    service.chronicle.close()
    _LOG.info("stopped")


def _keep_on() -> None:
    """Others read their configuration anew at SIGHUP. To end would look like a clean exit to systemd, which would leave it so."""
    _LOG.warning("SIGHUP changes nothing: the configuration is read at the start, and the web configuration at each request")


def _addresses(said: Flags) -> Sequence[str]:
    return said.web_listen_address or ([] if said.web_systemd_socket else [":19177"])

"""A fleet as Prometheus sees it: one target per host on a loopback address, and their list for http_sd. It serves, in threads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fleet.fleet import Change, Fleet

from domcaps_exporter.exposition import TEXT_0

LISTEN = "127.0.0.1"


class Site:
    """The hosts of a fleet as they are now. `clock`: seconds since the epoch."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.time) -> None:
        self._fleet, self._hosts, self._clock = fleet, fleet.hosts(), clock
        self._lock = threading.Lock()

    def happen(self, host: str, change: Change) -> None:
        """Something happens to a host."""
        with self._lock:
            change(self._hosts[host])

    def happen_at_once(self, hosts: Iterable[str], change: Change) -> None:
        """The same happens to several hosts, and each notices it now: what they lose has one date, whenever they are scraped."""
        with self._lock:
            now = self._clock()
            for host in hosts:
                change(self._hosts[host])
                self._hosts[host].exposition(now)

    def exposition(self, host: str) -> bytes | None:
        """None where there is no such host, or it cannot be scraped."""
        with self._lock:
            found = self._hosts.get(host)
            return None if found is None else found.exposition(self._clock())

    def targets(self, address: str) -> bytes:
        """http_sd's list. The targets have one address; their paths and `instance` labels differ."""
        listed = [
            {"targets": [address], "labels": {**self._fleet.labels(name), "__metrics_path__": f"/{name}/metrics"}}
            for name in self._hosts
        ]
        return json.dumps(listed).encode()


@contextmanager
def serving(site: Site, port: int = 0) -> Iterator[str]:
    """The server's address; /targets is for http_sd."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/targets":
                self._answer(site.targets(f"{LISTEN}:{server.server_port}"), "application/json")
            else:
                self._answer(site.exposition(self.path.removesuffix("/metrics").strip("/")), TEXT_0.content_type)

        def _answer(self, body: bytes | None, kind: str) -> None:
            self.send_response(503 if body is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            """Say nothing."""

    server = ThreadingHTTPServer((LISTEN, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{LISTEN}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

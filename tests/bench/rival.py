"""prometheus_client's own server with the families of an exposition: `rival.py FILE PORT`.

The families are made before, so what a scrape costs is prometheus_client's writing, compressing and serving of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def main(file: str, port: str) -> None:
    registry = CollectorRegistry()
    registry.register(Families(text_string_to_metric_families(Path(file).read_text())))
    start_http_server(int(port), "127.0.0.1", registry)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The exporter before a host whose answer is at hand: what is left is serving. `still.py RECORDING CONFIG`; flags are ignored.

Everything is the exporter's own but the watch, which asks nobody and starts no thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from domcaps_exporter import Driver, config, log, recording
from domcaps_exporter.model import Outcome, Report
from domcaps_exporter.process import share_memory
from domcaps_exporter.service import Service
from domcaps_exporter.web import serve
from domcaps_qemu.probe import Qemu
from domcaps_qemu.settings import wanted


class Still:
    """`service.Watch`: a new outcome at each call, of the same reports."""

    def __init__(self, driver: Driver, reports: tuple[Report, ...]) -> None:
        self.driver, self._reports = driver, reports

    def join(self) -> Future[Outcome]:
        landed: Future[Outcome] = Future()
        landed.set_result(Outcome(self.driver.name, self._reports, None, 0.001, time.monotonic(), time.time()))
        return landed

    def overdue(self) -> bool:
        return False

    def silent(self, waited: float) -> Outcome:
        raise AssertionError(f"it has answered already, before {waited} s")


async def main(place: str, file: str) -> None:
    said = config.load(Path(file))
    _, facts = recording.load(Path(place))
    qemu = Qemu(wanted(said.drivers["qemu"], "auto"))
    watch = Still(Driver("qemu", qemu.probe, qemu.describe), tuple(qemu.describe(facts)))
    service = Service([watch], (), series_limit=20_000, options=said.metrics)
    await serve(service, ["127.0.0.1:0"], "/metrics", asyncio.Event(), announce)


def announce(urls: Sequence[str]) -> None:
    for url in urls:
        logging.getLogger().info("listening", extra={"fields": {"url": url}})


if __name__ == "__main__":
    share_memory()
    log.configure("info", "json", sys.stderr)
    asyncio.run(main(*(word for word in sys.argv[1:] if not word.startswith("--"))))

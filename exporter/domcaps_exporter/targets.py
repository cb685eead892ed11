"""The targets of /probe: libvirts of other hosts, each asked only when its name is called. It waits, but only as told.

A target has a service of its own: its own memory, its own counters, one probe in the air however many ask. So a slow one costs
nobody else anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domcaps_exporter.config import ConfigError, Wish
from domcaps_exporter.errors import SettingError
from domcaps_exporter.exposition import Format
from domcaps_exporter.model import Driver, Outcome
from domcaps_exporter.service import Service

DRIVER = "libvirt"
"""Who asks targets: the only driver that reaches other hosts."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target; `timeout` is how long a probe of it may take, in seconds."""

    service: Service
    timeout: float

    async def probe(self, patience: float) -> Sequence[Outcome]:
        """A fresh answer, waited for as long as the asker waits, and no longer than the target may take."""
        return await self.service.scrape(min(patience, self.timeout))

    def metrics(self, outcomes: Sequence[Outcome], wanted: Format, gzip: bool) -> Sequence[bytes]:
        """The exposition of a probe, in pieces: what it found and how it went, and nothing about the exporter."""
        return self.service.metrics(outcomes, wanted, gzip, process=False)


def targets(
    file: Path | None,
    wishes: Mapping[str, Wish],
    drivers: Callable[[Mapping[str, object]], Iterable[Driver]],
    service: Callable[[str, Driver, float], Service],
    timeout: float,
) -> dict[str, Target]:
    """The configured targets by name. `drivers` makes drivers of a section, `service` a service of a target's name, its driver
    and its timeout; `timeout` is for those that name none.

    Raises:
        ConfigError: a target's settings mean nothing, or no plugin brings the driver that asks targets.
    """
    found = {}
    for name, wish in wishes.items():
        driver = _driver(file, name, wish, drivers)
        patience = wish.timeout or timeout
        found[name] = Target(service(name, driver, patience), patience)
    return found


def _driver(file: Path | None, name: str, wish: Wish, drivers: Callable[[Mapping[str, object]], Iterable[Driver]]) -> Driver:
    try:
        brought = drivers({**wish.section, "uris": [wish.uri]})
    except SettingError as error:
        key = "uri" if error.key == "uris" else error.key
        message = error.message.replace("allowed: uris,", "allowed: uri, timeout,")
        raise ConfigError(file, f"targets.{name}.{key}: {message}") from error
    for driver in brought:
        if driver.name == DRIVER:
            return driver
    raise ConfigError(file, f"targets.{name}: no installed plugin brings the driver {DRIVER}, which asks targets")

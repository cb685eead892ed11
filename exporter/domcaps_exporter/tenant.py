"""A stranger's plugin in a process of its own, from the inside: loads it, asks it, tells the exporter. Runs other people's code.

Started by `apart` as `python -m domcaps_exporter.tenant DESCRIPTOR`, with one end of a pipe to the exporter. It goes on until that
is closed. What the plugin raises, `SystemExit` included, is told; what ends the process is seen from the outside.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection

from domcaps_exporter import parcel
from domcaps_exporter.contract import checked_facts, checked_reports, words_of
from domcaps_exporter.drivers import brought
from domcaps_exporter.errors import PluginError, SettingError
from domcaps_exporter.hookspecs import PROJECT
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import Driver, Facts, Failure
from domcaps_exporter.parcel import Ask, Explain, Failed, Found, Lease, Misset, Names, Reply, Understood
from domcaps_exporter.probing import failure_of


class Room:
    """One driver with its memory, and the facts that it found last."""

    def __init__(self, driver: Driver, paths: Paths) -> None:
        self._driver, self._paths, self._store = driver, paths, Store()
        self._facts: Facts | None = None

    def ask(self, deadline: float) -> Found:
        facts = checked_facts(self._driver.name, self._driver.probe(RealHost(deadline, self._paths, self._store)))
        if facts == self._facts:
            return Found(None)
        self._facts = facts
        return Found(facts)

    def explain(self, facts: Facts | None) -> Understood:
        read = facts if facts is not None else self._facts or {}
        return Understood(checked_reports(self._driver.name, self._driver.describe(read)))


def main() -> None:
    """Load the plugin, and answer until the exporter hangs up."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as line, suppress(EOFError, BrokenPipeError):
        rooms: dict[str, Room] = {}
        while True:
            line.send_bytes(_sealed(_answer(parcel.request(line.recv_bytes()), rooms)))


def _answer(request: object, rooms: dict[str, Room]) -> Reply:
    try:
        match request:
            case Lease():
                rooms |= _moved_in(request)
                return Names(tuple(rooms))
            case Ask(driver, deadline):
                return rooms[driver].ask(deadline)
            case Explain(driver, facts):
                return rooms[driver].explain(facts)
            case _:
                raise AssertionError(request)
    except SettingError as error:
        return Misset(error.key, error.message)
    except PluginError as error:
        return Failed(Failure("contract", error.message))
    except BaseException as error:  # noqa: BLE001  the plugin's: SystemExit is one of its ways to fail
        return Failed(failure_of(error), "".join(traceback.format_exception(error)))


def _moved_in(lease: Lease) -> Mapping[str, Room]:
    drivers = brought(EntryPoint(lease.plugin, lease.entry_point, PROJECT), lease.settings)
    return {driver.name: Room(driver, lease.paths) for driver in drivers}


def _sealed(answer: Reply) -> bytes:
    """The answer as bytes, or a failure where it is too large or holds what has no bytes."""
    try:
        data = parcel.packed(answer)
    except Exception as error:  # noqa: BLE001  a stranger's values may do anything when they are written
        return parcel.packed(Failed(Failure("contract", f"an answer that cannot be handed over: {words_of(error)}")))
    if len(data) <= parcel.LIMIT:
        return data
    found = f"an answer of {len(data) >> 20} MiB, more than the {parcel.LIMIT >> 20} MiB allowed"
    return parcel.packed(Failed(Failure("contract", found)))


if __name__ == "__main__":
    main()

"""What `drivers` says: every plugin that was found, its drivers, and what became of asking them. Pure.

PLUGIN           VERSION      DRIVER       STATE
qemu             1.0          qemu         answers: 2
xen              1.0          xen          absent: no control domain of Xen
acme             2.1          -            refused: ImportError: no module named acme

qemu: machines: found 'q53', which /usr/bin/qemu-system-x86_64 does not have; did you mean q35?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.model import Outcome
from domcaps_exporter.notices import notes
from domcaps_exporter.terminal import line


def table(plugins: Iterable[Plugin], outcomes: Mapping[str, Outcome]) -> str:
    """A line for each driver, and for each plugin that was refused; a driver without an outcome was left alone. Then the notes."""
    rows = [("PLUGIN", "VERSION", "DRIVER", "STATE"), *(row for plugin in plugins for row in _rows(plugin, outcomes))]
    noted = [f"{driver}: {line(note)}\n" for driver, outcome in outcomes.items() for note in notes(outcome)]
    table = "".join(f"{name:<16} {version:<12} {driver:<12} {state}\n" for name, version, driver, state in rows)
    return "".join((table, *(["\n"] if noted else []), *noted))


def complaints(plugins: Iterable[Plugin], outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Whatever is wrong: that a hypervisor is absent is not."""
    yield from (f"plugin {plugin.name}: {plugin.error}" for plugin in plugins if plugin.error)
    for one in outcomes.values():
        if one.problem is not None:
            yield f"driver {one.driver}: {one.problem.reason}: {one.problem.text}"


def _rows(plugin: Plugin, outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str, str, str]]:
    if plugin.error:
        yield plugin.name, plugin.version, "-", f"refused: {line(plugin.error)}"
    for driver in plugin.drivers:
        yield plugin.name, plugin.version, driver, _state(outcomes.get(driver))


def _state(outcome: Outcome | None) -> str:
    if outcome is None:
        return "left alone"
    failure = outcome.failure
    return f"answers: {len(outcome.reports)}" if failure is None else f"{failure.reason}: {line(failure.text)}"

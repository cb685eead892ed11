"""A fleet in which everything that the dashboards show has happened, and what happens to it. Simulated; see tests/fleet."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fleet.fleet import Change, Event, Fleet, fail, lose, reach, regain
from tests.fleet.hosts import Host
from tests.fleet.worlds import World

RACKS = {
    "rack-a": World("10.0", "milan"),
    "rack-b": World("10.0", "rome"),
    "rack-c": World("11.1", "milan"),
    "rack-d": World("7.2", "rome"),
}
SIZE = 8
ODD = {
    "b-5": World("10.0", "rome", frozenset({"sev"})),
    "c-2": World("11.1", "rome"),
    "a-7": World("10.0", "milan", frozenset({"sev-es"})),
    "a-6": World("10.0", "milan", machines=("pc-q35-5.2",)),
}
"""Hosts that began unlike their racks: without SEV, with another processor, without room for SEV-ES, asked for an old machine."""


def fleet(pace: float) -> Fleet:
    """`pace`: the seconds between two things that happen."""
    worlds = {f"{rack[-1]}-{number}": world for rack, world in RACKS.items() for number in range(SIZE)} | ODD
    groups = {name: f"rack-{name[0]}" for name in worlds}
    events = [Event(place * pace, host, change) for place, (host, change) in enumerate(_happening(), 1)]
    return Fleet(worlds, groups, tuple(events))


def _happening() -> Iterator[tuple[str, Change]]:
    """In this order."""
    yield "a-1", lose("iommu")
    for number in range(SIZE - 2):
        yield f"d-{number}", _upgraded
    yield "a-3", lose("kvm")
    yield "c-4", lose("secure-file")
    yield "b-2", lose("swtpm")
    yield "a-1", regain("iommu")
    yield "a-5", lose("erms", "smep")
    yield "c-1", fail("timeout")
    yield "c-7", reach(up=False)
    yield "b-1", _stale
    yield "a-1", lose("vfio")
    yield "c-1", fail("")
    yield "c-0", fail("refused")


def _upgraded(host: Host) -> None:
    """Debian's QEMU 10.0 has no SPICE, which that of 7.2 had."""
    host.change(qemu="10.0")


def _stale(host: Host) -> None:
    """Its libvirt answers for what it was; the host has no virtiofsd any more."""
    host.libvirt = host.world
    host.world = host.world.without("virtiofsd")

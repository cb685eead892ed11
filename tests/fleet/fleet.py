"""Fleets of simulated hosts, what happens to them and when, and which alerts that ought to raise. Deterministic."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tests.fleet.hosts import Host
from tests.fleet.worlds import CPUS, QEMUS, World

Change: TypeAlias = Callable[[Host], object]

WAIT = 180.0
"""Seconds for which something must be missing until its alert fires."""


class Expected(NamedTuple):
    """What the lack of a thing raises on one host: the alert, and the reasons in its summary."""

    alert: str
    reasons: str


EXPECTED: Mapping[str, Expected] = {
    "kvm": Expected("DomcapsKvmLost", "dev-kvm"),
    "kvm-build": Expected("DomcapsKvmLost", "qemu-kvm-build"),
    "kvm-access": Expected("DomcapsKvmLost", "kvm-access"),
    "iommu": Expected("DomcapsVfioLost", "iommu-groups"),
    "vfio": Expected("DomcapsVfioLost", "dev-vfio"),
    "vfio-nodes": Expected("DomcapsVfioLost", "vfio-device-nodes"),
    "plain-file": Expected("DomcapsFirmwareMissing", "firmware-file:no-secure-boot"),
    "secure-file": Expected("DomcapsSecureBootLost", "firmware-file:requires-smm:secure-boot, firmware-file:secure-boot"),
    "descriptors": Expected("DomcapsUefiLost", "firmware-descriptor"),
    "swtpm": Expected("DomcapsTpmLost", "program:swtpm, program:swtpm_ioctl, program:swtpm_setup"),
    "tpm": Expected("DomcapsCapabilityLost", "dev-tpm0"),
    "virtiofsd": Expected("DomcapsVirtiofsLost", "program:virtiofsd"),
    "passt": Expected("DomcapsCapabilityLost", "program:passt"),
    "sev": Expected("DomcapsConfidentialLost", "qemu:query-sev-capabilities"),
    "smep": Expected("DomcapsCpuSecurityFeatureLost", ""),
    "invtsc": Expected("DomcapsCpuFeatureLost", ""),
    "erms": Expected("DomcapsCpuModelUnusable", "cpu-feature:erms"),
}
"""By name of what a host lacks, all but `sev-es`."""


@dataclass(frozen=True, slots=True)
class Event:
    """At a time, in seconds from the beginning, something happens to a host."""

    time: float
    host: str
    change: Change


def lose(*things: str) -> Change:
    def change(host: Host) -> None:
        host.world = host.world.without(*things)

    return change


def regain(*things: str) -> Change:
    def change(host: Host) -> None:
        host.world = host.world.having(*things)

    return change


def reach(*, up: bool) -> Change:
    """It can be scraped, or cannot."""

    def change(host: Host) -> None:
        host.up = up

    return change


def fail(reason: str) -> Change:
    """Its probe fails for this reason; empty: it answers again."""

    def change(host: Host) -> None:
        host.failure = reason

    return change


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts by name with the world that they begin in, the group that each is in ("": none), and what happens to them."""

    worlds: Mapping[str, World]
    groups: Mapping[str, str]
    events: tuple[Event, ...] = ()

    def hosts(self) -> dict[str, Host]:
        """As they are in the beginning."""
        return {name: Host(name, world) for name, world in self.worlds.items()}

    def labels(self, name: str) -> dict[str, str]:
        """What the service discovery says of a host."""
        group = self.groups.get(name, "")
        return {"job": "domcaps", "instance": name, **({"group": group} if group else {})}

    def play(self, until: float, step: float = 60) -> Iterator[tuple[float, Mapping[str, Host]]]:
        """The hosts at each time of a scrape."""
        hosts = self.hosts()
        coming = sorted(self.events, key=lambda event: event.time)
        for number in range(int(until // step) + 1):
            now = number * step
            while coming and coming[0].time <= now:
                event = coming.pop(0)
                event.change(hosts[event.host])
            yield now, hosts


# ---- at random ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A host lacks a thing from one time to another, in seconds."""

    host: str
    thing: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet, and the truth about it."""

    fleet: Fleet
    faults: tuple[Fault, ...]

    def truth(self, now: float) -> frozenset[tuple[str, str]]:
        """Alert and host, of what is missing then, and was for long enough."""
        return frozenset((EXPECTED[one.thing].alert, one.host) for one in self.faults if one.since + WAIT <= now < one.until)


def planned(seed: int, hosts: int = 40, duration: float = 7200) -> Plan:
    """Groups of ten alike hosts, of which some never had something; in each, at most four lose something, and some get it back."""
    chance = random.Random(seed)  # noqa: S311  the same every time, on purpose
    worlds, groups = {}, {}
    faults: list[Fault] = []
    for first in range(0, hosts, 10):
        members = [f"host-{number}" for number in range(first, min(first + 10, hosts))]
        never = chance.choice(("", "sev", "virtiofsd", "iommu", "descriptors"))
        world = World(chance.choice(QEMUS), chance.choice(list(CPUS)), frozenset((never,)) - {""})
        worlds.update(dict.fromkeys(members, world))
        groups.update(dict.fromkeys(members, f"rack-{first // 10}"))
        faults += _faults(chance, members[:4], world, duration)
    events = [Event(one.since, one.host, lose(one.thing)) for one in faults]
    events += [Event(one.until, one.host, regain(one.thing)) for one in faults]
    return Plan(Fleet(worlds, groups, tuple(events)), tuple(faults))


def _faults(chance: random.Random, members: list[str], world: World, duration: float) -> Iterator[Fault]:
    able = [thing for thing in EXPECTED if _had(thing, world)]
    for host in members:
        since = 60.0 * chance.randrange(5, int(duration // 60))
        yield Fault(host, chance.choice(able), since, chance.choice((2 * duration, since + 60.0 * chance.randrange(10, 60))))


def _had(thing: str, world: World) -> bool:
    """Would its loss raise the alert in a host of that world?"""
    firmware = "descriptors" in world.lacks and thing in ("plain-file", "secure-file", "descriptors")
    passthrough = "iommu" in world.lacks and thing in ("iommu", "vfio", "vfio-nodes")
    nodes = thing == "vfio-nodes" and world.qemu == "7.2"  # which has no iommufd
    processor = thing == "erms" and world.cpu != "milan"
    return thing not in world.lacks and not (firmware or passthrough or nodes or processor)

"""libvirt's <capabilities>: the host's architecture, and the guests that its libvirt offers, in libvirt's order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's name, and the version that it means where it is an alias."""

    name: str
    canonical: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of guest: an architecture under a virttype, with the emulator and the machines that libvirt offers for it."""

    arch: str
    virttype: str
    emulator: str
    machines: tuple[Machine, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What describes the guests; the rest of the answer is left alone. `arch` is the host's own."""

    arch: str
    kinds: tuple[Kind, ...]


def capabilities(data: bytes) -> Capabilities:
    """Read the answer.

    Raises:
        ValueError: it is no such XML, or has no host.
    """
    root = _parsed(data)
    arch = root.findtext("host/cpu/arch")
    if root.tag != "capabilities" or not arch:
        raise ValueError(f"expected <capabilities> with the host's architecture, found <{root.tag}>")
    return Capabilities(arch, tuple(_kinds(root)))


def _parsed(data: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"expected XML, found: {error.msg}") from error


def _kinds(root: etree._Element) -> Iterator[Kind]:
    for guest in root.iterfind("guest/arch"):
        for domain in guest.iterfind("domain"):
            yield Kind(
                arch=guest.get("name", ""),
                virttype=domain.get("type", ""),
                emulator=domain.findtext("emulator") or guest.findtext("emulator") or "",
                machines=_machines(domain) or _machines(guest),
            )


def _machines(node: etree._Element) -> tuple[Machine, ...]:
    return tuple(Machine(machine.text or "", machine.get("canonical", "")) for machine in node.iterfind("machine"))

"""What stands where in a document: its elements and its numbers, by the names that the metrics have for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from domcaps_exporter.model import Cpu, CpuMode, Document, Element

_CONTAINERS = ("devices", "features")
_FLAGS: Mapping[str, float] = {"yes": 1.0, "no": 0.0, "on": 1.0, "off": 0.0}
_UNITS: Mapping[str, float] = {"b": 1.0, "bytes": 1.0} | {
    spelling: base**power
    for power, letter in enumerate("kmgtpe", start=1)
    for spelling, base in ((letter, 1024.0), (f"{letter}ib", 1024.0), (f"{letter}b", 1000.0))
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")


def walk(document: Document) -> Iterator[Element]:
    """Every element that the metrics know by its name, in the document's order.

    That is what stands at the top or in the containers `<devices>` and `<features>`, and whatever inside has a `supported`
    attribute of its own (`<loader>` in `<os>`), also among the `others` of a CPU mode.
    """
    for child in document.children:
        if isinstance(child, Cpu):
            yield from _within(other for mode in child.modes for other in _unknown(mode))
        elif child.name in _CONTAINERS:
            for element in child.elements:
                yield element
                yield from _within(element.elements)
        else:
            yield child
            yield from _within(child.elements)


def _within(elements: Iterable[Element]) -> Iterator[Element]:
    for element in elements:
        if _stands_alone(element):
            yield element
        yield from _within(element.elements)


def _stands_alone(element: Element) -> bool:
    return element.get("supported") is not None


def _unknown(mode: CpuMode) -> tuple[Element, ...]:
    return mode.others if mode.host_model is None else (*mode.others, *mode.host_model.others)


def numbers(document: Document) -> Iterator[tuple[str, str, float]]:
    """Every number in the document: (element, parameter, value). No two have the same element and parameter: the first stands.

    Numbers are decimal texts and attributes; yes and on are 1, no and off 0; other texts, `supported` and `<value>` are none. Sizes
    with a unit that libvirt knows (KiB, MB…) are in bytes: the element's text, or its attribute `size`.

    A parameter is the path below the element: `maxGuests`, `section_size`, `defaults/spinlocks`. Siblings of one name, and the
    children of their plural, go by position instead, so that one section is called like the first of two:
    `<sections><section node='0' size='64' unit='KiB'/></sections>` is `sections/0/node` and `sections/0/size`. An element's own
    text goes by the element's name. In a CPU, the host model's address width is `maxphysaddr`, and the unknown is below its mode's
    name.
    """
    found: dict[tuple[str, str], float] = {}
    for element in (*walk(document), *(_unknown_cpu(cpu) for cpu in document.children if isinstance(cpu, Cpu))):
        for path, text, unit in _leaves(element, ()):
            value = _number(text, unit)
            if value is not None:
                found.setdefault((element.name, "/".join(path) or element.name), value)
    yield from ((element, parameter, value) for (element, parameter), value in found.items())


def _unknown_cpu(cpu: Cpu) -> Element:
    """What of a CPU has numbers, as an element."""
    widths = (dict(mode.host_model.maxphysaddr or ()) for mode in cpu.modes if mode.host_model is not None)
    known = tuple(Element("maxphysaddr", text=width["limit"]) for width in widths if "limit" in width)
    modes = tuple(Element(mode.name, children=_unknown(mode)) for mode in cpu.modes)
    return Element("cpu", children=known + modes)


def _leaves(element: Element, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(path, text, unit) of an element's text and attributes, and of those inside that do not stand alone."""
    unit = element.get("unit") or ""
    if element.text is not None:
        yield path, element.text, unit
    for name, text in element.attributes:
        if name != "supported":
            yield (*path, name), text, unit if name == "size" else ""
    for step, child in _steps(element):
        if child.name != "value" and not _stands_alone(child):
            yield from _leaves(child, (*path, *step))


def _steps(element: Element) -> Iterator[tuple[tuple[str, ...], Element]]:
    """Every child with the part of a path that leads to it."""
    siblings: dict[str, list[Element]] = {}
    for child in element.elements:
        siblings.setdefault(child.name, []).append(child)
    for name, alike in siblings.items():
        plural = element.name == f"{name}s"
        for position, child in enumerate(alike):
            yield ((str(position),) if plural else (name, str(position)) if len(alike) > 1 else (name,)), child


def _number(text: str, unit: str) -> float | None:
    word = text.strip(" \t\r\n")
    if _NUMBER.fullmatch(word):
        return float(word) * _UNITS.get(unit.lower(), 1.0)
    return _FLAGS.get(word)

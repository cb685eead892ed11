"""What QEMU's replies say, read strictly: the forms that rules look at. Pure.

A reader takes the JSON text of one QMP reply and fails (ValueError, LookupError, TypeError) where it is not what QEMU's reference
promises; `View.form` makes UnreadableAnswer of that. What a later QEMU says besides is passed over. Where QEMU knows no such
command or device, a list is empty, and any other form None or empty; any other error is no answer, unless a reader says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domcaps_exporter.qmp import (
    Object,
    answered,
    entries,
    flag,
    granted,
    listing,
    mapping,
    number,
    objects,
    offered,
    reply,
    returned,
    some,
    text,
)

# ---- lists -------------------------------------------------------------------------------------------------------------------


def names(line: bytes) -> frozenset[str]:
    """The `name`s in a reply that lists things."""
    return _names(entries(line))


def qom_types(line: bytes) -> frozenset[str]:
    """qom-list-types."""
    return _names(some(line))


def _names(listed: Sequence[Object]) -> frozenset[str]:
    return frozenset(text(entry["name"]) for entry in listed)


def strings(line: bytes) -> frozenset[str]:
    """A reply that is a list of strings."""
    told = answered(line)
    return frozenset() if told.error is not None else frozenset(map(text, listing(told.value)))


def options(line: bytes) -> Mapping[str, frozenset[str]]:
    """query-command-line-options: option → its parameters."""
    return {text(entry["option"]): frozenset(text(one["name"]) for one in objects(entry["parameters"])) for entry in some(line)}


def gics(line: bytes) -> Sequence[tuple[int, bool, bool]]:
    """query-gic-capabilities: version, in the kernel, emulated."""
    return [(number(entry["version"]), flag(entry["kernel"]), flag(entry["emulated"])) for entry in entries(line)]


# ---- any reply ---------------------------------------------------------------------------------------------------------------


def final(line: bytes) -> None:
    """Fails where the answer is an error that may pass; that a QEMU was built without the command does not."""
    told = reply(line)
    if told.error not in (None, "CommandNotFound"):
        raise ValueError(told.error)


# ---- one thing ---------------------------------------------------------------------------------------------------------------


def target(line: bytes) -> str | None:
    """query-target: QEMU's name of the guests' architecture."""
    told = returned(line)
    return None if told is None else text(told["arch"])


def version(line: bytes) -> tuple[int, int, int] | None:
    """query-version."""
    told = returned(line)
    if told is None:
        return None
    parts = mapping(told["qemu"])
    return number(parts["major"]), number(parts["minor"]), number(parts["micro"])


def kvm(line: bytes) -> tuple[bool, bool] | tuple[()]:
    """query-kvm: was KVM built in, and does it work?"""
    told = returned(line)
    return () if told is None else (flag(told["present"]), flag(told["enabled"]))


def accelerators(line: bytes) -> tuple[bool, bool] | tuple[()]:
    """query-accelerators (QEMU 10.2): was KVM built in, and does it work?"""
    told = returned(line)
    return () if told is None else ("kvm" in map(text, listing(told["present"])), text(told["enabled"]) == "kvm")


# ---- CPU models --------------------------------------------------------------------------------------------------------------


def definitions(line: bytes) -> list[Object]:
    """query-cpu-definitions: `CpuDefinitionInfo`s whose known parts are what they should be."""
    return [_definition(entry) for entry in entries(line)]


def definitions_if_any(line: bytes) -> list[Object]:
    """The same of an emulator whose processors may have none: QEMU 10.1 and later says so with any error."""
    return [_definition(entry) for entry in offered(line)]


def _definition(entry: Object) -> Object:
    text(entry["name"])
    text(entry.get("alias-of", ""))
    flag(entry.get("deprecated", False))
    for feature in listing(entry.get("unavailable-features", [])):
        text(feature)
    return entry


def expansion(line: bytes) -> Object:
    """The `model` of query-cpu-model-expansion: its `name`, and its `props`; empty where QEMU answered with an error."""
    told = granted(line)
    if told is None:
        return {}
    model = mapping(told["model"])
    text(model["name"])
    props = mapping(model["props"])
    for name in ("family", "model", "stepping"):
        number(props.get(name, 0))
    text(props.get("vendor", ""))
    return model


# ---- the schema --------------------------------------------------------------------------------------------------------------


class Schema:
    """query-qmp-schema, asked by path as in `query-display-options/ret-type/+sdl`."""

    def __init__(self, line: bytes) -> None:
        entities = {text(entity["name"]): entity for entity in some(line)}
        self._steps = {name: _steps(entity) for name, entity in entities.items()}
        self._elements = {name: text(one["element-type"]) for name, one in entities.items() if one["meta-type"] == "array"}

    def has(self, path: str) -> bool:
        """Is the path there? `+x` is a variant's case; arrays are looked through."""
        here, *steps = path.split("/")
        for step in steps:
            found = self._steps.get(self._held(here), {}).get(step)
            if found is None:
                return False
            here = found
        return here in self._steps

    def _held(self, name: str) -> str:
        """What an array holds; the loop has an end though no schema promises that an array does not hold itself."""
        for _ in self._elements:
            if name not in self._elements:
                break
            name = self._elements[name]
        return name


def _steps(entity: Object) -> Mapping[str, str]:
    """The steps that a path can take from an entity, and where each leads (QEMU's qapi/introspect.json)."""
    kind = entity["meta-type"]
    if kind == "object":
        members = {one["name"]: one["type"] for one in listing(entity["members"])}
        variants = {f"+{text(one['case'])}": one["type"] for one in listing(entity.get("variants", []))}
        return _strings({**members, **variants})
    return _strings({side: entity[side] for side in ("arg-type", "ret-type")}) if kind == "command" else {}


def _strings(steps: Mapping[Any, Any]) -> Mapping[str, str]:
    """Every name and what it leads to are strings, as promised: looked at together, for there are thousands."""
    if not {*map(type, steps), *map(type, steps.values())} <= {str}:
        raise TypeError(f"{str(steps)[:60]!r} where strings were expected")
    return steps

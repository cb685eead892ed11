"""The QEMU that emulates Xen guests' devices, as it describes itself over QMP. Pure.

It answers on any machine, Xen or not, and without a guest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from domcaps_exporter import Question, Refusal, Truth, question
from domcaps_exporter.qmp import command, number, objects, reply, text
from domcaps_exporter.view import View
from domcaps_xen.toolstack import Found

T = TypeVar("T")

KIND = "device-model"
"""The kind of question that asks a device model a QMP command: its path, and the command."""

HELP_SECONDS = "3"
"""What the list of displays may take; a device model that hangs over it has told all else already."""

MACHINES = "query-machines"
DEVICES = command("qom-list-types", abstract=False, implements="device")
SPICE = "query-spice"
VNC = "query-vnc"

_WORD = re.compile(r"^[\w-]+$", re.MULTILINE)


class Machine(NamedTuple):
    """A machine by its versioned name, and how many vCPUs it can have (0: it does not say)."""

    canonical: str
    vcpus_max: int


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """What the device model can do; None where nobody knows. `machines` is by name and alias."""

    path: str
    there: Truth
    machines: Mapping[str, Machine] | None = None
    devices: frozenset[str] | None = None
    vnc: Truth = None
    spice: Truth = None
    displays: frozenset[str] | None = None


def device_model(view: View, found: Found) -> DeviceModel:
    """The device model of that path, where it may be asked."""
    path = found.path
    if not path or view.there(question("exec", path)) is not True:
        return DeviceModel(path, found.there)
    return DeviceModel(
        path,
        found.there,
        machines=_told(view, question(KIND, path, MACHINES), _machines),
        devices=_told(view, question(KIND, path, DEVICES), _names),
        vnc=_told(view, question(KIND, path, VNC), _answered),
        spice=_told(view, question(KIND, path, SPICE), _answered),
        displays=_told(view, question("within", HELP_SECONDS, path, "-display", "help"), _displays),
    )


def _told(view: View, asked: Question, parse: Callable[[bytes], T]) -> T | None:
    form = view.form(asked, parse)
    return None if isinstance(form, Refusal) else form


def _answered(line: bytes) -> bool:
    """Was it answered rather than refused? A feature that was not compiled in is CommandNotFound."""
    return reply(line).error is None


def _names(line: bytes) -> frozenset[str]:
    return frozenset(text(entry["name"]) for entry in objects(reply(line).value))


def _machines(line: bytes) -> Mapping[str, Machine]:
    entries = objects(reply(line).value)
    offered = [Machine(text(entry["name"]), number(entry.get("cpu-max", 0))) for entry in entries]
    aliases = [text(entry.get("alias", entry["name"])) for entry in entries]
    return {machine.canonical: machine for machine in offered} | dict(zip(aliases, offered, strict=True))


def _displays(said: bytes) -> frozenset[str]:
    """`-display help`: a word on each line, and sentences; `none` is always among the words."""
    words = frozenset(_WORD.findall(said.decode("utf-8", "replace")))
    if "none" not in words:
        raise ValueError(f"{said[:60]!r} is no list of displays")
    return words

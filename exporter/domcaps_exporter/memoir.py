"""The pasts of all drivers as the bytes of the state file: versioned JSON with a digest over what it says. Pure.

    {"format": 1, "digest": "…", "drivers": {"qemu": {"changed": 1770000000.5, "code": "…", "heard": {"…": "…"}, "guests": [{
        "emulator": "/usr/bin/qemu-system-x86_64", "arch": "x86_64", "machine": "q35", "virttype": "kvm",
        "presence": "reported", "since": 0.0, "native": true,
        "things": {"hostdev": {"pciBackend": {"vfio": 1770000000.5}}, "guest": {"": {"": true}}},
        "listed": {"hostdev": {"pciBackend": ["vfio"]}}}]}}}

A thing is true (a guest can have it), false (it never could), null (only its name is known), or since when it is missed. `code` and
`heard` are what that rests on; an earlier exporter's file has neither. The digest keeps a damaged name from becoming something that
a host seems to have lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from domcaps_exporter.basis import Basis
from domcaps_exporter.errors import DomcapsError
from domcaps_exporter.model import Identity
from domcaps_exporter.past import Guest, Past, Presence, Trace
from domcaps_exporter.truths import Key

Memory: TypeAlias = Mapping[str, Past]
"""By driver."""

FORMAT = 1

_PRESENCES: Mapping[object, Presence] = {"reported": "reported", "withdrawn": "withdrawn", "gone": "gone"}
_WORDS = ("emulator", "arch", "machine", "virttype")


class Damaged(DomcapsError):
    """Bytes that are no memory; the message reads on after the file's name."""


def encode(memory: Memory) -> bytes:
    """The file's bytes."""
    drivers = {driver: _driver(past) for driver, past in memory.items()}
    return json.dumps({"format": FORMAT, "digest": _digest(drivers), "drivers": drivers}, separators=(",", ":")).encode()


def decode(data: bytes) -> dict[str, Past]:
    """What `encode` was given.

    Raises:
        Damaged: the bytes are not what it wrote.
    """
    try:
        whole = _mapping(json.loads(data))
        if whole["format"] != FORMAT:
            raise Damaged(f"is of the format {whole['format']!r}, and this exporter knows {FORMAT}")
        drivers = _mapping(whole["drivers"])
        if whole["digest"] != _digest(drivers):
            raise Damaged("is damaged: its digest is another one")
        return {driver: _past(said) for driver, said in drivers.items()}
    except LookupError as error:
        raise Damaged(f"is damaged: {error} is missing, or means nothing") from error
    except RecursionError as error:
        raise Damaged("is damaged: it is nested too deeply") from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise Damaged(f"is damaged: {error}") from error


def _digest(drivers: object) -> str:
    return hashlib.sha256(json.dumps(drivers, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


# ---- to JSON -----------------------------------------------------------------------------------------------------------------


def _driver(past: Past) -> dict[str, object]:
    ground = {} if past.basis is None else {"code": past.basis.code, "heard": past.basis.heard}
    return {"changed": past.changed, **ground, "guests": [_guest(identity, guest) for identity, guest in past.guests.items()]}


def _guest(identity: Identity, guest: Guest) -> dict[str, object]:
    things: dict[str, dict[str, dict[str, float | bool | None]]] = {}
    listed: dict[str, dict[str, list[str]]] = {}
    for (element, enum, value), trace in guest.traces.items():
        things.setdefault(element, {}).setdefault(enum, {})[value] = trace.held if trace.lost is None else trace.lost
        if trace.listed:
            listed.setdefault(element, {}).setdefault(enum, []).append(value)
    words = {word: getattr(identity, word) for word in _WORDS}
    about = {"presence": guest.presence, "since": guest.since, "native": guest.native}
    return {**words, **about, "things": things, "listed": listed}


# ---- from JSON ---------------------------------------------------------------------------------------------------------------


def _past(said: object) -> Past:
    driver = _mapping(said)
    guests = dict(map(_identified, _list(driver["guests"])))
    return Past(guests, None if driver["changed"] is None else _time(driver["changed"]), _basis(driver))


def _basis(driver: Mapping[str, object]) -> Basis | None:
    if "code" not in driver:
        return None
    return Basis(_word(driver["code"]), {question: _word(answer) for question, answer in _mapping(driver["heard"]).items()})


def _identified(said: object) -> tuple[Identity, Guest]:
    guest = _mapping(said)
    listed = frozenset(_keys(guest["listed"]))
    traces = {key: _trace(thing, listed=key in listed) for key, thing in _things(guest["things"])}
    identity = Identity(*(_word(guest[word]) for word in _WORDS))
    return identity, Guest(traces, _PRESENCES[guest["presence"]], _time(guest["since"]), guest["native"] is True)


def _things(said: object) -> Iterator[tuple[Key, object]]:
    for element, enums in _mapping(said).items():
        for enum, values in _mapping(enums).items():
            yield from (((element, enum, value), thing) for value, thing in _mapping(values).items())


def _keys(said: object) -> Iterator[Key]:
    for element, enums in _mapping(said).items():
        for enum, values in _mapping(enums).items():
            yield from ((element, enum, _word(value)) for value in _list(values))


def _trace(thing: object, *, listed: bool) -> Trace:
    return Trace(thing, None, listed) if thing is None or isinstance(thing, bool) else Trace(False, _time(thing), listed)


_LATEST = 253402300800
"""Seconds since the epoch at the end of the year 9999, the last that has a date."""


def _time(said: object) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < _LATEST:
        raise ValueError(f"{said!r} is no time")
    return float(said)


def _word(said: object) -> str:
    if not isinstance(said, str):
        raise ValueError(f"{said!r} is no word")
    return said


def _list(said: object) -> list[object]:
    if not isinstance(said, list):
        raise ValueError("a list is missing")
    return said


def _mapping(said: object) -> dict[str, object]:
    if not isinstance(said, dict):
        raise ValueError("an object is missing")
    return said

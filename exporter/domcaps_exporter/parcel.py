"""What the exporter and a stranger's driver in a process of its own say to each other, as bytes. Pure.

They are pickles, because reports are; but what comes back from a stranger's process may name no class but the plain values of
`domcaps_exporter.model` and the words below, so it can neither call anything here nor bring a type of its own.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from domcaps_exporter import model
from domcaps_exporter.model import Facts, Failure, Report, Settings
from domcaps_exporter.rootfs import Paths

LIMIT = 64 << 20
"""Bytes of one message; the facts and reports of a host with thirty emulators have about two million."""


# ---- to the driver -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """The first message: whose entry point to load, and on what terms."""

    plugin: str
    entry_point: str
    settings: Settings
    paths: Paths


@dataclass(frozen=True, slots=True)
class Ask:
    """Probe until then (monotonic seconds, which all processes share)."""

    driver: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Explain:
    """Describe these facts, or those found last."""

    driver: str
    facts: Facts | None


# ---- and back ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """The plugin is loaded: its drivers."""

    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Misset:
    """A setting means nothing: what `SettingError` says."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """The facts, or None where they are those found last."""

    facts: Facts | None


@dataclass(frozen=True, slots=True)
class Understood:
    """The reports."""

    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised something."""

    failure: Failure
    traceback: str = ""


Request: TypeAlias = Lease | Ask | Explain
Reply: TypeAlias = Names | Misset | Found | Understood | Failed

_WORDS: Mapping[tuple[str, str], type] = {
    (one.__module__, one.__qualname__): one
    for one in (*vars(model).values(), Names, Misset, Found, Understood, Failed)
    if isinstance(one, type) and (hasattr(one, "__dataclass_fields__") or one is model.Question)
}
"""The classes that may be named on the way back."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _WORDS:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is none of domcaps_exporter's values")
        return _WORDS[module, name]


def packed(message: Request | Reply) -> bytes:
    """The message as bytes. A stranger's own types do not stop it: they are refused where they arrive."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def request(data: bytes) -> object:
    """What the exporter said, in the driver's process."""
    return pickle.loads(data)  # noqa: S301  from the exporter, which could do as it likes here anyway


def reply(data: bytes) -> Reply:
    """What a driver's process said.

    Raises:
        ValueError: it is nothing that may be said.
    """
    try:
        message = _Reader(io.BytesIO(data)).load()
    except Exception as error:  # whatever the bytes are, they are a stranger's
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(message, Reply):
        raise ValueError(f"it is a {type(message).__name__}")
    return message

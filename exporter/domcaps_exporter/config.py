"""The configuration file: YAML in, `Settings` out. It checks the frame; what a driver's section may hold, the driver says itself.

A file is refused rather than half understood: unknown and repeated keys, wrong types, aliases (a short file could grow without
bounds), files over `LIMIT` bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

from domcaps_exporter.addresses import without_passwords
from domcaps_exporter.durations import seconds
from domcaps_exporter.errors import DomcapsError, SettingError, spelt
from domcaps_exporter.metrics import INDISPENSABLE, NAMES, Options

LIMIT = 1 << 20
"""Bytes; far beyond any honest file."""

TOP = ("drivers", "metrics", "targets")
"""The keys that the file may have."""

SWITCHES = ("blockers", "model_details", "model_versions")
METRICS = (*SWITCHES, "without")
"""The keys of the section `metrics`: `metrics.Options`."""

MERGE = "tag:yaml.org,2002:merge"
"""What the key `<<` is to YAML."""

DISPENSABLE = tuple(name for name in NAMES if name not in INDISPENSABLE)
"""What `without` may name."""

_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
"""What a target may be called."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One target: its URI, how long it may take in seconds (None: as long as any probe), and its driver's settings, raw."""

    uri: str
    timeout: float | None = None
    section: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says: the sections per driver, raw, what to show besides the usual, and what /probe may ask.

    `borrowed`: driver -> the other file that its section comes from.
    """

    drivers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    metrics: Options = field(default_factory=Options)
    targets: Mapping[str, Wish] = field(default_factory=dict)
    borrowed: Mapping[str, Path] = field(default_factory=dict)


class ConfigError(DomcapsError):
    """A configuration file that cannot be used; the message names the file, the key or line, what was found and what is allowed.

    Whatever stands in the file, a URI's password does not stand in the message.
    """

    def __init__(self, file: Path | None, message: str) -> None:
        super().__init__(f"{file or 'without a configuration file'}: {without_passwords(message)}")


def load(file: Path) -> Config:
    """Read the file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or says something it may not.
    """
    top = _mapping(file, "the file", parsed(file, read(file), _Strict))
    for key in top:
        if key not in TOP:
            raise ConfigError(file, f"{key}: no such key; allowed: {', '.join(TOP)}")
    sections = _mapping(file, "drivers", top.get("drivers"))
    drivers = {name: _mapping(file, f"drivers.{name}", section) for name, section in sections.items()}
    options = _options(file, _mapping(file, "metrics", top.get("metrics")))
    targets = _mapping(file, "targets", top.get("targets"))
    return Config(drivers, options, {name: _wish(file, name, found) for name, found in targets.items()})


def _wish(file: Path, name: str, found: object) -> Wish:
    where = f"targets.{name}"
    if not _TARGET.fullmatch(name):
        raise ConfigError(file, f"{where}: expected a name of letters, digits, points, colons and hyphens")
    section = _mapping(file, where, found)
    uri, timeout = section.pop("uri", None), section.pop("timeout", None)
    if uri is None:
        for key in get_close_matches("uri", section, cutoff=0.5):
            raise ConfigError(file, f"{where}.{key}: no such key; did you mean uri?")
    if not isinstance(uri, str):
        raise ConfigError(
            file,
            f"{where}.uri: found {spelt(uri)}, expected a libvirt URI such as qemu+ssh://host/system",
        )
    if "uris" in section:
        raise ConfigError(file, f"{where}.uris: a target has one uri")
    return Wish(uri, None if timeout is None else _seconds(file, f"{where}.timeout", timeout), section)


def _seconds(file: Path, key: str, found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise ConfigError(file, f"{key}: found {spelt(found)}, expected a time such as 10s")
    try:
        return seconds(str(found))
    except ValueError as error:
        raise ConfigError(file, f"{key}: {error}") from error


def _options(file: Path, section: Mapping[str, object]) -> Options:
    for key, value in section.items():
        if key not in METRICS:
            raise ConfigError(file, f"metrics.{key}: no such key; allowed: {', '.join(METRICS)}")
        if key in SWITCHES and not isinstance(value, bool):
            raise ConfigError(file, f"metrics.{key}: found {spelt(value)}, expected true or false")
    without = _left_out(file, section.get("without", []))
    blockers, details, versions = (section.get(switch) is True for switch in SWITCHES)
    return Options(blockers=blockers, model_versions=versions, without=without, model_details=details)


def _left_out(file: Path, found: object) -> frozenset[str]:
    if not isinstance(found, list):
        raise ConfigError(file, f"metrics.without: found {spelt(found)}, expected a list of metrics")
    for name in found:
        if name not in DISPENSABLE:
            raise ConfigError(file, f"metrics.without: found {spelt(name)}, expected some of: {', '.join(DISPENSABLE)}")
    return frozenset(found)


def claim(file: Path | None, sections: Collection[str], drivers: Collection[str]) -> None:
    """Every section must belong to one of `drivers`.

    Raises:
        ConfigError: one does not.
    """
    for name in sections:
        if name not in drivers:
            raise ConfigError(
                file, f"drivers.{name}: no installed plugin brings this driver; there are: {', '.join(sorted(drivers)) or 'none'}"
            )


def located(file: Path | None, driver: str, error: SettingError) -> ConfigError:
    """What a driver thought of its section, with the file and the full key (`drivers.qemu.machines`)."""
    return ConfigError(file, f"drivers.{driver}.{error.key}: {error.message}")


def read(file: Path) -> bytes:
    """A small file's bytes.

    Raises:
        ConfigError: there are none to be had, or too many.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LIMIT + 1)
    except OSError as error:
        raise ConfigError(file, f"cannot be read: {error.strerror}") from error
    if len(data) > LIMIT:
        raise ConfigError(file, f"larger than {LIMIT} bytes")
    return data


def parsed(file: Path, data: bytes, loader: type[Unrepeated]) -> object:
    """The file's one YAML document.

    Raises:
        ConfigError: it is none, or repeats a key.
    """
    try:
        return yaml.load(data, loader)  # noqa: S506  a SafeLoader that refuses more
    except yaml.MarkedYAMLError as error:
        last = max(1, len(data.splitlines()))  # an end that is missing is missed on the line after it
        where = f"line {min(error.problem_mark.line + 1, last)}: " if error.problem_mark else ""
        raise ConfigError(file, f"{where}{error.problem or error.context}") from error
    except RecursionError as error:
        raise ConfigError(file, "nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(file, f"not YAML: {' '.join(str(error).split())}") from error


def _mapping(file: Path, key: str, value: object) -> dict[str, object]:
    """`value` as a mapping with words for keys; an empty section is an empty mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(file, f"{key}: found {spelt(value)}, expected a mapping (key: value)")
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(file, f"{key}: found the key {spelt(name)}, expected a word")
    return dict(value)


class Unrepeated(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys, and the key `<<` unless it is `merging`."""

    merging = False

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen = set()
        for key_node, _ in node.value:
            if self.merging and key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                problem = f"the key {spelt(key)} stands twice" if isinstance(key, Hashable) else "a key must be a word"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Strict(Unrepeated):
    """It refuses aliases as well."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs left it out
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", mark)
        return super().compose_node(parent, index)

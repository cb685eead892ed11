"""Entry points -> the drivers that load, and the failures of those that don't. Imports other people's code, one plugin at a time.

pluggy neither isolates what it calls nor goes on after a plugin that does not import. So every plugin gets its own registry, and
its results are counted out inside one `try`: whatever it does wrong costs only itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import pluggy

from domcaps_exporter import hookspecs
from domcaps_exporter.basis import Judge
from domcaps_exporter.contract import checked_drivers, words_of
from domcaps_exporter.errors import ContractError, PluginError, PluginLoadError, SettingError
from domcaps_exporter.hookspecs import PROJECT
from domcaps_exporter.model import Driver, Settings

_OURS = "domcaps-exporter"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was found: the names of its drivers, or the error that keeps all of them out."""

    name: str
    version: str
    error: str | None = None
    drivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mustered:
    """Everything that can be asked, and who brought it."""

    drivers: tuple[Driver, ...]
    plugins: tuple[Plugin, ...]


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of the group `domcaps`, each once (an editable install may list one twice), this project's own first."""
    found = dict.fromkeys(entry_points(group=PROJECT))
    once = {(point.name, point.value): point for point in reversed(found)}
    return tuple(sorted(once.values(), key=lambda point: (not is_ours(point), point.name, point.value)))


def is_ours(point: EntryPoint) -> bool:
    """Does this project bring it itself?"""
    return _distribution(point) == _OURS


def brought(point: EntryPoint, settings: Settings) -> tuple[Driver, ...]:
    """Load one plugin, and ask it for its drivers.

    Raises:
        SettingError: a setting of its own means nothing, or its hook asks for no settings, and there are some.
        PluginError: anything else.
    """
    try:
        hook = _hook(point)
        drivers = checked_drivers(point.name, _asked(point, hook, settings))
        if "settings" not in hook.get_hookimpls()[0].argnames:
            _insist_on_no_settings(drivers, settings)
        return drivers
    except (SettingError, PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginLoadError(point.name, f"{type(error).__name__}: {words_of(error)}") from error


def muster(
    settings: Settings,
    entry_points: Iterable[EntryPoint],
    load: Callable[[EntryPoint, Settings], tuple[Driver, ...]] = brought,
) -> Mustered:
    """Every plugin's drivers, each as `load` brings them. A name belongs to the plugin that came first.

    Raises:
        SettingError: a plugin found a setting of its own that means nothing.
    """
    owners: dict[str, str] = {}
    drivers: list[Driver] = []
    plugins: list[Plugin] = []
    for point in entry_points:
        try:
            loaded = load(point, settings)
            _insist_on_new_names(point, loaded, owners)
        except PluginError as error:
            plugins.append(Plugin(point.name, _version(point), error.message))
            continue
        owners |= {driver.name: point.name for driver in loaded}
        drivers += loaded
        plugins.append(Plugin(point.name, _version(point), None, tuple(driver.name for driver in loaded)))
    return Mustered(tuple(drivers), tuple(plugins))


def judges(mustered: Mustered, points: Iterable[EntryPoint]) -> dict[str, Judge]:
    """Who understands the facts of each driver that one of these brought: by its code, and the exporter's own. Imports nothing."""
    exporter = _code("domcaps_exporter")
    packages = {point.name: point.module.partition(".")[0] for point in points}
    homes = {driver: packages[one.name] for one in mustered.plugins if one.name in packages for driver in one.drivers}
    judged = (driver for driver in mustered.drivers if driver.name in homes)
    return {driver.name: Judge(f"{exporter}-{_code(homes[driver.name])}", driver.describe) for driver in judged}


def _code(package: str) -> str:
    """A digest of a package's modules, which changes with any of them."""
    found = find_spec(package)
    folders = [Path(folder) for folder in (found.submodule_search_locations or () if found is not None else ())]
    single = [Path(found.origin)] if found is not None and found.origin is not None and not folders else []
    digest = hashlib.blake2b(digest_size=8)
    for module in (*single, *sorted(module for folder in folders for module in folder.rglob("*.py"))):
        with suppress(OSError):
            digest.update(module.name.encode() + b"\0" + module.read_bytes())
    return digest.hexdigest()


def _hook(point: EntryPoint) -> pluggy.HookCaller:
    """The plugin's one hook."""
    registry = pluggy.PluginManager(PROJECT)
    registry.add_hookspecs(hookspecs)
    registry.register(point.load(), point.name)
    registry.check_pending()  # refuses a misspelt hook
    hook: pluggy.HookCaller = registry.hook.domcaps_drivers
    if not hook.get_hookimpls():
        raise PluginLoadError(point.name, f"{point.value} has no hook domcaps_drivers (is it marked with @hookimpl?)")
    return hook


def _asked(point: EntryPoint, hook: pluggy.HookCaller, settings: Settings) -> object:
    """What the hook gives, whatever it is."""
    answers: list[object] = hook(settings=settings)
    if len(answers) != 1:  # pluggy leaves out None
        raise ContractError(point.name, "domcaps_drivers gave None, not an iterable of Drivers")
    return answers[0]


def _insist_on_no_settings(drivers: Iterable[Driver], settings: Settings) -> None:
    """Of a plugin that does not look at them."""
    for driver in drivers:
        for key in settings.section(driver.name):
            raise SettingError(str(key), f"no such key; the driver {driver.name} takes no settings")


def _insist_on_new_names(point: EntryPoint, loaded: Iterable[Driver], owners: dict[str, str]) -> None:
    for driver in loaded:
        if driver.name in owners:
            earlier = owners[driver.name]
            raise ContractError(point.name, f"{point.name} brings the driver {driver.name!r}, which {earlier} has brought already")


def _version(point: EntryPoint) -> str:
    return "" if point.dist is None else point.dist.version or ""


def _distribution(point: EntryPoint) -> str:
    return "" if point.dist is None else point.dist.name

"""The one hook of a plugin. It is called at start; it only says what drivers there are, and asks the host nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from domcaps_exporter.model import Driver, Settings

PROJECT = "domcaps"
"""The pluggy project, and the entry-point group in which plugins are found."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def domcaps_drivers(settings: Settings) -> Iterable[Driver]:
    """The drivers that this plugin brings.

    `settings.section(NAME)` is the driver's own section of the configuration file. Raise `SettingError` for a value that means
    nothing: the exporter then stops with exit code 2. Any other exception costs this plugin only.

    Example, a whole plugin (its distribution declares `[project.entry-points.domcaps] acme = "domcaps_acme"`)::

        @hookimpl
        def domcaps_drivers(settings: Settings) -> list[Driver]:
            return [Driver("acme", probe, describe)]
    """
    raise NotImplementedError  # a specification: pluggy never calls it

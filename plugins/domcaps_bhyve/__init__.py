"""bhyve on FreeBSD, asked by its own commands: libvirt's answer without libvirt, and why something is missing."""

from __future__ import annotations

from domcaps_bhyve.probe import Bhyve
from domcaps_bhyve.settings import wanted
from domcaps_exporter import Driver, Settings, hookimpl


@hookimpl
def domcaps_drivers(settings: Settings) -> list[Driver]:
    """One driver for the host's bhyve."""
    bhyve = Bhyve(wanted(settings.section("bhyve"), settings.libvirt_profile))
    return [Driver("bhyve", bhyve.probe, bhyve.describe)]

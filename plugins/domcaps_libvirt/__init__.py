"""libvirt, asked where it is: what a libvirt, local or remote, says of its host, beside what our own drivers find out."""

from __future__ import annotations

from domcaps_exporter import Driver, Settings, hookimpl
from domcaps_libvirt.probe import Libvirt
from domcaps_libvirt.settings import wanted


@hookimpl
def domcaps_drivers(settings: Settings) -> list[Driver]:
    """One driver for the libvirts that are configured; without any it finds nothing to ask."""
    libvirt = Libvirt(wanted(settings.section("libvirt")))
    return [Driver("libvirt", libvirt.probe, libvirt.describe)]

"""Xen, asked in its control domain: libvirt's answer without libvirt, and what `xl create` accepts besides."""

from __future__ import annotations

from domcaps_exporter import Driver, Settings, hookimpl
from domcaps_xen.probe import Xen
from domcaps_xen.settings import wanted


@hookimpl
def domcaps_drivers(settings: Settings) -> list[Driver]:
    """One driver for the Xen that this host runs on."""
    xen = Xen(wanted(settings.section("xen"), settings.libvirt_profile))
    return [Driver("xen", xen.probe, xen.describe)]

"""QEMU, asked over QMP: libvirt's answer without libvirt, and why something is missing."""

from __future__ import annotations

from domcaps_exporter import Driver, Settings, hookimpl
from domcaps_qemu.probe import Qemu
from domcaps_qemu.settings import wanted


@hookimpl
def domcaps_drivers(settings: Settings) -> list[Driver]:
    """One driver for every QEMU on the host."""
    qemu = Qemu(wanted(settings.section("qemu"), settings.libvirt_profile))
    return [Driver("qemu", qemu.probe, qemu.describe)]

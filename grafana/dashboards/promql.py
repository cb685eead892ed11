"""The pieces of which the dashboards' queries are made. Pure.

`$job`, `$group` and `$instance` are the dashboards' variables; a Grafana writes what was chosen in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACE = "job, instance"
VALUE = "element, enum, value"
IDENTITY = "driver, emulator, arch, machine, virttype"

HARDWARE = 'virttype!="qemu"'
"""Guests that are not emulated."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The hosts that are looked at, by label matchers."""

    matchers: tuple[str, ...]

    def of(self, metric: str, *labels: str) -> str:
        """Its series on these hosts, with these labels besides."""
        return f"{metric}{{{','.join((*self.matchers, *labels))}}}"

    def native(self, metric: str, labels: str = "", value: str = "") -> str:
        """Its series of native drivers, and libvirt's only where no other is asked; `value` is compared with theirs ("== 1").

        A libvirt whose cache is stale may say 1 where the host's own answer is 0, so they are not put together.
        """
        further = (labels,) if labels else ()
        compared = f" {value}" if value else ""
        native, libvirt = (self.of(metric, f'driver{sign}"libvirt"', *further) + compared for sign in ("!=", "="))
        return f"({native} or {libvirt} unless on ({PLACE}) {self.of('domcaps_probe_success', NATIVE)})"


NATIVE = 'driver!="libvirt"'
EVERYWHERE = Scope(())


def chosen(group: str, host: str = 'instance=~"$instance"') -> Scope:
    """The hosts that the variables choose; `group` is the label of hosts that ought to be alike."""
    return Scope(('job=~"$job"', f'{group}=~"$group"', host))


SINGLE = 'instance="$instance"'
"""Of one host, where no pattern is chosen."""

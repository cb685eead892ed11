"""The pieces of which the dashboards' queries are made. Pure.

`$job`, `$group` and `$instance` are the dashboards' variables; a Grafana writes what was chosen in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACE = "job, instance"
THING = "element, enum, value"
IDENTITY = "driver, emulator, arch, machine, virttype"


@dataclass(frozen=True, slots=True)
class Scope:
    """The hosts that are looked at. `group` is the label of hosts that ought to be alike."""

    group: str = "group"
    host: str = 'instance=~"$instance"'

    def of(self, metric: str, labels: str = "") -> str:
        """Its series on these hosts, with these labels besides."""
        further = f",{labels}" if labels else ""
        return f'{metric}{{job=~"$job",{self.group}=~"$group",{self.host}{further}}}'

    def native(self, metric: str, by: str, labels: str = "") -> str:
        """One value by these labels: the native driver's, and libvirt's only where no other driver was ever asked.

        A libvirt whose cache is stale may say 1 where the host's own answer is 0, so they are not put together.
        """
        further = f",{labels}" if labels else ""
        others = self.of("domcaps_probe_success", 'driver!="libvirt"')
        return (
            f'max by ({by}) ({self.of(metric, f"""driver!="libvirt"{further}""")}\n'
            f'or {self.of(metric, f"""driver="libvirt"{further}""")} unless on ({PLACE}) {others})'
        )


SINGLE = 'instance="$instance"'
"""Of one host, where no pattern is chosen."""

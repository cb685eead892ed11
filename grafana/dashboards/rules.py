"""What Prometheus works out once a minute for the dashboards. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.alerts.rules import Recording
from grafana.dashboards.capabilities import CAPABILITIES, Capability


def recordings(group: str) -> Iterator[Recording]:
    """In the order in which they must be evaluated; `group` is the label of hosts that ought to be alike."""
    for capability in CAPABILITIES:
        yield Recording("domcaps:capability", _had(capability, group), {"capability": capability.name})
    yield Recording("domcaps:group_share", _share("domcaps_supported", "element, enum, value", group))
    for metric, label in (("domcaps_cpu_model_usable", "model"), ("domcaps_cpu_host_feature", "feature")):
        shares = f'label_replace({_share(metric, label, group)}, "value", "$1", "{label}", "(.+)")'
        yield Recording("domcaps:group_share", f"sum without ({label}) ({shares})", {"element": "cpu", "enum": label})


def _had(capability: Capability, group: str) -> str:
    """1 or 0 for each host that knows; libvirt's word counts where no other driver is asked."""
    native, libvirt = (f'{capability.metric}{{driver{sign}"libvirt",{capability.labels}}}' for sign in ("!=", "="))
    return (
        f"max by (job, instance, {group}) (\n"
        f"  {native}\n"
        f'  or {libvirt} unless on (job, instance) domcaps_probe_success{{driver!="libvirt"}}\n'
        ")"
    )


def _share(metric: str, labels: str, group: str) -> str:
    """The share of a group's documents that have it; emulated guests are not compared with others."""
    return f'avg by (job, {group}, virttype, {labels}) ({metric}{{{group}!="",driver!="libvirt"}})'

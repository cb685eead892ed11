"""What Prometheus works out once a minute for the dashboards. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.alerts.rules import Recording
from grafana.dashboards.capabilities import CAPABILITIES, Capability
from grafana.dashboards.promql import EVERYWHERE, HARDWARE, PLACE, VALUE


def recordings(group: str) -> Iterator[Recording]:
    """In the order in which they must be evaluated; `group` is the label of hosts that ought to be alike."""
    for capability in CAPABILITIES:
        named = {"capability": capability.name}
        yield Recording("domcaps:capability", _had(capability, group), named)
        lost = f"count by ({PLACE}, {group}) (domcaps:lost{{{capability.lost or capability.labels}}})"
        yield Recording("domcaps:capability_lost", lost, named)
    told, usable = (EVERYWHERE.native("domcaps_cpu_model_usable", HARDWARE, value) for value in ("", "== 1"))
    yield Recording("domcaps:cpu_models", f"count by ({PLACE}, {group}) {told}")
    yield Recording("domcaps:cpu_model_usable", f"count by ({PLACE}, {group}, model) {usable}")
    yield Recording("domcaps:group_share", _share("domcaps_supported", VALUE, group))
    for label, metric in FURTHER.items():
        shares = f'label_replace({_share(metric, label, group)}, "value", "$1", "{label}", "(.+)")'
        yield Recording("domcaps:group_share", f"sum without ({label}) ({shares})", {"element": "cpu", "enum": label})
    yield Recording("domcaps:odd", _odd(group))
    yield Recording("domcaps:odd_thing", _odd_things(group))


FURTHER = {"model": "domcaps_cpu_model_usable", "feature": "domcaps_cpu_host_feature"}
"""What has a label of its own, and counts as a value of the element `cpu`."""


def _had(capability: Capability, group: str) -> str:
    """1 or 0 for each host that knows."""
    return f"max by ({PLACE}, {group}) {EVERYWHERE.native(capability.metric, capability.labels)}"


def _share(metric: str, labels: str, group: str) -> str:
    """The share of a group's documents that have it; emulated guests are not compared with others."""
    return f'avg by (job, {group}, virttype, {labels}) ({metric}{{{group}!="",driver!="libvirt"}})'


def _odd(group: str) -> str:
    """Hosts whose fingerprint is not that of most hosts of their group with the same versions."""
    alike = f"{group}, driver, arch, machine, virttype, version, exporter"
    sizes = f"count by ({alike}, fingerprint) (domcaps:fingerprint)"
    fewer = f"{sizes} < on ({alike}) group_left () max by ({alike}) ({sizes})"
    return f"domcaps:fingerprint and on ({alike}, fingerprint) ({fewer})"


def _odd_things(group: str) -> str:
    """What they lack (0) that most of their group have, or have (1) that most have not."""
    found = [f'domcaps_supported{{driver!="libvirt"}} and on ({PLACE}) domcaps:odd']
    for label, metric in FURTHER.items():
        named = f'label_replace({metric}{{driver!="libvirt"}} and on ({PLACE}) domcaps:odd, "value", "$1", "{label}", "(.+)")'
        found.append(f'label_replace(label_replace({named}, "element", "cpu", "", ""), "enum", "{label}", "", "")')
    own = f"max by ({PLACE}, {group}, virttype, {VALUE}) ({' or '.join(found)})"
    most = "(domcaps:group_share != 0.5) > bool 0.5"
    return f"{own} != on (job, {group}, virttype, {VALUE}) group_left () ({most})"

"""What Prometheus works out once a minute for the dashboards. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.alerts.rules import Recording
from grafana.dashboards.capabilities import CAPABILITIES, Capability
from grafana.dashboards.promql import EVERYWHERE, HARDWARE, PLACE


def recordings(group: str) -> Iterator[Recording]:
    """In the order in which they must be evaluated; `group` is the label of hosts that ought to be alike."""
    for capability in CAPABILITIES:
        yield Recording("domcaps:capability", _state(capability, group), {"capability": capability.name})
    yield Recording("domcaps:odd", _odd(group))
    changes = EVERYWHERE.of("domcaps_capability_changes_total")
    yield Recording("domcaps:changes", f"sum by ({PLACE}, {group}, direction) (increase({changes}[5m]))")


def seldom(group: str) -> Iterator[Recording]:
    """What is read from most of a host's series, and changes seldom: every few minutes will do."""
    custom = 'element="cpu",enum="mode",value="custom"'
    told = EVERYWHERE.native("domcaps_supported", f"{HARDWARE},{custom}", "== 1")
    yield Recording("domcaps:cpu_models", f"count by ({PLACE}, {group}) {told}")
    usable = EVERYWHERE.native("domcaps_cpu_model_usable", HARDWARE, "== 1")
    yield Recording("domcaps:cpu_model_usable", f"count by ({PLACE}, {group}, model) {usable}")
    lacking = EVERYWHERE.native("domcaps_cpu_host_feature", HARDWARE, "== 0")
    yield Recording("domcaps:cpu_feature_lacking", f"count by ({PLACE}, {group}, feature) {lacking}")


def _state(capability: Capability, group: str) -> str:
    """For each host that knows: 1 a guest can have it, -1 it was lost, 0 none can otherwise."""
    by, had = f"by ({PLACE}, {group})", EVERYWHERE.native(capability.metric, capability.labels)
    lost = f"domcaps:lost{{{capability.lost or capability.labels}}}"
    return f"max {by} {had} == 1 or -1 * (count {by} ({lost}) > bool 0) or max {by} {had}"


def _odd(group: str) -> str:
    """Hosts whose fingerprint is not that of most hosts of their group with the same versions."""
    alike = f"{group}, driver, arch, machine, virttype, version, exporter"
    sizes = f"count by ({alike}, fingerprint) (domcaps:fingerprint)"
    fewer = f"{sizes} < on ({alike}) group_left () max by ({alike}) ({sizes})"
    return f"domcaps:fingerprint and on ({alike}, fingerprint) ({fewer})"

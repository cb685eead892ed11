"""What Prometheus works out for the dashboards, in groups: each is evaluated by itself, and in order within. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana.alerts.rules import Recording
from grafana.dashboards.capabilities import CAPABILITIES, Capability
from grafana.dashboards.promql import EVERYWHERE, HARDWARE, PLACE

SELDOM = "4m"
"""Between two evaluations of what changes seldom: less than the five minutes for which Prometheus looks back."""
MODELS, FEATURES = ("[A-D]", "[E-H]", "[I-R]", "S"), ("[a-m]",)
"""How the names of CPU models and features begin, in parts of some 20 of them; the others are one part more."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rules; `interval`: other than the Prometheus'."""

    name: str
    rules: tuple[Recording, ...]
    interval: str = ""


def groups(group: str) -> Iterator[Group]:
    """All; `group` is the label of hosts that ought to be alike.

    Models and features are most of a host's series, and what an evaluation takes is to read them: so it is done in parts.
    """
    yield Group("domcaps-dashboards", tuple(_often(group)))
    yield Group("domcaps-dashboards-seldom", tuple(_seldom(group)), SELDOM)
    for number, part in enumerate(_parts("model", MODELS), 1):
        usable = EVERYWHERE.native("domcaps_cpu_model_usable", f"{HARDWARE},{part}", "== 1")
        recorded = Recording("domcaps:cpu_model_usable", f"count by ({PLACE}, {group}, model) {usable}", {"part": f"{number}"})
        yield Group(f"domcaps-dashboards-cpu-models-{number}", (recorded,), SELDOM)
    for number, part in enumerate(_parts("feature", FEATURES), 1):
        lacking = EVERYWHERE.native("domcaps_cpu_host_feature", f"{HARDWARE},{part}", "== 0")
        recorded = Recording(
            "domcaps:cpu_feature_lacking", f"count by ({PLACE}, {group}, feature) {lacking}", {"part": f"{number}"}
        )
        yield Group(f"domcaps-dashboards-cpu-features-{number}", (recorded,), SELDOM)


def _parts(label: str, begins: Sequence[str]) -> Iterator[str]:
    """Matchers of which every value of the label fulfils one."""
    yield from (f'{label}=~"{begin}.*"' for begin in begins)
    yield f'{label}!~"({"|".join(begins)}).*"'


def _often(group: str) -> Iterator[Recording]:
    for capability in CAPABILITIES:
        yield Recording("domcaps:capability", _state(capability, group), {"capability": capability.name})
    yield Recording("domcaps:odd", _odd(group))
    changes = EVERYWHERE.of("domcaps_capability_changes_total")
    yield Recording("domcaps:changes", f"sum by ({PLACE}, {group}, direction) (increase({changes}[5m]))")


def _seldom(group: str) -> Iterator[Recording]:
    """One series of a host where the panels would else read several, over time four times as many samples."""
    by = f"by ({PLACE}, {group})"
    custom = EVERYWHERE.native("domcaps_supported", f'{HARDWARE},element="cpu",enum="mode",value="custom"', "== 1")
    yield Recording("domcaps:cpu_models", f"count {by} {custom}")
    yield Recording("domcaps:hypervisor", f"group by ({PLACE}, {group}, driver, version) (domcaps_document_info)")
    probes = f"max_over_time(domcaps_probe_duration_seconds[{SELDOM}])"
    yield Recording("domcaps:probe_seconds", f"max by ({PLACE}, {group}, driver) ({probes})")
    for name, expr in (
        ("domcaps:scrape_seconds", f"max_over_time(scrape_duration_seconds[{SELDOM}])"),
        ("domcaps:memory_bytes", f"max_over_time(process_resident_memory_bytes[{SELDOM}])"),
        ("domcaps:cores", "rate(process_cpu_seconds_total[5m])"),
    ):
        yield Recording(name, f"max {by} ({expr} and on ({PLACE}) domcaps_exporter_build_info)")


def _state(capability: Capability, group: str) -> str:
    """For each host that knows: 1 a guest can have it, -1 it was lost, 0 none can otherwise.

    That is 2 where it has it, less 1 where some of it was lost, and 1 at most: what it has is read once.
    """
    by, had = f"by ({PLACE}, {group})", EVERYWHERE.native(capability.metric, capability.labels)
    lost = f"-1 * group {by} (domcaps:lost{{{capability.lost or capability.labels}}})"
    return f'clamp_max(sum {by} (2 * max {by} {had} or label_replace({lost}, "lost", "yes", "", "")), 1)'


def _odd(group: str) -> str:
    """Hosts whose fingerprint is not that of most hosts of their group with the same versions."""
    alike = f"{group}, driver, arch, machine, virttype, version, exporter"
    sizes = f"count by ({alike}, fingerprint) (domcaps:fingerprint)"
    fewer = f"{sizes} < on ({alike}) group_left () max by ({alike}) ({sizes})"
    return f"domcaps:fingerprint and on ({alike}, fingerprint) ({fewer})"

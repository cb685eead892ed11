"""The alerting rules against simulated fleets whose truth is known, judged by promtool; and the files made of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from grafana.alerts.generate import files
from grafana.alerts.losses import KINDS, SECURITY
from grafana.alerts.rules import Options, alerts
from tests.fleet.fleet import EXPECTED, WAIT, Event, Fleet, fail, lose, planned, reach, regain
from tests.fleet.promtool import Series, document, firing, history, read_by
from tests.fleet.worlds import World

from domcaps_qemu.processor import SECURITY_AND_MIGRATION

Firing: TypeAlias = Iterable[tuple[str, str]]

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "grafana" / "alerts"
RULES = FOLDER / "domcaps.rules.yml"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BEGIN = 5 * MINUTE
LATER = 30 * MINUTE
SELDOM = 4 * MINUTE
"""Between scrapes, where hours go by."""
SILENCE: Firing = ()


@dataclass(frozen=True)
class Promtool:
    """Runs the rules over a fleet's history."""

    folder: Path
    rules: Path = RULES

    def test(self, text: str) -> None:
        file = self.folder / "test.yml"
        file.write_text(text)
        hurried = {**os.environ, "GOGC": "400"}  # it has a third less to do with more memory
        done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False, env=hurried)
        assert done.returncode == 0, done.stdout + done.stderr

    def expects(self, fleet: Fleet, expected: Mapping[float, Firing], step: float = MINUTE) -> None:
        """At each time, in seconds, exactly these alerts fire."""
        self.expects_of(history(fleet, max(expected), read_by(self.rules), step), expected, step)

    def expects_of(self, series: Mapping[Series, str], expected: Mapping[float, Firing], step: float = MINUTE) -> None:
        checks = {time: firing(alerts) for time, alerts in expected.items()}
        self.test(document(self.rules, series, checks, step=step))


@pytest.fixture
def promtool(needs: Callable[[str, object, str], None], tmp_path: Path) -> Promtool:
    needs("promtool", shutil.which("promtool"), "it evaluates the rules")
    return Promtool(tmp_path)


def fleet(*events: Event, hosts: int = 3, world: World | None = None, group: str = "") -> Fleet:
    """Hosts that are alike: host-0, host-1, …"""
    names = [f"host-{number}" for number in range(hosts)]
    return Fleet(dict.fromkeys(names, world or World()), dict.fromkeys(names, group), events)


def without(thing: str, host: str = "host-1", at: float = BEGIN) -> Event:
    return Event(at, host, lose(thing))


VFIO = ("DomcapsVfioLost", "host-1")


# ---- a loss ------------------------------------------------------------------------------------------------------------------


def test_of_twenty_hosts_the_one_that_loses_vfio_is_named_and_nothing_else_fires(promtool: Promtool) -> None:
    lost = without("iommu", "host-17")
    alert = [("DomcapsVfioLost", "host-17")]
    promtool.expects(fleet(lost, hosts=20), {BEGIN: SILENCE, BEGIN + WAIT - MINUTE: SILENCE, BEGIN + WAIT: alert, HOUR: alert})


def test_each_kind_of_loss_has_its_own_alert_and_only_that(promtool: Promtool) -> None:
    hosts = {f"host-{thing}": thing for thing in EXPECTED}
    lost = [without(thing, host) for host, thing in hosts.items()]
    world = dict.fromkeys(hosts, World())
    expected = [(EXPECTED[thing].alert, host) for host, thing in hosts.items()]
    promtool.expects(Fleet(world, {}, tuple(lost)), {BEGIN: SILENCE, BEGIN + WAIT: expected, HOUR: expected})


def test_the_summary_names_the_host_what_it_lost_and_every_reason(promtool: Promtool, tmp_path: Path) -> None:
    hosts = {f"host-{thing}": thing for thing in EXPECTED if thing in SUMMARIES}
    lost = [without(thing, host) for host, thing in hosts.items()] + [without("vfio", "host-iommu")]
    series = history(Fleet(dict.fromkeys(hosts, World()), {}, tuple(lost)), BEGIN + WAIT, read_by(RULES))
    checks = [_named(host, SUMMARIES[thing]) for host, thing in hosts.items()]
    promtool.test(document(summaries(tmp_path), series, alerts={BEGIN + WAIT: checks}))


def summaries(folder: Path) -> Path:
    """The rules with their summaries only: promtool compares whole alerts."""
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        if "annotations" in rule:
            rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    file = folder / "summaries.yml"
    file.write_text(yaml.safe_dump(rules))
    return file


SUMMARIES = {
    "kvm": "lost KVM: dev-kvm",
    "iommu": "lost PCI passthrough (VFIO): dev-vfio, iommu-groups",
    "descriptors": "lost UEFI: firmware-descriptor, firmware-descriptor:no-enrolled-keys, firmware-descriptor:no-secure-boot, "
    "firmware-descriptor:requires-smm, firmware-descriptor:requires-smm:secure-boot, firmware-descriptor:secure-boot",
    "secure-file": "lost secure boot: firmware-file:requires-smm:secure-boot, firmware-file:secure-boot",
    "plain-file": "lost a firmware: firmware-file:no-secure-boot",
    "swtpm": "lost emulated TPMs: program:swtpm, program:swtpm_ioctl, program:swtpm_setup, swtpm:tpm-1.2, swtpm:tpm-2.0",
    "virtiofsd": "lost virtiofs: program:virtiofsd",
    "sev": "lost confidential guests (SEV, TDX, SGX, Secure Execution): qemu:query-sev-capabilities",
    "erms": "lost CPU models (EPYC-Milan, EPYC-Milan-v2): cpu-feature:erms",
    "smep": "lost CPU features that security hangs on (smep)",
    "invtsc": "lost CPU features that migration hangs on (invtsc)",
    "passt": "lost something that guests could have (interface backendType passt): program:passt",
}


def _named(host: str, summary: str) -> Mapping[str, object]:
    (kind,) = (kind for kind in KINDS if summary.startswith(f"lost {kind.what}"))
    labels = {"instance": host, "job": "domcaps", "kind": kind.name, "severity": kind.severity}
    alert = {"exp_labels": labels, "exp_annotations": {"summary": f"{host} {summary}"}}
    return {"alertname": kind.alert, "exp_alerts": [alert]}


def test_a_host_that_never_had_a_capability_stays_silent(promtool: Promtool) -> None:
    worlds = {f"host-{thing}": World().without(thing) for thing in (*EXPECTED, "sev-es")}
    silent = {name: world for name, world in worlds.items() if name not in ("host-plain-file", "host-secure-file")}
    promtool.expects(Fleet(silent, {}), {HOUR: SILENCE})


def test_a_firmware_descriptor_without_its_file_is_told_also_where_it_never_was_there(promtool: Promtool) -> None:
    expected = [("DomcapsFirmwareMissing", f"host-{number}") for number in range(2)]
    promtool.expects(fleet(hosts=2, world=World().without("plain-file")), {WAIT: expected, HOUR: expected})


def test_a_host_that_loses_kvm_has_one_alert_not_two_hundred(promtool: Promtool) -> None:
    series = history(fleet(without("kvm")), HOUR, read_by(RULES))
    counted = {"expr": 'count(ALERTS{alertstate="firing"})', "exp_samples": [{"value": 1}]}
    promtool.test(document(RULES, series, {BEGIN + WAIT: counted, HOUR: counted}))


@pytest.mark.parametrize("hours", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_an_alert_stays_for_days_while_the_host_is_broken(hours: int, promtool: Promtool) -> None:
    promtool.expects(fleet(without("iommu"), hosts=2), {hour * HOUR: [VFIO] for hour in (1, 2, 12, hours - 1, hours)}, SELDOM)


def test_an_alert_resolves_when_the_capability_returns(promtool: Promtool) -> None:
    back = Event(LATER, "host-1", regain("iommu"))
    promtool.expects(fleet(without("iommu"), back), {LATER - MINUTE: [VFIO], LATER: SILENCE, HOUR: SILENCE})


def test_an_alert_resolves_when_the_loss_is_forgotten(promtool: Promtool) -> None:
    acknowledged = Event(LATER, "host-1", lambda host: host.forget())
    promtool.expects(fleet(without("iommu"), acknowledged), {LATER - MINUTE: [VFIO], LATER: SILENCE, HOUR: SILENCE})


# ---- what is no loss ---------------------------------------------------------------------------------------------------------


def test_a_reboot_gives_no_capability_alert(promtool: Promtool) -> None:
    reboot = (Event(BEGIN, "host-1", reach(up=False)), Event(BEGIN + 8 * MINUTE, "host-1", lambda host: host.restart()))
    back = Event(BEGIN + 8 * MINUTE, "host-1", reach(up=True))
    promtool.expects(fleet(*reboot, back), {BEGIN + 7 * MINUTE: SILENCE, BEGIN + 9 * MINUTE: SILENCE, HOUR: SILENCE})


def test_a_loss_during_a_reboot_fires_on_return(promtool: Promtool) -> None:
    back = BEGIN + 8 * MINUTE
    reboot = (Event(BEGIN, "host-1", reach(up=False)), without("iommu", at=back), Event(back, "host-1", reach(up=True)))
    promtool.expects(fleet(*reboot), {back: SILENCE, back + WAIT: [VFIO], HOUR: [VFIO]})


def test_an_alert_outlasts_the_reboot_of_the_broken_host(promtool: Promtool) -> None:
    reboot = (Event(LATER, "host-1", reach(up=False)), Event(LATER + 10 * MINUTE, "host-1", reach(up=True)))
    times = (LATER - MINUTE, LATER, LATER + 7 * MINUTE, LATER + 10 * MINUTE, LATER + 12 * MINUTE)
    promtool.expects(fleet(without("iommu"), *reboot), {time: [VFIO] for time in times})


def test_a_host_repaired_by_a_reboot_resolves_at_once(promtool: Promtool) -> None:
    back = LATER + 8 * MINUTE
    reboot = (
        Event(LATER, "host-1", reach(up=False)),
        Event(back, "host-1", regain("iommu")),
        Event(back, "host-1", reach(up=True)),
    )
    promtool.expects(fleet(without("iommu"), *reboot), {back - MINUTE: [VFIO], back: SILENCE})


def test_a_host_that_was_repaired_before_it_goes_down_has_lost_nothing(promtool: Promtool) -> None:
    down = LATER + 5 * MINUTE
    events = (Event(LATER, "host-1", regain("iommu")), Event(down, "host-1", reach(up=False)))
    promtool.expects(fleet(without("iommu"), *events), {LATER - MINUTE: [VFIO], LATER: SILENCE, down + WAIT + MINUTE: SILENCE})


def test_a_failed_probe_gives_no_capability_alert_but_its_own(promtool: Promtool) -> None:
    failing = (Event(BEGIN, "host-1", fail("timeout")), Event(HOUR, "host-1", fail("")))
    told = [("DomcapsProbeFailing", "host-1")]
    promtool.expects(fleet(*failing), {BEGIN + 9 * MINUTE: SILENCE, BEGIN + 10 * MINUTE: told, HOUR: SILENCE})


def test_a_failed_probe_does_not_end_an_alert(promtool: Promtool) -> None:
    failing = Event(BEGIN + WAIT, "host-1", fail("timeout"))
    promtool.expects(fleet(without("iommu"), failing), {HOUR: [VFIO, ("DomcapsProbeFailing", "host-1")]})


def test_a_restart_of_the_exporter_gives_no_capability_alert_and_ends_none(promtool: Promtool) -> None:
    restarts = tuple(Event(LATER, f"host-{number}", lambda host: host.restart()) for number in range(3))
    promtool.expects(fleet(without("iommu"), *restarts), {LATER: [VFIO], LATER + MINUTE: [VFIO], HOUR: [VFIO]})


def test_an_exporter_upgrade_that_knows_more_values_gives_no_alert(promtool: Promtool) -> None:
    def begin(host: Any) -> None:
        host.knows_all = False

    def upgrade(host: Any) -> None:
        host.knows_all = True
        host.restart("2.0.0")

    begins = tuple(Event(0, f"host-{number}", begin) for number in range(3))
    some = tuple(Event(HOUR, f"host-{number}", upgrade) for number in range(2))
    promtool.expects(fleet(*begins, *some, group="rack"), {HOUR: SILENCE, HOUR + SELDOM: SILENCE, 3 * HOUR: SILENCE}, SELDOM)


def stricter(host: Any) -> None:
    host.is_strict = True
    host.restart("2.0.0")


def test_an_exporter_upgrade_with_stricter_rules_gives_no_alert(promtool: Promtool) -> None:
    upgrades = tuple(Event(BEGIN, f"host-{number}", stricter) for number in range(3))
    promtool.expects(fleet(*upgrades, group="rack"), {BEGIN + WAIT: SILENCE, HOUR: SILENCE, 3 * HOUR: SILENCE}, SELDOM)


def test_a_loss_during_an_upgrade_to_stricter_rules_fires(promtool: Promtool) -> None:
    upgrades = tuple(Event(BEGIN, f"host-{number}", stricter) for number in range(3))
    promtool.expects(fleet(without("iommu"), *upgrades), {BEGIN: SILENCE, BEGIN + WAIT: [VFIO], HOUR: [VFIO]})


def test_a_qemu_upgrade_that_renames_the_versioned_machine_gives_no_alert(promtool: Promtool) -> None:
    upgrade = Event(BEGIN, "host-1", lambda host: host.change(machine="10.2"))
    promtool.expects(fleet(upgrade, group="rack"), {3 * SELDOM: SILENCE, 2 * HOUR: SILENCE}, SELDOM)


def test_a_qemu_upgrade_that_loses_nothing_gives_no_alert(promtool: Promtool) -> None:
    upgrade = Event(BEGIN, "host-1", lambda host: host.change(qemu="11.1"))
    promtool.expects(fleet(upgrade, group="rack"), {3 * SELDOM: SILENCE, 2 * HOUR: SILENCE}, SELDOM)


# ---- many hosts --------------------------------------------------------------------------------------------------------------


def rollout(hosts: int, each: float, at_once: int = 1) -> tuple[Event, ...]:
    """An upgrade from 7.2 to 10.0, with which Debian's QEMU loses QXL and SPICE, host after host."""
    times = ((number, BEGIN + each * (number // at_once)) for number in range(hosts))
    return tuple(Event(time, f"host-{number}", lambda host: host.change(qemu="10.0")) for number, time in times)


WAVE = [("DomcapsManyHostsLost", "")]


def test_a_rolling_upgrade_of_a_hundred_hosts_gives_one_alert_not_a_thousand(promtool: Promtool) -> None:
    upgraded = fleet(*rollout(100, MINUTE, at_once=5), hosts=100, world=World("7.2"), group="rack")
    times = [BEGIN + minutes * MINUTE for minutes in (3, 4, 10, 19, 23)]
    promtool.expects(upgraded, {BEGIN + 2 * MINUTE: SILENCE, **dict.fromkeys(times, WAVE)})


def test_the_first_four_hosts_of_a_slow_upgrade_are_named_and_from_the_fifth_on_it_is_one_alert(promtool: Promtool) -> None:
    upgraded = fleet(*rollout(7, 10 * MINUTE), hosts=10, world=World("7.2"), group="rack")
    four = [("DomcapsCapabilityLost", f"host-{number}") for number in range(4)]
    fifth = BEGIN + 40 * MINUTE
    promtool.expects(upgraded, {fifth: four, fifth + 2 * MINUTE: four, fifth + WAIT + MINUTE: WAVE, fifth + 25 * MINUTE: WAVE})


def test_a_wave_hides_nothing_else_that_a_host_loses(promtool: Promtool) -> None:
    events = (*rollout(10, MINUTE, at_once=10), without("iommu", at=LATER), without("passt", at=LATER))
    lost = [*WAVE, VFIO, ("DomcapsCapabilityLost", "host-1")]
    promtool.expects(fleet(*events, hosts=10, world=World("7.2"), group="rack"), {LATER: WAVE, LATER + WAIT: lost})


def test_a_wave_in_one_group_hides_no_host_of_another(promtool: Promtool) -> None:
    whole = fleet(*rollout(8, MINUTE, at_once=8), hosts=8, world=World("7.2"), group="one")
    other = replace(whole, groups={**whole.groups, "host-6": "two", "host-7": "two"})
    expected = [*WAVE, ("DomcapsCapabilityLost", "host-6"), ("DomcapsCapabilityLost", "host-7")]
    promtool.expects(other, {BEGIN + WAIT: expected, LATER: expected})


def test_a_host_that_differs_from_its_group_is_named_after_an_hour(promtool: Promtool) -> None:
    events = Event(BEGIN, "host-1", lambda host: host.change(cpu="rome"))
    acknowledged = Event(BEGIN + SELDOM, "host-1", lambda host: host.forget())
    differs = [("DomcapsHostDiffers", "host-1")]
    found = fleet(events, acknowledged, group="rack")
    promtool.expects(found, {HOUR: SILENCE, BEGIN + HOUR + 2 * SELDOM: differs, 3 * HOUR: differs}, SELDOM)


def test_a_host_that_lost_something_is_not_told_again_for_differing_from_its_group(promtool: Promtool) -> None:
    promtool.expects(fleet(without("iommu", at=2 * SELDOM), group="rack"), {3 * HOUR: [VFIO]}, SELDOM)


def test_hosts_without_a_group_are_compared_with_nobody(promtool: Promtool) -> None:
    worlds = {"host-0": World(), "host-1": World(cpu="rome"), "host-2": World().without("sev")}
    promtool.expects(Fleet(worlds, {}), {2 * HOUR: SILENCE}, SELDOM)


@pytest.mark.parametrize("cpus", ["milan rome", "milan milan rome rome"])
def test_a_group_in_which_nobody_has_the_majority_is_one_alert(cpus: str, promtool: Promtool) -> None:
    worlds = {f"host-{number}": World(cpu=cpu) for number, cpu in enumerate(cpus.split())}
    promtool.expects(Fleet(worlds, dict.fromkeys(worlds, "rack")), {2 * HOUR: [("DomcapsGroupMixed", "")]}, SELDOM)


def test_a_group_from_which_many_hosts_differ_is_one_alert(promtool: Promtool) -> None:
    worlds = {f"host-{number}": World(cpu="rome" if number < 6 else "milan") for number in range(14)}
    promtool.expects(Fleet(worlds, dict.fromkeys(worlds, "rack")), {2 * HOUR: [("DomcapsGroupMixed", "")]}, SELDOM)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_whatever_happens_to_a_fleet_the_alerts_are_the_truth(seed: int, promtool: Promtool) -> None:
    plan = planned(seed, hosts=20, duration=HOUR)
    times = [minutes * MINUTE for minutes in (4, 20, 40, 55, 63)]
    assert plan.truth(times[2])
    promtool.expects(plan.fleet, {time: plan.truth(time) for time in times})


# ---- settings and exporters --------------------------------------------------------------------------------------------------


def test_secure_guests_without_room_left_are_told_where_there_was_some(promtool: Promtool) -> None:
    expected = [("DomcapsConfidentialSlotsGone", "host-1")]
    promtool.expects(fleet(without("sev-es")), {BEGIN: SILENCE, BEGIN + WAIT: expected, HOUR: expected})


def test_a_deprecated_machine_is_told_where_it_is_configured(promtool: Promtool) -> None:
    worlds = {"host-0": World(), "host-1": World(machines=("pc-q35-5.2",))}
    promtool.expects(Fleet(worlds, {}), {HOUR - SELDOM: SILENCE, HOUR: [("DomcapsMachineDeprecated", "host-1")]}, SELDOM)


def test_a_libvirt_that_promises_what_guests_cannot_have_is_told(promtool: Promtool) -> None:
    def with_libvirt(host: Any) -> None:
        host.libvirt = World("7.2")

    events = (Event(0, "host-0", with_libvirt), Event(0, "host-1", with_libvirt), *rollout(1, MINUTE))
    stale = [("DomcapsLibvirtStale", "host-0"), ("DomcapsCapabilityLost", "host-0")]
    promtool.expects(fleet(*events, hosts=2, world=World("7.2")), {BEGIN: SILENCE, BEGIN + 15 * MINUTE: stale})


def test_what_one_of_two_emulators_has_does_not_make_libvirt_stale(promtool: Promtool) -> None:
    def with_libvirt(host: Any) -> None:
        host.libvirt = World("7.2")

    events = Event(0, "host-0", with_libvirt), *rollout(1, MINUTE)
    series = history(fleet(*events, hosts=1, world=World("7.2")), HOUR, read_by(RULES))
    ours = {one: values for one, values in series.items() if ("driver", "qemu") in one[1]}
    second = {elsewhere(one): values for one, values in ours.items() if one[0] == "domcaps_guest_supported"}
    promtool.expects_of(series, {HOUR: [("DomcapsLibvirtStale", "host-0"), ("DomcapsCapabilityLost", "host-0")]})
    promtool.expects_of({**series, **second}, {HOUR: [("DomcapsCapabilityLost", "host-0")]})


def elsewhere(series: Series) -> Series:
    """The same of another emulator."""
    return series[0], tuple({**dict(series[1]), "emulator": "/opt/qemu"}.items())


def test_what_libvirt_never_looks_at_does_not_make_it_stale(promtool: Promtool) -> None:
    def with_libvirt(host: Any) -> None:
        host.libvirt = host.world

    events = Event(0, "host-0", with_libvirt), without("virtiofsd", "host-0")
    promtool.expects(fleet(*events, hosts=1), {HOUR: [("DomcapsVirtiofsLost", "host-0")]})


def test_an_exporter_that_is_down_is_told(promtool: Promtool) -> None:
    down = Event(BEGIN, "host-1", reach(up=False))
    promtool.expects(fleet(down), {BEGIN + 14 * MINUTE: SILENCE, BEGIN + 15 * MINUTE: [("DomcapsExporterDown", "host-1")]})


def target(name: str, **labels: str) -> Series:
    return name, tuple({"instance": "host-1", "job": "domcaps", **labels}.items())


UP = {target("up"): "1x120"}
ANSWERS = {target("domcaps_probe_success", driver="qemu"): "1x120", target("domcaps_guest_supported", driver="qemu"): "1x120"}
SUCCESS = target("domcaps_probe_last_success_timestamp_seconds", driver="qemu")


def test_no_target_at_all_is_told(promtool: Promtool) -> None:
    promtool.expects_of({target("up", job="node"): "1x120"}, {HOUR: [("DomcapsNoTargets", "")]})


def test_an_exporter_that_finds_no_hypervisor_is_told(promtool: Promtool) -> None:
    promtool.expects_of(UP, {14 * MINUTE: SILENCE, HOUR: [("DomcapsNoAnswer", "host-1")]})


def test_an_answer_that_is_too_old_is_told(promtool: Promtool) -> None:
    series = {**UP, **ANSWERS, SUCCESS: "0+60x10 600x110"}
    promtool.expects_of(series, {40 * MINUTE: SILENCE, HOUR: [("DomcapsAnswerTooOld", "host-1")]})


def test_a_failing_probe_is_told_with_its_reason(promtool: Promtool, tmp_path: Path) -> None:
    failures = target("domcaps_probe_failures_total", driver="qemu", reason="timeout")
    failing = {**UP, target("domcaps_probe_success", driver="qemu"): "0x60", failures: "0+1x60"}
    alert = {
        "exp_labels": {"instance": "host-1", "job": "domcaps", "driver": "qemu", "severity": "warning"},
        "exp_annotations": {"summary": "host-1: qemu gives no answer (timeout)"},
    }
    check = {"alertname": "DomcapsProbeFailing", "exp_alerts": [alert]}
    promtool.test(document(summaries(tmp_path), failing, alerts={LATER: [check]}))


def test_a_plugin_that_could_not_be_loaded_is_told(promtool: Promtool) -> None:
    series = {**UP, **ANSWERS, target("domcaps_plugin_loaded", plugin="acme"): "0x120"}
    promtool.expects_of(series, {HOUR: [("DomcapsPluginNotLoaded", "host-1")]})


def test_of_a_host_that_only_libvirt_tells_about_the_losses_count_too(promtool: Promtool) -> None:
    loss = {"driver": "libvirt", "element": "video", "enum": "modelType", "value": "qxl"}
    probes = {
        target("domcaps_probe_success", driver="libvirt"): "1x120",
        target("domcaps_document_info", driver="libvirt"): "1x120",
    }
    series = {**UP, **probes, target("domcaps_lost_timestamp_seconds", **loss): "60x120"}
    promtool.expects_of(series, {HOUR: [("DomcapsCapabilityLost", "host-1")]})


def test_a_host_that_loses_guests_that_need_no_kvm_is_told_with_the_reason(promtool: Promtool, tmp_path: Path) -> None:
    guest = {"driver": "xen", "virttype": "xen", "machine": "xenfv", "element": "guest"}
    lacks = target("domcaps_unmet_prerequisite", **guest, prerequisite="xen-hvm", libvirt="accepts")
    series = {**UP, **ANSWERS, target("domcaps_lost_timestamp_seconds", **guest): "_x5 300x115", lacks: "_x5 1x115"}
    promtool.expects_of(series, {BEGIN: SILENCE, HOUR: [("DomcapsGuestLost", "host-1")]})
    check = _named("host-1", "lost guests of a whole kind: xen-hvm")
    promtool.test(document(summaries(tmp_path), series, alerts={HOUR: [check]}))


# ---- the files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", files(Options()))
def test_the_files_are_what_is_generated(name: str) -> None:
    assert (FOLDER / name).read_text() == files(Options())[name], "python -m grafana.alerts.generate"


@pytest.mark.parametrize("name", ["domcaps.rules.yml", "domcaps-recording.rules.yml"])
def test_promtool_finds_nothing_to_blame_in_the_rules(name: str, promtool: Promtool) -> None:
    done = subprocess.run(["promtool", "check", "rules", str(FOLDER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


ABOUT_MANY = ("DomcapsManyHostsLost", "DomcapsGroupMixed", "DomcapsNoTargets")
"""Of no single host."""


def test_every_alert_has_a_severity_a_summary_with_the_host_a_description_and_a_chapter_in_the_runbook() -> None:
    chapters = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert [alert.name for alert in alerts(Options())] == chapters
    for rule in managed():
        assert rule["labels"]["severity"] in ("critical", "warning", "info", "{{ .Labels.severity }}")
        assert "First: " in rule["annotations"]["description"]
        summary = rule["annotations"]["summary"]
        assert "{{ .Labels.instance }}" in summary or rule["title"] in ABOUT_MANY
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['title'].lower()}"


def test_the_features_that_security_hangs_on_are_features_that_the_exporter_tells_of() -> None:
    assert set(SECURITY) < set(SECURITY_AND_MIGRATION)


def test_the_rules_can_be_made_for_another_job_and_another_group() -> None:
    text = "".join(files(Options(job="libvirt-hosts", group="cluster", runbooks="https://example.org/runbook"), "thanos").values())
    assert 'job="domcaps"' not in text
    assert not re.search(r"[(,] ?group[,)]|\.Labels\.group", text)
    assert "datasourceUid: thanos" in text
    assert "https://example.org/runbook#domcapsvfiolost" in text


def managed() -> list[dict[str, Any]]:
    """Grafana's rules."""
    (group,) = yaml.safe_load((FOLDER / "domcaps-grafana.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_grafana_has_the_same_alerts() -> None:
    assert [rule["title"] for rule in managed()] == [alert.name for alert in alerts(Options())]
    assert [rule["for"] for rule in managed()] == [alert.wait for alert in alerts(Options())]
    assert len({rule["uid"] for rule in managed()}) == len(managed())
    assert max(len(rule["uid"]) for rule in managed()) <= 40


def test_grafana_would_expand_no_dollar_and_run_no_query_in_its_texts() -> None:
    """It takes $NAME for an environment variable, and its templates have no `query`."""
    text = (FOLDER / "domcaps-grafana.yml").read_text()
    assert "$" not in text
    assert "| query" not in text


@pytest.mark.slow
def test_grafanas_conditions_are_true_when_prometheus_alerts(promtool: Promtool, tmp_path: Path) -> None:
    rules = yaml.safe_load((FOLDER / "domcaps-recording.rules.yml").read_text())
    rules["groups"][0]["rules"] += [
        {"alert": rule["title"], "expr": f"({rule['data'][0]['model']['expr']}) > 0", "for": rule["for"]} for rule in managed()
    ]
    (tmp_path / "grafana.rules.yml").write_text(yaml.safe_dump(rules))
    hosts = {f"host-{thing}": thing for thing in EXPECTED}
    events = (*(without(thing, host) for host, thing in hosts.items()), Event(BEGIN, "host-down", reach(up=False)))
    expected = [(EXPECTED[thing].alert, host) for host, thing in hosts.items()]
    found = Fleet(dict.fromkeys((*hosts, "host-down"), World()), {}, events)
    Promtool(tmp_path, tmp_path / "grafana.rules.yml").expects(
        found, {BEGIN: SILENCE, BEGIN + WAIT: expected, HOUR: [*expected, ("DomcapsExporterDown", "host-down")]}
    )

"""The recording and alerting rules, as data made for one Prometheus (its job, its group label). Pure.

domcaps_lost_timestamp_seconds is when a host lost something; the recording rules keep it over a reboot, sort it into kinds, find
its reasons, and tell a host's own loss from a wave of hosts that lost the same. Every alert is the presence of a series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import dedent

from grafana.alerts.losses import INFO, KINDS, WARNING, Kind

GUEST = "arch, machine, virttype"
IDENTITY = f"driver, emulator, {GUEST}"
VALUE = "element, enum, value"
OLD_ENOUGH = 150
"""Seconds after which a loss counts for a wave: before a host's own alert fires, with half a minute for its clock."""

_FALLBACK = "/usr/share/(OVMF/OVMF_CODE(.secboot)?|AAVMF/AAVMF(32)?_CODE).fd"
"""libvirt's own list, of which files may always be missing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What differs from one Prometheus to the next.

    `job` is the exporters' job; `group` the label of hosts that ought to be alike; `many`: how many hosts make a wave; `runbooks`:
    where the runbook is, before the `#`.
    """

    job: str = "domcaps"
    group: str = "group"
    many: int = 5
    runbooks: str = "docs/runbook.md"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule; `wait` is its `for`. `reasoned`: it is about a kind of loss, whose reasons can be told.

    Texts are templates. `summary` and `description` may use Prometheus' `query`, which Grafana has not; `bare` is what it shows.
    """

    name: str
    severity: str
    wait: str
    expr: str
    summary: str
    description: str
    bare: str = ""
    reasoned: str = ""


def recordings(options: Options) -> Iterator[Recording]:
    """In the order in which they must be evaluated."""
    yield Recording("domcaps:lost", _lost(options))
    for number, kind in enumerate(KINDS):
        yield Recording("domcaps:loss", _claimed(kind, KINDS[:number]), {"kind": kind.name, "severity": kind.severity})
    yield Recording("domcaps:unmet", _unmet())
    yield Recording("domcaps:loss_reason", _reasons(options))
    yield Recording("domcaps:wave", _wave(options))
    yield Recording("domcaps:loss_alone", f"domcaps:loss\nunless on ({options.group}, kind, {VALUE}) domcaps:wave")
    yield Recording("domcaps:secure_slots_seen", _slots_seen())
    yield Recording("domcaps:fingerprint", _fingerprints(options))
    yield Recording("domcaps:group_outliers", _outliers(options))


def alerts(options: Options) -> Iterator[Alert]:
    """In the order of the runbook."""
    for kind in KINDS:
        yield _of_kind(kind)
    yield _of_many(options)
    yield from _of_configuration()
    yield from _of_groups(options)
    yield from _of_exporters(options)


# ---- what was lost -----------------------------------------------------------------------------------------------------------


def _lost(options: Options) -> str:
    """libvirt's word counts where nobody else gives his. A host that is down keeps its losses until it is back.

    They are those of the last evaluation, however long ago it was within Prometheus' five minutes: what was back by then is none.
    """
    return _text(
        f"""
        domcaps_lost_timestamp_seconds{{driver!="libvirt"}}
        or (
          domcaps_lost_timestamp_seconds{{driver="libvirt"}}
          unless on (instance, job) domcaps_probe_success{{driver!="libvirt"}}
        )
        or (
          domcaps:lost
          and on (instance, job) up{{job="{options.job}"}} == 0
        )
        """
    )


def _claimed(kind: Kind, earlier: tuple[Kind, ...]) -> str:
    names = "|".join(one.name for one in earlier)
    claim = f"({kind.claim})" if " " in kind.claim else kind.claim
    return f'{claim}\nunless on (instance, job, {IDENTITY}, {VALUE}) domcaps:loss{{kind=~"{names}"}}' if names else kind.claim


def _unmet() -> str:
    """What is lacking for what was lost, or what libvirt promises. Every host lacks something: it is looked through once."""
    return _text(
        f"""
        domcaps_unmet_prerequisite
        and on (instance, job, {GUEST}, {VALUE}) (domcaps:loss or domcaps_supported{{driver="libvirt"}} == 1)
        """
    )


def _reasons(options: Options) -> str:
    """What each lost thing lacks: prerequisites, and of CPU models the features that block them. The many side of the join.

    What a host that is down or gives no answer lacked before, it still lacks.
    """
    blockers = "domcaps_cpu_model_blocker"
    for label, text, source, pattern in (
        ("element", "cpu", "", ""),
        ("enum", "model", "", ""),
        ("value", "$1", "model", "(.*)"),
        ("prerequisite", "cpu-feature:$1", "feature", "(.*)"),
    ):
        blockers = f'label_replace({blockers}, "{label}", "{text}", "{source}", "{pattern}")'
    return _text(
        f"""
        (
          sum without (libvirt) (domcaps:unmet)
          or sum without (model, feature) ({blockers})
        )
        * on (instance, job, {IDENTITY}, {VALUE}) group_left (kind) (domcaps:loss * 0 + 1)
        or (
          domcaps:loss_reason
          and on (instance, job) (up{{job="{options.job}"}} == 0 or domcaps_probe_success == 0)
          and on (instance, job, {IDENTITY}, {VALUE}) domcaps:loss
        )
        """
    )


def _wave(options: Options) -> str:
    same = f"{options.group}, kind, severity, {VALUE}"
    return _text(
        f"""
        count by ({same}) (
          count by (instance, {same}) (time() - domcaps:loss > {OLD_ENOUGH})
        ) >= {options.many}
        """
    )


def _slots_seen() -> str:
    """That a host once had room for secure guests, as long as it is watched."""
    return _text(
        """
        (domcaps_parameter{element="sev",parameter=~"maxGuests|maxESGuests"} > 0)
        or (
          last_over_time(domcaps:secure_slots_seen[1h])
          and on (instance, job) up
        )
        """
    )


# ---- alerts about losses -----------------------------------------------------------------------------------------------------


def _of_kind(kind: Kind) -> Alert:
    named = _named(kind) if kind.names else ""
    return Alert(
        name=kind.alert,
        severity=kind.severity,
        wait="3m",
        expr=_expr_of(kind),
        summary=f"{{{{ .Labels.instance }}}} lost {kind.what}{named}{_because(kind)}",
        description=f"Lost: {_values(kind, _WORDS)}. First: {kind.check} "
        "It stays until it is back, or until `domcaps-exporter forget` there.",
        bare=f"Lost: {kind.what}. First: {kind.check}",
        reasoned=kind.name,
    )


def _expr_of(kind: Kind) -> str:
    expr = f'count without ({IDENTITY}, {VALUE}) (domcaps:loss_alone{{kind="{kind.name}"}})'
    if kind.name != "firmware":
        return expr
    without = f"{IDENTITY}, {VALUE}, loader, prerequisite, libvirt"
    return _text(
        f"""
        {expr}
        or (
          count without ({without}) (
            domcaps_loader_present{{loader!~"{_FALLBACK}"}} == 0
            or domcaps_unmet_prerequisite{{prerequisite=~"firmware-file.*"}}
          )
          unless on (instance, job) domcaps:loss{{kind=~"uefi|secure-boot|firmware"}}
        )
        """
    )


def _of_many(options: Options) -> Alert:
    wave = f"{{kind=%q,{options.group}=%q}}` .Labels.kind .Labels.{options.group}"
    on = f"and on ({options.group}, kind, {VALUE}) domcaps:wave"
    hosts = _joined(f"printf `count by (instance) (domcaps:loss {on}{wave.replace('`', ')`')}", "instance", _INSTANCE)
    values = _joined(f"printf `domcaps:wave{wave}", "value", _WORDS)
    where = _group(options)
    return Alert(
        name="DomcapsManyHostsLost",
        severity="",
        wait="0m",
        expr=_text(
            f"""
            count by ({options.group}, kind, severity) (
              count by (instance, {options.group}, kind, severity) (
                domcaps:loss and on ({options.group}, kind, {VALUE}) domcaps:wave
              )
            )
            """
        ),
        summary=f"{{{{ .Value }}}} hosts of {where} lost the same ({{{{ .Labels.kind }}}}): {values}",
        description=f"On: {hosts}. First: what was rolled out to them? These hosts have no alert of their own for it. "
        "Where it was meant, `domcaps-exporter forget` on each host acknowledges it.",
        bare=f"Hosts of {where} lost the same ({{{{ .Labels.kind }}}}). First: what was rolled out to them?",
    )


def _group(options: Options) -> str:
    return f"the group '{{{{ .Labels.{options.group} }}}}'"


_WORDS = "{{ $one.Labels.element }}{{ with $one.Labels.enum }} {{ . }}{{ end }}{{ with $one.Labels.value }} {{ . }}{{ end }}"
_INSTANCE = "{{ $one.Labels.instance }}"


def _joined(printed: str, label: str, words: str) -> str:
    """A template that lists what a query (as `printf` makes it) finds, sorted by a label."""
    return (
        f'{{{{ range $n, $one := {printed} | query | sortByLabel "{label}" }}}}{{{{ if $n }}}}, {{{{ end }}}}{words}{{{{ end }}}}'
    )


def _values(kind: Kind, words: str) -> str:
    """What of this kind the host has lost."""
    selector = f'{{kind="{kind.name}",instance=%q}}'
    return _joined(f"printf `count by ({VALUE}) (domcaps:loss{selector})` .Labels.instance", "value", words)


def _named(kind: Kind) -> str:
    return f" ({_values(kind, '{{ $one.Labels.value }}' if kind.name.startswith('cpu') else _WORDS)})"


def _because(kind: Kind) -> str:
    """What is lacking, after a colon; nothing where that is not known."""
    selector = f'{{kind="{kind.name}",instance=%q}}'
    printed = f"printf `count by (prerequisite) (domcaps:loss_reason{selector})` .Labels.instance"
    reasons = _joined(printed, "prerequisite", "{{ $one.Labels.prerequisite }}")
    return f"{{{{ if {printed} | query }}}}: {reasons}{{{{ end }}}}"


# ---- alerts about settings ---------------------------------------------------------------------------------------------------


def _of_configuration() -> Iterator[Alert]:
    """Whether libvirt is stale is asked of what every native emulator lacks: of all values there are too many in a large fleet."""
    yield Alert(
        name="DomcapsConfidentialSlotsGone",
        severity=WARNING,
        wait="3m",
        expr=_text(
            f"""
            count without ({IDENTITY}, element) (
              domcaps_parameter{{element="sev",parameter=~"maxGuests|maxESGuests"}} == 0
              and on (instance, job, {IDENTITY}, element, parameter) domcaps:secure_slots_seen
            )
            unless on (instance, job) domcaps:loss{{kind="confidential"}}
            """
        ),
        summary="{{ .Labels.instance }} has no room left for secure guests ({{ .Labels.parameter }} is 0)",
        description="It had before. First: the minimum SEV ASID in the firmware setup, which divides them between SEV and SEV-ES.",
    )
    yield Alert(
        name="DomcapsMachineDeprecated",
        severity=INFO,
        wait="1h",
        expr='count without (driver, emulator, arch, virttype) (domcaps_machine_info{deprecated="yes"})',
        summary="{{ .Labels.instance }} is configured for {{ .Labels.machine }}, which is deprecated ({{ .Labels.canonical }})",
        description="A later QEMU will not have it, nor start guests of it. First: which guests still have this machine type?",
    )
    yield Alert(
        name="DomcapsLibvirtStale",
        severity=WARNING,
        wait="15m",
        expr=_text(
            f"""
            count without ({GUEST}, {VALUE}) (
              count without (emulator, driver) (
                count without (prerequisite, libvirt) (
                  domcaps:unmet{{driver!="libvirt",libvirt="refuses"}}
                  and on (instance, job, {GUEST}, {VALUE}) (domcaps_supported{{driver="libvirt"}} == 1)
                )
              )
              == on (instance, job, {GUEST}) group_left ()
                count by (instance, job, {GUEST}) (domcaps_guest_supported{{driver!="libvirt"}})
              unless on (instance, job, {GUEST}, {VALUE}) domcaps:unmet{{driver!="libvirt",libvirt="accepts"}}
            )
            """
        ),
        summary="{{ .Labels.instance }}: libvirt promises what guests cannot have",
        description="Its cache is older than the host. First: restart libvirtd (virtqemud), and where that does not help remove "
        "/var/cache/libvirt/qemu/capabilities.",
    )


# ---- alerts about groups -----------------------------------------------------------------------------------------------------


def _alike(options: Options) -> str:
    """The labels of documents that ought to be equal."""
    return f"{options.group}, driver, arch, machine, virttype, version, exporter"


def _fingerprints(options: Options) -> str:
    """Each host's, of those in a group and without losses (these have their own alerts). Exporters of one version are compared."""
    return _text(
        f"""
        max by (instance, job, {_alike(options)}, fingerprint) (
          domcaps_document_info{{{options.group}!="",driver!="libvirt"}}
          * on (instance, job) group_left (exporter)
            label_replace(domcaps_exporter_build_info, "exporter", "$1", "version", "(.*)")
        )
        unless on (instance, job) domcaps:loss
        """
    )


def _outliers(options: Options) -> str:
    """How many hosts of a group have another fingerprint than most; 0 where that cannot be said of any."""
    alike = _alike(options)
    sizes = f"count by ({alike}, fingerprint) (domcaps:fingerprint)"
    return _text(
        f"""
        (
          sum by ({alike}) ({sizes}) - max by ({alike}) ({sizes}) > 0
        )
        * on ({alike}) (
          count by ({alike}) (
            {sizes} == on ({alike}) group_left () max by ({alike}) ({sizes})
          ) == bool 1
        )
        """
    )


def _of_groups(options: Options) -> Iterator[Alert]:
    alike = _alike(options)
    sizes = f"count by ({alike}, fingerprint) (domcaps:fingerprint)"
    few = f"domcaps:group_outliers > 0 and domcaps:group_outliers < {options.many}"
    yield Alert(
        name="DomcapsHostDiffers",
        severity=INFO,
        wait="1h",
        expr=_text(
            f"""
            count by (instance, job, {alike}) (
              domcaps:fingerprint
              and on ({alike}, fingerprint) ({sizes} < on ({alike}) group_left () max by ({alike}) ({sizes}))
              and on ({alike}) ({few})
            )
            """
        ),
        summary=f"{{{{ .Labels.instance }}}} differs from {_group(options)} ({{{{ .Labels.machine }}}})",
        description="Its guests can have something else than those of most hosts with the same QEMU. First: "
        "`domcaps-exporter diff http://HOST:19177 http://ANOTHER:19177` names it.",
    )
    yield Alert(
        name="DomcapsGroupMixed",
        severity=INFO,
        wait="1h",
        expr=f"(\n  count by ({alike}) ({sizes}) > 1\n)\nunless on ({alike}) ({few})",
        summary=f"{_group(options)} is mixed: its hosts differ ({{{{ .Labels.machine }}}})",
        description="There is no majority to differ from, or too many hosts differ from it. First: do these hosts belong into one "
        "group? A guest may not be able to move between them.",
    )


# ---- alerts about exporters --------------------------------------------------------------------------------------------------


def _of_exporters(options: Options) -> Iterator[Alert]:
    reasons = _joined(
        "printf `increase(domcaps_probe_failures_total{instance=%q,driver=%q}[15m]) > 0` .Labels.instance .Labels.driver",
        "reason",
        "{{ $one.Labels.reason }}",
    )
    yield Alert(
        name="DomcapsProbeFailing",
        severity=WARNING,
        wait="10m",
        expr="domcaps_probe_success == 0",
        summary=f"{{{{ .Labels.instance }}}}: {{{{ .Labels.driver }}}} gives no answer ({reasons})",
        description="Nobody knows what its guests can have; losses known before stay. First: the exporter's log on the host.",
        bare="{{ .Labels.instance }}: {{ .Labels.driver }} gives no answer. First: the exporter's log on the host.",
    )
    yield Alert(
        name="DomcapsExporterDown",
        severity=WARNING,
        wait="15m",
        expr=f'up{{job="{options.job}"}} == 0',
        summary="{{ .Labels.instance }}: the exporter cannot be scraped",
        description="First: is the host up? `systemctl status domcaps-exporter`, and the error on Prometheus' page Targets.",
    )
    yield Alert(
        name="DomcapsNoTargets",
        severity=WARNING,
        wait="15m",
        expr=f'absent(up{{job="{options.job}"}})',
        summary="no exporter is scraped at all",
        description=f"No target has the job '{options.job}'. First: Prometheus' configuration and its service discovery.",
    )
    yield Alert(
        name="DomcapsNoAnswer",
        severity=WARNING,
        wait="15m",
        expr=_text(
            f"""
            up{{job="{options.job}"}} == 1
            unless on (instance, job) domcaps_document_info
            unless on (instance, job) domcaps_guest_supported
            unless on (instance, job) domcaps_probe_success == 0
            """
        ),
        summary="{{ .Labels.instance }}: the exporter finds no hypervisor",
        description="It runs and has nothing to report. First: `domcaps-exporter drivers` and `domcaps-exporter show` on the host.",
    )
    yield Alert(
        name="DomcapsAnswerTooOld",
        severity=WARNING,
        wait="5m",
        expr=_text(
            """
            time() - domcaps_probe_last_success_timestamp_seconds > 1800
            and on (instance, job, driver) domcaps_probe_success == 1
            """
        ),
        summary="{{ .Labels.instance }}: what {{ .Labels.driver }} says is old",
        description="First: is the timer still running that writes the textfile? Is the host's clock right?",
    )
    yield Alert(
        name="DomcapsPluginNotLoaded",
        severity=WARNING,
        wait="15m",
        expr="domcaps_plugin_loaded == 0",
        summary="{{ .Labels.instance }}: the plugin {{ .Labels.plugin }} could not be loaded",
        description="First: `domcaps-exporter drivers` on the host says why.",
    )


def _text(lines: str) -> str:
    return dedent(lines).strip()

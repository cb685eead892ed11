"""The dashboard Host: everything about one host."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.dashboards.capabilities import CAPABILITIES
from grafana.dashboards.columns import GUEST, LACKING, LACKS, THING
from grafana.dashboards.frame import HOST, Options, framed
from grafana.dashboards.look import HAS, RED, STATES, YES_NO, Column, Told, fact, listing, number, timeline, verdict
from grafana.dashboards.promql import HARDWARE, IDENTITY, PLACE, VALUE, Scope
from grafana_foundation_sdk.builders import dashboard, stat, statetimeline, table

NAMES = {one.name: one.label for one in CAPABILITIES}
SILENT = "The host gives no answer"
SUPPORTED = Column("Value", "A guest can have it", width=160, words=HAS)


def host(options: Options) -> dashboard.Dashboard:
    """The dashboard."""
    scope = options.single
    made = framed(
        HOST, "Host", "Everything about one host: what its guests can have, what they cannot and why.", options, single=True
    )
    page = (
        dashboard.DashboardLink("The exporter's page").url(options.page_of("${instance}")).icon("external link").target_blank(True)
    )
    made = made.link(page)
    for number_or_word in _summary(scope):
        made = made.with_panel(number_or_word)
    made = made.with_panel(_in_time(scope)).with_panel(_losses(scope)).with_panel(_lacking(scope)).with_panel(_changed(scope))
    made = (
        made.with_row(dashboard.Row("Everything"))
        .with_panel(_values(scope))
        .with_panel(_models(scope))
        .with_panel(_features(scope))
    )
    made = made.with_panel(_numbers(scope)).with_panel(_files(scope))
    return made.with_panel(_documents(scope)).with_panel(_drivers(scope))


def _summary(scope: Scope) -> Iterator[stat.Panel]:
    up, loss = scope.of("up"), scope.of("domcaps:loss")
    yield verdict(Told("Answers", "Whether the exporter could be scraped just now.", "not scraped"), f"max({up})")
    runs = f"max({scope.of('domcaps_guest_supported', HARDWARE)})"
    yield verdict(Told("KVM / Xen / bhyve", "Whether a guest with hardware support can run here at all.", SILENT), runs)
    info = scope.of("domcaps_document_info")
    versions = Told("Hypervisor", "The driver that asked, and the version of the emulator or hypervisor.", SILENT)
    yield fact(versions, f"count by (driver, version) ({info})", "{{driver}} {{version}}")
    lost = Told("Lost", "How many things the host lacks that it once had, until they are back or acknowledged.", SILENT)
    yield number(lost, f"count(count by ({VALUE}) ({loss})) or 0 * count({up})", bad=RED)
    most = Told("vCPUs", "How many vCPUs a guest can have at most.", SILENT)
    yield number(most, f"max({scope.of('domcaps_vcpus_max')})")
    changed = Told("Last change", "When a capability was last lost or gained while the exporter ran.", "none since its start")
    yield number(changed, f"1000 * max({scope.of('domcaps_last_change_timestamp_seconds')} > 0)", "dateTimeFromNow")


def _in_time(scope: Scope) -> statetimeline.Panel:
    told = Told(
        "Capabilities in time",
        "✓ a guest could have it; ○ it could not, and that was no loss; ✗ it was lost. A gap: nobody knows, as when the "
        "host gave no answer.",
        "Nothing is known of this host in this time",
        height=13,
    )
    return timeline(told, f"max by (capability) ({scope.of('domcaps:capability')})", "{{capability}}", NAMES, STATES)


def _losses(scope: Scope) -> table.Panel:
    told = Told(
        "Lost, and why",
        "What the host had and lacks now, however long ago it was lost: a row for each thing that is lacking.",
        "Nothing is lost",
        height=7,
    )
    on, loss, reasons = f"on ({PLACE}, {IDENTITY}, {VALUE})", scope.of("domcaps:loss"), scope.of("domcaps:loss_reason")
    expr = (
        f"1000 * max by (severity, kind, {VALUE}, prerequisite, machine, virttype) (\n"
        f"  0 * {reasons} + {on} group_left (severity) {loss}\n"
        f"  or {loss} unless {on} {reasons}\n"
        ")"
    )
    first = (
        Column("Value", "Since", "dateTimeFromNow", 150),
        Column("severity", "Severity", width=100),
        Column("kind", "Kind", width=130),
    )
    return listing(told, expr, (*first, *THING, LACKS, *GUEST), "Since", desc=True)


def _lacking(scope: Scope) -> table.Panel:
    told = Told(
        "What a guest cannot have, and why",
        "Every value that is known and impossible here, with what it lacks; also what the host never had. Where libvirt accepts, "
        "it does not look, and says yes all the same.",
        "Nothing is known to be lacking",
        12,
        11,
    )
    expr = f"max by ({VALUE}, prerequisite, libvirt, machine, virttype) ({scope.of('domcaps_unmet_prerequisite')})"
    columns = (*THING, LACKS, Column("libvirt", "libvirt", width=90), *GUEST)
    return listing(told, expr, columns, "Element")


def _changed(scope: Scope) -> statetimeline.Panel:
    told = Told(
        "What changed in this time",
        "Values that a guest could have for some of the time that is shown, and could not for the rest.",
        "Nothing changed",
        12,
        11,
    )
    values = scope.of("domcaps_supported", 'driver!="libvirt"')
    expr = f"max by ({VALUE}) ({values} and changes({values}[$__range] @ end()) > 0)"
    return timeline(told, expr, "{{element}} {{enum}} {{value}}", {}, HAS)


# ---- everything --------------------------------------------------------------------------------------------------------------


def _values(scope: Scope) -> table.Panel:
    told = Told("Values", "Every value of every enum, for each kind of guest and each driver.", SILENT, 12, 14)
    expr = f"max by ({VALUE}, machine, virttype, driver) ({scope.of('domcaps_supported')})"
    return listing(told, expr, (*THING, SUPPORTED, *GUEST, Column("driver", "Driver", width=80)), "Element")


def _models(scope: Scope) -> table.Panel:
    told = Told("CPU models", "Which CPU models are usable, else how many features the host lacks for them.", SILENT, 7, 14)
    by = "by (model, machine, virttype)"
    usable = scope.native("domcaps_cpu_model_usable")
    expr = f"max {by} ({scope.native('domcaps_cpu_model_blockers', value='> 0')})\nor max {by} ({usable}) - 1"
    lacking = Column("Value", "Features lacking", "suffix:lacking", 130, LACKING, most=1)
    return listing(told, expr, (Column("model", "Model"), lacking, *GUEST), "Model")


def _features(scope: Scope) -> table.Panel:
    told = Told(
        "CPU features", "Features of the host's CPU that matter to security and migration, as QEMU offers them.", SILENT, 5, 14
    )
    expr = f"max by (feature) ({scope.native('domcaps_cpu_host_feature')})"
    return listing(told, expr, (Column("feature", "Feature"), Column("Value", "Offered", width=100, words=HAS)), "Feature")


def _numbers(scope: Scope) -> table.Panel:
    told = Told("Numbers", "Every number in the documents: sizes are in bytes, yes and no are 1 and 0.", "There are none", 12)
    expr = f"max by (element, parameter, machine, virttype) ({scope.of('domcaps_parameter')})"
    columns = (Column("element", "Element"), Column("parameter", "Parameter"), Column("Value", "Number", "none"), *GUEST)
    return listing(told, expr, columns, "Element")


def _files(scope: Scope) -> table.Panel:
    told = Told(
        "Firmware", "The files that firmware descriptors and libvirt's list name, and whether they exist.", "There are none", 12
    )
    expr = f"max by (loader) ({scope.of('domcaps_loader_present')})"
    return listing(told, expr, (Column("loader", "File"), Column("Value", "Exists", width=100, words=YES_NO)), "File")


def _documents(scope: Scope) -> table.Panel:
    told = Told("Documents", "The kinds of guests that were asked for. Equal fingerprints are equal capabilities.", SILENT, 16, 8)
    expr = f"max by ({IDENTITY}, version, source, fingerprint) ({scope.of('domcaps_document_info')})"
    columns = [
        Column(name, name.capitalize()) for name in "driver emulator arch machine virttype version source fingerprint".split()
    ]
    return listing(told, expr, columns, "Driver")


def _drivers(scope: Scope) -> table.Panel:
    told = Told("Probes", "Whether each driver got an answer, and when it last did.", SILENT, 8, 8)
    asked = {
        "A": f"max by (driver) ({scope.of('domcaps_probe_success')})",
        "B": f"1000 * max by (driver) ({scope.of('domcaps_probe_last_success_timestamp_seconds')})",
        "C": f"max by (driver) ({scope.of('domcaps_probe_duration_seconds')})",
    }
    columns = (
        Column("driver", "Driver"),
        Column("Value #A", "Answers", words=YES_NO),
        Column("Value #B", "Last answer", "dateTimeFromNow"),
        Column("Value #C", "Took", "s"),
    )
    return listing(told, asked, columns, join="driver")

"""One kind of guest on the page: its facts, its matrix with the reasons, its processor, its firmware. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domcaps_exporter import cpu_panel
from domcaps_exporter.markup import coded, folded, items, link, name, table, text
from domcaps_exporter.matrix import Lack, Matrix, Row
from domcaps_exporter.model import MachineType, Report, Truth, Unmet
from domcaps_exporter.reasons import entry, sentence
from domcaps_exporter.truths import fingerprint, loaders


@dataclass(frozen=True, slots=True)
class Panel:
    """A report on the page: where it stands there (`anchor`), and its document's id; None where libvirt would give no document."""

    anchor: str
    driver: str
    report: Report
    matrix: Matrix
    document: str | None

    @property
    def title(self) -> str:
        return f"{self.driver} {self.report.identity.kind}".strip()


def render(panel: Panel, *, unfolded: bool) -> str:
    """The panel; of a guest that cannot run, why not, and nothing else."""
    report = panel.report
    runs = report.guest.supported is not False
    parts = [_alarm(report) if not runs else "", _facts(panel)]
    if runs:
        parts += [_matrix(panel.matrix.rows), _foreign(panel.matrix.foreign), cpu_panel.render(report)]
        parts += [_firmware(loaders(report)), _machines(report.machine_types)]
    parts.append(_notes(report.notes))
    heading = f"<h2>{text(panel.title)}</h2> {can_run(report.guest.supported)}"
    return folded(heading, f'<div id="{panel.anchor}">{"".join(parts)}</div>', unfolded=unfolded, kind="document")


def can_run(truth: Truth) -> str:
    """In words and colour."""
    words = {True: ("yes", "✓ runs"), False: ("no", "✗ cannot run"), None: ("unsure", "? nobody knows")}
    kind, shown = words[truth]
    return f'<b class="{kind}">{shown}</b>'


def _alarm(report: Report) -> str:
    unmet = report.guest.unmet
    return f'<div class="alarm">Such a guest cannot run here:{_reasons(unmet) or " no reason is given."}{_help(unmet)}</div>'


def _help(unmet: Iterable[Unmet]) -> str:
    """How to look at each of these, and what mends it."""
    known = (found for one in unmet if (found := entry(one.prerequisite)) is not None)
    return "".join(f"<p>To look: {coded(one.look)}. What usually mends it: {coded(one.mend)}.</p>" for one in known)


def _facts(panel: Panel) -> str:
    report, guest = panel.report, panel.report.identity
    most = report.told.vcpus_max if report.told is not None else None
    facts = (
        ("Emulator", f"<code>{name(guest.emulator)}</code>" if guest.emulator else ""),
        ("Version", text(report.version)),
        ("Machine", text(report.canonical) + (" (deprecated)" if report.deprecated else "")),
        ("Most vCPUs", "" if most is None else str(most)),
        ("Source", text(report.source) if report.source != "native" else ""),
        ("Fingerprint", f"<code>{fingerprint(report)}</code>"),
        ("libvirt's answer", link(f"/documents/{panel.document}.xml", "XML") if panel.document else ""),
    )
    return f"<dl>{''.join(f'<div><dt>{term}</dt><dd>{shown}</dd></div>' for term, shown in facts if shown)}</dl>\n"


# ---- the matrix --------------------------------------------------------------------------------------------------------------


def _matrix(rows: Iterable[Row]) -> str:
    shown = ((_place(row), f'<div class="cells">{"".join(_cells(row))}</div>') for row in rows)
    caption = "✓ a guest can have it; ✗ it cannot, and why; ? nobody knows"
    return table(caption, ("Element and choice", "Values"), shown, "matrix")


def _place(row: Row) -> str:
    if not row.element:
        return "elements <small>as a whole</small>"
    return f"{name(row.element)} <small>{name(row.enum) or 'numbers'}</small>"


def _cells(row: Row) -> Iterator[str]:
    there = items("have", "available", map(name, row.have), "✓") + items("unknown", "nobody knows", map(name, row.unknown), "?")
    if there:
        yield f"<div>{there}</div>"
    if row.lack:
        yield f'<ul class="lack" role="list" aria-label="missing">{"".join(map(_lack, row.lack))}</ul>'


def _lack(lack: Lack) -> str:
    names = " ".join(f'<b class="no"><i aria-hidden="true">✗</i> {name(value)}</b>' for value in lack.values)
    return f"<li>{names}{_reasons(lack.unmet)}</li>"


def _reasons(unmet: Iterable[Unmet]) -> str:
    shown = "".join(
        f'<li title="{text(_tip(one.prerequisite))}">{name(sentence(one.prerequisite))}{_aside(one)}</li>' for one in unmet
    )
    return f'<ul class="reasons">{shown}</ul>' if shown else ""


def _tip(prerequisite: str) -> str:
    """Its name, and what helps."""
    known = entry(prerequisite)
    return prerequisite if known is None else f"{prerequisite}\nlook: {known.look}\nmends: {known.mend}"


def _aside(unmet: Unmet) -> str:
    return " <small>(libvirt does not look)</small>" if unmet.libvirt == "accepts" else ""


def _foreign(rows: Iterable[Row]) -> str:
    shown = [(_place(row), " ".join(map(_lack_briefly, row.lack))) for row in rows]
    count = sum(row.missing for row in rows)
    heads = ("Element and choice", "Values")
    return (
        folded(f"Only for other machines or architectures: {count}", table("Nothing is wrong here", heads, shown)) if count else ""
    )


def _lack_briefly(lack: Lack) -> str:
    why = "; ".join(sentence(one.prerequisite) for one in lack.unmet)
    return f'{name(", ".join(lack.values))} <small class="soft">({name(why)})</small>'


# ---- the rest ----------------------------------------------------------------------------------------------------------------


def _firmware(files: dict[str, bool]) -> str:
    if not files:
        return ""
    there = sum(files.values())
    rows = ((f"<code>{name(path)}</code>", _there(present)) for path, present in files.items())
    listed = table("The files that firmware descriptors or libvirt name", ("File", "On this host"), rows)
    return folded(f"Firmware: {there} of {len(files)} files there", listed, unfolded=there < len(files))


def _there(present: bool) -> str:
    return '<b class="yes">✓ there</b>' if present else '<b class="no">✗ missing</b>'


def _machines(machines: Iterable[MachineType]) -> str:
    rows = [
        (
            text(one.machine),
            text(one.alias),
            "" if one.vcpus_max is None else str(one.vcpus_max),
            "deprecated" if one.deprecated else "",
        )
        for one in machines
    ]
    heads = ("Machine", "Also called", "Most vCPUs", "State")
    return folded(f"Machine types: {len(rows)}", table("All that the emulator offers", heads, rows)) if rows else ""


def _notes(notes: Iterable[str]) -> str:
    shown = "".join(f"<li>{text(note)}</li>" for note in notes)
    return f'<h3>Notes</h3><ul class="reasons">{shown}</ul>' if shown else ""

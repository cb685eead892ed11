"""The page that a person opens: drivers, documents, and what is missing and why. One self-contained HTML text, no script. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.model import Outcome, Report, Truth
from domcaps_exporter.service import catalogue
from domcaps_exporter.truths import elements, fingerprint, models, unmet, values

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8885 }
td { overflow-wrap: anywhere }
.no { color: #b3261e } .yes { color: #146c2e } .quiet { opacity: .7 }
@media (prefers-color-scheme: dark) { .no { color: #ff8a80 } .yes { color: #81c995 } }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy to send with the page: its own style and nothing else."""


def render(outcomes: Sequence[Outcome], plugins: Iterable[Plugin], version: str, telemetry_path: str) -> str:
    """The whole page; everything that came from elsewhere is escaped."""
    ids = {(entry.driver, entry.report.identity): entry.id for entry in catalogue(outcomes).values()}
    told = ((outcome.driver, report) for outcome in outcomes for report in outcome.reports)
    reports = (_report(driver, report, ids.get((driver, report.identity))) for driver, report in told)
    return "".join((_head(version, telemetry_path), _drivers(outcomes), _refused(plugins), *reports, "</body></html>\n"))


def _head(version: str, telemetry_path: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>domcaps-exporter</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>'
        f'<h1>domcaps-exporter <small class="quiet">{_shown(version)}</small></h1>'
        f'<p><a href="{escape(quote(telemetry_path))}">Metrics</a> · <a href="/documents">Documents (JSON)</a></p>\n'
    )


def _drivers(outcomes: Iterable[Outcome]) -> str:
    return "<h2>Drivers</h2>" + _table(("driver", "answer"), ((_shown(outcome.driver), _answer(outcome)) for outcome in outcomes))


def _answer(outcome: Outcome) -> str:
    failure = outcome.failure
    if failure is None:
        return f'<span class="yes">kinds of guest: {len(outcome.reports)}</span>, in {outcome.duration:.3f} s'
    return (
        f'<span class="{"quiet" if failure.reason == "absent" else "no"}">{_shown(failure.reason)}</span>: {_shown(failure.text)}'
    )


def _refused(plugins: Iterable[Plugin]) -> str:
    rows = [(_shown(plugin.name), _shown(plugin.error)) for plugin in plugins if plugin.error is not None]
    return "<h2>Plugins that could not be loaded</h2>" + _table(("plugin", "why"), rows) if rows else ""


def _report(driver: str, report: Report, entry: str | None) -> str:
    guest = report.identity
    title = " ".join(_shown(word) for word in (driver, guest.arch, guest.machine, guest.virttype, guest.emulator) if word)
    shown = report.guest.supported is not False
    parts = [f"<h2>{title}</h2>", _summary(report, entry), _missing(report)]
    return (
        "".join((*parts, _matrix(report) if shown else "", *(f'<p class="quiet">{_shown(note)}</p>' for note in report.notes)))
        + "\n"
    )


def _summary(report: Report, entry: str | None) -> str:
    usable = [model.usable == "yes" for model in models(report).values()]
    said = [
        _mark("guest", report.guest.supported),
        f'<a href="/documents/{escape(quote(entry, safe=""))}.xml">XML</a>' if entry else "",
        f"version {_shown(report.version)}" if report.version else "",
        f"machine {_shown(report.canonical)}" if report.canonical else "",
        f"{sum(usable)} of {len(usable)} CPU models usable" if usable else "",
        f"fingerprint {fingerprint(report)}",
    ]
    return f"<p>{' · '.join(part for part in said if part)}</p>"


def _missing(report: Report) -> str:
    """What is missing and why, a line for each value."""
    lacks: dict[tuple[str, ...], list[str]] = {}
    for *place, prerequisite, libvirt in unmet(report):
        lacks.setdefault(tuple(place), []).append(
            prerequisite if libvirt == "refuses" else f"{prerequisite} (libvirt does not look)"
        )
    rows = ((_shown(" ".join(filter(None, place))), _shown(", ".join(reasons))) for place, reasons in lacks.items())
    return _table(("missing", "because there is no"), rows) if lacks else ""


def _matrix(report: Report) -> str:
    """Every element and enum, and what a guest can have of it."""
    cells = {(element, ""): [_mark("supported", truth)] for element, truth in elements(report).items()}
    for (element, enum, value), truth in values(report).items():
        cells.setdefault((element, enum), []).append(_mark(value, truth))
    rows = ((_shown(element), _shown(enum), " ".join(marks)) for (element, enum), marks in sorted(cells.items()))
    return _table(("element", "enum", "values"), rows)


def _mark(value: str, truth: Truth) -> str:
    """Colour is not the only difference: what cannot be is struck out, what nobody knows has a question mark."""
    shown = _shown(value)
    if truth is None:
        return f'<span class="quiet">{shown}?</span>'
    return f'<span class="yes">{shown}</span>' if truth else f'<s class="no">{shown}</s>'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the cells are HTML already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"


def _shown(text: str | None) -> str:
    """Escaped, and without what UTF-8 cannot carry."""
    return escape((text or "").encode("utf-8", "backslashreplace").decode())

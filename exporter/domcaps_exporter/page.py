"""The page that a person opens: what guests can have here, what is missing and why. One self-contained text, no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_

from domcaps_exporter import guest_panel, remedies
from domcaps_exporter.cpu_panel import told_apart
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.guest_panel import Panel, can_run
from domcaps_exporter.loss_panel import Missed, missed, thing
from domcaps_exporter.markup import link, long, moment, name, table, text
from domcaps_exporter.matrix import matrix
from domcaps_exporter.model import Outcome, Report, Unmet
from domcaps_exporter.notices import notes
from domcaps_exporter.past import Change
from domcaps_exporter.reasons import sentence
from domcaps_exporter.service import catalogue
from domcaps_exporter.style import POLICY, STYLE

__all__ = ["POLICY", "Guests", "Missed", "guests", "missed", "render"]

_LATEST = 50
"""How many changes are shown."""

_DIRECTIONS = {"lost": "✗ lost", "gained": "✓ gained"}
_MANY = 3
"""From so many kinds of guests on, they are folded: the overview leads to them."""


@dataclass(frozen=True, slots=True)
class Guests:
    """What the page says of these reports: nearly all of it, and the same as long as they are."""

    reports: tuple[tuple[Report, ...], ...]
    overview: str
    panels: str


def guests(outcomes: Sequence[Outcome], before: Guests | None = None) -> Guests:
    """What the page says of the guests; it is `before` where the reports are the very same objects."""
    reports = tuple(outcome.reports for outcome in outcomes)
    if before is not None and len(reports) == len(before.reports) and all(map(is_, reports, before.reports)):
        return before
    panels = tuple(_panels(outcomes))
    shown = (guest_panel.render(panel, unfolded=len(panels) < _MANY) for panel in panels)
    return Guests(reports, _overview(panels), "".join((*shown, remedies.render(panels))))


def render(
    outcomes: Sequence[Outcome],
    plugins: Iterable[Plugin],
    version: str,
    telemetry_path: str,
    changes: Sequence[Change] = (),
    host: str = "",
    told: Guests | None = None,
    lost: Missed | None = None,
) -> str:
    """The whole page; everything that came from elsewhere is escaped. `changes` are those since the exporter started.

    `host`: its name, where it is known. `told`: the outcomes' `guests`, where they are at hand. `lost`: what is `missed`.
    """
    told = guests(outcomes) if told is None else told
    parts = (
        _head(telemetry_path, host or "this host"),
        _alarm(outcomes),
        told.overview,
        lost.shown if lost is not None else "",
        _changes(changes),
        told.panels,
        _drivers(outcomes, tuple(plugins)),
        f"</main>\n<footer><p>domcaps-exporter {text(version)}</p></footer>\n</body></html>\n",
    )
    return "".join(parts)


def _panels(outcomes: Sequence[Outcome]) -> Iterator[Panel]:
    ids = {(entry.driver, entry.report.identity): entry.id for entry in catalogue(outcomes).values()}
    told = ((outcome.driver, report) for outcome in outcomes for report in outcome.reports)
    for number, (driver, report) in enumerate(told, start=1):
        yield Panel(f"guest-{number}", driver, report, matrix(report), ids.get((driver, report.identity)))


def _head(telemetry_path: str, host: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>What guests can have on {text(host)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<style>{STYLE}</style></head>\n<body><a class="skip" href="#main">Skip to the content</a>\n'
        f"<header><h1>What guests can have on {text(host)}</h1>"
        f'<nav aria-label="Machine-readable"><ul><li>{link(telemetry_path, "Metrics")}</li>'
        f'<li>{link("/documents", "Documents (JSON)")}</li></ul></nav></header>\n<main id="main">\n'
    )


def _alarm(outcomes: Iterable[Outcome]) -> str:
    """Who should have answered and did not, before anything else."""
    silent = [outcome.driver for outcome in outcomes if outcome.problem is not None]
    names = text(", ".join(silent))
    return f'<p class="alarm">Without an answer: {names}. <a href="#drivers">Why</a></p>' if silent else ""


def _overview(panels: Sequence[Panel]) -> str:
    if not panels:
        return '<p class="alarm">There is no kind of guest to show. What each driver says stands below.</p>'
    rows = (
        (
            f'<a href="#{panel.anchor}">{text(panel.title)}</a> <small>{name(panel.report.identity.emulator)}</small>',
            can_run(panel.report.guest.supported) + _why_not(panel.report.guest.unmet),
            *_counts(panel),
        )
        for panel in panels
    )
    return "<h2>Guests</h2>" + table(
        "Each kind of guest, and how much of what its matrix below names it has and misses",
        ("Guest", "Can run", "Has", "Missing", "CPU models"),
        rows,
    )


def _why_not(unmet: Iterable[Unmet]) -> str:
    why = "; ".join(sentence(one.prerequisite) for one in unmet)
    return f" <small>{name(why)}</small>" if why else ""


def _counts(panel: Panel) -> tuple[str, str, str]:
    """While the guest itself cannot run, the rest says nothing."""
    if panel.report.guest.supported is False:
        return "-", "-", "-"
    listed = told_apart(panel.report)
    usable = sum(model.usable == "yes" for model in listed)
    has, missing = sum(len(row.have) for row in panel.matrix.rows), sum(row.missing for row in panel.matrix.rows)
    return str(has), str(missing), f"{usable} of {len(listed)} usable" if listed else "-"


def _changes(changes: Sequence[Change]) -> str:
    """The latest first."""
    if not changes:
        return "<h2>Changes</h2><p>Nothing was lost or gained since the exporter started.</p>"
    latest = sorted(changes, key=lambda change: change.time, reverse=True)
    rows = ((moment(change.time), thing(_DIRECTIONS[change.direction], change), _why(change)) for change in latest[:_LATEST])
    caption = f"Since the exporter started: {len(changes)}" + (f", of which the last {_LATEST}" if len(changes) > _LATEST else "")
    return "<h2>Changes</h2>" + table(caption, ("When", "What", "Why"), rows, "changes")


def _why(change: Change) -> str:
    return long("; ".join(map(sentence, change.lacks)))


def _drivers(outcomes: Iterable[Outcome], plugins: Sequence[Plugin]) -> str:
    """What each driver answered, and the plugins that could not be loaded."""
    owners = {driver: plugin for plugin in plugins for driver in plugin.drivers}
    rows = [(text(outcome.driver), _plugin(owners.get(outcome.driver)), *_answer(outcome)) for outcome in outcomes]
    rows += [("-", _plugin(plugin), '<b class="no">✗ not loaded</b>', long(plugin.error)) for plugin in plugins if plugin.error]
    return '<h2 id="drivers">Drivers</h2>' + table("Who was asked", ("Driver", "Plugin", "Answer", "Details"), rows)


def _plugin(plugin: Plugin | None) -> str:
    return "-" if plugin is None else f"{text(plugin.name)} {text(plugin.version)}"


def _answer(outcome: Outcome) -> tuple[str, str]:
    failure = outcome.failure
    if failure is None:
        said = f"kinds of guests: {len(outcome.reports)}, in {outcome.duration:.3f} s"
        noted = "".join(f"<li>{long(note)}</li>" for note in notes(outcome))
        return '<b class="yes">✓ answered</b>', said + (f'<ul class="reasons">{noted}</ul>' if noted else "")
    if failure.reason == "absent":
        return '<b class="unsure">not here</b>', long(failure.text)
    return f'<b class="no">✗ {text(failure.reason)}</b>', long(failure.text)

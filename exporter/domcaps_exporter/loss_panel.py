"""What is lost and not back, on the page: who comes from an alert finds it here, with its reason. Pure.

It is what `domcaps_lost_timestamp_seconds` tells, out of the same memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import is_

from domcaps_exporter.causes import causes, silence
from domcaps_exporter.claims import GUEST, claims
from domcaps_exporter.markup import long, moment, name, table, text
from domcaps_exporter.model import Outcome, Report
from domcaps_exporter.past import Change, Loss, Past, losses
from domcaps_exporter.reasons import sentence

_MOST = 200
"""How many losses are shown."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What the page says of losses: the same as long as reports and pasts, and the reasons of drivers that fail, are these."""

    ground: tuple[tuple[Report, ...] | Past, ...]
    failures: tuple[str, ...]
    shown: str


def missed(outcomes: Sequence[Outcome], pasts: Sequence[Past], before: Missed | None = None) -> Missed:
    """What the page says of losses; nothing where nothing is lost. `pasts` are those of the outcomes' drivers, in order.

    It is `before` where reports and pasts are the very same objects, and drivers fail as they did.
    """
    ground: tuple[tuple[Report, ...] | Past, ...] = (*(outcome.reports for outcome in outcomes), *pasts)
    failures = tuple(outcome.failure.reason if outcome.failure is not None else "" for outcome in outcomes)
    if before is not None and failures == before.failures and all(map(is_, ground, before.ground)):
        return before
    rows = [row for outcome, past in zip(outcomes, pasts, strict=True) for row in _rows(outcome, past)]
    return Missed(ground, failures, _section(sorted(rows, key=lambda row: (row[0].key != GUEST, -row[0].since))))


def _rows(outcome: Outcome, past: Past) -> Iterator[tuple[Loss, str]]:
    """Each loss and why it is one."""
    reports = {report.identity: report for report in outcome.reports}
    missing: dict[object, list[Loss]] = {}
    for loss in losses(outcome.driver, past):
        missing.setdefault(loss.identity, []).append(loss)
    for its in missing.values():
        report = reports.get(its[0].identity)
        reasons = causes(report, outcome.failure)
        named = claims(report).truths.keys() if report is not None else frozenset[object]()
        for loss in its:
            known = "; ".join(map(sentence, reasons.get(loss.key, ())))
            yield loss, silence(outcome) or known or _otherwise(report, loss, named=loss.key in named)


def _otherwise(report: Report | None, loss: Loss, *, named: bool) -> str:
    """What can be said where nothing is known to be lacking."""
    if loss.key != GUEST and (report is None or report.guest.supported is False):
        return "no such guest can run here now"
    return "no reason is given" if named or report is None else "it is no longer named"


def _section(rows: Sequence[tuple[Loss, str]]) -> str:
    """Guests first, then the latest."""
    if not rows:
        return ""
    caption = f"What a guest could have and cannot now: {len(rows)}" + (f", of which {_MOST}" if len(rows) > _MOST else "")
    shown = ((thing("✗ lost", loss), moment(loss.since), long(why)) for loss, why in rows[:_MOST])
    end = "<p>A loss ends when the thing is back. Where it was meant to go, <code>domcaps-exporter forget</code> ends it.</p>"
    return '<h2 id="lost">Lost, and not back</h2>' + table(caption, ("What", "Since", "Why"), shown, "lost") + end


def thing(mark: str, about: Loss | Change) -> str:
    """What was lost or gained, with its mark, and whose it is."""
    guest = about.identity
    whose = f"{about.driver} {guest.kind}".strip()
    colour, what = ("yes" if mark.startswith("✓") else "no"), name(" ".join(filter(None, about.key)))
    return f'<b class="{colour}">{mark}</b> {what} <small>{text(whose)} {name(guest.emulator)}</small>'

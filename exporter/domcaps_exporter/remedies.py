"""What mends what a host lacks, on the page: each kind of prerequisite once, how to look at it, and what usually helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domcaps_exporter.guest_panel import Panel
from domcaps_exporter.markup import coded, folded, name, table, text
from domcaps_exporter.reasons import summary

_ARROW = '<i aria-hidden="true">→</i>'


def render(panels: Iterable[Panel]) -> str:
    """The table, folded; of what only other machines or architectures have, nothing. Empty where nothing is lacking."""
    lacking = (one for panel in panels for one in _lacking(panel))
    rows = [
        (f"<code>{text(one)}</code> <small>{name(known.means)}</small>", f"{coded(known.look)}<br>{_ARROW} {coded(known.mend)}")
        for one, known in summary(lacking)
    ]
    shown = table("Each prerequisite that is lacking", ("Prerequisite", "How to look, and what usually mends it"), rows, "matrix")
    return folded(f"What mends what is missing: {len(rows)}", shown) if rows else ""


def _lacking(panel: Panel) -> Iterator[str]:
    """While the guest itself cannot run, that is all there is to mend."""
    if panel.report.guest.supported is False:
        yield from (one.prerequisite for one in panel.report.guest.unmet)
    else:
        yield from (one.prerequisite for row in panel.matrix.rows for lack in row.lack for one in lack.unmet)

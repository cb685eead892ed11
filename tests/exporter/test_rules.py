"""The rule table's language, where no driver's table happens to say it."""

from __future__ import annotations

from domcaps_exporter import Element, Unmet, Verdict
from domcaps_exporter.model import Enum
from domcaps_exporter.rules import Evaluated, Need, element, enum, evaluate, value

never: Need[None] = Need("never", lambda _: False)


def test_what_earlier_libvirts_looked_at_counts_also_where_later_ones_look_at_nothing() -> None:
    table = [element("disk", enum("bus", value("fast", before=((2, 0), (never,)))))]
    granted = (Verdict("disk", "", "", True), Verdict("disk", "bus", "fast", True))
    assert evaluate(table, None, (1, 0)) == Evaluated((disk(),), granted)
    assert evaluate(table, None, (2, 0)) == Evaluated((disk("fast"),), granted)


def test_what_only_a_guest_needs_is_listed_and_cannot_be_had() -> None:
    table = [element("disk", enum("bus", value("fast", besides=(never,))))]
    denied = Verdict("disk", "bus", "fast", False, (Unmet("never", "accepts"),))
    assert evaluate(table, None, (1, 0)) == Evaluated((disk("fast"),), (Verdict("disk", "", "", True), denied))


def disk(*buses: str) -> Element:
    return Element("disk", (("supported", "yes"),), children=(Enum("bus", buses),))

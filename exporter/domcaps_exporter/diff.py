"""Two hosts, or one host at two times, compared: what the second lost and gained against the first, and why. Pure.

Kinds of guests are compared with their like: the same emulator, architecture, machine and virttype, else the same without the
emulator, else the same machine in another version. Where each side has one only, these two are compared whatever they are called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from domcaps_exporter.capabilities import FEATURE, Capabilities
from domcaps_exporter.claims import GUEST
from domcaps_exporter.reasons import entry, sentence
from domcaps_exporter.terminal import printable
from domcaps_exporter.truths import Key

WIDTH = 80
_MARKS = {"lost": "-", "gained": "+", "changed": "~", "unclear": "?"}
"""In the order in which they are told."""

_VERSION = re.compile(r"-[0-9]+(\.[0-9]+)*$")
_STABLE = {"pc-q35": "q35", "pc-i440fx": "pc"}


@dataclass(frozen=True, slots=True)
class Guest:
    """One kind of guest: what is known of it (the truth if `proven`, else libvirt's words), and libvirt's words, if any."""

    known: Capabilities
    words: Capabilities | None
    proven: bool

    @property
    def name(self) -> str:
        guest = self.known.identity
        return " ".join(filter(None, (guest.arch, guest.machine, guest.virttype)))


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared. `whole`: it is all that a host has, so that what it has no counterpart for is a difference too."""

    name: str
    guests: tuple[Guest, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """`unclear`: one side has it, and the other does not say. `reasons` are what it lacks on the side that does not have it."""

    kind: Literal["lost", "gained", "changed", "unclear"]
    place: tuple[str, ...]
    before: bool | float | None
    after: bool | float | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two kinds of guests that were compared."""

    before: Guest
    after: Guest
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was found; `gone` and `new` are kinds of guests that only one whole host has."""

    before: Side
    after: Side
    pairs: tuple[Pair, ...]
    gone: tuple[Guest, ...]
    new: tuple[Guest, ...]

    @property
    def equal(self) -> bool:
        return not (self.gone or self.new or any(pair.differences for pair in self.pairs))


def compared(before: Side, after: Side) -> Comparison:
    """The comparison; where it has no pairs, the sides have nothing in common."""
    couples = tuple(_couples(before.guests, after.guests))
    firsts, seconds = [id(one) for one, _ in couples], [id(other) for _, other in couples]
    pairs = tuple(Pair(one, other, tuple(_differences(*_alike(one, other)))) for one, other in couples)
    both = before.whole and after.whole
    gone = tuple(guest for guest in before.guests if both and id(guest) not in firsts)
    new = tuple(guest for guest in after.guests if both and id(guest) not in seconds)
    return Comparison(before, after, pairs, gone, new)


# ---- who is compared with whom -----------------------------------------------------------------------------------------------


def _couples(before: Iterable[Guest], after: Iterable[Guest]) -> Iterator[tuple[Guest, Guest]]:
    ones, others = list(before), list(after)
    if len(ones) == len(others) == 1:
        yield ones[0], others[0]
        return
    for key in (_exactly, _by_guest, _by_kind):
        for one, other in tuple(_matches(ones, others, key)):
            ones.remove(one)
            others.remove(other)
            yield one, other


def _matches(ones: list[Guest], others: list[Guest], key: Callable[[Guest], Hashable]) -> Iterator[tuple[Guest, Guest]]:
    for one in ones:
        same = [other for other in others if key(other) == key(one)]
        if len(same) == 1 and sum(key(rival) == key(one) for rival in ones) == 1:
            yield one, same[0]


def _exactly(guest: Guest) -> Hashable:
    return guest.known.identity


def _by_guest(guest: Guest) -> Hashable:
    identity = guest.known.identity
    return identity.arch, identity.machine, identity.virttype


def _by_kind(guest: Guest) -> Hashable:
    identity = guest.known.identity
    family = _VERSION.sub("", identity.machine)
    return identity.arch, _STABLE.get(family, family), identity.virttype


def _alike(one: Guest, other: Guest) -> tuple[Capabilities, Capabilities]:
    """Truth with truth, else words with words: what libvirt lists and what a guest can have are two things."""
    if one.proven and other.proven:
        return one.known, other.known
    return one.words or one.known, other.words or other.known


# ---- what differs ------------------------------------------------------------------------------------------------------------


def _differences(before: Capabilities, after: Capabilities) -> Iterator[Difference]:
    """Where a guest cannot run on one side, that is the one difference there is."""
    if False in (before.guest, after.guest):
        if before.guest is not after.guest:
            kind: Literal["lost", "gained", "unclear"] = "lost" if before.guest else "gained" if after.guest else "unclear"
            yield Difference(kind, ("guest",), before.guest, after.guest, _lacks(before, after, GUEST))
        return
    for place in dict.fromkeys((*before.truths, *after.truths)):
        yield from _of_truths(before, after, place)
    for number in dict.fromkeys((*before.numbers, *after.numbers)):
        yield from _of_numbers(before, after, number)


def _of_truths(before: Capabilities, after: Capabilities, place: Key) -> Iterator[Difference]:
    one, other = before.truth(place), after.truth(place)
    if one is other or True not in (one, other) or (place[:2] == FEATURE and None in (one, other)):
        return
    kind: Literal["lost", "gained", "unclear"] = "unclear" if None in (one, other) else "lost" if one else "gained"
    yield Difference(kind, tuple(filter(None, place)), one, other, _lacks(before, after, place))


def _of_numbers(before: Capabilities, after: Capabilities, place: tuple[str, str]) -> Iterator[Difference]:
    one, other = before.numbers.get(place), after.numbers.get(place)
    refused = any(side.truth((place[0], "", "")) is False for side in (before, after))
    if one != other and not refused:
        yield Difference("unclear" if None in (one, other) else "changed", place, one, other)


def _lacks(before: Capabilities, after: Capabilities, place: Key) -> tuple[str, ...]:
    return (*before.reasons.get(place, ()), *after.reasons.get(place, ()))


# ---- how it is told ----------------------------------------------------------------------------------------------------------


def as_json(comparison: Comparison) -> str:
    """One JSON object with everything in it."""
    found = {
        "before": comparison.before.name,
        "after": comparison.after.name,
        "equal": comparison.equal,
        "guests": [_plain(pair) for pair in comparison.pairs],
        "gone": [guest.name for guest in comparison.gone],
        "new": [guest.name for guest in comparison.new],
    }
    return json.dumps(found, indent=2) + "\n"


def _plain(pair: Pair) -> dict[str, object]:
    return {
        "before": pair.before.name,
        "after": pair.after.name,
        "differences": [
            {
                "kind": one.kind,
                "place": list(one.place),
                "before": one.before,
                "after": one.after,
                "reasons": [_reason(name) for name in one.reasons],
            }
            for one in pair.differences
        ],
    }


def _reason(prerequisite: str) -> dict[str, str]:
    known = entry(prerequisite)
    more = {} if known is None else {"look": known.look, "mend": known.mend}
    return {"prerequisite": prerequisite, "text": sentence(prerequisite), **more}


def as_text(comparison: Comparison) -> str:
    """For a terminal of 80 columns: `-` lost, `+` gained, `~` changed, `?` one side does not say."""
    return "".join(f"{line}\n" for line in _lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"from {printable(comparison.before.name)}"
    yield f"to   {printable(comparison.after.name)}"
    for pair in comparison.pairs:
        yield ""
        yield printable(pair.before.name if pair.before.name == pair.after.name else f"{pair.before.name} -> {pair.after.name}")
        for difference in sorted(pair.differences, key=lambda one: tuple(_MARKS).index(one.kind)):
            yield from _told(difference)
        if not pair.differences:
            yield "  equal"
    yield from (f"\n{printable(guest.name)}\n- the whole kind of guest" for guest in comparison.gone)
    yield from (f"\n{printable(guest.name)}\n+ the whole kind of guest" for guest in comparison.new)


def _told(difference: Difference) -> Iterator[str]:
    where = printable(" ".join(difference.place))
    values = f": {_value(difference.before)} -> {_value(difference.after)}"
    yield f"{_MARKS[difference.kind]} {where}{values if difference.kind in ('changed', 'unclear') else ''}"
    for reason in difference.reasons:
        shown = f"{'before: ' if difference.kind == 'gained' else ''}{printable(sentence(reason))}"
        yield from wrap(shown, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _value(value: bool | float | None) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "not said"}[value]
    return f"{value:.15g}"

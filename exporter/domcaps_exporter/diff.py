"""Two hosts, or one host at two times, compared: what the second lost and gained against the first, and why. Pure.

Kinds of guests are compared with their like: the same driver, emulator, architecture, machine and virttype, else the same but for
the driver, the version of the machine, and the emulator. Of two documents the only two are compared whatever they are called, and
it is said that they are no like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from domcaps_exporter.capabilities import FEATURE, Capabilities
from domcaps_exporter.claims import GUEST
from domcaps_exporter.libvirt import stable
from domcaps_exporter.reasons import entry, sentence
from domcaps_exporter.terminal import printable
from domcaps_exporter.truths import Key

WIDTH = 80
_MARKS = {"lost": "-", "gained": "+", "changed": "~", "unclear": "?"}
"""In the order in which they are told."""

_SHOWN = 5
"""How many kinds of guests a complaint lists of each side."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One kind of guest: what is known of it (the truth if `proven`, else libvirt's words), and libvirt's words, if any."""

    known: Capabilities
    words: Capabilities | None
    proven: bool

    @property
    def name(self) -> str:
        return self.known.identity.kind


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared. `whole`: it is all that a host has, so that what it has no counterpart for is a difference too.

    `asked`: it was asked about every guest of the other side. `own`: the emulators that this very host's drivers found.
    """

    name: str
    guests: tuple[Guest, ...]
    whole: bool
    asked: bool = False
    own: frozenset[str] = frozenset()


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
    """Two kinds of guests that were compared. `like`: they are the same kind, whatever the machine's version and the emulator.

    A guest that cannot run is `lame`, unless that is the difference. Beside libvirt's words it is none: libvirt need not look.
    """

    before: Guest
    after: Guest
    differences: tuple[Difference, ...]

    @property
    def lame(self) -> tuple[Guest, ...]:
        told = any(one.place == GUEST[:1] for one in self.differences)
        return () if told else tuple(guest for guest in (self.before, self.after) if guest.known.guest is False)

    @property
    def like(self) -> bool:
        return _by_kind(self.before) == _by_kind(self.after)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was found; `gone` and `new` are kinds of guests that only one whole host has.

    `left`: kinds of guests that were to be compared, and for which the other side has none; or, those that are `several` as well,
    one side has more than one. `refused`: what cannot run on one side, and the other, a libvirt, refuses.
    """

    before: Side
    after: Side
    pairs: tuple[Pair, ...]
    gone: tuple[Guest, ...]
    new: tuple[Guest, ...]
    left: tuple[Guest, ...] = ()
    several: tuple[Guest, ...] = ()
    refused: tuple[Guest, ...] = ()

    @property
    def equal(self) -> bool:
        return not (self.gone or self.new or self.left or any(pair.differences for pair in self.pairs))


def compared(before: Side, after: Side) -> Comparison:
    """The comparison; where it has no pairs, the sides are `unlike`."""
    couples = tuple(_couples(before, after))
    firsts, seconds = [id(one) for one, _ in couples], [id(other) for _, other in couples]
    pairs = tuple(Pair(one, other, tuple(_differences(*_alike(one, other)))) for one, other in couples)
    gone = tuple(guest for guest in before.guests if id(guest) not in firsts)
    new = tuple(guest for guest in after.guests if id(guest) not in seconds)
    if before.whole and after.whole:
        return Comparison(before, after, pairs, gone, new)
    sides = ((before, gone, after), (after, new, before))
    missed = [guest for side, alone, other in sides if not side.whole or other.asked for guest in alone]
    left, refused = (tuple(guest for guest in missed if (guest.known.guest is False) is lame) for lame in (False, True))
    unclear = {*map(_by_kind, gone)} & {*map(_by_kind, new)}
    return Comparison(before, after, pairs, (), (), left, tuple(guest for guest in left if _by_kind(guest) in unclear), refused)


def unlike(before: Side, after: Side) -> str:
    """That they have nothing in common, what each has, and how to ask a libvirt for what the other has."""
    if {*map(_by_kind, before.guests)} & {*map(_by_kind, after.guests)}:
        return (
            f"{before.name} and {after.name} have guests of one kind that cannot be told apart; expected one of each on both sides"
        )
    said = f"{before.name} and {after.name} have no kind of guest in common: {_having(before)}; {_having(after)}"
    hosts = sorted((after, before), key=lambda side: not side.whole)
    for known in (guest.known.identity for side in hosts for guest in side.guests):
        words = {"arch": known.arch, "machine": known.machine, "virttype": known.virttype}
        options = "".join(f" --{option} {printable(word)}" for option, word in words.items() if word)
        ours = "machines in the configuration this exporter"
        return f"{said}; expected one kind on both: virsh domcapabilities{options} asks a libvirt for it, {ours}"
    return said


def _having(side: Side) -> str:
    names = dict.fromkeys(printable(guest.name) for guest in side.guests)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{side.name} has {', '.join(tuple(names)[:_SHOWN]) or 'none'}{more}"


# ---- who is compared with whom -----------------------------------------------------------------------------------------------


def _couples(before: Side, after: Side) -> Iterator[tuple[Guest, Guest]]:
    ones, others = list(before.guests), list(after.guests)
    for key in (_exactly, _by_emulator, _by_guest, _by_kind):
        for one, other in tuple(_matches(ones, others, key)):
            ones.remove(one)
            others.remove(other)
            yield one, other
    if len(before.guests) == len(after.guests) == len(ones) == 1 and not (before.whole or after.whole):
        yield ones[0], others[0]


def _matches(ones: list[Guest], others: list[Guest], key: Callable[[Guest], Hashable]) -> Iterator[tuple[Guest, Guest]]:
    """Only where it is clear who is meant; of one guest, told by several drivers, their order says it."""
    for kind in dict.fromkeys(map(key, ones)):
        same = [[guest for guest in guests if key(guest) == kind] for guests in (ones, others)]
        if len(same[0]) == len(same[1]) and all(len({guest.known.identity for guest in guests}) == 1 for guests in same):
            yield from zip(*same, strict=True)


def _exactly(guest: Guest) -> Hashable:
    return guest.known.driver, guest.known.identity


def _by_emulator(guest: Guest) -> Hashable:
    return guest.known.identity.emulator, _by_kind(guest)


def _by_guest(guest: Guest) -> Hashable:
    identity = guest.known.identity
    return identity.arch, identity.machine, identity.virttype


def _by_kind(guest: Guest) -> Hashable:
    identity = guest.known.identity
    return identity.arch, stable(identity.machine), identity.virttype


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
        "not_compared": [guest.name for guest in comparison.left],
        "refused": [{"guest": guest.name, "reasons": [_reason(name) for name in _why(guest)]} for guest in comparison.refused],
    }
    return json.dumps(found, indent=2) + "\n"


def _plain(pair: Pair) -> dict[str, object]:
    return {
        "before": pair.before.name,
        "after": pair.after.name,
        "same_kind": pair.like,
        "cannot_run": [
            {"side": "before" if guest is pair.before else "after", "reasons": [_reason(name) for name in _why(guest)]}
            for guest in pair.lame
        ],
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
        if not pair.like:
            yield "  two kinds of guests: what differs may be theirs, not the hosts'"
        for guest in pair.lame:
            side = comparison.before if guest is pair.before else comparison.after
            yield f"  {printable(side.name)} says that such a guest cannot run:"
            yield from _told_why(guest)
        for difference in sorted(pair.differences, key=lambda one: tuple(_MARKS).index(one.kind)):
            yield from _told(difference)
        if not pair.differences:
            yield "  equal"
    yield from (f"\n{printable(guest.name)}\n- the whole kind of guest" for guest in comparison.gone)
    yield from (f"\n{printable(guest.name)}\n+ the whole kind of guest" for guest in comparison.new)
    for guest in comparison.left:
        why = "one side has several of this kind" if guest in comparison.several else "the other side has none"
        yield f"\n{printable(guest.name)}\n? not compared: {why}"
    for guest in comparison.refused:
        yield f"\n{printable(guest.name)}\n  such a guest cannot run, and libvirt refuses it:"
        yield from _told_why(guest)


def _told(difference: Difference) -> Iterator[str]:
    where = printable(" ".join(difference.place))
    values = f": {_value(difference.before)} -> {_value(difference.after)}"
    yield f"{_MARKS[difference.kind]} {where}{values if difference.kind in ('changed', 'unclear') else ''}"
    yield from _because(difference.reasons, "before: " if difference.kind == "gained" else "")


def _why(guest: Guest) -> tuple[str, ...]:
    """What a guest that cannot run lacks."""
    return tuple(guest.known.reasons.get(GUEST, ()))


def _told_why(guest: Guest) -> Iterator[str]:
    return _because(_why(guest) or ("no reason given",))


def _because(reasons: Iterable[str], when: str = "") -> Iterator[str]:
    for reason in reasons:
        shown = f"{when}{printable(sentence(reason))}"
        yield from wrap(shown, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _value(value: bool | float | None) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "not said"}[value]
    return f"{value:.15g}"

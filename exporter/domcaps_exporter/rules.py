"""The small language of a driver's rule table. Pure.

A table is a tree of rows that reads like libvirt's document: `element("hostdev", enum("pciBackend", value("vfio", needs=VFIO)))`.
The same rows answer three questions: does libvirt list the value (the XML), can a guest have it (`domcaps_supported`), and if not,
why not (`domcaps_unmet_prerequisite`).

- A **need** is a named condition on a driver's *world* (its view of the facts, for one guest). It is True, False or None (nobody
  knows).
- `needs` are what libvirt checks before it lists a value; `besides` is what a guest needs though libvirt does not look.
- `during(since, until)` says which libvirts know a row, or check a need. The truth does not depend on it: a need that this libvirt
  does not check still decides `domcaps_supported`.
- The table asks by need: a world reads facts through a `View`, which notes the questions that are still unanswered. `gather` asks
  those and evaluates again until none is missing. So nothing may be cut short: every need of every row is looked at, always.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from domcaps_exporter.model import Element, Enum, Truth, Unmet, Verdict
from domcaps_exporter.view import all_known, any_known, negated

Version: TypeAlias = tuple[int, int]
ALWAYS: tuple[Version, Version] = ((0, 0), (9999, 0))

# ---- rows --------------------------------------------------------------------------------------------------------------------

W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)


class Condition(Protocol[W_contra]):
    """What a need looks at."""

    def __call__(self, world: W_contra, /) -> Truth: ...


@dataclass(frozen=True, slots=True)
class Need(Generic[W]):
    """A prerequisite: the name that users see in `prerequisite="…"`, and the condition. `checked`: which libvirts look at it."""

    name: str
    met: Condition[W]
    checked: tuple[Version, Version] = ALWAYS

    def during(self, since: Version = ALWAYS[0], until: Version = ALWAYS[1]) -> Need[W]:
        """The same need, looked at by libvirts from `since` up to and without `until`; by guests always."""
        return replace(self, checked=(since, until))


def any_of(name: str, *needs: Need[W]) -> Need[W]:
    """One need that any of several meets."""
    return Need(name, lambda world: any_known([need.met(world) for need in needs]))


def all_of(name: str, *needs: Need[W]) -> Need[W]:
    """One need that takes several together."""
    return Need(name, lambda world: all_known([need.met(world) for need in needs]))


def unless(name: str, need: Need[W]) -> Need[W]:
    """The opposite of a need."""
    return Need(name, lambda world: negated(need.met(world)))


@dataclass(frozen=True, slots=True)
class ValueRow(Generic[W]):
    """One `<value>` of an enum."""

    value: str
    needs: tuple[Need[W], ...] = ()
    besides: tuple[Need[W], ...] = ()
    known: tuple[Version, Version] = ALWAYS
    before: tuple[Version, tuple[Need[W], ...]] = (ALWAYS[0], ())
    """Libvirts before that version looked at these needs instead."""


@dataclass(frozen=True, slots=True)
class EnumRow(Generic[W]):
    """One `<enum>`. `omit_empty`: libvirt leaves the enum out where no value is listed, instead of printing it empty."""

    name: str
    values: tuple[ValueRow[W], ...]
    omit_empty: bool = False
    known: tuple[Version, Version] = ALWAYS


@dataclass(frozen=True, slots=True)
class Computed(Generic[W]):
    """Children that a function makes (loader paths, numbers): facts of the document, without verdicts."""

    make: Callable[[W], tuple[Enum | Element, ...]]
    known: tuple[Version, Version] = ALWAYS


@dataclass(frozen=True, slots=True)
class ElementRow(Generic[W]):
    """One element, `supported='yes'` where its needs are met. `printed`: a condition without which libvirt leaves it out.

    `by`: the name of an enum without whose values libvirt says `supported='no'`.
    `container`: `<devices>`, `<features>`: no `supported` attribute, no element of the metrics.
    """

    name: str
    rows: tuple[EnumRow[W] | ElementRow[W] | Computed[W], ...] = ()
    needs: tuple[Need[W], ...] = ()
    besides: tuple[Need[W], ...] = ()
    printed: Condition[W] | None = None
    by: str = ""
    container: bool = False
    known: tuple[Version, Version] = ALWAYS
    eras: tuple[Version, ...] = ()
    """The versions at which anything in it changes, sorted."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a table says of one world: libvirt's elements, and the verdicts on every element (empty enum and value) and value."""

    elements: tuple[Element, ...]
    verdicts: tuple[Verdict, ...]


class Keep(Protocol):
    """How to come by what a row says: `make()`, or what it made when all that it looks at was the same.

    `era` tells libvirts apart for whom the row is another.
    """

    def __call__(self, row: str, make: Callable[[], Said], era: int, /) -> Said: ...


Said: TypeAlias = "tuple[Element | None, tuple[Verdict, ...]]"
"""An element of libvirt's, None where it is left out, and the verdicts on it and its values."""


def evaluate(rows: Iterable[ElementRow[W]], world: W, profile: Version, keep: Keep = lambda _, make, __: make()) -> Evaluated:
    """Every row over one world: what the libvirt of that version prints, and the truth about every value.

    `keep` is asked for each element by its name, so that one of which nothing has changed need not be judged again.
    """
    elements: list[Element] = []
    verdicts: list[Verdict] = []
    for row in rows:
        if row.container:
            inner = evaluate([child for child in row.rows if isinstance(child, ElementRow)], world, profile, keep)
            elements.append(Element(row.name, children=inner.elements))
            verdicts += inner.verdicts
            continue
        element, judged = keep(row.name, partial(_element, row, world, profile, ()), bisect_right(row.eras, profile))
        verdicts += judged
        if element is not None:
            elements.append(element)
    return Evaluated(tuple(elements), tuple(verdicts))


@dataclass(frozen=True, slots=True)
class _Judged:
    """Needs looked at: does libvirt go along, can a guest have it, and what is lacking."""

    listed: bool
    supported: Truth
    unmet: tuple[Unmet, ...]


_GRANTED = _Judged(listed=True, supported=True, unmet=())
"""What needs nothing."""


def _judge(needs: tuple[Need[W], ...], besides: tuple[Need[W], ...], world: W, profile: Version) -> _Judged:
    listed, truths, unmet = True, [], []
    for need in needs:
        met = need.met(world)
        if met is not True:
            libvirt = _within(profile, need.checked)
            listed = listed and not libvirt
            truths.append(met)
            unmet.append((met, need.name, libvirt))
    for need in besides:
        met = need.met(world)
        if met is not True:
            truths.append(met)
            unmet.append((met, need.name, False))
    if not truths:  # most needs are met, and what is granted needs no words
        return _GRANTED
    return _Judged(listed, all_known(truths), tuple(Unmet(name, _word(libvirt)) for met, name, libvirt in unmet if met is False))


def _judged(row: ValueRow[W], world: W, profile: Version) -> _Judged:
    judged = _judge(row.needs, row.besides, world, profile)
    until, earlier = row.before
    if profile >= until:
        return judged
    listed = all([need.met(world) is True for need in earlier])  # noqa: C419  a generator would not look at them all
    return replace(judged, listed=listed, unmet=tuple(Unmet(one.prerequisite, _word(not listed)) for one in judged.unmet))


def _word(libvirt: bool) -> Literal["refuses", "accepts"]:
    return "refuses" if libvirt else "accepts"


def _within(profile: Version, span: tuple[Version, Version]) -> bool:
    return span is ALWAYS or span[0] <= profile < span[1]


def _element(row: ElementRow[W], world: W, profile: Version, above: tuple[_Judged, ...]) -> Said:
    judged = _judge(row.needs, row.besides, world, profile)
    reach = above if judged is _GRANTED else (*above, judged)
    children: list[Enum | Element] = []
    verdicts: list[Verdict] = []
    for child in row.rows:
        printed, truths = _child(child, row.name, world, profile, reach)
        verdicts += truths
        children += printed
    said = (_of_element(row, reach, verdicts), *verdicts)
    shown = (row.printed is None or row.printed(world) is True) and _within(profile, row.known)
    if not shown:
        return None, said
    empty = any(isinstance(child, Enum) and child.name == row.by and not child.values for child in children)
    if not judged.listed or empty:
        return Element(row.name, (("supported", "no"),)), said
    return Element(row.name, (("supported", "yes"),), children=tuple(children)), said


def _of_element(row: ElementRow[W], reach: tuple[_Judged, ...], values: list[Verdict]) -> Verdict:
    """The element's own verdict: its needs, and where it stands or falls by an enum, that one of the enum's values can be had."""
    own = _verdict(row.name, "", "", reach)
    by = [verdict.supported for verdict in values if (verdict.element, verdict.enum) == (row.name, row.by)]
    return replace(own, supported=all_known([own.supported, any_known(by)])) if row.by else own


def _child(
    child: EnumRow[W] | ElementRow[W] | Computed[W], element: str, world: W, profile: Version, reach: tuple[_Judged, ...]
) -> tuple[Iterable[Enum | Element], Iterable[Verdict]]:
    if isinstance(child, EnumRow):
        return _enum(child, element, world, profile, reach)
    if isinstance(child, Computed):
        return (child.make(world) if _within(profile, child.known) else ()), ()
    inner, verdicts = _element(child, world, profile, reach)
    return (() if inner is None else (inner,)), verdicts


def _enum(
    row: EnumRow[W], element: str, world: W, profile: Version, reach: tuple[_Judged, ...]
) -> tuple[tuple[Enum, ...], list[Verdict]]:
    verdicts: list[Verdict] = []
    listed: list[str] = []
    for value in row.values:
        own = _judged(value, world, profile)
        verdicts.append(_verdict(element, row.name, value.value, reach if own is _GRANTED else (*reach, own)))
        if own.listed and _within(profile, value.known):
            listed.append(value.value)
    shown = _within(profile, row.known) and (listed or not row.omit_empty)
    return ((Enum(row.name, tuple(listed)),) if shown else ()), verdicts


@lru_cache(maxsize=4096)
def _granted(element: str, enum: str, value: str) -> Verdict:
    """The verdict on what can be had, kept: it is the most frequent one."""
    return Verdict(element, enum, value, True)


def _verdict(element: str, enum: str, value: str, reach: tuple[_Judged, ...]) -> Verdict:
    if not reach:
        return _granted(element, enum, value)
    unmet = dict.fromkeys(unmet for judged in reach for unmet in judged.unmet)
    return Verdict(element, enum, value, all_known([judged.supported for judged in reach]), tuple(unmet))


def _span(since: Version, until: Version) -> tuple[Version, Version]:
    return ALWAYS if (since, until) == ALWAYS else (since, until)


# ---- how a table is written --------------------------------------------------------------------------------------------------


def value(
    name: str,
    *needs: Need[W],
    besides: tuple[Need[W], ...] = (),
    since: Version = ALWAYS[0],
    until: Version = ALWAYS[1],
    before: tuple[Version, tuple[Need[W], ...]] = (ALWAYS[0], ()),
) -> ValueRow[W]:
    """A value, what libvirt needs to list it, what a guest needs besides, and what earlier libvirts looked at instead."""
    return ValueRow(name, needs, besides, _span(since, until), before)


def enum(
    name: str, *values: ValueRow[W] | str, omit_empty: bool = False, since: Version = ALWAYS[0], until: Version = ALWAYS[1]
) -> EnumRow[W]:
    """An enum; a bare string is a value without needs."""
    rows: tuple[ValueRow[W], ...] = tuple(ValueRow(row) if isinstance(row, str) else row for row in values)
    return EnumRow(name, rows, omit_empty, _span(since, until))


def element(
    name: str,
    *rows: EnumRow[W] | ElementRow[W] | Computed[W],
    needs: tuple[Need[W], ...] = (),
    besides: tuple[Need[W], ...] = (),
    printed: Condition[W] | None = None,
    by: str = "",
    since: Version = ALWAYS[0],
    until: Version = ALWAYS[1],
) -> ElementRow[W]:
    """An element with its enums and inner elements."""
    known = _span(since, until)
    spans = (known, *(need.checked for need in needs), *(span for row in rows for span in _spans(row)))
    eras = {version for span in spans for version in span} - {*ALWAYS}
    return ElementRow(name, rows, needs, besides, printed, by, known=known, eras=tuple(sorted(eras)))


def _spans(row: EnumRow[W] | ElementRow[W] | Computed[W]) -> Iterator[tuple[Version, Version]]:
    yield row.known
    if isinstance(row, ElementRow):
        yield from ((version, version) for version in row.eras)
    elif isinstance(row, EnumRow):
        for one in row.values:
            yield from (one.known, (one.before[0], one.before[0]), *(need.checked for need in one.needs))


def container(name: str, *rows: ElementRow[W]) -> ElementRow[W]:
    """`<devices>` or `<features>`."""
    return ElementRow(name, rows, container=True)


def vocabulary(rows: Iterable[ElementRow[W]]) -> Iterator[tuple[str, str, str]]:
    """Every (element, enum, value) that a table decides."""
    for row in rows:
        for child in row.rows:
            if isinstance(child, EnumRow):
                yield from ((row.name, child.name, known.value) for known in child.values)
            elif isinstance(child, ElementRow):
                yield from vocabulary([child])

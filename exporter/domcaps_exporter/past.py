"""What a driver's guests could have before, and what became of it. Pure.

A thing is *lost* where a guest could have it and now definitely cannot. So nothing is lost that never was a yes, nothing of which
nobody knows any more, nothing by a probe that failed, and nothing but the guest itself while such a guest cannot run at all.

A kind of guest that a driver's answer no longer has is

- forgotten, where its emulator is gone and another one serves the same architecture and virttype;
- **gone**, where its emulator is gone and none does, or where the whole hypervisor is (`absent`, the one failure that is an
  answer): that guest is lost;
- **withdrawn**, where the emulator is still there, or only another program (libvirt) ever told of it: nobody asks for such guests
  any more. Its losses are not told, and come back with it.

Another exporter may have stricter rules. What these alone turn into a no is none of the host's losses: it never was a yes to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from domcaps_exporter.basis import Basis
from domcaps_exporter.causes import causes
from domcaps_exporter.claims import GUEST, Claims, claims
from domcaps_exporter.model import Identity, Outcome, Report, Truth
from domcaps_exporter.truths import Key

Presence: TypeAlias = Literal["reported", "withdrawn", "gone"]
Direction: TypeAlias = Literal["lost", "gained"]

LIMIT = 50_000
"""Things that are remembered at most; a document has some hundred."""

RETENTION = 30 * 86400.0
"""Seconds for which a kind of guest is remembered that is not reported any more, unless it is said otherwise."""

_GRACE = 86400.0
"""Seconds after that in which it is forgotten, by who looks now and then."""

LABELS = ("driver", "emulator", "arch", "machine", "virttype", "element", "enum", "value")
"""What losses can be chosen by: the labels of `domcaps_lost_timestamp_seconds`."""


class Trace(NamedTuple):
    """What is remembered of one thing.

    `held`: can a guest have it, when last known (None: it was only ever named); `lost`: since when it is missed, in seconds since
    the epoch; `listed`: a document named it, so that it can vanish.
    """

    held: Truth
    lost: float | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Guest:
    """One kind of guest. `since`: when it ceased to be reported, seconds since the epoch; `native`: its emulator is this host's."""

    traces: Mapping[Key, Trace]
    presence: Presence = "reported"
    since: float = 0.0
    native: bool = True


@dataclass(frozen=True, slots=True)
class Past:
    """One driver's. `changed` is when anything was last lost or gained; `basis` is what its last answer rested on, where known."""

    guests: Mapping[Identity, Guest] = field(default_factory=dict)
    changed: float | None = None
    basis: Basis | None = None

    @property
    def size(self) -> int:
        return sum(len(guest.traces) for guest in self.guests.values())

    @property
    def traces(self) -> Mapping[Identity, Mapping[Key, Trace]]:
        return {identity: guest.traces for identity, guest in self.guests.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was lost or gained. `lacks` names what a lost thing lacks, as far as that is known."""

    time: float
    driver: str
    identity: Identity
    key: Key
    direction: Direction
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is missed."""

    driver: str
    identity: Identity
    key: Key
    since: float


def fold(past: Past, outcome: Outcome, there: Callable[[str], bool], room: int = LIMIT) -> tuple[Past, tuple[Change, ...]]:
    """What is remembered after an outcome, and what changed by it; the very same past where that is nothing.

    Args:
        there: is there a file of this path? Asked of emulators that are no longer reported.
        room: how many more things may be remembered.
    """
    if outcome.problem is not None:
        return past, ()
    guests = dict(_missing(past, outcome, there))
    for report in outcome.reports:
        known = past.guests.get(report.identity)
        guests[report.identity] = _seen(known, report, outcome.finished, room)
        room -= len(guests[report.identity].traces) - (len(known.traces) if known is not None else 0)
    if guests == past.guests:
        return past, ()
    changes = tuple(_changes(past.guests, guests, outcome))
    return replace(past, guests=guests, changed=outcome.finished if changes else past.changed), changes


def revised(past: Past, reports: Iterable[Report], hindsight: Iterable[Report]) -> Past:
    """The past as other rules see it; the very same where they see the same.

    `reports` are what they say now, `hindsight` what they say of nothing but the answers that are as they were: what both deny
    never was a yes.
    """
    looked_back = {report.identity: claims(report) for report in hindsight}
    guests = dict(past.guests)
    for report in reports:
        known, then = guests.get(report.identity), looked_back.get(report.identity)
        if known is None or then is None:
            continue
        never = _denied(known, claims(report)) & _denied(known, then)
        if any(known.traces[key].held for key in never):
            traces = {key: one._replace(held=False) if key in never else one for key, one in known.traces.items()}
            guests[report.identity] = replace(known, traces=traces)
    return past if guests == past.guests else replace(past, guests=guests)


def kept(past: Past, now: float, retention: float) -> Past:
    """What is left of it: what has not been reported for `retention` seconds is forgotten.

    What is far older all at once is so because the clock was set, or nobody looked for long: it is kept for as long again. To
    forget it would hide what is missing.
    """
    guests = {}
    for identity, guest in past.guests.items():
        over = -math.inf if guest.presence == "reported" else now - guest.since - retention
        if not 0 <= over < _GRACE:
            guests[identity] = guest if over < 0 else replace(guest, since=now)
    return past if guests == past.guests else replace(past, guests=guests)


def oldest(past: Past) -> float:
    """Since when the longest missing guest is not reported; infinity where all are."""
    return min((guest.since for guest in past.guests.values() if guest.presence != "reported"), default=math.inf)


def withdrawn(past: Past, now: float) -> Past:
    """The same where nobody asks the driver any more."""
    return replace(past, guests={one: _withdrawn(guest, now) for one, guest in past.guests.items()})


def merged(ours: Past, filed: Past, found: Past) -> Past:
    """Our past, where there was `filed` in the state file, and now there is `found`, by somebody else.

    What is not as it was filed stays, for nobody else knows of it; so do guests, whichever the others ask for. Of the rest the file
    is right: of losses that it had and has no longer nothing stays.
    """
    new = {one: guest for one, guest in found.guests.items() if one not in filed.guests}
    old = {one: _merged(guest, filed.guests.get(one), found.guests.get(one)) for one, guest in ours.guests.items()}
    changed = found.changed if ours.changed == filed.changed else ours.changed
    return Past({**new, **old}, changed, ours.basis or found.basis)


def acknowledges(found: Mapping[str, Past], filed: Mapping[str, Past]) -> bool:
    """Is it what was filed, without some of its losses at most?"""
    left = {loss for driver, past in found.items() for loss in forgotten(driver, past, lambda _: True)[1]}
    return found == {driver: forgotten(driver, past, lambda loss: loss not in left)[0] for driver, past in filed.items()}


def losses(driver: str, past: Past) -> Iterator[Loss]:
    """What is missed, of all that is asked for."""
    for identity, guest in past.guests.items():
        if guest.presence != "withdrawn":
            yield from (Loss(driver, identity, key, one.lost) for key, one in guest.traces.items() if one.lost is not None)


def labels(loss: Loss) -> dict[str, str]:
    """A loss's labels, as in `domcaps_lost_timestamp_seconds`."""
    guest = loss.identity
    return dict(zip(LABELS, (loss.driver, guest.emulator, guest.arch, guest.machine, guest.virttype, *loss.key), strict=True))


def forgotten(driver: str, past: Past, chosen: Callable[[Loss], bool]) -> tuple[Past, tuple[Loss, ...]]:
    """The past without the chosen losses, as if those things had never been there; and what they were."""
    gone: list[Loss] = []
    guests = {}
    for identity, guest in past.guests.items():
        missed = [Loss(driver, identity, key, one.lost) for key, one in guest.traces.items() if one.lost is not None]
        picked = [loss for loss in missed if chosen(loss)]
        keys = {loss.key for loss in picked}
        guests[identity] = replace(guest, traces={key: one for key, one in guest.traces.items() if key not in keys})
        gone += picked
    return (replace(past, guests=guests) if gone else past), tuple(gone)


# ---- one kind of guest -------------------------------------------------------------------------------------------------------


def _seen(known: Guest | None, report: Report, now: float, room: int) -> Guest:
    """A guest that is reported, as it is from now on."""
    said = claims(report)
    traces = dict(known.traces) if known is not None else {}
    limit = len(traces) + room
    for key in (*said.truths, *(key for key in traces if key not in said.truths)):
        old = traces.get(key)
        listed = key in said.listed or (old is not None and old.listed)
        truth = said.of(key, listed=listed)
        if old is not None:
            traces[key] = _turned(old, truth, now, listed=listed)
        elif key not in said.aliases and (truth is not None or listed) and len(traces) < limit:
            traces[key] = Trace(truth, None, listed)
    guest = Guest(traces, native=report.source == "native")
    return known if known == guest else guest


def _merged(ours: Guest, filed: Guest | None, found: Guest | None) -> Guest:
    if filed is None or found is None:
        return ours
    before, now, after = filed.traces, ours.traces, found.traces
    both = before.keys() & now.keys()
    ended = {key for key in both - after.keys() if now[key].lost is not None and now[key].lost == before[key].lost}
    same = {key for key in both & after.keys() if now[key] == before[key]}
    return replace(ours, traces={**after, **{key: one for key, one in now.items() if key not in ended | same}})


def _denied(known: Guest, said: Claims) -> frozenset[Key]:
    """What is remembered of a guest and is a no."""
    return frozenset(key for key, one in known.traces.items() if said.of(key, listed=one.listed) is False)


def _turned(old: Trace, truth: Truth, now: float, *, listed: bool) -> Trace:
    if truth is None:
        return old._replace(listed=listed)
    return Trace(True, None, listed) if truth else Trace(False, now if old.held else old.lost, listed)


def _missing(past: Past, outcome: Outcome, there: Callable[[str], bool]) -> Iterator[tuple[Identity, Guest]]:
    """The guests that are not reported, as they are from now on; without those to forget."""
    reported = {report.identity for report in outcome.reports}
    for identity, guest in past.guests.items():
        if identity in reported:
            continue
        if any(_is_at_a_loss(report, identity) for report in outcome.reports):
            yield identity, guest
        elif not guest.native or (outcome.failure is None and _is_there(identity, outcome, there)):
            yield identity, _withdrawn(guest, outcome.finished)
        elif not any(_serves(report, identity) for report in outcome.reports):
            yield identity, _gone(guest, outcome.finished)


def _is_at_a_loss(report: Report, identity: Identity) -> bool:
    """Its emulator did not say enough to know even what guests it has."""
    return report.identity.emulator == identity.emulator and report.guest.supported is None


def _is_there(identity: Identity, outcome: Outcome, there: Callable[[str], bool]) -> bool:
    return any(report.identity.emulator == identity.emulator for report in outcome.reports) or there(identity.emulator)


def _serves(report: Report, identity: Identity) -> bool:
    other = report.identity
    return (other.arch, other.virttype) == (identity.arch, identity.virttype) and report.guest.supported is not False


def _withdrawn(guest: Guest, now: float) -> Guest:
    return guest if guest.presence == "withdrawn" else replace(guest, presence="withdrawn", since=now)


def _gone(guest: Guest, now: float) -> Guest:
    """The guest is lost, unless nobody asked for it any more."""
    if guest.presence != "reported":
        return guest
    runs = {GUEST: _turned(guest.traces[GUEST], False, now, listed=False)} if GUEST in guest.traces else {}
    return replace(guest, traces={**guest.traces, **runs}, presence="gone", since=now)


# ---- what changed ------------------------------------------------------------------------------------------------------------


def _changes(before: Mapping[Identity, Guest], after: Mapping[Identity, Guest], outcome: Outcome) -> Iterator[Change]:
    reports = {report.identity: report for report in outcome.reports}
    for identity, guest in after.items():
        old = before[identity].traces if identity in before else {}
        turned = [key for key, one in guest.traces.items() if key in old and {old[key].held, one.held} == {True, False}]
        reasons = causes(reports.get(identity), outcome.failure) if turned else {}
        for key in turned:
            direction: Direction = "gained" if guest.traces[key].held else "lost"
            lacks = reasons.get(key, ()) if direction == "lost" else ()
            yield Change(outcome.finished, outcome.driver, identity, key, direction, lacks)

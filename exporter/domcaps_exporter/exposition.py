"""Which of three formats a scraper gets (Accept, Accept-Encoding), and its bytes: text, OpenMetrics, gzip. Pure.

An exposition has pieces with no family in common: those that are written once and **kept** (what the drivers report, what the
exporter says of itself while nothing happens), and the small **tail** that differs from scrape to scrape. A gzipped exposition is
one gzip member made of the kept pieces' deflate blocks and the tail's fresh ones.

All our names are legacy names (letters, digits, underscores), which the escaping schemes `allow-utf-8`, `underscores` and `values`
leave alone: their bytes are the same. `dots` would rename every metric; a wish for it is answered with `underscores`, and the
Content-Type says so.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString


@dataclass(frozen=True, slots=True)
class Format:
    """A media type in the version we write, and the escaping scheme it is announced with (text 0.0.4 knows none)."""

    media: str
    version: str
    escaping: str = ""

    @property
    def content_type(self) -> str:
        escaping = f"; escaping={self.escaping}" if self.escaping else ""
        return f"{self.media}; version={self.version}; charset=utf-8{escaping}"

    @property
    def openmetrics(self) -> bool:
        return self.media == "application/openmetrics-text"


TEXT_0 = Format("text/plain", "0.0.4")
TEXT_1 = Format("text/plain", "1.0.0", "underscores")
OPENMETRICS = Format("application/openmetrics-text", "1.0.0", "underscores")

_SERVED = (TEXT_0, TEXT_1, OPENMETRICS)
_SCHEMES = ("allow-utf-8", "underscores", "values")

_HEADERS = 64
"""Headers whose meaning is kept: a scraper says the same each time."""

_QUALITY = re.compile(r"(0(\.[0-9]*)?|1(\.0*)?)")


# ---- negotiation -------------------------------------------------------------------------------------------------------------


class _Clause(NamedTuple):
    """One wish of an Accept header; `position` is negative, so that the first is the greatest."""

    media: str
    version: str
    escaping: str
    quality: float
    position: int


@lru_cache(_HEADERS)
def negotiate(accept: str) -> Format:
    """The format that an Accept header asks for: the greatest q, then a named type before a wildcard, then the header's order.

    Each format is judged by the clause that names it most exactly (RFC 9110). Whatever is not understood is as if it were not
    there; where nothing is left, text 0.0.4. Nothing of the header reaches the answer.
    """
    clauses = list(_clauses(accept))
    offers = ((served, _best(served, clauses)) for served in _SERVED)
    wanted = [(clause.quality, "*" not in clause.media, clause.position, clause, served) for served, clause in offers if clause]
    best = max((wish for wish in wanted if wish[0] > 0), key=lambda wish: wish[:3], default=None)
    return TEXT_0 if best is None else _announced(best[4], best[3].escaping)


@lru_cache(_HEADERS)
def accepts_gzip(accept_encoding: str) -> bool:
    """Is gzip acceptable, and not less wanted than the plain bytes?"""
    wishes = {coding: quality for coding, named in _parsed(accept_encoding) if (quality := _quality(named)) is not None}
    gzip = wishes.get("gzip", wishes.get("x-gzip", wishes.get("*", 0.0)))
    return gzip > 0 and gzip >= wishes.get("identity", 0.0)


def _announced(served: Format, escaping: str) -> Format:
    return Format(served.media, served.version, escaping) if served.escaping and escaping in _SCHEMES else served


def _best(served: Format, clauses: list[_Clause]) -> _Clause | None:
    reached = [clause for clause in clauses if _reach(clause, served)]
    return max(reached, key=lambda clause: (_reach(clause, served), clause.quality, clause.position), default=None)


def _reach(clause: _Clause, served: Format) -> int:
    """How exactly a clause names a format: 0 not at all, 1 `*/*`, 2 `text/*`, 3 the type, 4 with its version."""
    if clause.media == served.media:
        return 3 if not clause.version else 4 if clause.version == served.version else 0
    return {"*/*": 1, f"{served.media.partition('/')[0]}/*": 2}.get(clause.media, 0)


def _clauses(accept: str) -> Iterator[_Clause]:
    for position, (media, named) in enumerate(_parsed(accept)):
        quality = _quality(named)
        if quality is not None and named.get("charset", "utf-8").lower() in ("utf-8", "utf8"):
            yield _Clause(media, named.get("version", ""), named.get("escaping", ""), quality, -position)


def _parsed(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Every element of a list header with its parameters, names in lower case, values without their quotes."""
    for element in header.split(","):
        value, *parameters = element.split(";")
        pairs = (parameter.partition("=") for parameter in parameters)
        yield value.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def _quality(named: dict[str, str]) -> float | None:
    text = named.get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else None


# ---- bytes -------------------------------------------------------------------------------------------------------------------


class _Packed(NamedTuple):
    """Deflate blocks that end at a byte and refer to nothing before them, and the checksum and size of what they hold."""

    blocks: bytes
    crc: int
    size: int


class Family(NamedTuple):
    """A family as it is written: its lines are the same in either writer's words, its head is not."""

    name: str
    documentation: str
    type: str
    lines: bytes

    def head(self, openmetrics: bool) -> bytes:
        return _head(self.name, self.documentation, self.type, openmetrics).encode()


class Part:
    """A piece of an exposition: families, what their heads are in either writer's words, and all of it deflated, once asked for."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self._pieces: dict[bool, tuple[bytes, ...]] = {}
        self._packed: dict[bool, _Packed] = {}

    def pieces(self, wanted: Format) -> Sequence[bytes]:
        """The families in that format, without OpenMetrics' last line; the long pieces are the same objects in all formats."""
        if wanted.openmetrics not in self._pieces:
            both = ((family.head(wanted.openmetrics), family.lines) for family in self._families)
            self._pieces[wanted.openmetrics] = tuple(chain.from_iterable(both))
        return self._pieces[wanted.openmetrics]

    def plain(self, wanted: Format) -> bytes:
        """The same in one."""
        return b"".join(self.pieces(wanted))

    def packed(self, wanted: Format) -> _Packed:
        """The same, deflated."""
        if wanted.openmetrics not in self._packed:
            self._packed[wanted.openmetrics] = _packed(self.pieces(wanted))
        return self._packed[wanted.openmetrics]


class Figures:
    """Families whose samples stay the same and whose values do not: what stands around the values is written once."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)
        self._around: dict[bool, Sequence[str]] = {}

    def plain(self, values: Sequence[float], wanted: Format) -> bytes:
        """With these values, one for each sample in the families' order."""
        if wanted.openmetrics not in self._around:
            self._around[wanted.openmetrics] = tuple(_around(self._families, wanted.openmetrics))
        around = zip(self._around[wanted.openmetrics], values, strict=True)
        return "".join([f"{before}{_number(value)}\n" for before, value in around]).encode()


def whole(kept: Sequence[Part], tail: bytes, wanted: Format) -> Sequence[bytes]:
    """A whole exposition, in pieces; `tail` is written in that format."""
    return (*chain.from_iterable(part.pieces(wanted) for part in kept), tail, _end(wanted))


def gzipped(kept: Sequence[Part], tail: bytes, wanted: Format) -> bytes:
    """A whole exposition as one gzip member (RFC 1952: no name, no time), the blocks of what is kept taken as they are.

    Checksums cannot be joined: that of the first part, which is by far the largest, is the only one that is not reckoned again.
    """
    packed, last = [part.packed(wanted) for part in kept], tail + _end(wanted)
    crc = _checked((*chain.from_iterable(part.pieces(wanted) for part in kept[1:]), last), packed[0].crc if packed else 0)
    size = sum(part.size for part in packed) + len(last)
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    trailer = struct.pack("<II", crc, size & 0xFFFFFFFF)
    return b"".join((header, *(part.blocks for part in packed), _deflated((last,), zlib.Z_FINISH, *_SMALL), trailer))


def _end(wanted: Format) -> bytes:
    return b"# EOF\n" if wanted.openmetrics else b""


_SMALL = (1, 11, 4)
"""Level, window (2 KiB) and memory for a few lines: to set up zlib's usual ones takes longer than to deflate the lines."""


def _packed(pieces: Sequence[bytes]) -> _Packed:
    return _Packed(_deflated(pieces, zlib.Z_FULL_FLUSH), _checked(pieces), sum(map(len, pieces)))


def _checked(pieces: Iterable[bytes], crc: int = 0) -> int:
    """The checksum of what had this one, and of these after it."""
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


def _deflated(
    pieces: Iterable[bytes], flush: int, level: int = 6, window: int = zlib.MAX_WBITS, memory: int = zlib.DEF_MEM_LEVEL
) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -window, memory)
    return b"".join([*map(deflate.compress, pieces), deflate.flush(flush)])


def written(families: Iterable[Metric]) -> Iterator[Family]:
    """Gauges and counters without timestamps: the bytes of prometheus_client's writers, in a fraction of their time."""
    for family in families:
        lines = [line(sample.name, sample.labels.items(), sample.value) for sample in family.samples]
        yield Family(family.name, family.documentation, family.type, "".join(lines).encode())


def line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    """A sample as it is written."""
    return f"{_named(name, labels)} {_number(value)}\n"


def _around(families: Iterable[Metric], openmetrics: bool) -> Iterator[str]:
    """What stands before each value."""
    before = ""
    for family in families:
        before += _head(family.name, family.documentation, family.type, openmetrics)
        for sample in family.samples:
            yield f"{before}{_named(sample.name, sample.labels.items())} "
            before = ""


def _named(name: str, labels: Iterable[tuple[str, str]]) -> str:
    pairs = ",".join([f'{label}="{_escaped(value)}"' for label, value in sorted(labels)])
    return f"{name}{{{pairs}}}" if pairs else name


def _number(value: float) -> str:
    """Zero is 0.0, whatever its sign."""
    return _spelt(value + 0.0)


@lru_cache(maxsize=1024)
def _spelt(value: float) -> str:
    """Kept, for most numbers are one of a few."""
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # theirs
    return text


@lru_cache(maxsize=128)
def _head(name: str, documentation: str, kind: str, openmetrics: bool) -> str:
    """In text a counter's family is named as its samples are; quotes in helps are escaped in OpenMetrics only."""
    named = f"{name}_total" if kind == "counter" and not openmetrics else name
    described = _escaped(documentation) if openmetrics else _slashed(documentation)
    return f"# HELP {named} {described}\n# TYPE {named} {kind}\n"


@lru_cache(maxsize=1024)
def _escaped(text: str) -> str:
    """Kept, for most labels of a body have one of a few values."""
    return _slashed(text).replace('"', '\\"')


def _slashed(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")

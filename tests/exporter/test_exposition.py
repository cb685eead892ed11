"""What a scraper gets for its headers, and that prometheus_client's own parsers read it back."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.registry import Collector

from domcaps_exporter.exposition import (
    OPENMETRICS,
    TEXT_0,
    TEXT_1,
    Figures,
    Format,
    Part,
    accepts_gzip,
    gzipped,
    negotiate,
    whole,
    written,
)

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
TEXT_0_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1_TYPE = "text/plain; version=1.0.0; charset=utf-8; escaping="
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping="


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS_3, OPENMETRICS_TYPE + "allow-utf-8"),
        (PROMETHEUS_2, OPENMETRICS_TYPE + "underscores"),
        ("", TEXT_0_TYPE),
        ("*/*", TEXT_0_TYPE),
        ("text/*", TEXT_0_TYPE),
        ("application/*", OPENMETRICS_TYPE + "underscores"),
        ("text/plain", TEXT_0_TYPE),
        ("text/plain;version=0.0.4", TEXT_0_TYPE),
        ("text/plain; version=1.0.0", TEXT_1_TYPE + "underscores"),
        ("TEXT/Plain; Version=1.0.0; escaping=values", TEXT_1_TYPE + "values"),
        ('text/plain; version="1.0.0"', TEXT_1_TYPE + "underscores"),
        ("application/openmetrics-text", OPENMETRICS_TYPE + "underscores"),
        ("application/openmetrics-text;version=1.0.0;escaping=dots", OPENMETRICS_TYPE + "underscores"),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT_0_TYPE),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT_0_TYPE),
        # q-values
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.9", TEXT_0_TYPE),
        ("text/plain;version=0.0.4;q=0.3,application/openmetrics-text;version=1.0.0;q=0.9", OPENMETRICS_TYPE + "underscores"),
        ("application/openmetrics-text;version=1.0.0;q=0,*/*;q=0.1", TEXT_0_TYPE),
        ("text/plain;q=0,*/*;q=0.1", OPENMETRICS_TYPE + "underscores"),
        ("text/plain;version=0.0.4;q=0,*/*", TEXT_1_TYPE + "underscores"),
        ("*/*;q=0", TEXT_0_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.9", TEXT_0_TYPE),
        ("*/*,application/openmetrics-text;version=1.0.0", OPENMETRICS_TYPE + "underscores"),
        ("text/plain,application/openmetrics-text;version=1.0.0", TEXT_0_TYPE),
        # nonsense
        ("application/openmetrics-text;version=abc", TEXT_0_TYPE),
        ("application/openmetrics-text;version=9.9.9", TEXT_0_TYPE),
        ("application/openmetrics-text;version=0.0.1", TEXT_0_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=nan", TEXT_0_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=2", TEXT_0_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=-1", TEXT_0_TYPE),
        ("application/openmetrics-text;version=1.0.0;charset=utf-16", TEXT_0_TYPE),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", TEXT_0_TYPE),
        (",;=;,=q;;;", TEXT_0_TYPE),
        ("\0\udcff/é", TEXT_0_TYPE),
    ],
)
def test_an_accept_header_gets_what_it_asks_for(accept: str, content_type: str) -> None:
    assert negotiate(accept).content_type == content_type


WORDS = st.sampled_from(
    [
        *",;=*/ \"'",
        "q",
        "0",
        "1",
        "0.5",
        "text",
        "plain",
        "application",
        "openmetrics-text",
        "version",
        "1.0.0",
        "escaping",
        "dots",
        "é",
    ]
)


@given(st.lists(WORDS).map("".join))
def test_no_header_raises_or_is_echoed(header: str) -> None:
    known = {TEXT_0_TYPE} | {
        start + scheme for start in (TEXT_1_TYPE, OPENMETRICS_TYPE) for scheme in ("allow-utf-8", "underscores", "values")
    }
    assert negotiate(header).content_type in known
    assert accepts_gzip(header) in (True, False)


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0.5, gzip", True),
        ("gzip;q=nonsense", False),
        ("identity", False),
        ("br", False),
        ("*;q=0", False),
        ("", False),
    ],
)
def test_gzip_is_for_those_who_want_it(accept_encoding: str, accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is accepted


def gauge(name: str, *values: tuple[str, float]) -> Metric:
    family = GaugeMetricFamily(name, 'Help with a "quote", a \\ and\na line.', labels=["label"])
    for label, value in values:
        family.add_metric([label], value)
    return family


def counter(name: str, value: float) -> Metric:
    return CounterMetricFamily(name, "Counted.", value=value)


BODY = (gauge("domcaps_a_info", ("plain", 1), ('"\\\n, é {}', 0), ("", 4096)), gauge("domcaps_b", ("x", 5.36870912e08)))
MIDDLE = (gauge("domcaps_e", ("z", 7)),)
TAIL = (gauge("domcaps_c", ("y", 0.25)), counter("domcaps_d", 3))


def part(families: Iterable[Metric]) -> Part:
    return Part(written(families))


def body() -> Part:
    return part(BODY)


def middle() -> Part:
    return part(MIDDLE)


def tail(wanted: Format) -> bytes:
    return part(TAIL).plain(wanted)


def plain(kept: Sequence[Part], last: bytes, wanted: Format) -> bytes:
    return b"".join(whole(kept, last, wanted))


def samples(families: Iterable[Metric]) -> list[tuple[str, dict[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


@pytest.mark.parametrize("wanted", [TEXT_0, TEXT_1, OPENMETRICS])
def test_prometheus_clients_parsers_read_back_the_same_samples(wanted: Format) -> None:
    text = plain([body(), middle()], tail(wanted), wanted).decode()
    parsed = read_openmetrics(text) if wanted.openmetrics else read_text(text)  # type: ignore[no-untyped-call]  # theirs
    assert samples(parsed) == samples([*BODY, *MIDDLE, *TAIL])


def test_openmetrics_ends_once_and_at_the_very_end() -> None:
    text = plain([body()], tail(OPENMETRICS), OPENMETRICS)
    assert text.endswith(b"\n# EOF\n")
    assert text.count(b"# EOF") == 1
    assert b"# EOF" not in plain([body()], tail(TEXT_0), TEXT_0)


@pytest.mark.parametrize("wanted", [TEXT_0, TEXT_1, OPENMETRICS])
@pytest.mark.parametrize("kept", [[], [Part([])], [body()], [body(), middle()]], ids=["nothing", "empty", "one", "two"])
def test_a_gzipped_exposition_is_one_member_with_exactly_the_plain_bytes(kept: list[Part], wanted: Format) -> None:
    expected = plain(kept, tail(wanted), wanted)
    packed = gzipped(kept, tail(wanted), wanted)
    assert gzip.decompress(packed) == expected
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert inflate.decompress(packed) == expected
    assert (inflate.eof, inflate.unused_data) == (True, b"")


def test_what_stands_still_is_written_once_but_for_the_heads() -> None:
    still = body()
    assert still.pieces(TEXT_0) is still.pieces(TEXT_1)
    assert still.pieces(OPENMETRICS) is still.pieces(OPENMETRICS)
    assert still.packed(TEXT_0) is still.packed(TEXT_1)
    assert gzipped([still], tail(TEXT_0), TEXT_0) == gzipped([still], tail(TEXT_0), TEXT_0)
    lines = (still.pieces(wanted)[1::2] for wanted in (TEXT_0, OPENMETRICS))
    assert all(one is other for one, other in zip(*lines, strict=True))


class Registry(Collector):
    """Families, as prometheus_client's writers want them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(['"', "\\", "\\n", "\n", '\\"', ""])
NUMBERS = st.floats().filter(lambda number: number or str(number) == "0.0") | st.integers(-(2**60), 2**60) | st.booleans()
"""But for -0.0, which is written 0.0."""
LABELS = st.dictionaries(st.sampled_from("a b arch le Z _x".split()), TEXTS, max_size=4)


@st.composite
def any_family(draw: st.DrawFn) -> Metric:
    made = Metric(draw(st.sampled_from(["domcaps_a", "b_info"])), draw(TEXTS), draw(st.sampled_from(["gauge", "counter"])))
    for labels, value in draw(st.lists(st.tuples(LABELS, NUMBERS), max_size=4)):
        made.add_sample(f"{made.name}_total" if made.type == "counter" else made.name, labels, value)
    return made


@given(st.lists(any_family(), max_size=3))
def test_the_bytes_are_those_of_prometheus_clients_own_writers(families: list[Metric]) -> None:
    """Under `allow-utf-8`, which leaves our names alone, as the other schemes that are served do."""
    theirs = Registry(families)
    assert plain([part(families)], b"", TEXT_0) == generate_latest(theirs, ALLOWUTF8)
    assert plain([part(families)], b"", OPENMETRICS) == openmetrics.generate_latest(theirs, ALLOWUTF8)  # type: ignore[no-untyped-call]


@given(st.lists(any_family().filter(lambda family: family.samples), max_size=3))
def test_figures_are_written_as_their_families_are(families: list[Metric]) -> None:
    values = [sample.value for family in families for sample in family.samples]
    for wanted in (TEXT_0, OPENMETRICS):
        assert Figures(families).plain(values, wanted) == part(families).plain(wanted)

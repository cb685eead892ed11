"""Document <-> XML: round trips of all that is possible and of what real libvirts wrote; refusal of the hostile and the lossy."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from domcaps_exporter.document import MAX_BYTES, MAX_DEPTH, MAX_TAGS, read, write
from domcaps_exporter.errors import DocumentError
from domcaps_exporter.model import Cpu, CpuFeature, CpuMode, CpuModel, Document, Element, Enum, HostModel

DATA = Path(__file__).parent.parent / "data"
RECORDED = [*sorted(DATA.glob("libvirt-12.8/*.xml")), *sorted(DATA.glob("xen/*/virsh-domcapabilities*.out"))]
DOCUMENT = b"<domainCapabilities><domain>kvm</domain><arch>x86_64</arch>%s</domainCapabilities>"


@pytest.fixture(scope="module")
def corpus() -> Path:
    folder = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    if not folder:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS names no folder")
    return Path(folder)


# ---- any document ------------------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters=[*map(chr, (*range(9), 11, 12, *range(14, 32))), "\ufffe", "\uffff"]
)
ANY = st.text(st.sampled_from("a \t\n\r&<'\"]é") | CHARACTERS, max_size=6)
SOME = ANY.filter(bool)
NAMES = st.sampled_from(
    ["enum", "value", "model", "vendor", "feature", "blockers", "mode", "cpu", "vcpu", "devices", "sections", "a-1", "élan"]
)
ENUMS = st.builds(Enum, ANY, st.lists(ANY, max_size=3).map(tuple))


def few(one: st.SearchStrategy[str], least: int = 0) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Attributes named by `one`."""
    return st.dictionaries(one, ANY, min_size=least, max_size=3).map(lambda known: tuple(known.items()))


ATTRIBUTES = few(st.sampled_from(["name", "supported", "unit", "policy", "a-1", "élan"]))
LEAVES = st.builds(Element, NAMES, ATTRIBUTES, st.none() | SOME)


def is_an_enum(element: Element) -> bool:
    values = all(
        isinstance(child, Element) and (child.name, child.attributes, child.children) == ("value", (), ())
        for child in element.children
    )
    blank = not (element.text or "").strip(" \t\r\n")
    return element.name == "enum" and [name for name, _ in element.attributes] == ["name"] and values and blank


def nodes(inner: st.SearchStrategy[Enum | Element]) -> st.SearchStrategy[Enum | Element]:
    branches = st.builds(
        lambda name, attributes, children: Element(name, attributes, None, tuple(children)),
        NAMES,
        ATTRIBUTES,
        st.lists(inner, max_size=3),
    )
    return ENUMS | branches.filter(lambda element: not is_an_enum(element))


TREES = st.recursive(ENUMS | LEAVES.filter(lambda leaf: not is_an_enum(leaf)), nodes, max_leaves=8)
ELEMENTS = TREES.filter(lambda tree: isinstance(tree, Element)).map(
    lambda tree: tree if isinstance(tree, Element) else Element("never")
)
UNKNOWN = st.lists(
    ELEMENTS.filter(lambda element: element.name not in {"model", "blockers", "vendor", "maxphysaddr", "feature"}), max_size=2
).map(tuple)
HOST_MODELS = st.builds(
    HostModel,
    model=ANY,
    fallback=st.none() | ANY,
    vendor=st.none() | ANY,
    maxphysaddr=st.none() | few(st.sampled_from(["mode", "limit", "bits"])),
    features=st.lists(st.builds(CpuFeature, ANY, ANY), max_size=3).map(tuple),
    others=UNKNOWN,
)
MODELS = st.builds(
    CpuModel,
    name=ANY,
    usable=st.sampled_from(["yes", "no", "unknown", "partly"]),
    deprecated=st.none() | ANY,
    vendor=st.none() | ANY,
    canonical=st.none() | ANY,
    blockers=st.lists(ANY, max_size=3).map(tuple),
    attributes=few(st.sampled_from(["since", "élan"])),
)
SOME_ENUMS = st.lists(ENUMS, max_size=2).map(tuple)
MODES = st.one_of(
    st.builds(CpuMode, st.just("host-model"), st.booleans(), SOME_ENUMS, HOST_MODELS),
    st.builds(
        CpuMode, st.just("custom"), st.booleans(), SOME_ENUMS, models=st.lists(MODELS, max_size=3).map(tuple), others=UNKNOWN
    ),
    st.builds(CpuMode, st.sampled_from(["", "maximum", "host-model", "never-seen"]), st.booleans(), SOME_ENUMS, others=UNKNOWN),
)
CPUS = st.builds(Cpu, st.lists(MODES, max_size=3).map(tuple))
TOPS = ELEMENTS.filter(lambda element: element.name not in {"cpu", "vcpu"})


@st.composite
def documents(draw: st.DrawFn) -> Document:
    children: list[Element | Cpu] = list(draw(st.lists(TOPS, max_size=3)))
    if draw(st.booleans()):
        children.insert(draw(st.integers(0, len(children))), draw(CPUS))
    return Document(
        domain=draw(SOME),
        arch=draw(SOME),
        path=draw(st.none() | ANY),
        machine=draw(st.none() | ANY),
        vcpus_max=draw(st.none() | st.integers(0, 2**32 - 1)),
        children=tuple(children),
    )


@given(documents())
def test_any_document_survives_being_written_and_read(document: Document) -> None:
    assert read(write(document)) == document


@given(st.binary(max_size=64), st.integers(0, 2000), st.integers(0, 64))
def test_damaged_bytes_are_read_or_refused_and_nothing_else_happens(damage: bytes, at: int, length: int) -> None:
    data = RECORDED[-1].read_bytes()
    try:
        document = read(data[:at] + damage + data[at + length :])
    except DocumentError:
        return
    assert read(write(document)) == document


# ---- what libvirts wrote -----------------------------------------------------------------------------------------------------


def as_libvirt_wrote_it(answer: bytes) -> bytes:
    """A recorded answer without the empty lines that virsh adds."""
    return answer.rstrip(b"\n") + b"\n"


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_recorded_answer_is_written_back_byte_for_byte(file: Path) -> None:
    answer = as_libvirt_wrote_it(file.read_bytes())
    assert write(read(answer, file.name)) == answer


def test_the_recordings_are_there() -> None:
    assert len(RECORDED) >= 41


def test_every_document_of_the_corpus_is_written_back_byte_for_byte(corpus: Path) -> None:
    files = sorted(corpus.glob("domaincapsdata/*.xml"))
    assert files
    assert [file.name for file in files if write(read(file.read_bytes(), file.name)) != file.read_bytes()] == []


def test_what_is_written_is_valid_against_libvirts_schema(corpus: Path) -> None:
    schema = etree.RelaxNG(etree.parse(str(corpus / "domaincaps.rng")))
    files = sorted(corpus.glob("domaincapsdata/*.xml"))
    assert files
    for file in files:
        schema.assertValid(etree.ElementTree(etree.fromstring(write(read(file.read_bytes(), file.name)))))


def test_a_document_is_formatted_as_libvirt_does() -> None:
    document = Document(
        domain="kvm",
        arch="x86_64",
        path="/usr/bin/q&a<'\">",
        vcpus_max=8,
        children=(
            Element("os", (("supported", "yes"),), children=(Enum("firmware", ("efi",)), Enum("none"))),
            Cpu(
                (
                    CpuMode("maximum", False),
                    CpuMode(
                        "host-model",
                        True,
                        host_model=HostModel(
                            "EPYC", "forbid", "AMD", (("mode", "passthrough"), ("limit", "48")), (CpuFeature("npt", "require"),)
                        ),
                    ),
                    CpuMode("custom", True, models=(CpuModel("486", "no", "yes", "unknown", "486-v1", ("hle", "rtm")),)),
                )
            ),
        ),
    )
    assert write(document).decode() == (
        "<domainCapabilities>\n"
        "  <path>/usr/bin/q&amp;a&lt;&apos;&quot;&gt;</path>\n"
        "  <domain>kvm</domain>\n"
        "  <arch>x86_64</arch>\n"
        "  <vcpu max='8'/>\n"
        "  <os supported='yes'>\n"
        "    <enum name='firmware'>\n"
        "      <value>efi</value>\n"
        "    </enum>\n"
        "    <enum name='none'/>\n"
        "  </os>\n"
        "  <cpu>\n"
        "    <mode name='maximum' supported='no'/>\n"
        "    <mode name='host-model' supported='yes'>\n"
        "      <model fallback='forbid'>EPYC</model>\n"
        "      <vendor>AMD</vendor>\n"
        "      <maxphysaddr mode='passthrough' limit='48'/>\n"
        "      <feature policy='require' name='npt'/>\n"
        "    </mode>\n"
        "    <mode name='custom' supported='yes'>\n"
        "      <model usable='no' deprecated='yes' vendor='unknown' canonical='486-v1'>486</model>\n"
        "      <blockers model='486'>\n"
        "        <feature name='hle'/>\n"
        "        <feature name='rtm'/>\n"
        "      </blockers>\n"
        "    </mode>\n"
        "  </cpu>\n"
        "</domainCapabilities>\n"
    )


def test_characters_that_xml_cannot_hold_are_left_out() -> None:
    assert read(write(Document("kvm", "x86_64", "/a\x01b\x00\ud800\uffffc"))).path == "/abc"


def test_white_space_that_a_reader_would_change_is_escaped() -> None:
    document = Document("kvm", "x86_64", path="a\tb\nc\rd", children=(Element("a", (("b", "a\tb\nc\rd"),)),))
    assert b"<path>a\tb\nc&#13;d</path>" in write(document)
    assert b"<a b='a&#9;b&#10;c&#13;d'/>" in write(document)
    assert read(write(document)) == document


def test_text_beside_children_is_not_written() -> None:
    with pytest.raises(DocumentError, match="<os> has both the text 'a' and children"):
        write(Document("kvm", "x86_64", children=(Element("os", text="a", children=(Enum("firmware"),)),)))


# ---- the unknown -------------------------------------------------------------------------------------------------------------


CUSTOM = "<cpu><mode name='custom' supported='yes'>{}</mode></cpu>"
HOST = "<cpu><mode name='host-model' supported='yes'>{}</mode></cpu>"


@pytest.mark.parametrize(
    "xml",
    [
        "<novelty level='3'><deep><deeper/></deep></novelty>",
        "<devices><novelty/><disk supported='yes' since='13'/></devices>",
        "<features><novelty supported='no'>text</novelty></features>",
        "<enum name='at-the-top'><value>a</value></enum>",
        "<os><enum name='a' since='13'><value>b</value></enum><enum><value>c</value></enum><enum name='d'><other/></enum></os>",
        "<os><enum name='a'><value since='13'>b</value></enum></os>",
        "<os><enum name='a'>text</enum></os>",
        "<cpu><mode name='novelty' supported='yes'><enum name='a'><value>b</value></enum><model>c</model><blockers/></mode></cpu>",
        "<cpu><mode name='maximum' supported='yes'><novelty/></mode></cpu>",
        CUSTOM.format("<model usable='yes' since='13'>486</model><novelty/>"),
        HOST.format("<model>486</model><vendor>AMD</vendor><novelty a='b'/><vendor>VIA</vendor>"),
        HOST.format("<model>486</model><feature policy='require' name='a' since='13'/>"),
        HOST.format("<model>486</model><maxphysaddr limit='48'>text</maxphysaddr>"),
        HOST.format("<model since='13'>486</model><feature policy='require' name='a'/>"),
    ],
)
def test_the_unknown_survives(xml: str) -> None:
    document = read(DOCUMENT % xml.encode())
    assert "".join(line.strip() for line in write(document).decode().splitlines()) == (DOCUMENT % xml.encode()).decode()
    assert read(write(document)) == document


def test_an_enum_of_another_shape_is_an_element() -> None:
    (os_element,) = read(DOCUMENT % b"<os><enum name='a'/><enum name='b' since='13'/></os>").children
    assert isinstance(os_element, Element)
    assert os_element.enums == (Enum("a"),)
    assert os_element.elements == (Element("enum", (("name", "b"), ("since", "13"))),)


def test_comments_and_processing_instructions_are_dropped() -> None:
    xml = b"<?xml version='1.0'?><!-- a --><?b c?>" + DOCUMENT % b"<!-- d --><os><?e f?></os><machine>q<!-- g -->35</machine>"
    assert read(xml) == Document("kvm", "x86_64", machine="q35", children=(Element("os"),))


def test_every_encoding_that_names_itself_is_read() -> None:
    text = '<?xml version="1.0" encoding="{}"?>' + (DOCUMENT % "<path>/ä</path>".encode()).decode()
    assert {read(text.format(encoding).encode(encoding)).path for encoding in ("utf-8", "utf-16", "iso-8859-1")} == {"/ä"}


# ---- refusal -----------------------------------------------------------------------------------------------------------------

CUSTOM_MODE = CUSTOM.format("%s").encode()
LAUGHS = b"".join(b"<!ENTITY l%d '%s'>" % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10))


REFUSED = [
    (b"", "empty; expected <domainCapabilities>"),
    (b" \n", "empty; expected <domainCapabilities>"),
    (b"\0", "expected XML, found: "),
    (b"error: no such driver", "expected XML, found: .*line 1"),
    (b"<domainCapabilities>", "expected XML, found: Premature end"),
    (DOCUMENT % b"<path>\xe4</path>", "expected XML, found: .*line 1"),
    (b"<?xml version='1.0' encoding='klingon'?>" + DOCUMENT % b"", "expected XML, found: .*encoding"),
    (DOCUMENT % b"<path>&nbsp;</path>", "expected XML, found: Entity 'nbsp' not defined"),
    (DOCUMENT % b"<a:b/>", "expected XML, found: Namespace prefix a"),
    (DOCUMENT % (b"<a>" * 5000 + b"</a>" * 5000), "expected XML, found: Excessive depth"),
    (DOCUMENT % (b" " * MAX_BYTES), r"\d+ bytes; expected at most 16777216"),
    (DOCUMENT % (b"<a/>" * MAX_TAGS), r"\d+ tags; expected at most 262144"),
    (b"<!DOCTYPE domainCapabilities>" + DOCUMENT % b"", "found a DOCTYPE"),
    (b"<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a.dtd'>" + DOCUMENT % b"", "found a DOCTYPE"),
    (b"<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1:9/b'> %b;]>" + DOCUMENT % b"", "found a DOCTYPE"),
    (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>" + DOCUMENT % b"<path>&b;</path>", "found a DOCTYPE"),
    (
        b"<!DOCTYPE a [<!ENTITY l0 'lol'>" + LAUGHS + b"]>" + DOCUMENT % b"<path>&l9;</path>",
        "expected XML, found: .*amplification|found a DOCTYPE",
    ),
    (
        b"<!DOCTYPE a [<!ENTITY l0 'lol'>" + LAUGHS + b"]>" + DOCUMENT % b"<a b='&l9;'/>",
        "expected XML, found: .*amplification|found a DOCTYPE",
    ),
    (b"<capabilities/>", "line 1: <capabilities> is the root; expected <domainCapabilities> without attributes"),
    (b"<domainCapabilities since='13'/>", "line 1: <domainCapabilities since='13'> is the root"),
    (b"<domainCapabilities xmlns='a'/>", "line 1: <{a}domainCapabilities> has a namespace; expected none"),
    (DOCUMENT % b"<os xmlns:a='b'/>", "line 1: <os> has a namespace"),
    (DOCUMENT % b"<os xml:lang='tlh'/>", "line 1: <os .* has a namespace"),
    (DOCUMENT % (b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH), "line 1: <a> is nested deeper than 64 elements"),
    (b"<domainCapabilities><arch>a</arch></domainCapabilities>", "has no <domain>; expected one"),
    (b"<domainCapabilities><domain>a</domain></domainCapabilities>", "has no <arch>; expected one"),
    (b"<domainCapabilities><domain/></domainCapabilities>", "has an empty <domain>; expected one"),
    (DOCUMENT % b"\n<arch>arm</arch>", "line 2: <arch> is there twice; the first is in line 1"),
    (DOCUMENT % b"<vcpu max='1'/><vcpu max='1'/>", "line 1: <vcpu max='1'> is there twice"),
    (DOCUMENT % b"<cpu/><cpu/>", "line 1: <cpu> is there twice"),
    (DOCUMENT % b"<path><a/></path>", "line 1: <path> has children or attributes; expected text only"),
    (DOCUMENT % b"<machine since='13'>q35</machine>", "line 1: <machine since='13'> has children or attributes"),
    (DOCUMENT % b"<vcpu max='abc'/>", "line 1: <vcpu max='abc'> is there; expected <vcpu max='…'/> with a number"),
    (DOCUMENT % "<vcpu max='٣'/>".encode(), "line 1: <vcpu max='٣'> is there"),
    (DOCUMENT % b"<vcpu max='-1'/>", "line 1: <vcpu max='-1'> is there"),
    (DOCUMENT % (b"<vcpu max='%s'/>" % (b"9" * 5000)), "line 1: <vcpu max='9+…> is there"),
    (DOCUMENT % b"<vcpu/>", "line 1: <vcpu> is there"),
    (DOCUMENT % b"<vcpu max='1' current='1'/>", "line 1: <vcpu max='1' current='1'> is there"),
    (DOCUMENT % b"<vcpu max='1'>1</vcpu>", "line 1: <vcpu max='1'> is there"),
    (DOCUMENT % b"text", "line 1: <domainCapabilities> holds the text 'text' beside elements"),
    (DOCUMENT % b"<os>before<a/></os>", "line 1: <os> holds the text 'before' beside elements; expected elements only"),
    (DOCUMENT % b"<os><a/>\n<b/>after</os>", "line 1: <os> holds the text 'after'"),
    (DOCUMENT % "<os>\u00a0<a/></os>".encode(), "line 1: <os> holds the text"),
    (DOCUMENT % b"<cpu since='13'/>", "line 1: <cpu since='13'> has attributes or text; expected <mode> elements only"),
    (DOCUMENT % b"<cpu>text</cpu>", "line 1: <cpu> has attributes or text"),
    (DOCUMENT % b"<cpu><novelty/></cpu>", "line 1: <novelty> is in <cpu>; expected only <mode"),
    (DOCUMENT % b"<cpu><mode name='a' supported='maybe'/></cpu>", "line 1: <mode name='a' supported='maybe'> is in <cpu>"),
    (DOCUMENT % b"<cpu><mode supported='yes'/></cpu>", "line 1: <mode supported='yes'> is in <cpu>"),
    (DOCUMENT % b"<cpu><mode name='a' supported='yes' since='13'/></cpu>", "line 1: <mode .* is in <cpu>"),
    (DOCUMENT % b"<cpu><mode name='a' supported='yes'>text</mode></cpu>", "line 1: <mode .* is in <cpu>"),
    (DOCUMENT % CUSTOM_MODE % b"<model>486</model>", "line 1: <model> is a model; expected <model usable="),
    (DOCUMENT % CUSTOM_MODE % b"<model usable='no'><a/></model>", "line 1: <model usable='no'> is a model"),
    (
        DOCUMENT % CUSTOM_MODE % b"<blockers model='a'><feature name='b'/></blockers>",
        "line 1: <blockers model='a'> does not follow its <model>",
    ),
    (
        DOCUMENT % CUSTOM_MODE % b"<model usable='no'>a</model>\n<blockers model='b'><feature name='c'/></blockers>",
        "line 2: <blockers model='b'> does not follow its <model>",
    ),
    (
        DOCUMENT % CUSTOM_MODE % (b"<model usable='no'>a</model>" + b"<blockers model='a'><feature name='b'/></blockers>" * 2),
        "does not follow its <model>; .* once",
    ),
    (
        DOCUMENT % CUSTOM_MODE % b"<model usable='no'>a</model><blockers model='a'/>",
        "line 1: <blockers model='a'> is in a mode; expected <blockers",
    ),
    (
        DOCUMENT % CUSTOM_MODE % b"<model usable='no'>a</model><blockers model='a'><feature/></blockers>",
        "line 1: <blockers model='a'> is in a mode",
    ),
]


@pytest.mark.parametrize(("xml", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_hostile_or_lossy_xml_is_refused_at_once_and_says_where(xml: bytes, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(DocumentError, match=f"^host.xml: .*{message}"):
        read(xml, "host.xml")
    assert time.monotonic() - started < 2

"""libvirt's <domainCapabilities> XML to and from `Document`. Pure; it understands no capability, so unknown elements survive.

`read(write(d)) == d`, and `write(read(x)) == x` for what libvirt itself wrote. What is well-formed but has no place in the model is
refused rather than lost; only comments, processing instructions and the white space between elements are dropped.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

from lxml import etree

from domcaps_exporter.errors import DocumentError
from domcaps_exporter.model import Cpu, CpuFeature, CpuMode, CpuModel, Document, Element, Enum, HostModel

__all__ = ["DocumentError", "parts", "read", "write"]

ROOT = "domainCapabilities"
MAX_BYTES = 16 << 20
MAX_TAGS = 1 << 18
MAX_DEPTH = 64
"""How deep elements may nest, the root being the first. The limits are far above any real answer (200 KB, 6,000 elements)."""

_END = re.compile(rb"</domainCapabilities[ \t\r\n]*>")
_IDENTITY = ("path", "domain", "machine", "arch", "vcpu")
_BLANK = " \t\r\n"
_MODEL_ATTRIBUTES = ("usable", "deprecated", "vendor", "canonical")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;", "\r": "&#13;"})
_IN_ATTRIBUTE = _IN_TEXT | str.maketrans({"\t": "&#9;", "\n": "&#10;"})

_Node: TypeAlias = etree._Element


# ---- reading -----------------------------------------------------------------------------------------------------------------


def read(data: bytes, name: str = "document") -> Document:
    """The document in these bytes, which `name` names in messages (a file, a URI).

    Unknown elements and attributes are kept. The typed part of `<cpu>` is what libvirt is known to write; in a mode, anything else
    goes to `others`. Their order among the known ones is not kept.

    Raises:
        DocumentError: not XML, not domainCapabilities, hostile (DTD, namespaces, too big, too deep), or nothing that `Document` can
            hold without a loss (mixed content, a second `<arch>`, an unknown attribute of `<vcpu>`).
    """
    try:
        root = _parse(data)
        _inspect(root, 1)
        return _document(root)
    except DocumentError as error:
        raise DocumentError(f"{name}: {error}") from error


def parts(data: bytes) -> tuple[bytes, ...]:
    """The documents that stand one after the other in a file, each for `read`; a file of anything else is one part.

    It only looks where a document ends. Where that is no end (in a comment, say), a part is no XML, and `read` refuses it.
    """
    ends = [match.end() for match in _END.finditer(data)][:-1]
    return tuple(data[start:end].strip() for start, end in pairwise((0, *ends, len(data)))) if ends else (data,)


def _parse(data: bytes) -> _Node:
    if len(data) > MAX_BYTES:
        raise DocumentError(f"{len(data)} bytes; expected at most {MAX_BYTES}")
    if data.count(b"<") > MAX_TAGS:
        raise DocumentError(f"{data.count(b'<')} tags; expected at most {MAX_TAGS}")
    if not data.strip():
        raise DocumentError(f"empty; expected <{ROOT}>")
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"expected XML, found: {' '.join(str(error.msg).split())}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise DocumentError(f"found a DOCTYPE; expected <{ROOT}> without one")
    return root


def _inspect(node: _Node, depth: int) -> None:
    """Refuse what no element may be, so that everything after may rely on it."""
    if depth > MAX_DEPTH:
        raise _refusal(node, f"is nested deeper than {MAX_DEPTH} elements")
    if node.nsmap or any(name.startswith("{") for name in (str(node.tag), *map(str, node.attrib))):
        raise _refusal(node, "has a namespace; expected none")
    if len(node):
        for text in (node.text, *(child.tail for child in node)):
            if text and text.strip(_BLANK):
                raise _refusal(node, f"holds the text {reprlib.repr(text)} beside elements; expected elements only")
    for child in node:
        _inspect(child, depth + 1)


def _refusal(node: _Node, message: str) -> DocumentError:
    start = " ".join((_tag(node), *(f"{name}={text!r}" for name, text in _attributes(node))))
    return DocumentError(f"line {node.sourceline}: <{start if len(start) <= 80 else start[:79] + '…'}> {message}")


def _tag(node: _Node) -> str:
    return str(node.tag)


def _attributes(node: _Node) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(text)) for name, text in node.attrib.items())


def _has_text(node: _Node) -> bool:
    return bool(node.text and node.text.strip(_BLANK))


def _is(node: _Node, tag: str, *attributes: str) -> bool:
    """Is it an element of this name without children, and with exactly these attributes?"""
    return node.tag == tag and not len(node) and sorted(map(str, node.attrib)) == sorted(attributes)


def _is_empty(node: _Node, tag: str, *attributes: str) -> bool:
    return _is(node, tag, *attributes) and not node.text


def _document(root: _Node) -> Document:
    if root.tag != ROOT or root.attrib:
        raise _refusal(root, f"is the root; expected <{ROOT}> without attributes")
    singles: dict[str, _Node] = {}
    children: list[Element | Cpu] = []
    for node in root:
        tag = _tag(node)
        if tag in (*_IDENTITY, "cpu") and singles.setdefault(tag, node) is not node:
            raise _refusal(node, f"is there twice; the first is in line {singles[tag].sourceline}")
        if tag == "cpu":
            children.append(_cpu(node))
        elif tag not in _IDENTITY:
            children.append(_element(node))
    return Document(
        domain=_required(root, singles, "domain"),
        arch=_required(root, singles, "arch"),
        path=_optional(singles, "path"),
        machine=_optional(singles, "machine"),
        vcpus_max=_vcpus(singles["vcpu"]) if "vcpu" in singles else None,
        children=tuple(children),
    )


def _optional(singles: dict[str, _Node], tag: str) -> str | None:
    node = singles.get(tag)
    if node is None:
        return None
    if not _is(node, tag):
        raise _refusal(node, "has children or attributes; expected text only")
    return node.text or ""


def _required(root: _Node, singles: dict[str, _Node], tag: str) -> str:
    text = _optional(singles, tag)
    if not text:
        raise _refusal(root, f"has {'no' if text is None else 'an empty'} <{tag}>; expected one")
    return text


def _vcpus(node: _Node) -> int:
    found = str(node.get("max"))
    if not _is_empty(node, "vcpu", "max") or not re.fullmatch("[0-9]{1,10}", found):
        raise _refusal(node, "is there; expected <vcpu max='…'/> with a number, and nothing else")
    return int(found)


def _child(node: _Node) -> Enum | Element:
    return _enum(node) if _is_enum(node) else _element(node)


def _element(node: _Node) -> Element:
    text = None if len(node) else node.text or None
    return Element(_tag(node), _attributes(node), text, tuple(_child(child) for child in node))


def _is_enum(node: _Node) -> bool:
    shaped = node.tag == "enum" and list(node.attrib) == ["name"] and not _has_text(node)
    return shaped and all(_is(value, "value") for value in node)


def _enum(node: _Node) -> Enum:
    return Enum(str(node.get("name")), tuple(value.text or "" for value in node))


def _cpu(node: _Node) -> Cpu:
    if node.attrib or _has_text(node):
        raise _refusal(node, "has attributes or text; expected <mode> elements only")
    return Cpu(tuple(_mode(child) for child in node))


def _mode(node: _Node) -> CpuMode:
    supported = {"yes": True, "no": False}.get(str(node.get("supported")))
    if node.tag != "mode" or set(map(str, node.attrib)) != {"name", "supported"} or supported is None or _has_text(node):
        raise _refusal(node, "is in <cpu>; expected only <mode name='…' supported='yes|no'>, and only elements in it")
    name = str(node.get("name"))
    enums = tuple(_enum(child) for child in node if _is_enum(child))
    rest = [child for child in node if not _is_enum(child)]
    if name == "custom":
        return CpuMode(name, supported, enums, models=_models(rest), others=_others(rest, "model", "blockers"))
    if name == "host-model" and any(_is_host_model(child) for child in rest):
        return CpuMode(name, supported, enums, host_model=_host_model(rest))
    return CpuMode(name, supported, enums, others=_others(rest))


def _others(nodes: Iterable[_Node], *known: str) -> tuple[Element, ...]:
    return tuple(_element(node) for node in nodes if node.tag not in known)


def _is_host_model(node: _Node) -> bool:
    return _is(node, "model") or _is(node, "model", "fallback")


def _host_model(nodes: list[_Node]) -> HostModel:
    model = next(node for node in nodes if _is_host_model(node))
    vendor = next((node for node in nodes if _is(node, "vendor")), None)
    width = next((node for node in nodes if _is_empty(node, "maxphysaddr", *node.attrib)), None)
    features = [node for node in nodes if _is_empty(node, "feature", "policy", "name")]
    typed = {model, vendor, width, *features}
    return HostModel(
        model=model.text or "",
        fallback=None if "fallback" not in model.attrib else str(model.get("fallback")),
        vendor=None if vendor is None else vendor.text or "",
        maxphysaddr=None if width is None else _attributes(width),
        features=tuple(CpuFeature(str(node.get("name")), str(node.get("policy"))) for node in features),
        others=_others(node for node in nodes if node not in typed),
    )


def _models(nodes: Iterable[_Node]) -> tuple[CpuModel, ...]:
    models: list[CpuModel] = []
    for node in nodes:
        if node.tag == "model":
            models.append(_model(node))
        elif node.tag == "blockers":
            models[-1:] = [_blocked(models, node)]
    return tuple(models)


def _model(node: _Node) -> CpuModel:
    known = dict(_attributes(node))
    if len(node) or "usable" not in known:
        raise _refusal(node, "is a model; expected <model usable='yes|no|unknown'>NAME</model>")
    return CpuModel(
        name=node.text or "",
        usable=known["usable"],
        deprecated=known.get("deprecated"),
        vendor=known.get("vendor"),
        canonical=known.get("canonical"),
        attributes=tuple((name, text) for name, text in known.items() if name not in _MODEL_ATTRIBUTES),
    )


def _blocked(models: list[CpuModel], node: _Node) -> CpuModel:
    if not len(node) or list(node.attrib) != ["model"] or not all(_is_empty(child, "feature", "name") for child in node):
        raise _refusal(node, "is in a mode; expected <blockers model='…'> with <feature name='…'/> elements only")
    if not models or models[-1].name != node.get("model") or models[-1].blockers:
        raise _refusal(node, "does not follow its <model>; expected it there, once")
    return replace(models[-1], blockers=tuple(str(child.get("name")) for child in node))


# ---- writing -----------------------------------------------------------------------------------------------------------------


def write(document: Document) -> bytes:
    """The document as libvirt formats it: UTF-8, two blanks per level, a line feed at the end.

    Text is escaped as libvirt's virBufferEscapeString does: & < > ' " and no control characters (nor anything else that XML cannot
    hold). Beyond that, carriage returns, and tabs and line feeds in attributes, are escaped because a reader would change them.

    `read` gives an equal document back if

    - names are XML names without colons, attributes of one element differ, and nesting stays within `MAX_DEPTH`;
    - texts are None rather than empty or, in an element with children, blank; domain and arch are not empty;
    - there is one `Cpu`; `vcpus_max` is not negative and has up to ten digits;
    - what a typed place can hold is there: no `Element("vcpu")` after the `<vcpu>`, no `Element` where the same is an `Enum`, no
      `<vendor>` in a host model's `others` while `vendor` is None; `others` are in the host model where there is one;
    - only the mode `host-model` has a host model, and only `custom` has models.

    Raises:
        DocumentError: an element has both text and children.
    """
    identity = [("path", document.path), ("domain", document.domain), ("machine", document.machine), ("arch", document.arch)]
    children: list[Enum | Element] = [Element(name, text=text) for name, text in identity if text is not None]
    if document.vcpus_max is not None:
        children.append(Element("vcpu", (("max", str(document.vcpus_max)),)))
    children += (_cpu_element(child) if isinstance(child, Cpu) else child for child in document.children)
    lines = _lines(Element(ROOT, children=tuple(children)), "")
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(element: Enum | Element, indent: str) -> Iterator[str]:
    if isinstance(element, Enum):
        element = Element(
            "enum", (("name", element.name),), children=tuple(Element("value", text=value) for value in element.values)
        )
    start = "".join(
        (f"{indent}<{element.name}", *(f" {name}='{_escaped(text, _IN_ATTRIBUTE)}'" for name, text in element.attributes))
    )
    if element.children:
        if element.text:
            raise DocumentError(
                f"<{element.name}> has both the text {reprlib.repr(element.text)} and children; expected one of them"
            )
        yield f"{start}>"
        for child in element.children:
            yield from _lines(child, f"{indent}  ")
        yield f"{indent}</{element.name}>"
    elif text := _escaped(element.text or "", _IN_TEXT):
        yield f"{start}>{text}</{element.name}>"
    else:
        yield f"{start}/>"


def _escaped(text: str, escapes: Mapping[int, str]) -> str:
    return _NOT_XML.sub("", text).translate(escapes)


def _given(*attributes: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in attributes if text is not None)


def _cpu_element(cpu: Cpu) -> Element:
    return Element("cpu", children=tuple(_mode_element(mode) for mode in cpu.modes))


def _mode_element(mode: CpuMode) -> Element:
    host = () if mode.host_model is None else _host_model_elements(mode.host_model)
    models = (element for model in mode.models for element in _model_elements(model))
    attributes = (("name", mode.name), ("supported", "yes" if mode.supported else "no"))
    return Element("mode", attributes, children=(*mode.enums, *host, *models, *mode.others))


def _host_model_elements(host: HostModel) -> Iterator[Element]:
    yield Element("model", _given(("fallback", host.fallback)), host.model)
    if host.vendor is not None:
        yield Element("vendor", text=host.vendor)
    if host.maxphysaddr is not None:
        yield Element("maxphysaddr", host.maxphysaddr)
    for feature in host.features:
        yield Element("feature", (("policy", feature.policy), ("name", feature.name)))
    yield from host.others


def _model_elements(model: CpuModel) -> Iterator[Element]:
    known = (("usable", model.usable), ("deprecated", model.deprecated), ("vendor", model.vendor), ("canonical", model.canonical))
    yield Element("model", (*_given(*known), *model.attributes), model.name)
    if model.blockers:
        features = tuple(Element("feature", (("name", name),)) for name in model.blockers)
        yield Element("blockers", (("model", model.name),), children=features)

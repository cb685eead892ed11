"""libvirt's CPU map: the models and features it knows, read from the files that it installs in /usr/share/libvirt/cpu_map. Pure.

Only what domain capabilities need is read: x86 and ppc64, and of these no check modes and no aliases. Elements that are not known
here are passed over.

CPUID and MSR bits are kept as one integer. Every register that a map names has its own 32 bits in it, so a set of features is their
union, `|`, and one integer holds what another lacks, `& ~`. Integers of different maps mean different bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lxml import etree

from domcaps_exporter import UnreadableAnswer

INDEX = "index.xml"
"""The file that names all others."""

FAMILIES = {"i686": "x86", "x86_64": "x86", "ppc64": "ppc64", "ppc64le": "ppc64"}
"""libvirt's arch → the part of the map that is read for it."""

SIZE_LIMIT = 4 * 1024 * 1024
"""The largest file that is read, in bytes: thirty times the largest of libvirt 12.8."""


class Register(NamedTuple):
    """A register of 32 bits: `cpuid` by leaf, subleaf and name, or `msr` by index (as `leaf`) and half, `eax` or `edx`."""

    space: str
    leaf: int
    subleaf: int
    name: str


class Chip(NamedTuple):
    """Family, model and stepping of a real processor."""

    family: int
    model: int
    stepping: int


@dataclass(frozen=True, slots=True)
class Signature:
    """The chips that a model stands for; no steppings mean all of them."""

    family: int
    model: int
    steppings: frozenset[int] = frozenset()

    def fits(self, chip: Chip) -> bool:
        """Is this one of them?"""
        return (self.family, self.model) == chip[:2] and (not self.steppings or chip.stepping in self.steppings)


@dataclass(frozen=True, slots=True)
class MappedFeature:
    """A feature in libvirt's spelling. `bits` is 0 where the map says it in words that are not known here."""

    name: str
    bits: int
    msr: bool = False


@dataclass(frozen=True, slots=True)
class MappedModel:
    """A named model, with what it has from its ancestor. `guest`: a host may be described by it, as a guest's CPU.

    `removed` are features that QEMU once had in it and that were taken out. `pvrs` are ppc64's (value, mask).
    """

    name: str
    vendor: str | None = None
    bits: int = 0
    signatures: tuple[Signature, ...] = ()
    removed: tuple[str, ...] = ()
    guest: bool = False
    pvrs: tuple[tuple[int, int], ...] = ()

    def fits(self, chip: Chip) -> bool:
        """Does it stand for this chip?"""
        return any(signature.fits(chip) for signature in self.signatures)


@dataclass(frozen=True)
class CpuMap:
    """One family's part of the map. Everything is in the files' order, and by name.

    Attributes:
        vendors: name → the 12 characters of CPUID leaf 0; empty on ppc64.
        canonical: name → the versioned model that it is another name of.
        registers: where each register's 32 bits begin.
    """

    vendors: Mapping[str, str]
    features: Mapping[str, MappedFeature]
    models: Mapping[str, MappedModel]
    canonical: Mapping[str, str]
    registers: Mapping[Register, int]

    @classmethod
    def parse(cls, files: Mapping[str, bytes], arch: str) -> CpuMap:
        """Read the files that `read_index` named, in its order.

        Raises:
            UnreadableAnswer: a file is no XML, or too large, or says something that makes no sense: then libvirt has no map either.
        """
        reader = _Reader()
        for name, data in files.items():
            root = _parse(name, data)
            try:
                reader.read(root)
            except (KeyError, ValueError) as error:
                raise UnreadableAnswer(f"{name}: {type(error).__name__}: {error}") from error
        return cls(reader.vendors, reader.features, reader.models, reader.canonical, reader.registers)

    def union(self, names: Iterable[str]) -> int:
        """The bits of all these features; names that the map does not know have none."""
        bits = 0
        for name in names:
            if (feature := self.features.get(name)) is not None:
                bits |= feature.bits
        return bits

    def spell(self, bits: int) -> list[str]:
        """The features that make up these bits, in the map's order. What a feature has taken is not there for the next."""
        names = []
        for name, own in self._spelling:
            if not bits:
                break
            if bits & own == own:
                bits ^= own
                names.append(name)
        return names

    @cached_property
    def _spelling(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, feature.bits) for name, feature in self.features.items() if feature.bits)

    def fewest(self, bits: int) -> int:
        """How many features it takes at least to spell these bits: a bit that is a feature by itself is spelt by one or another."""
        alone, widest = self._alone
        return -(-(bits & alone).bit_count() // widest)

    @cached_property
    def _alone(self) -> tuple[int, int]:
        """The bits that are features by themselves, and how many bits the widest feature has."""
        widths = [own.bit_count() for _, own in self._spelling]
        return sum({own for _, own in self._spelling if own.bit_count() == 1}), max(widths, default=1)

    def is_msr(self, name: str) -> bool:
        """Is this feature told by a model-specific register?"""
        feature = self.features.get(name)
        return feature is not None and feature.msr

    def place(self, register: Register, value: int) -> int:
        """A register's value as bits; a register of which the map knows no feature has none."""
        shift = self.registers.get(register)
        return 0 if shift is None else (value & 0xFFFFFFFF) << shift

    def vendor(self, string: str) -> str | None:
        """The name of the vendor with these 12 characters; None for one that libvirt does not know."""
        return next((name for name, known in self.vendors.items() if known == string), None)

    def with_pvr(self, pvr: int) -> MappedModel | None:
        """The model of a processor with this version register (ppc64)."""
        return next((model for model in self.models.values() if any(pvr & mask == value for value, mask in model.pvrs)), None)


def read_index(data: bytes, arch: str) -> tuple[str, ...]:
    """The files that index.xml includes for an architecture, in their order; none for one whose map is not read here.

    Raises:
        UnreadableAnswer: it is no XML, or a name is no plain file name.
    """
    family = FAMILIES.get(arch)
    parts = [part for part in _parse(INDEX, data).iterchildren("arch") if part.get("name") == family]
    names = tuple(include.get("filename", "") for part in parts for include in _includes(part))
    if strange := [name for name in names if not name or "/" in name]:
        raise UnreadableAnswer(f"{INDEX}: found {strange[0]!r} where a file's name was expected")
    return names


def _includes(part: etree._Element) -> Iterator[etree._Element]:
    yield from part.iterchildren("include")
    for group in part.iterchildren("group"):
        yield from group.iterchildren("include")


def _parse(name: str, data: bytes) -> etree._Element:
    if len(data) > SIZE_LIMIT:
        raise UnreadableAnswer(f"{name}: {len(data)} bytes; expected at most {SIZE_LIMIT}")
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableAnswer(f"{name}: expected XML, found: {error.msg}") from error
    if etree.DocInfo(root).internalDTD is not None:
        raise UnreadableAnswer(f"{name}: found a DOCTYPE; expected none")
    return root


class _Reader:
    """The map while it is being read. Later files build on earlier ones: a model names its ancestor and its features."""

    def __init__(self) -> None:
        self.vendors: dict[str, str] = {}
        self.features: dict[str, MappedFeature] = {}
        self.models: dict[str, MappedModel] = {}
        self.canonical: dict[str, str] = {}
        self.registers: dict[Register, int] = {}

    def read(self, root: etree._Element) -> None:
        for vendor in root.iterchildren("vendor"):
            self.vendors[_word(vendor, "name")] = vendor.get("string", "")
        for feature in root.iterchildren("feature"):
            self._feature(feature)
        for model in root.iterchildren("model"):
            self._model(model)

    def _feature(self, node: etree._Element) -> None:
        name, bits, msr = _word(node, "name"), 0, False
        for item in node.iterchildren("cpuid", "msr"):
            msr = msr or item.tag == "msr"
            for register, value in _registers(item):
                bits |= value << self.registers.setdefault(register, 32 * len(self.registers))
        self.features[name] = MappedFeature(name, bits, msr)

    def _model(self, node: etree._Element) -> None:
        name = _word(node, "name")
        ancestor = next((self.models[_word(one, "name")] for one in node.iterchildren("model")), None)
        inherited = MappedModel(name) if ancestor is None else ancestor
        listed = list(node.iterchildren("feature"))
        removed = tuple(_word(one, "name") for one in listed if one.get("removed") == "yes")
        own = [_word(one, "name") for one in listed if "yes" not in (one.get("removed"), one.get("added"))]
        vendor = next((_word(one, "name") for one in node.iterchildren("vendor")), None)
        signatures = tuple(_signature(one) for one in node.iterchildren("signature"))
        bits = inherited.bits & ~self._bits(inherited.removed) | self._bits(own)
        guest = any(one.get("guest") == "on" for one in node.iterchildren("decode"))
        pvrs = tuple((int(_word(one, "value"), 16), int(_word(one, "mask"), 16)) for one in node.iterchildren("pvr"))
        self.models[name] = MappedModel(
            name, vendor or inherited.vendor, bits, signatures or inherited.signatures, removed, guest, pvrs
        )
        # A model that adds nothing to its ancestor is its canonical name: the short names were in the map first.
        if ancestor is not None and not (listed or vendor or signatures):
            self.canonical[ancestor.name] = name

    def _bits(self, names: Iterable[str]) -> int:
        bits = 0
        for name in names:
            bits |= self.features[name].bits
        return bits


def _word(node: etree._Element, attribute: str) -> str:
    word = node.get(attribute)
    if word is None:
        raise ValueError(f"<{node.tag}> without {attribute!r}")
    return word


def _registers(item: etree._Element) -> Iterator[tuple[Register, int]]:
    place = ("msr", int(_word(item, "index"), 0), 0) if item.tag == "msr" else _leaf(item)
    for name in ("eax", "ebx", "ecx", "edx"):
        if value := int(item.get(name, "0"), 0):
            yield Register(*place, name), value


def _leaf(item: etree._Element) -> tuple[str, int, int]:
    return "cpuid", int(_word(item, "eax_in"), 0), int(item.get("ecx_in", "0"), 0)


def _signature(node: etree._Element) -> Signature:
    return Signature(int(_word(node, "family")), int(_word(node, "model")), _steppings(node.get("stepping", "")))


_LAST_STEPPING = 15
"""CPUID has four bits for it."""


def _steppings(text: str) -> frozenset[int]:
    """`0-4,7` as numbers."""
    spans = [span.partition("-") for span in text.split(",") if span]
    bounds = [(int(first), int(last or first)) for first, _, last in spans]
    if any(last > _LAST_STEPPING for _, last in bounds):
        raise ValueError(f"stepping {text!r}")
    return frozenset(step for first, last in bounds for step in range(first, last + 1))

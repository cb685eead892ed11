"""The parts of the document that are numbers and lists rather than enums: loader paths, SEV, SGX, Hyper-V. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domcaps_exporter import Element, Truth, question
from domcaps_exporter.qmp import command, flag, granted, number, objects, text
from domcaps_exporter.rules import Need, ValueRow, value
from domcaps_qemu.replies import expansion
from domcaps_qemu.world import World


def leaf(name: str, text: object, *attributes: tuple[str, str]) -> Element:
    """`<name>text</name>`."""
    return Element(name, attributes, str(text))


def loader_paths(world: World) -> tuple[Element, ...]:
    """The firmware files that libvirt lists."""
    return tuple(leaf("value", path) for path in world.firmware.listed())


# ---- SEV ---------------------------------------------------------------------------------------------------------------------


def registers(data: bytes) -> tuple[int, int, int, int]:
    """CPUID's answer: EAX, EBX, ECX, EDX."""
    eax, ebx, ecx, edx = (int.from_bytes(bytes.fromhex(word.zfill(8).decode()), "big") for word in data.split())
    return eax, ebx, ecx, edx


def sev_guests(world: World) -> tuple[int, int] | None:
    """How many SEV and SEV-ES guests the host's ASIDs allow: CPUID 0x8000001F, ECX the highest, EDX the lowest one without ES."""
    told = world.view.form(question("cpuid", "8000001f", "0"), registers)
    if not isinstance(told, tuple):
        return None
    _, _, highest, lowest = told
    return (highest - lowest + 1, lowest - 1) if highest and lowest else (0, 0)


def sev_numbers(world: World) -> tuple[Element, ...]:
    """The children of `<sev>`."""
    told = world.here(_sev, "query-sev-capabilities")
    if not told:
        return ()
    bit, reduced, cpu0_id = told
    guests, es_guests = sev_guests(world) or (0, 0)
    return (
        leaf("cbitpos", bit),
        leaf("reducedPhysBits", reduced),
        leaf("maxGuests", guests),
        leaf("maxESGuests", es_guests),
        *((leaf("cpu0Id", cpu0_id),) if cpu0_id is not None and world.since(10, 0) else ()),
    )


def _sev(line: bytes) -> tuple[int, int, str | None] | tuple[()]:
    """query-sev-capabilities: the C-bit's position, the bits it costs, and the first processor's identifier (since 7.1)."""
    told = granted(line)
    if told is None:
        return ()
    return number(told["cbitpos"]), number(told["reduced-phys-bits"]), text(told["cpu0-id"]) if "cpu0-id" in told else None


# ---- SGX ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sgx:
    """query-sgx-capabilities: (name, is it there) of each part, and (node, bytes) of each section, None before QEMU 7.0."""

    parts: tuple[tuple[str, bool], ...]
    sections: tuple[tuple[int, int], ...] | None
    size: int | None


def _sgx(line: bytes) -> Sgx | tuple[()]:
    told = granted(line)
    if told is None:
        return ()
    parts = tuple((name, flag(told[name])) for name in ("flc", "sgx1", "sgx2"))
    sections = (
        tuple((number(one["node"]), number(one["size"])) for one in objects(told["sections"])) if "sections" in told else None
    )
    return Sgx(parts, sections, number(told["section-size"]) if "section-size" in told else None)


def sgx_sections(world: World) -> Truth:
    """Does QEMU tell this host's EPC sections (since 7.0)?"""
    told = world.here(_sgx, "query-sgx-capabilities")
    return None if told is None else isinstance(told, Sgx) and told.sections is not None


def sgx_numbers(world: World) -> tuple[Element, ...]:
    """The children of `<sgx>`; sizes in KiB."""
    told = world.here(_sgx, "query-sgx-capabilities")
    if not told or told.sections is None:
        return ()
    kib = ("unit", "KiB")
    sections = [(node, size // 1024) for node, size in told.sections]
    whole = sum(size for _, size in sections) if told.size is None else told.size // 1024
    parts = tuple(Element("section", (("node", str(node)), ("size", str(size)), kib)) for node, size in sections)
    flags = tuple(leaf(name, "yes" if there else "no") for name, there in told.parts)
    return (*flags, leaf("section_size", whole, kib), Element("sections", children=parts))


# ---- Hyper-V -----------------------------------------------------------------------------------------------------------------

HYPERV = (
    "relaxed vapic spinlocks vpindex runtime synic stimer reset vendor_id frequencies reenlightenment tlbflush ipi evmcs avic "
    "emsr_bitmap xmm_input"
).split()
_HYPERV_11 = ("emsr_bitmap", "xmm_input")


_EVERYTHING = command(
    "query-cpu-model-expansion", model={"name": "host", "props": {"hv-passthrough": True, "migratable": False}}, type="full"
)


def hyperv_answer(world: World) -> Mapping[str, Any] | None:
    """The host CPU's properties with all enlightenments passed through; empty where QEMU refused, None where nobody knows."""
    if not world.accelerated:
        return {}
    told = world.here(expansion, _EVERYTHING)
    return None if told is None else told["props"] if told else {}


def _hyperv(name: str) -> Need[World]:
    def met(world: World) -> Truth:
        told = hyperv_answer(world)
        if told is None:
            return None
        found = told.get(f"hv-{name}", told.get(f"hv-{name.replace('_', '-')}"))
        if name == "spinlocks" and isinstance(found, bool):
            return False  # it is a number of retries
        return found > 0 if isinstance(found, int) else isinstance(found, str)

    return Need(f"qemu-hyperv:{name}", met)


def hyperv_values() -> tuple[ValueRow[World], ...]:
    """One row per enlightenment."""
    return tuple(value(name, _hyperv(name), since=(10, 0) if name in _HYPERV_11 else (0, 0)) for name in HYPERV)


def hyperv_any(world: World) -> Truth:
    """libvirt leaves the element out where no enlightenment is set."""
    told = [_hyperv(name).met(world) for name in HYPERV]
    return None if None in told else True in told


def hyperv_defaults(world: World) -> tuple[Element, ...]:
    """`<defaults>`: what libvirt switches on with the enlightenments; left out where there is nothing to say."""
    told = hyperv_answer(world) or {}
    children: list[Element] = []
    spinlocks = told.get("hv-spinlocks")
    if _hyperv("spinlocks").met(world) and isinstance(spinlocks, int) and 0 < spinlocks < 2**32 - 1:
        children.append(leaf("spinlocks", spinlocks))
    for name, option, feature in (
        ("stimer_direct", "hv-stimer-direct", "stimer"),
        ("tlbflush_direct", "hv-tlbflush-direct", "tlbflush"),
        ("tlbflush_extended", "hv-tlbflush-ext", "tlbflush"),
    ):
        if _hyperv(feature).met(world):
            children.append(leaf(name, "on" if told.get(option) is True else "off"))
    vendor = told.get("hv-vendor-id")
    if _hyperv("vendor_id").met(world) and isinstance(vendor, str) and vendor:
        children.append(leaf("vendor_id", vendor))
    return (Element("defaults", children=tuple(children)),) if children else ()

"""The parts of the document that are numbers and lists rather than enums: loader paths, SEV, SGX, Hyper-V. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domcaps_exporter import Element, Truth, question
from domcaps_exporter.rules import Need, ValueRow, value
from domcaps_qemu.world import World, reply


def leaf(name: str, text: object, *attributes: tuple[str, str]) -> Element:
    """`<name>text</name>`."""
    return Element(name, attributes, str(text))


def loader_paths(world: World) -> tuple[Element, ...]:
    """The firmware files that libvirt lists."""
    return tuple(leaf("value", path) for path in world.firmware.listed())


# ---- SEV ---------------------------------------------------------------------------------------------------------------------


def sev_guests(world: World) -> tuple[int, int] | None:
    """How many SEV and SEV-ES guests the host's ASIDs allow: CPUID 0x8000001F, ECX the highest, EDX the lowest one without ES."""
    registers = (world.view.text(question("cpuid", "8000001f", "0")) or "").split()
    if len(registers) != 4:
        return None
    highest, lowest = int(registers[2], 16), int(registers[3], 16)
    return (highest - lowest + 1, lowest - 1) if highest and lowest else (0, 0)


def sev_numbers(world: World) -> tuple[Element, ...]:
    """The children of `<sev>`."""
    answer = world.here(reply, "query-sev-capabilities")
    if answer is None or answer.value is None:
        return ()
    told: Mapping[str, Any] = answer.value
    guests, es_guests = sev_guests(world) or (0, 0)
    cpu0_id = (leaf("cpu0Id", told["cpu0-id"]),) if "cpu0-id" in told and world.profile >= (10, 0) else ()
    return (
        leaf("cbitpos", int(told["cbitpos"])),
        leaf("reducedPhysBits", int(told["reduced-phys-bits"])),
        leaf("maxGuests", guests),
        leaf("maxESGuests", es_guests),
        *cpu0_id,
    )


def sev_es_slots(world: World) -> Truth:
    """Does the host leave ASIDs to SEV-ES guests?"""
    guests = sev_guests(world)
    return None if guests is None else guests[1] > 0


def sev_slots(world: World) -> Truth:
    """Does the host leave ASIDs to SEV guests?"""
    guests = sev_guests(world)
    return None if guests is None else guests[0] > 0


# ---- SGX ---------------------------------------------------------------------------------------------------------------------


def sgx_sections(world: World) -> Truth:
    """Does QEMU tell this host's EPC sections (since 7.0)?"""
    answer = world.here(reply, "query-sgx-capabilities")
    return None if answer is None else answer.value is not None and "sections" in answer.value


def sgx_numbers(world: World) -> tuple[Element, ...]:
    """The children of `<sgx>`; sizes in KiB."""
    answer = world.here(reply, "query-sgx-capabilities")
    if answer is None or answer.value is None:
        return ()
    told: Mapping[str, Any] = answer.value
    sections = [(int(one["node"]), int(one["size"]) // 1024) for one in told["sections"]]
    whole = int(told["section-size"]) // 1024 if "section-size" in told else sum(size for _, size in sections)
    flags = tuple(leaf(name, "yes" if told[name] else "no") for name in ("flc", "sgx1", "sgx2"))
    kib = ("unit", "KiB")
    parts = tuple(Element("section", (("node", str(node)), ("size", str(size)), kib)) for node, size in sections)
    return (*flags, leaf("section_size", whole, kib), Element("sections", children=parts))


# ---- Hyper-V -----------------------------------------------------------------------------------------------------------------

HYPERV = (
    "relaxed vapic spinlocks vpindex runtime synic stimer reset vendor_id frequencies reenlightenment tlbflush ipi evmcs avic "
    "emsr_bitmap xmm_input"
).split()
_HYPERV_11 = ("emsr_bitmap", "xmm_input")


def hyperv_answer(world: World) -> Mapping[str, Any] | None:
    """The host CPU's properties with all enlightenments passed through; empty where QEMU refused, None where nobody knows."""
    asked = {"model": {"name": "host", "props": {"hv-passthrough": True, "migratable": False}}, "type": "full"}
    answer = world.here(reply, "query-cpu-model-expansion", **asked)
    if answer is None:
        return None
    return answer.value["model"]["props"] if answer.error is None else {}


def _hyperv(name: str) -> Need[World]:
    def met(world: World) -> Truth:
        told = hyperv_answer(world)
        if told is None:
            return None
        found = told.get(f"hv-{name}", told.get(f"hv-{name.replace('_', '-')}"))
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

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from domcaps_exporter.document import read
from domcaps_exporter.model import CpuMode, Document
from domcaps_qemu.cpu import PASSTHROUGH_ONLY, CpuFacts, cpu_section
from domcaps_qemu.cpu_map import INDEX, CpuMap, read_index

PROFILE = (11, 3)
DEFINITIONS = [
    {"name": "max", "unavailable-features": []},
    {"name": "host", "unavailable-features": []},
    {"name": "EPYC", "unavailable-features": []},
    {"name": "Broadwell", "unavailable-features": ["rtm"]},
]


# ---- the modes, by hand ------------------------------------------------------------------------------------------------------


def facts(**changed: Any) -> CpuFacts:
    plain: dict[str, Any] = {
        "arch": "x86_64",
        "target": "x86_64",
        "passthrough_only": False,
        "virttype": "kvm",
        "native": True,
        "profile": PROFILE,
        "cpu_map": None,
        "definitions": DEFINITIONS,
        "knows_max": True,
        "migratable": True,
    }
    return CpuFacts(**(plain | changed))


def test_the_modes_come_in_libvirts_order() -> None:
    assert [mode.name for mode in cpu_section(facts()).modes] == ["host-passthrough", "maximum", "host-model", "custom"]


def test_registers_that_nobody_may_read_leave_the_host_model_open() -> None:
    cpu_map = CpuMap.parse({"x86.xml": b"<cpus><model name='EPYC'><decode host='on' guest='on'/></model></cpus>"}, "x86_64")
    seen = {"cpu_map": cpu_map, "expansion": {}, "leaves": {(0, 0): (0, 0, 0, 0)}}
    assert cpu_section(facts(**seen)).truths["host-model"] is True
    assert cpu_section(facts(**seen)).modes[2].supported
    assert not cpu_section(facts(**seen, msrs=None)).modes[2].supported


@pytest.mark.parametrize(
    ("changed", "supported"),
    [({}, True), ({"virttype": "hvf"}, True), ({"virttype": "qemu"}, False), ({"native": False}, False)],
)
def test_only_an_accelerated_guest_of_the_hosts_own_kind_has_the_hosts_cpu(changed: dict[str, Any], supported: bool) -> None:
    section = cpu_section(facts(**changed))
    assert section.modes[0].supported is supported
    assert section.truths["host-passthrough"] is supported


@pytest.mark.parametrize(("migratable", "values"), [(True, ("on", "off")), (False, ("off",)), (None, ("off",))])
def test_the_hosts_cpu_migrates_where_the_property_is_there(migratable: bool | None, values: tuple[str, ...]) -> None:
    assert cpu_section(facts(migratable=migratable)).modes[0].enums[0].values == values


def test_a_mode_that_nobody_knows_of_is_written_as_missing_and_is_no_loss() -> None:
    section = cpu_section(facts(definitions=None, knows_max=None))
    assert [mode.supported for mode in section.modes[1:]] == [False, False, False]
    assert [section.truths[mode.name] for mode in section.modes[1:]] == [None, None, None]


def test_without_libvirts_map_a_host_model_cannot_be_written_but_a_guest_can_have_it() -> None:
    section = cpu_section(facts(expansion={"name": "base", "props": {"sse2": True}}))
    assert not section.modes[2].supported
    assert section.truths["host-model"] is True


def test_a_power_host_whose_version_register_nobody_read_has_an_unknown_host_model() -> None:
    power = facts(arch="ppc64le", target="ppc64", definitions=[{"name": "power9"}])
    assert cpu_section(power).truths["host-model"] is None


@pytest.mark.parametrize("target", ["aarch64", "loongarch64", "riscv64", "mips"])
def test_other_architectures_have_no_host_model(target: str) -> None:
    section = cpu_section(facts(arch=target, target=target, expansion={"name": "base", "props": {}}))
    assert section.truths["host-model"] is False


def test_an_old_s390_machine_has_nothing_but_the_hosts_cpu() -> None:
    old = {"arch": "s390x", "target": "s390x", "expansion": {"name": "z14", "props": {}}}
    assert [mode.supported for mode in cpu_section(facts(**old, passthrough_only=True)).modes] == [True, False, False, False]
    assert [mode.supported for mode in cpu_section(facts(**old, virttype="qemu")).modes] == [False, True, True, True]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"address_bits": 48}, (("mode", "passthrough"), ("limit", "48"))),
        ({"address_bits": 0}, None),
        ({"address_bits": 48, "virttype": "qemu"}, None),
        ({"address_bits": 48, "profile": (9, 0)}, None),
    ],
)
def test_address_bits_are_written_for_accelerated_guests_by_newer_libvirts(
    changed: dict[str, Any], expected: tuple[tuple[str, str], ...] | None
) -> None:
    s390 = {"arch": "s390x", "target": "s390x", "expansion": {"name": "z14"}}
    model = cpu_section(facts(**s390, **changed)).modes[2].host_model
    assert model is not None
    assert model.maxphysaddr == expected


# ---- libvirt's own recordings ------------------------------------------------------------------------------------------------
# The world is that of libvirt's domaincapstest.c: the host is what was recorded, with 64 bits of physical address (0 on s390), and
# its processor, where libvirt asks it, a POWER8 that nobody made.

CORPUS = Path(os.environ.get("DOMCAPS_LIBVIRT_CORPUS", ""))
POWER8 = 0x004B0000


def recording(document: Path) -> Path:
    version, arch = re.fullmatch(r"qemu_([0-9.]+)(?:-[^.]+)?\.([^.]+(?:\+\w+)?)\.xml", document.name).groups()  # type: ignore[union-attr]
    return CORPUS / "qemucapabilitiesdata" / f"caps_{version}_{arch}.replies"


def documents() -> list[Any]:
    if "DOMCAPS_LIBVIRT_CORPUS" not in os.environ:
        why = "needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS does not say where it is"
        return [pytest.param(CORPUS, marks=pytest.mark.skip(reason=why))]
    found = sorted(path for path in (CORPUS / "domaincapsdata").glob("qemu_*.xml") if recording(path).exists())
    return list(found) or [CORPUS / "domaincapsdata"]


class Launch:
    """One launch of a recording: what was asked, in order, and what QEMU returned (None for an error)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any], Any]] = []

    def answer(self, command: str, **arguments: object) -> Any:
        return next((answer for name, given, answer in self.asked if (name, given) == (command, arguments)), None)

    def expansion(self, model: str, **props: object) -> Any:
        asked = {"name": model, "props": props} if props else {"name": model}
        answer = self.answer("query-cpu-model-expansion", type="static", model=asked)
        return None if answer is None else answer["model"]

    def has_property(self, typename: str, name: str) -> bool:
        listed = self.answer("qom-list-properties", typename=typename)
        return any(one["name"] == name for one in listed or ())


@cache
def recorded_launches(path: Path) -> Sequence[Launch]:
    launches: list[Launch] = []
    parts = [json.loads(part) for part in path.read_text().split("\n\n") if part.strip()]
    for asked, answer in zip(parts[::2], parts[1::2], strict=True):
        if asked["execute"] == "qmp_capabilities":
            launches.append(Launch())
        launches[-1].asked.append((asked["execute"], asked.get("arguments", {}), answer.get("return")))
    return launches


@cache
def corpus_map(arch: str) -> CpuMap | None:
    folder = CORPUS / "cpu_map"
    files = {name: (folder / name).read_bytes() for name in read_index((folder / INDEX).read_bytes(), arch)}
    return CpuMap.parse(files, arch) if files else None


def recorded_facts(document: Document, launches: Sequence[Launch]) -> CpuFacts:
    first = launches[0]
    kvm = (first.answer("query-kvm") or {}).get("enabled", False)
    accelerator = "kvm" if kvm else "hvf" if len(launches) > 1 else "qemu"
    answering = first if document.domain == accelerator else launches[-1] if document.domain == "qemu" else Launch()
    listed = [launch.answer("query-cpu-definitions") or [] for launch in launches]
    target = {"i386": "i686", "arm": "armv7l"}.get(*[first.answer("query-target")["arch"]] * 2)
    model = "host" if answering is first else "max"
    return CpuFacts(
        arch=document.arch,
        target=target,
        passthrough_only=document.domain == "kvm" and document.machine in PASSTHROUGH_ONLY,
        virttype=document.domain,
        native=True,
        profile=PROFILE,
        cpu_map=corpus_map(target),
        definitions=answering.answer("query-cpu-definitions") or [],
        expansion=answering.expansion(model),
        unmigratable=answering.expansion(model, migratable=False),
        knows_max=any(one["name"] == "max" for models in listed for one in models),
        migratable=first.has_property("max-x86_64-cpu", "migratable") or first.has_property("max-arm-cpu", "migratable"),
        unavailable_features=first.has_property("max-x86_64-cpu", "unavailable-features"),
        address_bits=0 if target == "s390x" else 64,
        pvr=POWER8,
    )


def as_mocked(mode: CpuMode) -> CpuMode:
    model = mode.host_model
    return mode if model is None or model.fallback != "allow" else replace(mode, host_model=replace(model, vendor=None))


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.stem)
def test_the_whole_section_is_what_libvirt_says(path: Path) -> None:
    document = read(path.read_bytes(), path.name)
    section = cpu_section(recorded_facts(document, recorded_launches(recording(path))))
    assert document.cpu is not None
    assert tuple(as_mocked(mode) for mode in section.modes) == document.cpu.modes

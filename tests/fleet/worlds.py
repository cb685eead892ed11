"""The facts of simulated hosts: what real QEMUs said, on a host that can do everything, less what was taken away. Reads recordings.

The answers of QEMU 7.2, 10.0 and 11.1 are recorded (see README.md); processors, firmware, devices and programs are made up.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from domcaps_exporter import ABSENT, Answer, Facts, Question, Report, question
from domcaps_exporter.basis import Basis, basis, standing
from domcaps_exporter.document import write
from domcaps_exporter.view import Parsed, View, gather
from domcaps_libvirt import describe as libvirt
from domcaps_libvirt.settings import Wanted as WantedOfLibvirt
from domcaps_qemu.describe import reports
from domcaps_qemu.processor import SECURITY_AND_MIGRATION
from domcaps_qemu.settings import Wanted

RECORDINGS = Path(__file__).parent / "recordings"
QEMU = "/usr/bin/qemu-system-x86_64"
URI = "qemu:///system"
QEMUS = ("7.2", "10.0", "11.1")
CPUS: Mapping[str, tuple[str, ...]] = {
    "rome": ("EPYC", "EPYC-IBPB", "EPYC-Rome", "Opteron_G1", "Opteron_G2", "Opteron_G3", "kvm64", "qemu64"),
    "milan": ("EPYC", "EPYC-IBPB", "EPYC-Rome", "EPYC-Milan", "Opteron_G1", "Opteron_G2", "Opteron_G3", "kvm64", "qemu64"),
}
"""Made-up processors, by the models that are usable on them; they have every feature that the exporter tells of."""

Told: TypeAlias = dict[Question, Answer]
Definition: TypeAlias = dict[str, Any]
Lack: TypeAlias = Callable[[Told], None]

_SEV = {"cbitpos": 51, "reduced-phys-bits": 1}
_REFUSED = b'{"error": {"class": "GenericError", "desc": "SEV is not enabled in KVM"}}'
_RELEASE = "6.12.0-amd64"
_FIRMWARE = "/usr/share/OVMF"
_DESCRIPTORS = "/usr/share/qemu/firmware"


@dataclass(frozen=True, slots=True)
class World:
    """One state of a host. `lacks` are names of `LACKS`; `machine` is the version that its machines are renamed to ("10.2")."""

    qemu: str = "10.0"
    cpu: str = "milan"
    lacks: frozenset[str] = frozenset()
    machine: str = ""
    machines: tuple[str, ...] = ()

    def without(self, *things: str) -> World:
        return replace(self, lacks=self.lacks | set(things))

    def having(self, *things: str) -> World:
        return replace(self, lacks=self.lacks - set(things))


@cache
def described(world: World) -> tuple[Report, ...]:
    """What the driver for QEMU makes of it: the same object for the same world."""
    return _understood(world, facts(world))


def hindsight(world: World, earlier: Basis) -> tuple[Report, ...]:
    """What it makes of nothing but the answers that are as they were."""
    return _understood(world, standing(facts(world), earlier))


@cache
def heard(world: World) -> Mapping[str, str]:
    """What an exporter remembers of its answers."""
    return basis("", facts(world)).heard


def _understood(world: World, told: Facts) -> tuple[Report, ...]:
    understood: list[tuple[Report, ...]] = []

    def understand(view: View) -> None:
        understood.append(tuple(reports(view, Wanted(machines={"": world.machines} if world.machines else {}))))

    gather(understand, lambda missing: dict.fromkeys(missing, ABSENT), _parsed(world.qemu), told)
    return understood[-1]


@cache
def _parsed(_qemu: str) -> Parsed:
    """Most answers of one QEMU are the same in all worlds: they are read once."""
    return Parsed()


@cache
def retold(world: World) -> tuple[Report, ...]:
    """What the driver for libvirt makes of a libvirt that answers for that world."""
    told: dict[Question, Answer] = {libvirt.host(URI): CAPABILITIES.encode()}
    for report in described(world):
        if report.document is not None:
            guest = report.identity
            asked = question("libvirt", URI, "domcapabilities", QEMU, guest.arch, guest.machine, guest.virttype)
            told[asked] = write(report.document)
    return tuple(libvirt.reports(View(told), WantedOfLibvirt(uris=(URI,))))


CAPABILITIES = f"""<capabilities><host><cpu><arch>x86_64</arch></cpu></host><guest><arch name='x86_64'>
<emulator>{QEMU}</emulator><machine>q35</machine><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>"""


# ---- a host that can do everything -------------------------------------------------------------------------------------------


@cache
def recorded(qemu: str) -> Facts:
    """What a QEMU said."""
    answers = json.loads(lzma.decompress((RECORDINGS / f"qemu-{qemu}.json.xz").read_bytes()))
    return {question(kind, *args): text.encode() for kind, args, text in answers}


def facts(world: World) -> Facts:
    """The host's answers; what is not among them is absent."""
    told = {**recorded(world.qemu), **_host()}
    _able(told, CPUS[world.cpu])
    for lack in sorted(world.lacks):
        LACKS[lack](told)
    return {one: _renamed(answer, world.qemu, world.machine) for one, answer in told.items()} if world.machine else told


def _host() -> dict[Question, Answer]:
    devices = ("/dev/kvm", "/dev/vfio/vfio", "/dev/iommu", "/dev/sev", "/dev/tpm0")
    programs = ("swtpm", "swtpm_setup", "swtpm_ioctl", "virtiofsd", "passt")
    descriptors = {"40-secure.json": _descriptor("secure", "secure-boot", "requires-smm"), "60-plain.json": _descriptor("plain")}
    files = (f"{_FIRMWARE}/{name}.fd" for name in ("secure", "secure.vars", "plain", "plain.vars"))
    return {
        question("uname"): f"Linux\0{_RELEASE}\0x86_64".encode(),
        question("which", "qemu-system-x86_64"): QEMU.encode(),
        question("exec", QEMU): b"yes",
        question("program", QEMU): b"regular 1 1 1 1 1 755 0 0",
        question("resolve", QEMU): QEMU.encode(),
        question("access", "/dev/kvm", "rw", ""): b"yes",
        question("cpuid", "8000001f", "0"): b"0 0 1fd 64",
        question("list", "/sys/kernel/iommu_groups"): b"0\x001\x002",
        question("list", "/dev/vfio"): b"devices\0vfio",
        question("list", "/dev/dri"): b"card0\0renderD128",
        question("exists", "/sys/bus/pci/drivers/vfio-pci"): b"directory",
        question("exists", "/dev/vfio/devices"): b"directory",
        question("read", "/sys/module/kvm_amd/parameters/sev"): b"Y",
        question("within", "3", "swtpm_setup", "--print-capabilities"): b'{"type":"swtpm_setup","features":["tpm-1.2","tpm-2.0"]}',
        question("list", _DESCRIPTORS): "\0".join(descriptors).encode(),
        **{question("exists", path): b"device" for path in devices},
        **{question("access", path, "rw", ""): b"yes" for path in devices},
        **{question("which", name): f"/usr/bin/{name}".encode() for name in programs},
        **{question("read", f"{_DESCRIPTORS}/{name}"): text.encode() for name, text in descriptors.items()},
        **{question("exists", path): b"file" for path in files},
    }


def _descriptor(name: str, *features: str) -> str:
    """Of a UEFI, as QEMU's docs/interop/firmware.json has them."""
    executable, template = ({"filename": f"{_FIRMWARE}/{file}.fd", "format": "raw"} for file in (name, f"{name}.vars"))
    return json.dumps(
        {
            "description": name,
            "interface-types": ["uefi"],
            "mapping": {"device": "flash", "executable": executable, "nvram-template": template},
            "targets": [{"architecture": "x86_64", "machines": ["*"]}],
            "features": list(features),
            "tags": [],
        }
    )


def _able(told: Told, models: tuple[str, ...]) -> None:
    """A whole processor, and SEV."""
    _edit(told, "query-cpu-definitions", lambda definitions: [_usable(one, models) for one in definitions])
    _edit(told, "query-cpu-model-expansion", lambda model: _having(model, SECURITY_AND_MIGRATION, offered=True))
    _edit(told, "query-sev-capabilities", lambda _: {**dict.fromkeys(("pdh", "cert-chain", "cpu0-id"), ""), **_SEV})


def _edit(told: Told, command: str, change: Callable[[Any], object]) -> None:
    """Change what QEMU returned to a command, whatever its arguments."""
    for one, answer in told.items():
        if one.kind == "qmp" and one.args[2].split()[0] == command and isinstance(answer, bytes):
            told[one] = json.dumps({"return": change(json.loads(answer).get("return"))}).encode()


def _usable(definition: Definition, models: tuple[str, ...]) -> Definition:
    listed = definition["name"].partition("-v")[0] in models
    return {**definition, "unavailable-features": []} if listed else definition


def _having(expansion: Any, features: Iterable[str], *, offered: bool) -> Any:
    model = expansion["model"]
    return {**expansion, "model": {**model, "props": {**model["props"], **dict.fromkeys(features, offered)}}}


def _renamed(answer: Answer, old: str, new: str) -> Answer:
    """A QEMU whose newest machines have another version in their names."""
    return answer.replace(f'-{old}"'.encode(), f'-{new}"'.encode()) if isinstance(answer, bytes) else answer


# ---- what can be taken away --------------------------------------------------------------------------------------------------


def _gone(*questions: Question) -> Lack:
    def take(told: Told) -> None:
        for one in questions:
            told.pop(one, None)

    return take


def _empty(folder: str) -> Lack:
    return lambda told: told.update({question("list", folder): b""})


def _without_kvm(told: Told) -> None:
    for one in [one for one in told if one.args[:1] == ("/dev/kvm",)]:
        del told[one]
    _edit(told, "query-kvm", lambda _: {"enabled": False, "present": True})


def _without_kvm_built_in(told: Told) -> None:
    """Another QEMU by the same name."""
    _edit(told, "query-kvm", lambda _: {"enabled": False, "present": False})
    _edit(told, "query-accelerators", lambda _: {"enabled": "tcg", "present": ["tcg"]})


def _without_access(told: Told) -> None:
    told[question("access", "/dev/kvm", "rw", "")] = b"no"


def _without_asids(told: Told) -> None:
    """The firmware gives all of them to SEV, and none to SEV-ES."""
    told[question("cpuid", "8000001f", "0")] = b"0 0 1fd 1"


def _without_sev(told: Told) -> None:
    told.update({one: _REFUSED for one in told if one.kind == "qmp" and one.args[2] == "query-sev-capabilities"})


def _without_feature(feature: str, *models: str) -> Lack:
    """A feature of the processor, and what hangs on it: models, with their versions."""

    def block(definition: Definition) -> Definition:
        blocked = definition["name"].partition("-v")[0] in models
        return {**definition, "unavailable-features": [feature]} if blocked else definition

    def take(told: Told) -> None:
        _edit(told, "query-cpu-model-expansion", lambda model: _having(model, (feature,), offered=False))
        _edit(told, "query-cpu-definitions", lambda definitions: [block(one) for one in definitions])

    return take


def _without_nodes(told: Told) -> None:
    """A kernel without CONFIG_VFIO_DEVICE_CDEV, with a device bound."""
    del told[question("exists", "/dev/vfio/devices")]
    told[question("list", "/dev/vfio")] = b"12\0vfio"


LACKS: Mapping[str, Lack] = {
    "kvm": _without_kvm,
    "kvm-build": _without_kvm_built_in,
    "kvm-access": _without_access,
    "iommu": _empty("/sys/kernel/iommu_groups"),
    "vfio": _gone(question("exists", "/dev/vfio/vfio")),
    "vfio-nodes": _without_nodes,
    "plain-file": _gone(question("exists", f"{_FIRMWARE}/plain.fd")),
    "secure-file": _gone(question("exists", f"{_FIRMWARE}/secure.fd")),
    "descriptors": _empty(_DESCRIPTORS),
    "swtpm": _gone(*(question("which", name) for name in ("swtpm", "swtpm_setup", "swtpm_ioctl"))),
    "tpm": _gone(question("exists", "/dev/tpm0")),
    "virtiofsd": _gone(question("which", "virtiofsd")),
    "passt": _gone(question("which", "passt")),
    "sev": _without_sev,
    "sev-es": _without_asids,
    "smep": _without_feature("smep"),
    "invtsc": _without_feature("invtsc"),
    "erms": _without_feature("erms", "EPYC-Milan"),
}
"""By name: each takes something out of the facts."""

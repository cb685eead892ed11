"""libvirt's own recordings of QEMU, and the mocked host in which libvirt's tests answer from them.

A corpus folder holds `qemucapabilitiesdata/*.replies`, `domaincapsdata/qemu_*.xml`, `qemufirmwaredata/` and `cpu_map/` as libvirt's
source release has them under tests/ and src/. The host is the one that libvirt's tests/domaincapstest.c and its mocks make up.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from domcaps_exporter import ABSENT, Answer, Cpu, Document, Element, Enum, Question, Verdict
from domcaps_exporter.qmp import command
from domcaps_exporter.view import Parsed, View, gather
from domcaps_qemu.describe import Words, document, words
from domcaps_qemu.emulators import Emulator, emulators
from domcaps_qemu.machines import Machine, default, named
from domcaps_qemu.settings import Wanted
from domcaps_qemu.world import ACCELERATED, BINARY, EMULATED, Guest, World

PROFILE = (11, 3)
_NAME = re.compile(
    r"qemu_(?P<version>[0-9.]+)(?:-(?P<virt>tcg|hvf))?(?:-(?P<machine>[^.]+))?\.(?P<arch>[^.+]+)(?P<variant>\+.*)?\.xml"
)
_FIRMWARE = {"/usr/share/qemu/firmware": ("usr/share",), "/etc/qemu/firmware": ("etc", "home/user/.config")}


def folder() -> Path:
    """The corpus, or a skip."""
    named_folder = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    if not named_folder:
        pytest.skip("needs libvirt's corpus: DOMCAPS_LIBVIRT_CORPUS names no folder")
    return Path(named_folder)


@dataclass(frozen=True)
class Recorded:
    """One expected document and the recording it was made from."""

    expected: Path
    replies: Path
    arch: str
    version: tuple[int, int]
    virttype: str
    machine: str | None

    @property
    def emulator(self) -> str:
        return f"/usr/bin/qemu-system-{ {'i686': 'i386', 'armv7l': 'arm'}.get(self.arch, self.arch) }"


def recorded(root: Path) -> list[Recorded]:
    """Every document of QEMU's whose recording is there too."""
    found = []
    for expected in sorted((root / "domaincapsdata").glob("qemu_*.xml")):
        match = _NAME.fullmatch(expected.name)
        assert match is not None, expected
        replies = root / "qemucapabilitiesdata" / f"caps_{match['version']}_{match['arch']}{match['variant'] or ''}.replies"
        major, minor, *_ = map(int, match["version"].split("."))
        virttype = {None: "kvm", "tcg": "qemu", "hvf": "hvf"}[match["virt"]]
        if replies.exists():
            found.append(Recorded(expected, replies, match["arch"], (major, minor), virttype, match["machine"]))
    return found


def conversation(text: str) -> list[dict[str, bytes]]:
    """The sessions of a recording: command (as a question's argument) → reply, the first of equal commands."""
    parts = [json.loads(part) for part in re.split(r"\n\s*\n", text) if part.strip()]
    sessions: list[dict[str, bytes]] = []
    for asked, reply in zip(parts[::2], parts[1::2], strict=True):
        if asked["execute"] == "qmp_capabilities":
            sessions.append({})
        sessions[-1].setdefault(command(asked["execute"], **asked.get("arguments", {})), json.dumps(reply).encode())
    return sessions


class MockedHost:
    """The host of libvirt's tests, for one recording; `ask` is what a probe would be answered there."""

    def __init__(self, root: Path, case: Recorded) -> None:
        first, *second = conversation(case.replies.read_text())
        self._root, self.case = root, case
        self.accelerated = bool(second)
        self._kinds: Mapping[str, Callable[..., Answer]] = {
            "qmp": self._qmp,
            "list": self._list,
            "read": self._read,
            "kvm": lambda extension: b"2147483647" if extension == "66" else ABSENT,
            "cpuid": lambda leaf, _: f"0 0 {509:x} {451:x}".encode() if leaf == "8000001f" else ABSENT,
            "within": lambda *_: self._swtpm(),
            "cpu": self._processor,
            "uname": lambda: f"Linux\x006.1\x00{case.arch}".encode(),
            "which": self._which,
            "exec": self._exec,
            "exists": lambda _: b"file",
        }
        self._sessions: Mapping[str, Mapping[str, bytes]] = {BINARY: first, ACCELERATED: first, EMULATED: (second or [first])[0]}

    def ask(self, wanted: frozenset[Question]) -> dict[Question, Answer]:
        return {one: self._answer(one) for one in wanted}

    def _answer(self, asked: Question) -> Answer:
        make = self._kinds.get(asked.kind)
        return ABSENT if make is None else make(*asked.args)

    def _qmp(self, _: str, scope: str, line: str) -> Answer:
        return self._sessions[scope].get(line, b'{"error": {"class": "CommandNotFound", "desc": ""}}')

    def _list(self, path: str) -> Answer:
        return "\0".join(sorted(self._firmware(path))).encode() if path in _FIRMWARE else ABSENT

    def _which(self, name: str) -> Answer:
        return ABSENT if name.startswith("qemu-system-") else f"/usr/bin/{name}".encode()

    def _exec(self, path: str) -> Answer:
        return b"yes" if path == self.case.emulator else ABSENT

    def _firmware(self, path: str) -> dict[str, Path]:
        folders = (self._root / "qemufirmwaredata" / part / "qemu/firmware" for part in _FIRMWARE[path])
        return {file.name: file for one in folders if one.is_dir() for file in one.iterdir()}

    def _read(self, path: str) -> Answer:
        parent, _, name = path.rpartition("/")
        if parent in _FIRMWARE:
            return self._firmware(parent)[name].read_bytes()
        if parent.startswith("/usr/share/libvirt/cpu_map"):
            file = self._root / "cpu_map" / name
            return file.read_bytes() if file.exists() else ABSENT
        if path == "/proc/cmdline":
            return b"prot_virt=1"
        return ABSENT

    def _processor(self) -> bytes:
        """64 bits of physical address (none on s390), and on Power a POWER8."""
        bits = b"" if self.case.arch == "s390x" else b"address sizes\t: 64 bits physical, 48 bits virtual\n"
        return bits + b"revision\t: 2.0 (pvr 004b 0200)\n"

    def _swtpm(self) -> bytes:
        versions = ["1.2"] if self.case.version < (6, 0) else ["1.2", "2.0"] if self.case.version < (7, 0) else ["2.0"]
        return json.dumps({"features": [f"tpm-{version}" for version in versions]}).encode()


def answer(root: Path, case: Recorded) -> Document:
    """What the driver says on the mocked host."""
    host, parsed = MockedHost(root, case), Parsed()
    facts = gather(lambda view: list(_words(view, host)), host.ask, parsed)
    (document,) = _words(View(facts, parsed), host)
    return mocked(document, case.arch)


def verdicts(root: Path, case: Recorded, files: Mapping[Question, Answer]) -> tuple[Verdict, ...]:
    """The truth on the mocked host, where these files are besides."""
    host, parsed = MockedHost(root, case), Parsed()

    def ask(wanted: frozenset[Question]) -> dict[Question, Answer]:
        return host.ask(wanted) | {one: files[one] for one in wanted & files.keys()}

    def understand(view: View) -> list[Words]:
        return [words(_world(view, host, one)[0], one) for one in _emulators(view, host)]

    (said,) = understand(View(gather(understand, ask, parsed), parsed))
    return said.verdicts


def _words(view: View, host: MockedHost) -> Iterator[Document]:
    """The document, as soon as it is known that the emulator is there."""
    for emulator in _emulators(view, host):
        world, machine = _world(view, host, emulator)
        yield document(world, emulator, machine, words(world, emulator))


def _emulators(view: View, host: MockedHost) -> Iterator[Emulator]:
    for emulator in emulators(view, Wanted(emulators=(host.case.emulator,), archs=("none",))):
        yield replace(emulator, native=True)


def _world(view: View, host: MockedHost, emulator: Emulator) -> tuple[World, Machine]:
    case = host.case
    machine = _machine(emulator, case)
    scope = EMULATED if case.virttype == "qemu" and host.accelerated else ACCELERATED
    guest = Guest(emulator.path, case.arch, emulator.target, machine.name, machine.name, case.virttype, scope)
    return World(view, guest, PROFILE), machine


_NO_MACHINE = Machine("", None, 0, deprecated=False, default=False)


def _machine(emulator: Emulator, case: Recorded) -> Machine:
    offered = emulator.machines or ()
    chosen = named(offered, case.machine) if case.machine else default(offered, case.arch, PROFILE)
    return chosen or _NO_MACHINE


def mocked(document: Document, arch: str) -> Document:
    """What libvirt's test puts in place of the host's own answers: two firmware paths, VFIO, and a POWER8 that nobody made."""
    children = (_mocked(child) if isinstance(child, Element) else _unbranded(child, arch) for child in document.children)
    return replace(document, children=tuple(children))


def _unbranded(cpu: Cpu, arch: str) -> Cpu:
    if arch != "ppc64":
        return cpu
    modes = (replace(mode, host_model=mode.host_model and replace(mode.host_model, vendor=None)) for mode in cpu.modes)
    return Cpu(tuple(modes))


def _mocked(element: Element) -> Element:
    children: list[Enum | Element] = [_mocked(child) if isinstance(child, Element) else child for child in element.children]
    if element.name == "loader":
        values = [Element("value", (), f"/obviously/fake/firmware{number}.fd") for number in (1, 2)]
        children = [*values, *(child for child in children if child.name != "value")]
    if element.name == "hostdev":
        children = [Enum("pciBackend", ("default", "vfio")) if child.name == "pciBackend" else child for child in children]
    return replace(element, children=tuple(children))

"""The hosts under tests/data/xen, answering a probe's questions from what their programs said (the README there tells how)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from domcaps_exporter import ABSENT, Answer, Facts, Question, Report
from domcaps_exporter.view import Parsed, View, gather
from domcaps_xen.describe import reports
from domcaps_xen.device_model import DEVICES, KIND, MACHINES, SPICE, VNC
from domcaps_xen.settings import Wanted

DATA = Path(__file__).parents[1] / "data" / "xen"
VERSIONS = {"90": (9, 0), "113": (11, 3), "128": (12, 8)}
"""The libvirts of the hosts, as their folders name them."""

HOSTS = tuple(sorted(folder.name for folder in DATA.iterdir() if (folder / "xl-info.out").exists()))

_QMP = ("query-version", MACHINES, "query-display-options", SPICE, VNC, DEVICES)
"""What each device model was asked, in this order."""


class RecordedHost:
    """One recorded host. `root`: whether the exporter may open the hypervisor's device."""

    def __init__(self, name: str, *, root: bool = True) -> None:
        self.folder, self._root = DATA / name, root
        self.otherwise: dict[Question, Answer] = {}
        self._sysfs = dict(self._pairs())
        self.files = frozenset(self._listed())
        self._kinds: Mapping[str, Callable[..., Answer]] = {
            "read": self._read,
            "exists": lambda path: b"file" if self._is_there(path) else ABSENT,
            "exec": lambda path: b"yes" if path in self.files else ABSENT,
            "which": lambda program: f"/usr/sbin/{program}".encode() if program == "xl" else ABSENT,
            "access": lambda path, *_: b"no" if not root else b"yes" if path.startswith("/dev/") else ABSENT,
            "resolve": lambda path: ABSENT if path.endswith("libvirt.so.0") else path.encode(),
            "uname": self._uname,
            "within": self._within,
            KIND: lambda _, command: self._replies()[command],
        }

    def ask(self, wanted: frozenset[Question]) -> Facts:
        return {one: self.otherwise[one] if one in self.otherwise else self._kinds[one.kind](*one.args) for one in wanted}

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(errors="surrogateescape")

    def _read(self, path: str) -> Answer:
        if path == "/proc/xen/capabilities":
            return (self.folder / "proc-xen-capabilities.out").read_bytes()
        return self._sysfs.get(path, ABSENT)

    def _pairs(self) -> Iterator[tuple[str, bytes]]:
        for line in (self.folder / "sys-hypervisor.out").read_bytes().splitlines():
            path, _, told = line.partition(b": ")
            yield path.decode(), told

    def _listed(self) -> Iterator[str]:
        """The files and folders in `ls -la` of the places where toolstacks are."""
        folder = ""
        for line in self.text("xen-paths.out").splitlines():
            if line.startswith("/") and line.endswith(":"):
                folder = line[:-1]
                yield folder
            elif found := re.match(r"[-dl][rwxst-]{9} .*\d\d:\d\d (\S+)|[-dl][rwxst-]{9} .*\d{4} (\S+)", line):
                name = found[1] or found[2]
                yield name if name.startswith("/") else f"{folder}/{name}"

    def _is_there(self, path: str) -> bool:
        if path == "/sys/bus/pci/drivers/pciback":
            return self.text("pciback-slots.rc").strip() == "0"
        return path in self.files

    def _uname(self) -> Answer:
        words = self.text("uname.out").split()
        return "\0".join((words[0], words[2], words[-2])).encode()

    def _within(self, _: str, program: str, *arguments: str) -> Answer:
        return (self.folder / ("xl-info.out" if program.endswith("xl") else "dm-display-help.out")).read_bytes()

    def _replies(self) -> Mapping[str, bytes]:
        lines = (self.folder / "dm-qmp.out").read_bytes().splitlines()
        replies = [line for line in lines if b'"return"' in line[:10] or b'"error"' in line[:9]]
        return dict(zip(_QMP, replies[1:], strict=False))


@dataclass(frozen=True)
class Understood:
    """What the driver makes of a host: the facts it asked for, and its reports by machine."""

    facts: Facts
    reports: Mapping[str, Report]


def understood(host: RecordedHost, wanted: Wanted | None = None) -> Understood:
    """The driver on that host."""
    chosen, parsed = wanted or Wanted(), Parsed()
    facts = gather(lambda view: tuple(reports(view, chosen)), host.ask, parsed)
    return Understood(facts, {one.identity.machine: one for one in reports(View(facts, parsed), chosen)})


def limits(name: str) -> Mapping[str, bool]:
    """What `xl create` did on that host: guest → was it created?"""
    lines = (DATA / name / "run.out").read_text().splitlines()
    return {line.partition(":")[0]: "CREATED" in line for line in lines if re.match(r"[\w-]+: (CREATED|REFUSED)", line)}


def domu(name: str) -> dict[str, bytes]:
    """What a guest on that host read: path → bytes."""
    lines = re.findall(rb"@@ (/\S+): (.*?)\r?\n", (DATA / name / "domu-pv.console").read_bytes())
    told = {path.decode(): text.strip(b"\r ") for path, text in lines}
    return told | {"/proc/xen/capabilities": told["/proc/xen/capabilities"].strip(b"[]")}


def error(command: str) -> bytes:
    """A device model that was built without a command."""
    return json.dumps({"error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}}).encode()

"""A FreeBSD host for the tests of the bhyve driver: its programs stand in PATH, its files below a root of their own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import Answer, Question

TOOLS = Path(__file__).parents[1] / "tools" / "bhyve"
_PYTHON = f"{sys.executable} -I -S"
FIRMWARE = "usr/local/share/uefi-firmware"

KERNEL = {"kern.ostype": "FreeBSD", "kern.osrelease": "13.2-RELEASE-p8", "hw.machine_arch": "amd64"}
"""What the kernel tells without vmm.ko."""
VMM = {
    "hw.vmm.maxcpu": "8",
    "hw.vmm.maxvmms": "32",
    "hw.vmm.vmx.initialized": "1",
    "hw.vmm.vmx.cap.unrestricted_guest": "1",
    "hw.vmm.svm.features": "0",
    "hw.vmm.iommu.enable": "1",
    "hw.vmm.iommu.initialized": "0",
    "hw.vmm.ppt.devices": "0",
}
"""What an Intel host of FreeBSD 13 tells besides, with vmm.ko."""


STARTING = ("run", "said", "within")
"""The kinds of question that start a program."""


class Watched(RealHost):
    """A host that keeps what it was asked."""

    def __init__(self, paths: Paths, store: Store, seconds: float) -> None:
        super().__init__(time.monotonic() + seconds, paths, store)
        self.asked: list[Question] = []

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return super().ask(question)

    def started(self, program: str) -> int:
        """How often a program was started."""
        return sum(Path(asked.args[asked.kind == "within"]).name == program for asked in self.asked if asked.kind in STARTING)


class FreeBsd:
    """One host, probe after probe."""

    def __init__(self, folder: Path, release: str = "13.2", arch: str = "amd64") -> None:
        self.path, self.root = folder / "bin", folder / "root"
        self._state = folder / "kernel"
        self._store = Store()
        self.path.mkdir()
        self.root.mkdir()
        self.upgrade(release, arch)
        for program in ("sysctl", "kldstat", "pciconf"):
            self.install(program, f'{_PYTHON} {TOOLS / "kernel.py"} {self._state} {program} "$@"')
        self.kernel({**KERNEL, "hw.machine_arch": arch, **VMM})

    def __call__(self, seconds: float = 30) -> Watched:
        return Watched(Paths(rootfs=str(self.root)), self._store, seconds)

    @property
    def bhyve(self) -> str:
        return str(self.path / "bhyve")

    @property
    def environment(self) -> dict[str, str]:
        """For a process on this host."""
        return {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"}

    def install(self, program: str, command: str) -> None:
        new = self.path / f".{program}"
        new.write_text(f"#!/bin/sh\nexec {command}\n")
        new.chmod(0o755)
        new.rename(self.path / program)

    def upgrade(self, release: str, arch: str = "amd64") -> None:
        """Install the bhyve of a release."""
        self.install("bhyve", f'{_PYTHON} {TOOLS / "bhyve.py"} {release} {arch} "$@"')

    def kernel(self, knobs: Mapping[str, str], modules: Sequence[str] | None = None, devices: Sequence[str] = ()) -> None:
        """Set what the kernel tells; by default vmm.ko is loaded where there is any of its knobs."""
        loaded = ["kernel", *(["vmm.ko"] if any(name.startswith("hw.vmm") for name in knobs) else [])]
        lines = [f"knob {name} {value}" for name, value in knobs.items()]
        lines += [f"module {name}" for name in (loaded if modules is None else modules)]
        self._state.write_text("\n".join((*lines, *(f"device {one}" for one in devices))))

    def file(self, path: str) -> None:
        """Put a file (a device node, as far as rules can see) below the root."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()

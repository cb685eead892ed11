"""A Podman with storage of its own, which ends with it: the machine's own images and containers are neither seen nor touched.

It builds and runs what docs/container/README.md says, without a registry and without a network of containers, as root.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.endtoend import free_port

ROOT = Path(__file__).parents[2]
README = ROOT / "docs/container/README.md"
PATIENCE = 900
"""Seconds for a build: twenty times what it takes on an idle machine."""

_BOUNDS = "--ulimit nofile=4096:4096 --ulimit nproc=4096:4096"
"""Podman would give containers more than a caller without CAP_SYS_RESOURCE may."""


def block(name: str) -> str:
    """The commands of the README that stand between `<!-- name -->` and `<!-- /name -->`."""
    (found,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```\n<!-- /{name} -->", README.read_text(), re.DOTALL)
    return str(found)


def in_a_pod(command: str) -> list[str]:
    """The words with which the README has that command of the exporter run in a Pod."""
    (found,) = [line for line in block("pod").splitlines() if f"/domcaps-exporter {command} " in line]
    return shlex.split(found.partition(" -- ")[2])


class Podman:
    """`folder` is what `.setup/container` filled; its storage is a folder in it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._work = folder, folder / "storage"
        self._run = tempfile.mkdtemp(prefix="domcaps-")  # Podman takes no more than 50 characters for that one
        places = ("--root", self._work / "root", "--runroot", self._run, "--tmpdir", self._work / "tmp")
        self._argv = ["podman", *map(str, places), *"--runtime runc --cgroup-manager cgroupfs".split()]
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        wrapper = self._work / "bin" / "podman"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/{" ".join(self._argv)} "$@"\n')
        wrapper.chmod(0o755)
        self.run("import", str(folder / "slim.tar"), "debian:trixie-slim")
        self.run("import", str(folder / "foreign.tar"), "foreign")

    def close(self) -> None:
        self.run("rm", "--all", "--force", "--time", "0")
        self.run("image", "umount", "--all")
        shutil.rmtree(self._work)
        shutil.rmtree(self._run)

    def run(self, *argv: str, timeout: float = 120) -> str:
        """What it says on stdout; where it fails, an error with all it said."""
        return _said([*self._argv, *argv], timeout)

    def follow(self, commands: str) -> str:
        """Run the README's commands, in the clone, with this Podman."""
        return _said(["env", f"PATH={self._work / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-euc", commands], PATIENCE)

    def build(self, name: str, tag: str, base: str = "") -> None:
        """As that block says. Beside the clone it has the packages that were downloaded, and this machine's network for apt."""
        folder = self._folder
        lent = f"--secret id=pip,src={folder}/pip.conf --volume {folder}/wheels:/wheels:ro"
        chrooted = f"podman build --isolation chroot --network host {_BOUNDS} {lent}"
        commands = block(name).replace("podman build -t domcaps-exporter", f"{chrooted} -t {tag}")
        self.follow(commands.replace("IMAGE", base) if base else commands)

    def in_one(self, image: str, *argv: str, flags: tuple[str, ...] = ()) -> str:
        """What one command in a container of its own says on stdout."""
        return self.run("run", "--rm", "--network=none", *_BOUNDS.split(), *flags, image, *argv)

    @contextmanager
    def serving(
        self, image: str, kvm: Path, *argv: str, flags: tuple[str, ...] = (), state: str = "", how: str = "run"
    ) -> Iterator[Container]:
        """A container as the README says (in which block: `how`), but on this machine's network, where it listens on loopback only.

        `kvm` is what it is given as /dev/kvm; `state` a volume, one of its own if it has no name.
        """
        port = free_port()
        name = f"domcaps-{port}"
        commands = block(how).replace("--publish 19177:19177", " ".join(("--network host", _BOUNDS, *flags)))
        commands = commands.replace("--name domcaps ", f"--name {name} ").replace("domcaps:/var", f"{state or name}:/var")
        commands = commands.replace("--device /dev/kvm", f"--device {kvm}:/dev/kvm").replace("%g /dev/kvm", f"%g {kvm}")
        commands = re.sub(r"^ +domcaps-exporter ", f"    {image} ", commands, flags=re.MULTILINE).rstrip()
        self.follow(" ".join((commands, f"--web.listen-address=127.0.0.1:{port}", *argv)))
        try:
            yield Container(self, name, int(self.run("inspect", "--format", "{{.State.Pid}}", name)), f"127.0.0.1:{port}")
        finally:
            self.run("rm", "--force", "--time", "0", name)

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The image's files."""
        yield Path(self.run("image", "mount", image).strip())
        with suppress(AssertionError):
            self.run("image", "umount", image)


@dataclass(frozen=True)
class Container:
    """One that runs. `pid` is its first process, as this machine sees it."""

    podman: Podman
    name: str
    pid: int
    address: str

    def stop(self) -> int:
        """As a person or kubelet does; its exit code."""
        self.podman.run("stop", "--time", "30", self.name)
        return int(self.podman.run("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def exec(self, words: list[str]) -> str:
        return self.podman.run("exec", self.name, *words)

    def log(self) -> str:
        return self.podman.run("logs", self.name)


def _said(argv: list[str], timeout: float) -> str:
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout

"""A libvirtd of one's own, in directories of its own, that leaves nothing behind. The machine's own libvirt is not touched.

As root it is a system libvirt, in a mount namespace where its directories are new and empty; else a session libvirt whose XDG
directories are. Nothing is started but libvirtd and the QEMUs that it asks.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("libvirtd", "virsh")
_NEEDED = ("env", "unshare", "sh", "mount", "mkdir", "cp", *PROGRAMS)
SOCKET = "libvirt-sock"
REAPER = str(Path(__file__).with_name("reaper.py"))
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
_PATIENCE = 120.0

_LIBVIRTD_CONF = """listen_tcp = 0
unix_sock_dir = "{folder}"
auth_unix_ro = "none"
log_outputs = "3:stderr"
"""
_FOR_EVERYBODY = 'auth_unix_rw = "none"\n'
_QEMU_CONF = """security_driver = "none"
"""
# Where only root may open /dev/kvm, libvirt would find its cache outdated at every call: it looks as the user that runs guests.
_ROOT = """user = "root"
group = "root"
"""

_ELSEWHERE = """set -eu
mount --make-rprivate /
for folder in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
cp "$1" /etc/libvirt/qemu.conf
eval "$2"
shift 2
exec "$@"
"""


class Refused(Exception):
    """libvirt would not say; the message is libvirt's."""


class Crashed(Exception):
    """libvirtd ended while it was asked."""


def linked(folder: Path, *more: str) -> None:
    """Fill a folder with what a private libvirtd needs of PATH, and more: it asks the emulators that are beside it, not thirty."""
    for program in (*_NEEDED, *more):
        (folder / program).symlink_to(shutil.which(program, path=f"{_PATH}:/sbin") or "/nonexistent")


def lacking() -> str:
    """The first program that this machine would need and has not; empty if it has them all."""
    return next((program for program in PROGRAMS if shutil.which(program, path=_PATH) is None), "")


class NotStarted(Exception):
    """libvirtd does not run here; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Who says what a client may do: `begin` is shell that starts it in libvirtd's mount namespace, `settings` libvirtd.conf's."""

    begin: str
    settings: str


@dataclass(frozen=True, slots=True)
class Libvirt:
    """A running libvirtd, and the only one that `virsh` here speaks to."""

    socket: Path

    @property
    def uri(self) -> str:
        return f"qemu:///{'system' if _is_root() else 'session'}?socket={self.socket}"

    def virsh(self, *argv: str) -> str:
        """What virsh prints.

        Raises:
            Refused: libvirt answered with an error.
            Crashed: libvirtd is gone.
        """
        whole = ["virsh", "--connect", self.uri, *argv]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=_environment())
        if done.returncode == 0:
            return done.stdout
        raise Refused(done.stderr.strip()) if _listens(self.socket) else Crashed(" ".join(argv))

    def domcapabilities(self, emulator: str, arch: str = "", machine: str = "", virttype: str = "") -> str:
        """libvirt's XML; what is left empty libvirt chooses. Raises as `virsh` does."""
        asked = {"--emulatorbin": emulator, "--arch": arch, "--machine": machine, "--virttype": virttype}
        return self.virsh("domcapabilities", *(word for option, text in asked.items() if text for word in (option, text)))

    def all_domcapabilities(self, emulator: str, guests: Iterable[tuple[str, str]]) -> str:
        """The same for each of these machines with its virttype, from one virsh."""
        asked = "domcapabilities --emulatorbin {} --machine {} --virttype {}"
        return self.virsh("; ".join(asked.format(emulator, machine, virttype) for machine, virttype in guests))


@contextmanager
def private(path: str = _PATH, tls: str = "", guard: Guard | None = None, account: str = _ROOT) -> Iterator[Libvirt]:
    """A libvirtd with an empty cache, ready to be asked. Afterwards it and all its QEMUs are gone.

    It finds libvirtd, its emulators and the programs that make its directories in `path`. `tls`: libvirtd.conf's lines about TLS,
    where it shall listen for that. `guard` is for root only, and ends with libvirtd; without one, everybody may everything.
    `account`: qemu.conf's lines about who runs guests, where that is for root to say.

    Raises:
        NotStarted: it does not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="libvirt-") as name:
        folder = Path(name)
        settings = (tls or "listen_tls = 0\n") + (_FOR_EVERYBODY if guard is None else guard.settings)
        libvirtd = ["libvirtd", "--config", str(_configured(folder, settings, account)), "--pid-file", str(folder / "pid")]
        libvirtd += ["--listen"] if tls else []
        reaped = [sys.executable, REAPER, *libvirtd]
        said = folder / "said"
        with said.open("wb") as out:
            environment = _environment({"PATH": path, **_session(folder)})
            process = subprocess.Popen(
                [*_elsewhere(folder, guard), *reaped], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            _await_ready(process, folder / SOCKET, said)
            yield Libvirt(folder / SOCKET)
        finally:
            process.terminate()
            process.wait()


def _configured(folder: Path, settings: str, account: str) -> Path:
    """Writes the two configuration files; libvirtd's own."""
    files = folder / "config" / "libvirt"
    files.mkdir(parents=True)
    (files / "qemu.conf").write_text(_QEMU_CONF + (account if _is_root() else ""))
    (files / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(folder=folder) + settings)
    return files / "libvirtd.conf"


def _elsewhere(folder: Path, guard: Guard | None) -> list[str]:
    """The command that becomes another, where libvirt's system directories are new."""
    begin = "" if guard is None else guard.begin
    unshared = ["unshare", "--mount", "sh", "-c", _ELSEWHERE, "sh", str(folder / "config/libvirt/qemu.conf"), begin]
    return unshared if _is_root() else []


def _session(folder: Path) -> Mapping[str, str]:
    """A session libvirt's directories. Firmware descriptors of the user's own stay where they are, for everybody else sees them."""
    if _is_root():
        return {}
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    (folder / "config" / "qemu").symlink_to(config / "qemu")
    return {
        f"XDG_{kind}": str(folder / kind.split("_")[0].lower())
        for kind in ("CONFIG_HOME", "CACHE_HOME", "RUNTIME_DIR", "DATA_HOME")
    }


def _environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8", **(more or {})}


def _is_root() -> bool:
    return os.geteuid() == 0


def _await_ready(process: subprocess.Popen[bytes], address: Path, said: Path) -> None:
    """Until libvirtd has answered; that it listens does not mean yet that its drivers are ready."""
    until = time.monotonic() + _PATIENCE
    while not _listens(address):
        if process.poll() is not None or time.monotonic() > until:
            raise NotStarted(said.read_text())
        time.sleep(0.02)
    Libvirt(address).virsh("uri")


def _listens(address: Path) -> bool:
    """Is there anybody at that address? A libvirtd that crashed leaves its socket behind, at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(address))
        except OSError:
            return False
        return True


# ---- what it costs -----------------------------------------------------------------------------------------------------------


class Cost(NamedTuple):
    """Seconds for one `virsh domcapabilities`: with an empty cache, and with a full one. NaN where libvirt gives no answer."""

    cold: float
    warm: float


def cost(emulator: str, arch: str, repeated: int = 5) -> Cost:
    """What an emulator's default machine costs with a fresh libvirtd: the first call, and the quickest of the next."""
    try:
        with private() as libvirt:
            first, *others = (_timed(libvirt, emulator, arch) for _ in range(repeated + 1))
    except (Refused, Crashed):
        return Cost(math.nan, math.nan)
    return Cost(first, min(others))


def cost_of_all(emulator: str, guests: Sequence[tuple[str, str]]) -> float:
    """Seconds for all these machines with their virttypes, with an empty cache."""
    with private() as libvirt:
        start = time.perf_counter()
        told = libvirt.all_domcapabilities(emulator, guests)
        taken = time.perf_counter() - start
    if told.count("<domainCapabilities>") != len(guests):
        raise Refused(f"{told.count('<domainCapabilities>')} answers to {len(guests)} questions")
    return taken


def _timed(libvirt: Libvirt, emulator: str, arch: str) -> float:
    start = time.perf_counter()
    libvirt.domcapabilities(emulator, arch)
    return time.perf_counter() - start

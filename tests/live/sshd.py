"""An sshd of one's own on loopback, with keys of its own, that leaves nothing behind. The machine's own is not touched."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.endtoend import eventually, free_port

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PATIENCE = 30.0

_SSHD_CONF = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""

# what a host's init makes for sshd when it starts as root, made where nobody else sees it
_AS_ROOT = ("unshare", "--mount", "sh", "-ec", 'mount -t tmpfs tmpfs /run; mkdir /run/sshd; exec "$@"', "-")


def lacking() -> str:
    """The first program that this machine would need and has not; empty if it has them all."""
    return next((one for one in ("sshd", "ssh", "ssh-keygen", "unshare") if shutil.which(one, path=_PATH) is None), "")


@dataclass(frozen=True, slots=True)
class Far:
    """The client, where it listens, who may come in with which private key, and the file by which it is known."""

    ssh: str
    port: int
    user: str
    key: Path
    known_hosts: Path


@contextmanager
def private(folder: Path) -> Iterator[Far]:
    """An sshd that lets this user in, for as long as the block."""
    for name in ("host", "key"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name), check=True)
    port = free_port()
    (folder / "sshd.conf").write_text(_SSHD_CONF.format(folder=folder, port=port))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    command = (str(shutil.which("sshd", path=_PATH)), "-D", "-e", "-f", str(folder / "sshd.conf"))
    with subprocess.Popen((*(_AS_ROOT if os.geteuid() == 0 else ()), *command), stderr=subprocess.DEVNULL) as running:
        try:
            assert eventually(lambda: _listens(port), _PATIENCE), "sshd does not get ready"
            yield Far(str(shutil.which("ssh", path=_PATH)), port, getpass.getuser(), folder / "key", folder / "known_hosts")
        finally:
            running.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True

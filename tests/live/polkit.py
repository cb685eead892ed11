"""A libvirtd that asks a real polkitd what its clients may do, on a system bus of their own; and one of its clients.

All three stand in one mount namespace, as root, and end together. The user who asks exists in it only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live import libvirtd
from tests.live.libvirtd import Guard, Libvirt

USER = "domcaps-exporter"
_UID = 64999
"""One that no distribution gives to anybody."""
_POLKITD = "/usr/lib/polkit-1/polkitd"
_PROGRAMS = ("dbus-daemon", "dbus-send", "nsenter", "setpriv")
_PATIENCE = 60.0

_SETTINGS = """auth_unix_rw = "polkit"
access_drivers = ["polkit"]
"""
_BEGIN = f"""
for list in passwd group; do cp /etc/$list /run/$list; done
echo '{USER}:x:{_UID}:{_UID}::/nonexistent:/bin/false' >>/run/passwd
echo '{USER}:x:{_UID}:' >>/run/group
for list in passwd group; do mount --bind /run/$list /etc/$list; done
mount -t tmpfs tmpfs /etc/polkit-1/rules.d
printf '%s' "$RULE" >/etc/polkit-1/rules.d/50-domcaps-exporter.rules
mkdir -p /run/dbus
begun= tries=0
trap 'kill $begun' EXIT
await() {{
    until dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner string:"$1"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ]
        sleep 0.1
    done >/dev/null 2>&1
}}
dbus-daemon --system --nofork --nopidfile &
begun="$!"
await org.freedesktop.DBus
{_POLKITD} --no-debug &
begun="$begun $!"
await org.freedesktop.PolicyKit1
"""
"""What is begun ends with the shell, or with the program that it becomes."""


def lacking() -> str:
    """The first part that this machine would need and has not; empty if it has them all."""
    wanted = (*_PROGRAMS, *libvirtd.PROGRAMS, _POLKITD)
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    return next((Path(program).name for program in wanted if shutil.which(program, path=path) is None), "")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A libvirt, and whoever may ask it something."""

    libvirt: Libvirt

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the user, who may read every file but do nothing else that other users may not."""
        pid = (self.libvirt.socket.parent / "pid").read_text().strip()
        person = [f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups"]
        reader = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
        inside = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "setpriv", *person, *reader, *argv]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        return subprocess.run(inside, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=environment)

    def virsh(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """What virsh says to the user."""
        return self.run("virsh", "--quiet", "--connect", self.libvirt.uri, *argv)


@contextmanager
def guarded(path: Path, emulator: str, rule: str) -> Iterator[Guarded]:
    """A libvirt with one emulator, whose polkitd has this rule beside the distribution's own. `path` is filled for it.

    Raises:
        NotStarted: it does not get ready.
    """
    libvirtd.linked(path, *_PROGRAMS, "cat", "sleep")
    (path / Path(emulator).name).symlink_to(emulator)
    with libvirtd.private(str(path), guard=Guard(f"RULE={shlex.quote(rule)}{_BEGIN}", _SETTINGS)) as libvirt:
        yield Guarded(libvirt)

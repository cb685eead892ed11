"""A libvirt's answers through virsh: about its default guest, or about kinds of guests that somebody else has. Starts processes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from domcaps_exporter.errors import DomcapsError
from domcaps_exporter.libvirt import said, stable
from domcaps_exporter.model import Identity

DEFAULT = Identity("", "", "", "")
"""The guest that libvirt chooses."""

_EMULATOR = re.compile(
    r"""
    (
        (/usr(/local)?)?/s?bin | /usr(/local)?/libexec          # most of them; FreeBSD; Red Hat's family
        | /usr(/local)?/(libexec|lib(64)?)/xen(-[0-9.]+)?/bin   # Xen's own device model
        | /run/libvirt/nix-emulators | /run/current-system/sw/bin   # NixOS
    )
    /(((xen-)?qemu-system-[a-z0-9_]+(-[a-z]+)?) | qemu(-kvm)? | kvm(-spice)? | bhyve)
    """,
    re.VERBOSE,
)
"""An emulator where distributions put it. libvirt runs what it is asked about, and a document may name any program there is.

Only root writes into these folders. /nix/store is none of them: it is root's, but whoever may build has put there what he built.
"""

_UNREACHED = re.compile("failed to connect", re.IGNORECASE)


class VirshError(DomcapsError):
    """A libvirt that cannot be asked; the message names its URI."""


class _Refused(VirshError):
    """It would not say this, and may say something else."""


class _Late(VirshError):
    """It did not answer in time."""


def domcapabilities(
    uri: str, guests: Iterable[Identity], seconds: float, own: Collection[str] = ()
) -> dict[Identity, tuple[Identity, bytes]]:
    """What libvirt says of each of these guests, in so many seconds for all: what it was asked at last, and the XML.

    An emulator that it has not may be another one there, and a version of a machine another version: it is asked about its own
    then, and always where a stranger says that it lies where no distribution puts one. A guest that it refuses all the same is left
    out.

    Args:
        own: emulators that this host has itself, wherever they are.

    Raises:
        VirshError: it is not reached, does not answer in time, or refuses every guest.
    """
    until, told, refusal = time.monotonic() + seconds, {}, None
    wanted = dict.fromkeys(guests)
    for number, guest in enumerate(wanted):
        for way in _ways(guest, own):
            try:
                told[guest] = way, _asked(uri, way, until)
                break
            except _Refused as error:
                refusal = error
            except _Late as error:
                about = f" about {len(wanted) - number} of {len(wanted)} guests" if number else ""
                raise VirshError(f"{uri}: no answer{about} within {seconds:g} s") from error
    if refusal is not None and not told:
        raise refusal
    return told


def _ways(guest: Identity, own: Collection[str]) -> Iterator[Identity]:
    machines = dict.fromkeys((guest.machine, stable(guest.machine)))
    emulators = dict.fromkeys((guest.emulator if guest.emulator in own or _EMULATOR.fullmatch(guest.emulator) else "", ""))
    return (replace(guest, machine=machine, emulator=emulator) for machine in machines for emulator in emulators)


def _asked(uri: str, guest: Identity, until: float) -> bytes:
    words = {"emulatorbin": guest.emulator, "arch": guest.arch, "machine": guest.machine, "virttype": guest.virttype}
    options = [f"--{option}={word}" for option, word in words.items() if word]  # bound to it: a lone word could be an option itself
    try:
        done = subprocess.run(
            ["virsh", "--quiet", "--connect", uri, "domcapabilities", *options],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            timeout=max(0.0, until - time.monotonic()),
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise VirshError(f"{uri}: a libvirt is asked through virsh, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise _Late(f"{uri}: no answer in time") from error
    except (OSError, ValueError) as error:
        raise VirshError(f"{uri}: virsh cannot be asked: {error}") from error
    if done.returncode:
        complaint = said(done.stderr.decode("utf-8", "replace"))
        raise (VirshError if _UNREACHED.search(complaint) else _Refused)(f"{uri}: {complaint or 'virsh failed'}")
    return done.stdout

"""Which emulators a host has, and what each is. Pure.

Search order, in which the first of two names of one file wins: configured paths; `qemu-system-ARCH` in PATH; /usr/libexec/qemu-kvm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from domcaps_exporter import Refusal, Truth, question
from domcaps_exporter.view import View
from domcaps_qemu.machines import Machine, machines
from domcaps_qemu.replies import Schema, accelerators, kvm, qom_types, target, version
from domcaps_qemu.settings import Wanted
from domcaps_qemu.world import ACCELERATED, BINARY

T = TypeVar("T")

QEMU_KVM = "/usr/libexec/qemu-kvm"
"""Where Red Hat's family puts the only emulator."""

_LIBVIRT_NAME = {"i386": "i686", "arm": "armv7l"}
_QEMU_NAME = {arch: target for target, arch in _LIBVIRT_NAME.items()}
_KERNEL_NAME = {
    "i386": "i686",
    "i486": "i686",
    "i586": "i686",
    "amd64": "x86_64",
    "armv6l": "armv7l",
    "armv8l": "armv7l",
    "arm64": "aarch64",
}


def host_arch(view: View) -> str | None:
    """The host's architecture in libvirt's name, None while nobody knows."""
    told = (view.text(question("uname")) or "").split("\0")
    return _KERNEL_NAME.get(told[2], told[2]) if len(told) == 3 else None


def native(host: str | None, target: str) -> bool:
    """Can KVM of that host run guests of that emulator?"""
    return host is not None and (host.removesuffix("le"), target) in (
        {(target, target), ("x86_64", "i686"), ("aarch64", "armv7l")}
        | ({("ppc64", "ppc64")} if target.startswith("ppc64") else set())
    )


@dataclass(frozen=True, slots=True)
class Emulator:
    """One emulator: its path as found, its target in libvirt's name, and what it says of itself.

    `enabled`: KVM works in it, for the exporter. `compiled`: it was built with KVM. None where nobody knows yet. `there`: it is the
    file that the configuration names.
    """

    path: str
    target: str
    native: bool
    compiled: Truth
    enabled: Truth
    tells_accelerators: Truth
    tcg: Truth
    version: str
    machines: tuple[Machine, ...] | None
    there: bool = True


def emulators(view: View, wanted: Wanted) -> Iterator[Emulator]:
    """The emulators that are there, and those that were configured and are not."""
    host = host_arch(view)
    seen: set[bytes] = set()
    for path, guess in _candidates(view, wanted, host):
        identity = view.answer(question("program", path))
        inode = b" ".join(identity.split()[:3]) if isinstance(identity, bytes) else path.encode("utf-8", "surrogateescape")
        if inode not in seen:
            seen.add(inode)
            there = view.there(question("exec", path)) is not False
            if question("exec", path) in view.facts:
                yield _emulator(view, path, guess, host) if there else _gone(path, guess, host)


def _gone(path: str, target: str, host: str | None) -> Emulator:
    return Emulator(path, target, native(host, target), None, None, None, None, "", None, there=False)


def _candidates(view: View, wanted: Wanted, host: str | None) -> Iterator[tuple[str, str]]:
    """(path, presumed target) in search order."""
    yield from ((path, _presumed(path, host)) for path in wanted.emulators)
    for arch in _archs(wanted, host):
        target = arch.removesuffix("le") if arch.startswith("ppc64") else arch
        found = view.path(question("which", f"qemu-system-{_QEMU_NAME.get(target, target)}"))
        if found is not None:
            yield found, target
        if arch == host and view.there(question("exec", QEMU_KVM)) is True:
            yield QEMU_KVM, target


def _archs(wanted: Wanted, host: str | None) -> Sequence[str]:
    return wanted.archs or ((host,) if host is not None else ())


def _presumed(path: str, host: str | None) -> str:
    name = path.rpartition("qemu-system-")[2]
    return _LIBVIRT_NAME.get(name, name) if name != path else (host or "")


def _emulator(view: View, path: str, guess: str, host: str | None) -> Emulator:
    arch = _told(view, path, BINARY, "query-target", target) or guess
    arch = _LIBVIRT_NAME.get(arch, arch)
    schema = _told(view, path, BINARY, "query-qmp-schema", Schema)
    present, enabled = _kvm(view, path)
    known = _told(view, path, BINARY, "qom-list-types", qom_types)
    return Emulator(
        path=path,
        target=arch,
        native=native(host, arch),
        compiled=present,
        enabled=enabled and present,
        tells_accelerators=None if schema is None else schema.has("query-accelerators"),
        tcg=None if known is None else "tcg-accel" in known,
        version=".".join(map(str, _told(view, path, BINARY, "query-version", version) or ())),
        machines=_told(view, path, BINARY, "query-machines", machines),
    )


def _kvm(view: View, path: str) -> tuple[Truth, Truth]:
    """Is KVM built in, and does it work? query-accelerators tells (QEMU 10.2), before it query-kvm."""
    newer = _told(view, path, ACCELERATED, "query-accelerators", accelerators)
    older = _told(view, path, ACCELERATED, "query-kvm", kvm)
    if newer is None or older is None:
        return None, None
    return newer or older or (False, False)


def _told(view: View, path: str, scope: str, command: str, parse: Callable[[bytes], T]) -> T | None:
    form = view.form(question("qmp", path, scope, command), parse)
    return None if isinstance(form, Refusal) else form

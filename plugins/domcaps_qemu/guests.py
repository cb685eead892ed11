"""Which kinds of guest to report on, and whether such a guest can run here at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from domcaps_exporter import Refusal, Truth, Verdict, question
from domcaps_exporter.rules import Need, Version, View, element, enum, evaluate, value
from domcaps_qemu.emulators import Emulator
from domcaps_qemu.machines import STABLE, Machine, default, named
from domcaps_qemu.settings import ALL, Wanted
from domcaps_qemu.world import ACCELERATED, EMULATED, Guest

_UNKNOWN = Machine("", None, 0, deprecated=False, default=False)
"""Stands for the machine while the list has not come."""

_QEMU_CONF = "/etc/libvirt/qemu.conf"
_USER = re.compile(rb'^\s*user\s*=\s*"\+?([^"\n]*)"', re.MULTILINE)


def guest_user(view: View, wanted: Wanted) -> str:
    """Who runs guests: the setting, else `user` in a readable qemu.conf, else the exporter's own user (empty)."""
    if wanted.guest_user:
        return wanted.guest_user
    conf = view.answer(question("read", _QEMU_CONF))
    found = _USER.findall(conf) if isinstance(conf, bytes) else []
    return found[-1].decode("utf-8", "replace") if found else ""


def guests(view: View, emulator: Emulator, wanted: Wanted, host: str, profile: Version) -> Iterator[tuple[Guest, Machine, Verdict]]:
    """Each kind of guest with its machine and the verdict on whether it can run."""
    arch = host if emulator.native and host.startswith("ppc64") else emulator.target
    for machine, name in _machines(emulator, wanted, host, arch, profile):
        yield from _of_machine(view, emulator, wanted, arch, machine, name)


def _of_machine(
    view: View, emulator: Emulator, wanted: Wanted, arch: str, machine: Machine | None, name: str
) -> Iterator[tuple[Guest, Machine, Verdict]]:
    chosen = machine or Machine(name, None, 0, deprecated=False, default=False)
    kvm = _runs(view, emulator, wanted, machine is not None, name, "kvm")
    for virttype in wanted.virttypes or _virttypes(view, emulator, kvm):
        if virttype == "kvm" and not (emulator.native and emulator.compiled is not False):
            continue
        verdict = kvm if virttype == "kvm" else _runs(view, emulator, wanted, machine is not None, name, "qemu")
        stable = chosen.alias or chosen.name
        yield (
            Guest(emulator.path, arch, emulator.target, chosen.name, stable, virttype, _scope(view, emulator, virttype)),
            chosen,
            verdict,
        )


def _machines(emulator: Emulator, wanted: Wanted, host: str, arch: str, profile: Version) -> Iterator[tuple[Machine | None, str]]:
    """(machine, name asked for); no machine where one was asked for by name and is not offered."""
    offered = emulator.machines
    asked = wanted.machines.get(arch) or (wanted.machines.get("") if emulator.native else None) or ()
    if offered is None:
        yield _UNKNOWN, ""
    elif ALL in asked:
        yield from ((machine, machine.name) for machine in offered)
    elif asked:
        yield from ((named(offered, name), name) for name in asked)
    else:
        usual = named(offered, STABLE.get(arch, "")) or default(offered, arch, profile)
        yield from ((usual, usual.name),) if usual is not None else ()


def _virttypes(view: View, emulator: Emulator, kvm: Verdict) -> tuple[str, ...]:
    """KVM, and TCG where KVM does not work (while QEMU has not said: where it has no access to /dev/kvm)."""
    works = _may_open_kvm(view, "") if emulator.enabled is None and emulator.machines is None else kvm.supported
    return ("kvm",) if emulator.native and works is True else ("kvm", "qemu")


def _scope(view: View, emulator: Emulator, virttype: str) -> str:
    """Which of QEMU's processes answers for a guest: the second one only for TCG on a host where the first has KVM.

    While QEMU has not said, its access to /dev/kvm tells what it will say, so that both are started at once.
    """
    if virttype == "kvm" or not emulator.native:
        return ACCELERATED
    expected = emulator.enabled if emulator.enabled is not None else _may_open_kvm(view, "")
    return EMULATED if expected is True else ACCELERATED


# ---- can it run? -------------------------------------------------------------------------------------------------------------


def _may_open_kvm(view: View, user: str) -> Truth:
    answer = view.answer(question("access", "/dev/kvm", "rw", user))
    return answer.strip() == b"yes" if isinstance(answer, bytes) else False if answer == Refusal("absent") else None


def _kvm_works(view: View, emulator: Emulator) -> Truth:
    """What QEMU says tells something only where it could open /dev/kvm."""
    return emulator.enabled if emulator.enabled is True or _may_open_kvm(view, "") is True else None


def _runs(view: View, emulator: Emulator, wanted: Wanted, offered: bool, name: str, virttype: str) -> Verdict:
    there = view.there(question("exists", "/dev/kvm"))
    user = guest_user(view, wanted)
    machine: Need[Emulator] = Need(f"qemu-machine:{name}", lambda _: offered)
    needs: dict[str, tuple[Need[Emulator], ...]] = {
        "kvm": (machine, Need("dev-kvm", lambda _: there), Need("qemu-kvm", lambda one: _kvm_works(view, one))),
        "qemu": (machine, Need("qemu-tcg", lambda one: one.tcg)),
    }
    access: Need[Emulator] = Need("kvm-access", lambda _: _may_open_kvm(view, user) if there is not False else None)
    row = value("", *needs[virttype], besides=(access,) if virttype == "kvm" else ())
    return evaluate([element("guest", enum("", row))], emulator, profile=(0, 0)).verdicts[1]

"""Which kinds of guest to report on, and whether such a guest can run here at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from domcaps_exporter import ABSENT, Question, Refusal, Truth, Unmet, Verdict, question
from domcaps_exporter.libvirt import STABLE
from domcaps_exporter.rules import Need, ValueRow, Version, element, enum, evaluate, value
from domcaps_exporter.view import View
from domcaps_qemu.emulators import Emulator
from domcaps_qemu.machines import Machine, default, named
from domcaps_qemu.settings import ALL, Wanted
from domcaps_qemu.world import ACCELERATED, EMULATED, Guest

_UNKNOWN = Machine("", None, 0, deprecated=False, default=False)
"""Stands for the machine while the list has not come."""

_QEMU_CONF = "/etc/libvirt/qemu.conf"
_CONF = question("read", _QEMU_CONF)
_USUAL = ("libvirt-qemu", "qemu")
"""Debian's user for guests, and most others'."""
_ACCOUNT = re.compile(rb"""^\s*(user|group)\s*=\s*(["'])\+?(.*?)\2""", re.MULTILINE)
"""libvirt takes either quote (virconf.c)."""

_KVM = "/dev/kvm"
_OS_RELEASES = (question("read", "/etc/os-release"), question("read", "/usr/lib/os-release"))
"""The second where there is no first: os-release(5)."""
_IDS = re.compile(r"""^(ID|ID_LIKE)=(["']?)(.*?)\2\s*$""", re.MULTILINE)
_BUILT_WITH = {"ubuntu": "kvm", "debian": "libvirt-qemu", **dict.fromkeys(("fedora", "rhel", "centos", "suse"), "qemu")}
"""The group that a distribution's libvirt puts guests in where qemu.conf names none (libvirt's build file names them)."""
_ELSEWHERE = ("root", "kvm", "libvirt-qemu", "qemu")
"""The groups that other distributions build libvirt with."""


class Account(NamedTuple):
    """A user, and a group that it is put into besides its own, where one is named. Without a name it is the exporter's own."""

    user: str = ""
    group: str = ""


OWN = Account()


def _account(conf: bytes) -> Account:
    return Account(**{key.decode(): name.decode("utf-8", "replace") for key, _, name in _ACCOUNT.findall(conf)})


def guest_user(view: View, wanted: Wanted) -> Account | None:
    """Who runs guests: the setting, else `user` and `group` in qemu.conf; the exporter's own user where there is no qemu.conf.

    Where there is one that names no user, or that may not be read (Debian's is root's alone), the user that distributions make for
    guests, if the host has one: libvirt was built to use it. Else nobody knows (None). A line that is commented out is no witness:
    whoever edits the file may leave anything there.
    """
    if wanted.guest_user:
        return Account(wanted.guest_user)
    named = view.form(_CONF, _account)
    if isinstance(named, Refusal) and named.why == "absent":
        return OWN
    named = named if isinstance(named, Account) else OWN
    if named.user:
        return named
    usual = (Account(user, named.group) for user in _USUAL)
    return next((account for account in usual if _is_there(view, account)), None)


def _possible(view: View, wanted: Wanted, account: Account) -> tuple[Account, ...]:
    """Whom libvirt may make of this account: one without a group is put in the group that it was built with, besides its own."""
    if account.group or not account.user or wanted.guest_user:
        return (account,)
    known = next((form for one in _OS_RELEASES if (form := view.form(one, built_with)) != ABSENT), ABSENT)
    groups = (known,) if isinstance(known, str) and known else _ELSEWHERE
    found = (Account(account.user, group) for group in groups)
    return tuple(one for one in found if _is_there(view, one)) or (account,)


def built_with(data: bytes) -> str:
    """A distribution's libvirt's group, by os-release: of what it is, else of the first that it is like; empty: nobody knows."""
    told = {key: words for key, _, words in _IDS.findall(data.decode("utf-8", "replace"))}
    words = f"{told.get('ID', '')} {told.get('ID_LIKE', '')}".split()
    return next((_BUILT_WITH[word] for word in words if word in _BUILT_WITH), "")


def about_user(view: View, wanted: Wanted) -> tuple[str, ...]:
    """Who it is that runs guests and may not open /dev/kvm, or why nobody knows whether they may, if it is so."""
    account = guest_user(view, wanted)
    answer = view.answer(_access(account or OWN))
    if account is None:
        return () if answer == b"yes" else (f"whether guests may use KVM is unknown: {_wanting(view, 'names no user')}",)
    if answer == b"yes" or (isinstance(answer, Refusal) and answer.why == "absent"):
        return ()
    if not isinstance(answer, Refusal):
        return _denied(view, wanted, account)
    setting = "guest_user: " if wanted.guest_user else ""
    return (f"{setting}{answer.text or answer.why}; whether guests may use KVM is unknown",)


def _denied(view: View, wanted: Wanted, account: Account) -> tuple[str, ...]:
    """By their own groups they may not; the one that libvirt adds may decide."""
    told = {one.group: may_open_kvm(view, one) for one in _possible(view, wanted, account)}
    if set(told.values()) == {False}:
        who = account.user or "the exporter's own user"
        return (f"guests are run by {who}, {_known_by(view, wanted, account)}, and {_KVM} is closed to that user and its groups",)
    letting = " or ".join(group for group, truth in told.items() if truth)
    if not letting or all(told.values()):
        return ()
    return (
        f"whether guests may use KVM is unknown: {account.user} may in the group {letting}, and {_wanting(view, 'names none')}",
    )


def _wanting(view: View, readable: str) -> str:
    """What is wrong with qemu.conf; `readable`: if it can be read."""
    return f"{_QEMU_CONF} {'may not be read' if view.text(_CONF) is None else readable}"


def _known_by(view: View, wanted: Wanted, account: Account) -> str:
    if wanted.guest_user:
        return "as guest_user says"
    if not account.user:
        return f"for there is no {_QEMU_CONF}"
    named = view.form(_CONF, _account)
    return f"as {_QEMU_CONF} says" if isinstance(named, Account) and named.user else "as libvirt is built"


def guests(view: View, emulator: Emulator, wanted: Wanted, host: str, profile: Version) -> Iterator[tuple[Guest, Machine, Verdict]]:
    """Each kind of guest with its machine and the verdict on whether it can run."""
    arch = host if emulator.native and host.startswith("ppc64") else emulator.target
    runs = {virttype: _runs(view, emulator, wanted, virttype) for virttype in ("kvm", "qemu")}
    virttypes = wanted.virttypes or _virttypes(view, emulator, runs["kvm"])
    for machine, offered in _machines(emulator, wanted, arch, profile).items():
        for virttype in virttypes:
            if virttype == "kvm" and not emulator.native:
                continue
            verdict = runs[virttype] if offered else _without(f"qemu-machine:{machine.name}")
            verdict = verdict if emulator.there else _without("emulator")
            yield guest(view, emulator, machine, arch, virttype, profile), machine, verdict


def guest(view: View, emulator: Emulator, machine: Machine, arch: str, virttype: str, profile: Version) -> Guest:
    """A guest of that kind on that emulator."""
    return Guest(
        emulator=emulator.path,
        arch=arch,
        target=emulator.target,
        machine=machine.name,
        stable=machine.alias or machine.name,
        virttype=virttype,
        scope=_scope(view, emulator, virttype),
        # since 12.0 libvirt asks QEMU what accelerator it has, where QEMU can say; else it takes one for granted
        accelerated=not (emulator.enabled is False and emulator.tells_accelerators is True and profile >= (12, 0)),
    )


def _machines(emulator: Emulator, wanted: Wanted, arch: str, profile: Version) -> dict[Machine, bool]:
    """The machines to report on, each once, and whether the emulator offers it: one that was asked for by name may be gone."""
    offered = emulator.machines
    asked = wanted.machines.get(arch) or (wanted.machines.get("") if emulator.native else None) or ()
    if offered is None:
        names = [name for name in asked if name != ALL] or [STABLE.get(arch, "")]
        return {replace(_UNKNOWN, name=name): True for name in names}
    if ALL in asked:
        return dict.fromkeys(offered, True)
    if asked:
        found = {name: named(offered, name) for name in asked}
        return {machine or replace(_UNKNOWN, name=name): machine is not None for name, machine in found.items()}
    usual = named(offered, STABLE.get(arch, "")) or default(offered, arch, profile)
    return {} if usual is None else {usual: True}


def _virttypes(view: View, emulator: Emulator, kvm: Verdict) -> tuple[str, ...]:
    """KVM, and TCG where KVM does not work (while QEMU has not said: where it has no access to /dev/kvm)."""
    works = may_open_kvm(view) if emulator.enabled is None and emulator.machines is None else kvm.supported
    return ("kvm",) if emulator.native and (works is True or not emulator.there) else ("kvm", "qemu")


def _scope(view: View, emulator: Emulator, virttype: str) -> str:
    """Which of QEMU's processes answers for a guest: the second one only for TCG on a host where the first has KVM.

    While QEMU has not said, its access to /dev/kvm tells what it will say, so that both are started at once.
    """
    if virttype == "kvm" or not emulator.native:
        return ACCELERATED
    expected = emulator.enabled if emulator.enabled is not None else may_open_kvm(view)
    return EMULATED if expected is True else ACCELERATED


# ---- can it run? -------------------------------------------------------------------------------------------------------------


def _access(account: Account) -> Question:
    return question("access", _KVM, "rw", account.user, *filter(None, (account.group,)))


def _is_there(view: View, account: Account) -> bool:
    """Is there such a user? An error comes of asking for one who is not there. Where nobody knows, it may be this one."""
    answer = view.answer(_access(account))
    return not (isinstance(answer, Refusal) and answer.why == "error")


def may_open_kvm(view: View, account: Account = OWN) -> Truth:
    """May this user open /dev/kvm?"""
    answer = view.answer(_access(account))
    return answer.strip() == b"yes" if isinstance(answer, bytes) else False if answer == Refusal("absent") else None


def _may_guests_open_kvm(view: View, wanted: Wanted) -> Truth:
    """Whoever runs them: where nobody knows who does, the exporter's own access is the best witness, and its want of it none."""
    account = guest_user(view, wanted)
    if account is None:
        return may_open_kvm(view) or None
    if may_open_kvm(view, account) is True:
        return True  # a group more takes nothing away: nowhere have others more of /dev/kvm than its group
    told = {may_open_kvm(view, one) for one in _possible(view, wanted, account)}
    return told.pop() if len(told) == 1 else None


def _kvm_works(view: View, emulator: Emulator) -> Truth:
    """What QEMU says tells something only where it could open /dev/kvm: a container may forbid what the file's mode allows."""
    opened = view.answer(question("kvm", "66"))
    forbidden = isinstance(opened, Refusal) and opened.why == "denied"
    told = emulator.enabled is True or (may_open_kvm(view) is True and not forbidden)
    return emulator.enabled if told else None


def _runs(view: View, emulator: Emulator, wanted: Wanted, virttype: str) -> Verdict:
    if virttype == "qemu":
        return _verdict(value("", Need("qemu-tcg", lambda one: one.tcg)), emulator)
    there = view.there(question("exists", _KVM))
    device: Need[Emulator] = Need("dev-kvm", lambda _: there)
    built: Need[Emulator] = Need("qemu-kvm-build", lambda one: one.compiled)
    works: Need[Emulator] = Need("qemu-kvm", lambda one: _kvm_works(view, one) if one.compiled is not False else None)
    access: Need[Emulator] = Need("kvm-access", lambda _: _may_guests_open_kvm(view, wanted) if there is not False else None)
    return _verdict(value("", device, built, works, besides=(access,)), emulator)


def _without(prerequisite: str) -> Verdict:
    return Verdict("guest", "", "", False, (Unmet(prerequisite, "refuses"),))


def _verdict(row: ValueRow[Emulator], emulator: Emulator) -> Verdict:
    return evaluate([element("guest", enum("", row))], emulator, profile=(0, 0)).verdicts[1]

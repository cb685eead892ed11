"""What the rules look at: the facts about one kind of guest on one emulator, in QEMU's and the host's words. Pure.

Every method is three-valued: True, False, or None where the facts do not say. Where a fact is still missing, the view notes it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

from domcaps_exporter import Question, Refusal, Truth, UnreadableAnswer, question
from domcaps_exporter.qmp import command
from domcaps_exporter.rules import Version
from domcaps_exporter.view import Aspect, View, any_known, presence_of
from domcaps_qemu.firmware import Descriptors, Firmware
from domcaps_qemu.replies import Schema, final, names, options, qom_types, strings

T = TypeVar("T")

BINARY = "binary"
"""Scope of a QMP question whose answer depends on nothing but the emulator's files."""
ACCELERATED = "kvm:tcg"
"""Scope of a question to a QEMU that may use KVM, and falls back to TCG: libvirt's first launch."""
EMULATED = "tcg"
"""Scope of a question to a QEMU that must not use KVM: libvirt's second launch."""

_FIRMWARE, _VIRTTYPE, _ACCELERATED, _MACHINE, _SINCE = "firmware", "virttype", "accelerated", "machine", "since"
"""The kinds of a guest's aspects."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One kind of guest. `arch` is libvirt's name of what is asked for, `target` the emulator's own; `machine` is canonical.

    `stable` is the machine's name in labels. `virttype` is `kvm`, `qemu` or `hvf`; `scope` is where its answers come from.
    `accelerated`: libvirt takes its first launch for one with an accelerator (it does so also where it cannot tell).
    """

    emulator: str
    arch: str
    target: str
    machine: str
    stable: str
    virttype: str
    scope: str
    accelerated: bool = True


@cache
def _properties(emulator: str, typename: str) -> Question:
    return question("qmp", emulator, BINARY, command("qom-list-properties", typename=typename))


@lru_cache(maxsize=8192)
def _matches(machine: str, patterns: tuple[str, ...]) -> bool:
    return any(machine.startswith(one[:-1]) if one.endswith("*") else machine == one for one in patterns)


class World:
    """The facts about one guest. `profile` is the libvirt whose words are written."""

    def __init__(self, view: View, guest: Guest, profile: Version, descriptors: Descriptors | None = None) -> None:
        self.view, self.guest, self.profile = view, guest, profile
        self._firmware = Firmware(view, guest.arch, guest.machine, profile, descriptors)
        self._emulator = guest.emulator, guest.arch, guest.target

    # ---- QEMU's answers ----

    def qmp(self, scope: str, name: str, **arguments: object) -> Question:
        """The question that asks this guest's emulator for a QMP command."""
        return question("qmp", self.guest.emulator, scope, command(name, **arguments) if arguments else name)

    def binary(self, parse: Callable[[bytes], T], name: str, **arguments: object) -> T | None:
        """What the emulator's files say, parsed; None where nobody knows."""
        form = self.view.form(self.qmp(BINARY, name, **arguments), parse)
        return None if isinstance(form, Refusal) else form

    def here(self, parse: Callable[[bytes], T], name: str, **arguments: object) -> T | None:
        """What the emulator says of this host where it may use KVM, parsed; None where nobody knows.

        libvirt asks its first process only, whatever the guest's virttype: hence `<hyperv>` and `<sev>` under TCG as well.
        """
        return self.under(ACCELERATED, parse, name, **arguments)

    def under(self, scope: str, parse: Callable[[bytes], T], name: str, **arguments: object) -> T | None:
        """What the emulator says under an accelerator, parsed; None where nobody knows."""
        form = self.view.form(self.qmp(scope, name, **arguments), parse)
        return None if isinstance(form, Refusal) else form

    def doubt(self, scope: str, name: str, **arguments: object) -> None:
        """If the emulator refused this, it may have been for want of something: it is asked again in a while."""
        with suppress(UnreadableAnswer):
            self.under(scope, final, name, **arguments)

    def has_type(self, *types: str) -> Truth:
        """Does QEMU know any of these QOM types?"""
        known = self.binary(qom_types, "qom-list-types")
        return None if known is None else any(one in known for one in types)

    def has_property(self, typename: str, name: str) -> Truth:
        """Does this QOM type have this property? A type that is not there has none."""
        form = self.view.form(_properties(self.guest.emulator, typename), names)
        known = None if isinstance(form, Refusal) else form
        return None if known is None else name in known

    def has_schema(self, *paths: str) -> Truth:
        """Are all these paths in QEMU's QMP schema?"""
        schema = self.binary(Schema, "query-qmp-schema")
        return None if schema is None else all(schema.has(path) for path in paths)

    def has_option(self, option: str, parameter: str | None = None) -> Truth:
        """Does QEMU's command line know this option, and this parameter of it?"""
        known = self.binary(options, "query-command-line-options")
        if known is None:
            return None
        return option in known and (parameter is None or parameter in known[option])

    def has_word(self, name: str, *words: str) -> Truth:
        """Is any of these words in a command's list (query-tpm-models and the like)?"""
        known = self.binary(strings, name)
        return None if known is None else any(one in known for one in words)

    # ---- the guest, as rules see it ----

    @property
    def is_x86(self) -> bool:
        return self.guest.target in ("x86_64", "i686")

    @property
    def is_s390(self) -> bool:
        return self.guest.target.startswith("s390")

    @property
    def is_ppc64(self) -> bool:
        return self.guest.target.startswith("ppc64")

    def arch_is(self, *archs: str) -> bool:
        """Is the guest of one of these architectures, in libvirt's names?"""
        return self.guest.arch in archs

    def machine_is(self, *patterns: str) -> bool:
        """Is the canonical machine one of these? A pattern that ends in `*` is a prefix."""
        return self.view.look((_MACHINE, *patterns), _matches(self.guest.machine, patterns))

    @property
    def virttype(self) -> str:
        return self.view.look((_VIRTTYPE,), self.guest.virttype)

    @property
    def accelerated(self) -> bool:
        return self.view.look((_ACCELERATED,), self.guest.accelerated)

    @property
    def firmware(self) -> Firmware:
        """The firmware that is meant for this guest."""
        self.view.look((_FIRMWARE,), self._firmware.seen)
        return self._firmware

    def since(self, major: int, minor: int) -> bool:
        """Is it at least this libvirt whose words are written?"""
        return self.view.look((_SINCE, str(major), str(minor)), self.profile >= (major, minor))

    def kept(self, name: str, make: Callable[[], T], *more: Hashable) -> T:
        """`make()`, or what it was for a guest of the emulator that was the same wherever `make` looked. `more` is of the key.

        Rules see no more of a guest than the above. So most of an emulator's 60 machines are alike, whatever the accelerator and
        whichever libvirt's words are written.
        """
        return self.view.memo((name, *self._emulator, *more), make, self._tell)

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """All of the guest but its machine, and whose words are written: for `kept`, where more is looked at than rules may see."""
        guest = self.guest
        return guest.virttype, guest.scope, guest.accelerated, self.profile

    def _tell(self, aspect: Aspect) -> object:
        kind = aspect[0]
        if kind == _MACHINE:
            return _matches(self.guest.machine, aspect[1:])
        if kind == _SINCE:
            return self.profile >= (int(aspect[1]), int(aspect[2]))
        return self._firmware.seen if kind == _FIRMWARE else getattr(self.guest, kind)

    # ---- the host ----

    @property
    def kernel_release(self) -> str | None:
        """The running kernel's release."""
        told = (self.view.text(question("uname")) or "").split("\0")
        return told[1] if len(told) == 3 else None

    def exists(self, path: str) -> Truth:
        """Is there such a file, folder or device?"""
        return self.view.there(question("exists", path))

    def executable(self, path: str) -> Truth:
        """Is there such a program?"""
        return self.view.there(question("exec", path))

    def in_path(self, program: str) -> Truth:
        """Is there such a program in PATH?"""
        return self.view.there(question("which", program))

    def has_entries(self, folder: str) -> Truth:
        """Does the folder hold anything?"""
        entries = self.view.entries(question("list", folder))
        return None if entries is None else bool(entries)

    def contains(self, path: str, word: Callable[[str], bool]) -> Truth:
        """Does any line of this file satisfy `word`? An absent file has no lines."""
        answer = self.view.answer(question("read", path))
        if not isinstance(answer, bytes):
            return presence_of(answer)
        return any(word(line) for line in answer.decode("utf-8", "replace").splitlines())

    def any_program(self, *paths: str) -> Truth:
        """Is any of these programs there?"""
        return any_known([self.executable(path) for path in paths])

"""The two ways to speak to a libvirt, each in processes that can be killed: libvirt-python, else virsh. It only asks.

Both answer alike: XML bytes that end in one newline, or a refusal with libvirt's words. libvirt-python takes one process and one
connection for all questions, virsh one for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from domcaps_exporter import ABSENT, Answer, Host, ProbeRefused, Question, Refusal, UnreadableAnswer, question

Client: TypeAlias = "Bindings | Virsh"

SYSTEM_PYTHON = "/usr/bin/python3"
"""The Python that a distribution's python3-libvirt is for."""

PASSED_ON = ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "KRB5CCNAME")
"""What of the exporter's environment libvirt and ssh need: session libvirts, keys, certificates and tickets are found by it."""

_SCRIPT = str(Path(__file__).with_name("bindings.py"))
_OPTIONS = ("emulatorbin", "arch", "machine", "virttype")
_AT_ONCE = 64
"""Questions for one process; its answers must fit into what a host takes from a program."""


class Bindings:
    """libvirt-python. `python` is the interpreter with its options, `folder` where libvirt.py is, empty where it knows that."""

    def __init__(self, python: Sequence[str], folder: str = "") -> None:
        self._argv = (*python, _SCRIPT, folder)

    def ask(self, host: Host, uri: str, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """The answers, or the one refusal for all where libvirt is not reached."""
        for first in range(0, len(questions), _AT_ONCE):
            asked = questions[first : first + _AT_ONCE]
            told = host.ask(_run(host, *self._argv, uri, json.dumps([one.args[1:] for one in asked])))
            answers = [told] * len(asked) if isinstance(told, Refusal) else _unpacked(told, uri)
            if len(answers) != len(asked):
                raise UnreadableAnswer(f"{uri}: {len(answers)} answers to {len(asked)} questions")
            yield from zip(asked, answers, strict=True)


class Virsh:
    """virsh, a process per question."""

    def ask(self, host: Host, uri: str, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """The answers; each question may be refused on its own."""
        for one in questions:
            told = host.ask(_run(host, "virsh", "-q", "-c", uri, one.args[1], *_options(one.args[2:])))
            yield one, told if isinstance(told, Refusal) else _xml(told)


def client(host: Host) -> Client:
    """libvirt-python of the exporter's own Python, else virsh, else libvirt-python of the system's.

    Raises:
        ProbeRefused: there is none of them.
    """
    own = find_spec("libvirt")
    if own is not None and own.origin is not None:
        return Bindings((sys.executable, "-I", "-S"), str(Path(own.origin).parent))
    if host.ask(question("which", "virsh")) != ABSENT:
        return Virsh()
    if host.ask(question("exec", SYSTEM_PYTHON)) != ABSENT:
        return Bindings((SYSTEM_PYTHON, "-I"))
    raise ProbeRefused("neither libvirt-python (pip install 'domcaps-exporter[libvirt]') nor virsh is here")


def _run(host: Host, *argv: str) -> Question:
    """No session libvirt is started where none runs."""
    found: Mapping[str, Answer] = {name: host.ask(question("env", name)) for name in PASSED_ON}
    passed = (f"{name}={value.decode('utf-8', 'surrogateescape')}" for name, value in found.items() if isinstance(value, bytes))
    return question("run", "env", "LIBVIRT_AUTOSTART=0", *passed, *argv)


def _options(words: Sequence[str]) -> Iterator[str]:
    """virsh parses a lone word as a command line; a word that comes from a remote libvirt is therefore bound to its option."""
    return (f"--{option}={word}" for option, word in zip(_OPTIONS, words, strict=False) if word)


def _unpacked(told: bytes, uri: str) -> list[Answer]:
    try:
        answers = [_xml(xml.encode()) if isinstance(xml, str) else Refusal("error", str(said)) for xml, said in json.loads(told)]
    except (ValueError, TypeError) as error:
        raise UnreadableAnswer(f"{uri}: libvirt-python said something else: {error}") from error
    return list(answers)


def _xml(told: bytes) -> bytes:
    return told.strip() + b"\n"

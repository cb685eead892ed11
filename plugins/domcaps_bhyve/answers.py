"""What FreeBSD's programs say, read: bhyve's lists, messages and usage, sysctl's and pciconf's lines. Pure.

Sources: usr.sbin/bhyve/{bhyverun,pci_emul,pci_lpc}.c from FreeBSD 10.4 to main, sbin/sysctl/sysctl.c, usr.sbin/pciconf/pciconf.c.
Every function raises UnreadableAnswer or ValueError for what makes no sense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from domcaps_exporter import UnreadableAnswer

_LIST_UNKNOWN = ("Invalid PCI slot info field", "invalid lpc device configuration")
"""What bhyve before 12.1 says to `-s help` and `-l help`: it takes `help` for a device."""


@dataclass(frozen=True, slots=True)
class Said:
    """A program's last words: how it ended, and what it wrote where."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Usage:
    """bhyve's options, by their letters, and whether `-c` takes sockets, cores and threads."""

    options: frozenset[str]
    topology: bool


def said(answer: bytes) -> Said:
    """The answer to the question `said`."""
    told = json.loads(answer)
    status, stdout, stderr = told["status"], told["stdout"], told["stderr"]
    if not isinstance(status, int) or not isinstance(stdout, str) or not isinstance(stderr, str):
        raise UnreadableAnswer("not what a program said")
    return Said(status, stdout, stderr)


def listed(answer: bytes) -> frozenset[str] | None:
    """The devices that `-s help` or `-l help` lists; None where this bhyve cannot list, empty where it has no such option."""
    told = said(answer)
    names = frozenset(line.strip() for line in told.stdout.splitlines() if line.strip())
    if told.status == 0 and names:
        return names
    if any(words in told.stderr for words in _LIST_UNKNOWN):
        return None
    if "illegal option -- l" in told.stderr:
        return frozenset()
    raise UnreadableAnswer(f"neither a list nor a refusal: exit status {told.status}: {told.stderr[:200]!r}")


def known(answer: bytes) -> bool:
    """Whether a bhyve that cannot list knows the one device it was told to make, without a guest's name: it complains of either.

    The slot in the message changed its form with FreeBSD 13.1, so only the words are looked at.
    """
    told = said(answer)
    if "unknown device" in told.stderr or "invalid lpc device configuration" in told.stderr:
        return False
    if "Usage: " in told.stderr:
        return True
    raise UnreadableAnswer(f"neither usage nor a complaint: exit status {told.status}: {told.stderr[:200]!r}")


def usage(answer: bytes) -> Usage:
    """The options in the head of `-h`: `[-aCDeH…]` and `[-k config_file]`."""
    told = said(answer)
    head = re.split(r"\n\s+-\w+: ", told.stderr)[0]
    if "Usage: " not in head:
        raise UnreadableAnswer(f"no usage: exit status {told.status}: {told.stderr[:200]!r}")
    letters = "".join(re.findall(r"\[-([A-Za-z]+)", head))
    if not letters:
        raise UnreadableAnswer(f"a usage without options: {head[:200]!r}")
    return Usage(frozenset(letters), "sockets=" in head)


def knobs(answer: bytes) -> Mapping[str, str]:
    """`sysctl -i`: a line `name: value` for each that there is."""
    lines = [line.partition(": ") for line in answer.decode("utf-8", "replace").splitlines() if line.strip()]
    if any(not separator for _, separator, _ in lines):
        raise UnreadableAnswer("a line without a value")
    return {name: value.strip() for name, _, value in lines}


def number(text: str) -> int:
    """A knob's value; some are shown in hexadecimal."""
    return int(text, 0)


def modules(answer: bytes) -> frozenset[str]:
    """`kldstat`: the names in the last column, the kernel's own among them."""
    lines = answer.decode("utf-8", "replace").splitlines()
    if not lines or "Name" not in lines[0]:
        raise UnreadableAnswer("not a table of modules")
    return frozenset(line.split()[-1] for line in lines[1:] if line.strip())


def passed_through(answer: bytes) -> int:
    """`pciconf -l`: how many devices the driver ppt holds (`ppt0@pci0:1:0:0: …`)."""
    return len(re.findall(r"^ppt\d+@pci", answer.decode("utf-8", "replace"), re.MULTILINE))

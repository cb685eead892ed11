"""Words for a terminal, whoever they came from. Pure."""

from __future__ import annotations


def printable(words: str) -> str:
    """What a terminal would act on instead of showing it becomes `?`."""
    return "".join(char if char.isprintable() else "?" for char in words)


def line(words: str) -> str:
    """The same on one line."""
    return printable(" ".join(words.split()))

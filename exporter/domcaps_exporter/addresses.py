"""Addresses as they may be printed: without the passwords that stand in them. Pure."""

from __future__ import annotations

import re

_MARK = re.compile(r":/{1,2}+")
"""What makes an address of a text; one slash is a misspelt two."""

_PLAIN = re.compile(
    r"""
    (?:[^:/?#\[\]]*@)?                          # somebody,
    (?:
        \[[^\]/?#@]*\](?::[0-9]*)?              # a host that is a number, and a port,
        |
        [^:@/?#\[\]]*                           # or its name, and a port; after which no @ is expected but in a query's value:
        (?::[0-9]*(?![^?]*@|[^=]*@))?           # me:12/34@host has a password
    )
    (?:[/?#]|$)
    """,
    re.VERBOSE,
)
"""How an address goes on that has no password."""


def without_password(text: str) -> str:
    """An address, or whatever somebody took for one, without what stands in a password's place.

    What may stand in a password (/, ?, #, even @) ends it nowhere but at the last @.
    """
    end = text.rfind("@")
    for mark in _MARK.finditer(text, 0, max(end, 0)):
        colon = text.find(":", mark.end(), end)
        if colon >= 0 and not _PLAIN.match(text, mark.end()):
            return text[:colon] + text[end:]
    return text


def without_passwords(message: str) -> str:
    """A message in which such a text may stand; its words are looked at one by one."""
    return re.sub(r"\S+", lambda word: without_password(word[0]), message)

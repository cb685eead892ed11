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

_SECRET = re.compile(r":.*(?=@)", re.DOTALL)
"""A password's place, where it has one. What may stand in a password (/, ?, #, even @) ends it nowhere but at the last @."""


def without_password(text: str) -> str:
    """An address, or whatever somebody took for one, without what stands in a password's place."""
    for mark in _MARK.finditer(text):
        rest = text[mark.end() :]
        if not _PLAIN.match(rest):
            return text[: mark.end()] + _SECRET.sub("", rest, count=1)
    return text


def without_passwords(message: str) -> str:
    """A message in which such a text may stand; its words are looked at one by one."""
    return re.sub(r"\S+", lambda word: without_password(word[0]), message)

"""The manual page, made from the same flags as `--help`: roff with the `man` macros. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from domcaps_exporter.commands import COMMANDS, EXAMPLES, PROGRAM, SUMMARIES
from domcaps_exporter.flags import DESCRIPTION, parser

_EXITS = {
    "0": "done; for diff: the two are equal",
    "1": "this host or its surroundings would not: no answer, an address that is taken, a refused plugin; for diff: the two differ",
    "2": "the command line or the configuration file means nothing; for diff: the two could not be compared",
}
_ENDPOINTS = {
    "/": "a page for people",
    "/metrics": "for Prometheus; collect[]=DRIVER for some drivers only",
    "/documents": "every document as JSON, with a link to its XML",
    "/documents/<id>.xml": "what libvirt would answer, in its own format",
    "/probe?target=NAME": "the metrics of a libvirt that the configuration names, asked now",
    "/-/healthy, /-/ready": "200 while it serves",
}


def page(version: str) -> str:
    """The page, section 1."""
    return "".join(f"{line}\n" for line in _lines(version))


def _lines(version: str) -> Iterator[str]:
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {_roff(version)}" "User Commands"'
    yield from (".SH NAME", f"{_roff(PROGRAM)} \\- what the hypervisors of this host can give a guest")
    yield from (".SH SYNOPSIS", f".B {_roff(PROGRAM)}", "[\\fIflags\\fR] [\\fIcommand\\fR]")
    yield from (".SH DESCRIPTION", _roff(" ".join(DESCRIPTION.split())))
    yield from (".SH COMMANDS", *_list((" ".join((name, *COMMANDS[name])), SUMMARIES[name]) for name in COMMANDS))
    yield from (".SH OPTIONS", "Options may stand before and after the command.", *_list(_options()))
    yield from (".SH EXAMPLES", ".nf", *map(_roff, EXAMPLES.values()), ".fi")
    yield from (".SH EXIT STATUS", *_list(_EXITS.items()))
    yield from (".SH ENDPOINTS", *_list(_ENDPOINTS.items()))


def _options() -> Iterator[tuple[str, str]]:
    for action in parser()._actions:
        if action.option_strings:
            yield _synopsis(action), action.help or ""


def _synopsis(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    return " ".join(filter(None, (", ".join(action.option_strings), str(value))))


def _list(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, words in entries:
        yield from (".TP", f".B {_roff(term)}", _roff(words))


def _roff(words: str) -> str:
    """As text: no line of it is a request, hyphens can be copied, quotes stay."""
    return "\\&" + words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")

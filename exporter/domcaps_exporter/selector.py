"""`arch=x86_64,machine=q35`: some of what has labels, as a person names it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domcaps_exporter.errors import DomcapsError

LABELS = ("driver", "emulator", "arch", "machine", "virttype")
"""What guests can be chosen by."""


class SelectorError(DomcapsError):
    """A selector that means nothing; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Selector:
    """What has all of these labels; an empty one chooses everything."""

    wanted: Mapping[str, str] = field(default_factory=dict)

    def chooses(self, labels: Mapping[str, str]) -> bool:
        return self.wanted.items() <= labels.items()


def selector(text: str, labels: Sequence[str]) -> Selector:
    """The selector in `text`; a value has no commas.

    Raises:
        SelectorError: it is none, or names something else than these labels, or one twice.
    """
    wanted: dict[str, str] = {}
    for term in filter(None, text.split(",")):
        name, equals, value = term.partition("=")
        if not equals or name not in labels:
            raise SelectorError(f"found {term!r}; expected LABEL=VALUE with one of {', '.join(labels)}")
        if name in wanted:
            raise SelectorError(f"found {name} twice in {text!r}; expected it once")
        wanted[name] = value
    return Selector(wanted)

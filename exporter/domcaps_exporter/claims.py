"""What one report says of everything that a host can have and lose: yes, no, or nobody knows. Pure.

Beside the values of enums that is the guest itself (element `guest`, no enum, no value), whole elements (no enum, no value), CPU
models (`cpu`, `model`), features of the host's CPU (`cpu`, `feature`) and firmware files (`loader`, no enum, the path).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domcaps_exporter.model import Report, Truth
from domcaps_exporter.truths import Key, elements, listed, lists, loaders, models, values

GUEST: Key = ("guest", "", "")
MODEL = ("cpu", "model")
"""Element and enum of CPU models."""

_USABLE: Mapping[str, Truth] = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a report says. `listed` is what its document names; `lists` are the document's enums, as (element, enum)."""

    truths: Mapping[Key, Truth]
    listed: frozenset[Key] = frozenset()
    lists: frozenset[tuple[str, str]] = frozenset()
    aliases: frozenset[Key] = frozenset()
    """CPU models that are another name of a listed one: they are no loss of their own."""

    def of(self, key: Key, *, listed: bool) -> Truth:
        """The truth about a key; what was `listed` once and is missing where its list is there is a no."""
        if key in self.truths:
            return self.truths[key]
        return False if listed and (key[:2] in self.lists or self.truths.get((key[0], "", "")) is False) else None


def claims(report: Report) -> Claims:
    """Everything that is said; of a guest that cannot run, that alone."""
    if report.guest.supported is False:
        return Claims({GUEST: False})
    offered = models(report)
    canonical = {model.canonical for model in offered.values()}
    return Claims(
        truths={key: None if truth is None else bool(truth) for key, truth in _truths(report)},
        listed=frozenset((*listed(report), *((*MODEL, name) for name in offered))),
        lists=frozenset(lists(report)),
        aliases=frozenset((*MODEL, name) for name in offered if name in canonical),
    )


def _truths(report: Report) -> Iterator[tuple[Key, Truth]]:
    yield GUEST, report.guest.supported
    yield from (((name, "", ""), truth) for name, truth in elements(report).items())
    yield from values(report).items()
    yield from (((*MODEL, name), _USABLE.get(model.usable)) for name, model in models(report).items())
    yield from ((("cpu", "feature", name), offered) for name, offered in report.host_features)
    yield from ((("loader", "", path), present) for path, present in loaders(report).items() if path)

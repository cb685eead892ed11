"""Prerequisites as sentences for a person, from the glossary: what is lacking, and whether something can be done about it. Pure.

A name without an entry there stands for itself: a stranger's prerequisites need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from domcaps_exporter.glossary import CHAPTERS, Entry

_REST = "{}"
"""What stands for the rest of a name."""

_ENTRIES = {name: known for chapter in CHAPTERS.values() for name, known in chapter.items()}
_FAMILIES = sorted((name for name in _ENTRIES if name.endswith(_REST)), key=len, reverse=True)

_HOMES: Mapping[str, tuple[str, ...]] = {
    "qemu-device:tpm-spapr": ("ppc64",),
    "qemu-device:spapr-": ("ppc64",),
    "qemu-device:s390-": ("s390x",),
    "ultravisor": ("s390x",),
    "prot-virt": ("s390x",),
    "qemu-device:sev-": ("x86_64",),
    "qemu-device:tdx-guest": ("x86_64",),
    "qemu-device:sgx-epc": ("x86_64", "i686"),
    "qemu:query-sev-capabilities": ("x86_64",),
    "qemu:query-sgx-capabilities": ("x86_64", "i686"),
    "qemu-hyperv:": ("x86_64", "i686"),
    "qemu-device:arm-": ("aarch64", "armv7l"),
    "gic-v": ("aarch64", "armv7l"),
}
"""What exists on some architectures only, by the beginning of its name; libvirt's names, `ppc64` for `ppc64le` too."""


def entry(prerequisite: str) -> Entry | None:
    """What the glossary says of it; None where it is a stranger's."""
    name = _name(prerequisite)
    return None if name is None else _filled(name, prerequisite.removeprefix(name.removesuffix(_REST)))


def summary(prerequisites: Iterable[str]) -> Iterator[tuple[str, Entry]]:
    """What the glossary says of these, each entry once: of several that share one, what it says of any `NAME`."""
    alike: dict[str, list[str]] = {}
    for one in dict.fromkeys(prerequisites):
        name = _name(one)
        if name is not None:
            alike.setdefault(name, []).append(one)
    for name, ones in alike.items():
        rest = ones[0].removeprefix(name.removesuffix(_REST)) if len(ones) == 1 else "NAME"
        yield name.replace(_REST, rest), _filled(name, rest)


def _name(prerequisite: str) -> str | None:
    """Its name in the glossary: its own, or the longest with a rest that fits."""
    if prerequisite in _ENTRIES:
        return prerequisite
    fitting = (name for name in _FAMILIES if prerequisite.removeprefix(name.removesuffix(_REST)) not in ("", prerequisite))
    return next(fitting, None)


def _filled(name: str, rest: str) -> Entry:
    known = _ENTRIES[name]
    return Entry(*(words.replace(_REST, rest) for words in (known.means, known.look, known.mend)))


def sentence(prerequisite: str) -> str:
    """What it means that this is lacking; the name itself where nothing is known of it."""
    found = entry(prerequisite)
    return prerequisite if found is None else found.means


def foreign(prerequisite: str, arch: str) -> bool:
    """Nothing that is done to this host would help: another architecture's or another machine's guests have it."""
    if prerequisite.startswith(("arch:", "machine:")):
        return True
    homes = next((homes for beginning, homes in _HOMES.items() if prerequisite.startswith(beginning)), None)
    return homes is not None and not arch.startswith(homes)

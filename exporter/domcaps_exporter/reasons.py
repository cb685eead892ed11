"""Prerequisites as sentences for a person, from the glossary: what is lacking, and whether something can be done about it. Pure.

A name without an entry there stands for itself: a stranger's prerequisites need none.
"""

from __future__ import annotations

from collections.abc import Mapping

from domcaps_exporter.glossary import CHAPTERS, Entry

_EXACT = {name: entry for chapter in CHAPTERS.values() for name, entry in chapter.items() if not name.endswith("{}")}
_FAMILIES = sorted(
    ((name.removesuffix("{}"), entry) for chapter in CHAPTERS.values() for name, entry in chapter.items() if name.endswith("{}")),
    key=lambda family: -len(family[0]),
)

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
}
"""What exists on some architectures only, by the beginning of its name; libvirt's names, `ppc64` for `ppc64le` too."""


def entry(prerequisite: str) -> Entry | None:
    """What the glossary says of it; None where it is a stranger's."""
    exact = _EXACT.get(prerequisite)
    if exact is not None:
        return exact
    for beginning, family in _FAMILIES:
        rest = prerequisite.removeprefix(beginning)
        if rest not in ("", prerequisite):
            return Entry(*(words.replace("{}", rest) for words in (family.means, family.look, family.mend)))
    return None


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

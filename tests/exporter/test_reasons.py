from __future__ import annotations

import pytest

from domcaps_exporter.reasons import foreign, sentence, summary
from domcaps_exporter.rules import ElementRow, EnumRow
from domcaps_qemu.table import AFTER_CPU, OS_AND_MEMORY
from domcaps_qemu.world import World


def named(rows: tuple[ElementRow[World], ...]) -> set[str]:
    """Every prerequisite in a table."""
    names: set[str] = set()
    for row in rows:
        names |= {need.name for need in (*row.needs, *row.besides)}
        enums = [child for child in row.rows if isinstance(child, EnumRow)]
        names |= {need.name for enum in enums for value in enum.values for need in (*value.needs, *value.besides)}
        names |= named(tuple(child for child in row.rows if isinstance(child, ElementRow)))
    return names


def test_every_prerequisite_of_the_qemu_table_has_a_sentence() -> None:
    assert not [name for name in named((*OS_AND_MEMORY, *AFTER_CPU)) if sentence(name) == name]


@pytest.mark.parametrize(
    ("prerequisite", "words"),
    [
        ("dev-vhost-net", "there is no /dev/vhost-net"),
        ("qemu-device:pvpanic", "this QEMU has no device pvpanic"),
        ("program:passt", "the program passt is not installed"),
        ("acme-licence", "acme-licence"),
        ("program:", "program:"),
        ("qemu-device:{x}", "this QEMU has no device {x}"),
    ],
)
def test_a_name_without_a_sentence_stands_for_itself(prerequisite: str, words: str) -> None:
    assert sentence(prerequisite) == words


def test_what_several_have_in_common_is_summed_up_in_one() -> None:
    told = summary(["qemu-hyperv:ipi", "dev-kvm", "acme-licence", "qemu-hyperv:evmcs", "program:passt", "dev-kvm"])
    assert [(name, known.means) for name, known in told] == [
        ("qemu-hyperv:NAME", "KVM and QEMU do not offer the enlightenment NAME"),
        ("dev-kvm", sentence("dev-kvm")),
        ("program:passt", "the program passt is not installed"),
    ]


@pytest.mark.parametrize(
    ("prerequisite", "arch", "is_foreign"),
    [
        ("arch:s390", "x86_64", True),
        ("machine:ide", "x86_64", True),
        ("qemu-device:tpm-spapr", "x86_64", True),
        ("qemu-device:tpm-spapr", "ppc64le", False),
        ("qemu-device:sev-guest", "x86_64", False),
        ("qemu-device:sev-guest", "aarch64", True),
        ("iommu-groups", "x86_64", False),
        ("acme-licence", "x86_64", False),
    ],
)
def test_what_only_other_architectures_have_is_foreign(prerequisite: str, arch: str, is_foreign: bool) -> None:
    assert foreign(prerequisite, arch) is is_foreign

"""The glossary of prerequisites against the drivers, which name them, and against docs/prerequisites.md, which tells them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.tools.prerequisites import DOCUMENT, document

import domcaps_bhyve.table as bhyve
import domcaps_qemu.table as qemu
import domcaps_xen.table as xen
from domcaps_exporter.glossary import CHAPTERS
from domcaps_exporter.reasons import entry
from domcaps_exporter.rules import ElementRow, EnumRow, Need, ValueRow, W
from domcaps_qemu.beyond import BEYOND

EVERY = {name: one for chapter in CHAPTERS.values() for name, one in chapter.items()}
ROOT = Path(__file__).parent.parent
SOURCES = (*sorted((ROOT / "plugins").rglob("*.py")), ROOT / "exporter" / "domcaps_exporter" / "past.py")
NAMING = ("Need", "Unmet", "_without")
"""What is called with a prerequisite's name."""


def in_tables() -> Iterator[str]:
    """The names in the drivers' tables."""
    yield from in_rows((*qemu.OS_AND_MEMORY, *qemu.AFTER_CPU, *BEYOND))
    yield from in_rows((*xen.BEFORE_CPU, *xen.AFTER_CPU))
    yield from in_rows((*bhyve.OS, *bhyve.AFTER_CPU, *bhyve.BEYOND))
    for guest in xen.GUESTS.values():
        yield from names(guest)


def in_rows(rows: tuple[ElementRow[W], ...]) -> Iterator[str]:
    for row in rows:
        yield from names(row)
        for child in row.rows:
            if isinstance(child, ElementRow):
                yield from in_rows((child,))
            elif isinstance(child, EnumRow):
                for one in child.values:
                    yield from names(one)


def names(row: ElementRow[W] | ValueRow[W]) -> Iterator[str]:
    needs: tuple[Need[W], ...] = (*row.needs, *row.besides)
    yield from (need.name for need in needs)


def in_words() -> Iterator[str]:
    """The names that are written out where a driver names what is lacking beside its table; `x` where a part is filled in."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMING:
                yield from written(node.args[0])
            if (
                isinstance(node, ast.AnnAssign | ast.Assign)
                and "_LACKING" in ast.unparse(node)
                and isinstance(node.value, ast.Dict)
            ):
                yield from (word for value in node.value.values for word in written(value))


def written(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)


NAMED = {*in_tables(), *in_words(), "hypervisor"}
"""Whatever a driver of ours can lack; a hypervisor that is gone, the core says."""


def test_the_drivers_name_what_is_expected_of_them() -> None:
    few = {"kvm-access", "qemu-machine:x", "native-cpu", "program:swtpm_setup", "dev-vhost-net", "xen-pvh", "bhyve-device:fbuf"}
    assert few <= NAMED
    assert len(NAMED) > 150


def test_every_prerequisite_that_a_driver_can_name_has_an_entry() -> None:
    assert not [name for name in NAMED if entry(name) is None]


def test_every_entry_is_of_a_prerequisite_that_a_driver_can_name() -> None:
    assert EVERY.keys() - {holding(name) for name in NAMED} == {"dev-{}"}, "this one is for strangers' devices"


def holding(named: str) -> str:
    """The glossary's name for it: its own, or the longest with a `{}` that fits."""
    families = (name for name in EVERY if name.endswith("{}") and named.startswith(name[:-2]) and named != name[:-2])
    return named if named in EVERY else max(families, key=len)


def test_an_entry_is_a_line_each_and_has_its_commands_in_backticks() -> None:
    for name, one in EVERY.items():
        assert "{}" not in name.removesuffix("{}")
        assert "`" not in one.means, "a sentence for terminals and logs"
        for words in (one.means, one.look, one.mend):
            assert words
            assert "\n" not in words
            assert not words.endswith(".")
            assert words.count("`") % 2 == 0


def test_no_name_stands_in_two_chapters() -> None:
    assert len(EVERY) == sum(map(len, CHAPTERS.values()))


def test_the_document_says_what_the_code_says() -> None:
    assert DOCUMENT.read_text() == document(), "write it anew: python -m tests.tools.prerequisites"

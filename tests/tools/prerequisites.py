"""docs/prerequisites.md, made from the glossary: `python -m tests.tools.prerequisites`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domcaps_exporter.glossary import CHAPTERS

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "prerequisites.md"

_HEAD = """\
# Prerequisites

What the label `prerequisite` of `domcaps_unmet_prerequisite` says is lacking, and `lacks=` in the log: how to look at it by hand,
and what usually mends it. The page has the same about whatever its host lacks. Commands are for that host, as root where
they find nothing otherwise; on Red Hat's family QEMU is `/usr/libexec/qemu-kvm`. `NAME` is any name, of a device or a program.

Names are stable. A stranger's driver has names of its own, which are not here.
"""


def document() -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in (_HEAD.rstrip(), *_chapters()))


def _chapters() -> Iterator[str]:
    for title, entries in CHAPTERS.items():
        yield from ("", f"## {title}", "", "| prerequisite | means | look | mends |", "|---|---|---|---|")
        for name, entry in entries.items():
            cells = (f"`{name}`", *(words.replace("|", "\\|") for words in (entry.means, entry.look, entry.mend)))
            yield f"| {' | '.join(cells)} |".replace("{}", "NAME")


if __name__ == "__main__":
    DOCUMENT.write_text(document())

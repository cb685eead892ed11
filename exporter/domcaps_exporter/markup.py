"""The few HTML words that the page is made of; what comes from elsewhere goes through `text`, all else is HTML already. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from domcaps_exporter import durations

_SEAM = re.compile(r"(?<=[^\s/]/)(?=[^\s/])|(?<=[A-Z]_)(?=\w)|(?<=[a-z]{4})(?=[A-Z][a-z]{3})")
"""Where a name may be broken; an escape (`&amp;`) has none."""


def text(words: str | None) -> str:
    """Escaped, and without what UTF-8 cannot carry."""
    return escape((words or "").encode("utf-8", "backslashreplace").decode())


def coded(words: str) -> str:
    """Escaped, and what stands in backticks as code."""
    return "".join(f"<code>{name(part)}</code>" if odd % 2 else text(part) for odd, part in enumerate(words.split("`")))


def name(words: str | None) -> str:
    """Escaped; where it has to be broken, it is so after a slash (or in OVMF_CODE), or before a capital in a long word."""
    return _SEAM.sub("<wbr>", text(words))


def long(words: str) -> str:
    """Escaped; it may be broken anywhere, as a `name` if that is enough."""
    return f'<span class="long">{name(words)}</span>'


def moment(seconds: float) -> str:
    """A time, in seconds since the epoch."""
    shown = durations.moment(seconds)
    return f'<time datetime="{shown}">{shown.replace("T", " ").replace("Z", " UTC")}</time>'


def link(address: str, words: str) -> str:
    """A link within this server; `address` is a path, quoted here."""
    return f'<a href="{escape(quote(address, errors="surrogateescape"))}">{text(words)}</a>'


def items(kind: str, label: str, marked: Iterable[str], mark: str) -> str:
    """A list of chips, each with its mark, so that nothing is told by colour alone; empty where there is none."""
    shown = "".join(f'<li><i aria-hidden="true">{mark}</i> {item}</li>' for item in marked)
    return f'<ul class="{kind}" role="list" aria-label="{escape(label)}">{shown}</ul>' if shown else ""


def table(caption: str, heads: Iterable[str], rows: Iterable[tuple[str, ...]], kind: str = "") -> str:
    """A table whose first column names its rows; all cells are HTML already."""
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n' for first, *rest in rows
    )
    opening = f'<table class="{kind}">' if kind else "<table>"
    return f"{opening}<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"


def folded(summary: str, content: str, *, unfolded: bool = False, kind: str = "") -> str:
    """What is there for those who want to see it; `summary` is HTML already."""
    opening = "<details" + (f' class="{kind}"' if kind else "") + (" open>" if unfolded else ">")
    return f"{opening}<summary>{summary}</summary>\n{content}</details>\n"

"""Every query that the dashboards' panels ask, as a Prometheus can be asked it: for tests and for measuring. Reads their files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["instant", "range"]


class Query(NamedTuple):
    """What a panel asks: of the moment, or of the time that is shown; `points`: at most so many, 0: as many as it is wide."""

    dashboard: str
    panel: str
    expr: str
    kind: Kind
    points: int = 0


def queries(folder: Path) -> list[Query]:
    """Those of all panels of the dashboards in a folder, in their order; variables stand in them as such."""
    return [one for file in sorted(folder.glob("*.json")) for one in _of(json.loads(file.read_text()))]


def _of(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            kind: Kind = "instant" if target.get("instant") else "range"
            yield Query(dashboard["title"], panel["title"], target["expr"], kind, panel.get("maxDataPoints", 0))


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All but rows, also those in rows."""
    for panel in dashboard.get("panels", ()):
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def substitute(
    expr: str,
    job: str = ".+",
    group: str = ".*",
    host: str = ".+",
    model: str = "",
    odd: str = "",
    like: str = "",
    seconds: int = 86400,
    step: int = 300,
) -> str:
    """The expression with values for its variables, as Grafana writes them: patterns of the job, the group's label and the host.

    `model`: one CPU model; `odd` and `like`: two hosts that are compared; `seconds`: how much time is shown; `step`: from one point
    to the next.
    """
    values = {
        "job": job,
        "group": group,
        "instance": host,
        "model": model,
        "odd": odd,
        "like": like,
        "__range_s": f"{seconds}",
        "__range": f"{seconds}s",
    }
    values |= {"__interval": f"{step}s", "__rate_interval": f"{max(4 * 60, step + 60)}s"}
    return re.sub(r"\$(?:\{([a-z_]\w*)(?::\w+)?\}|([a-z_]\w*))", lambda found: values[found[1] or found[2]], expr)

"""The dashboards as pictures for the documentation: `python -m tests.dashboards.pictures FOLDER`. Takes some minutes."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from grafana.dashboards.generate import HERE
from grafana.dashboards.queries import panels, substitute
from tests.dashboards.drawing import WIDTH, Answers, height, page
from tests.dashboards.watching import Watched, watching
from tests.tools.chromium import chromium


class View(NamedTuple):
    """What is chosen, in words and as patterns, and down to which row of the grid the picture goes."""

    chosen: Mapping[str, str]
    host: str = "[abcd]-[0-9]"
    group: str = ".*"
    model: str = "EPYC-Milan"
    odd: str = "c-2"
    like: str = "c-3"
    until: int = 99


VIEWS = {
    "fleet": View({"Group": "All", "Host": "All"}, until=28),
    "host": View({"Group": "rack-a", "Host": "a-1"}, "a-1", until=29),
    "cpu": View({"Group": "rack-a, rack-b", "Host": "13 of 16", "CPU model": "EPYC-Milan"}, "a-[01245]|b-[0-7]", "rack-a|rack-b"),
    "drift": View({"Group": "All", "Host": "All", "Compare": "c-2", "Beside": "c-3"}),
    "exporter": View({"Group": "All", "Host": "All"}, ".+", until=36),
}
PACE = 8.0


def answered(watched: Watched, dashboard: Mapping[str, Any], view: View) -> dict[int, Answers]:
    """What each panel's queries found."""
    found: dict[int, Answers] = {}
    for panel in panels(dashboard):
        found[panel["id"]] = {
            target["refId"]: watched.ask(
                substitute(target["expr"], ".+", view.group, view.host, view.model, view.odd, view.like),
                "instant" if target.get("instant") else "range",
            )
            for target in panel["targets"]
        }
    return found


async def taken(path: Path, wide: int, high: int) -> bytes:
    async with chromium() as tab:
        await tab.look(wide, high, "light")
        await tab.open(path.as_uri())
        return await tab.picture()


def main(folder: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        with watching(work, PACE, every=6) as watched:
            for name, view in VIEWS.items():
                dashboard = json.loads((HERE / f"domcaps-{name}.json").read_text())
                (work / "page.html").write_text(page(dashboard, answered(watched, dashboard, view), view.chosen, view.until))
                picture = asyncio.run(taken(work / "page.html", WIDTH, height(dashboard, view.until)))
                Path(folder, f"dashboard-{name}.png").write_bytes(picture)


if __name__ == "__main__":
    main(sys.argv[1])

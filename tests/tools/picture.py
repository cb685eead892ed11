"""The picture of the page in the README: `python -m tests.tools.picture FILE`, with this machine's own host on it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.endtoend import serving
from tests.tools.chromium import chromium

WIDTH, HEIGHT = 1100, 1150


async def taken(url: str) -> bytes:
    async with chromium() as tab:
        await tab.look(WIDTH, HEIGHT, "light")
        await tab.open(url)
        return await tab.picture()


def main(file: str) -> None:
    with serving() as exporter:
        Path(file).write_bytes(asyncio.run(taken(exporter.url)))


if __name__ == "__main__":
    main(sys.argv[1])

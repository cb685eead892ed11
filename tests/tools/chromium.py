"""A headless Chromium that is told what to do over its DevTools protocol, by aiohttp's WebSocket. Starts one process group."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
"""Where it is; empty where there is none."""

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0 --remote-debugging-address=127.0.0.1"
).split()
_PATIENCE = 30.0
_MOMENT = 5.0


@dataclass
class Tab:
    """One page that is looked at; `events` are what the browser said of its own accord, the latest last."""

    socket: aiohttp.ClientWebSocketResponse
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    events: list[Mapping[str, Any]] = field(default_factory=list)

    async def do(self, method: str, **parameters: object) -> Any:
        """One command of the protocol, and its result."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(_PATIENCE):
            while (message := await self.socket.receive_json()).get("id") != number:
                self.events.append(message)
        assert "error" not in message, f"{method}: {message}"
        return message["result"]

    async def open(self, url: str) -> None:
        """Load a page to its end, also where it is there already."""
        for address in ("about:blank", url):
            self.events.clear()
            await self.do("Page.navigate", url=address)
            async with asyncio.timeout(_PATIENCE):
                while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
                    self.events.append(await self.socket.receive_json())

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to on the page (the debugger's own: the page needs none)."""
        answer = await self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def look(self, width: int, height: int, scheme: str) -> None:
        """Through a window of this size, by a person who likes it `light` or `dark`."""
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        await self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def press(self, key: str, code: int, text: str = "") -> None:
        """One key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            said = {"text": text} if text and kind == "keyDown" else {}
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **said)

    async def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    """A fresh browser with one tab."""
    profile = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(await _tab(session, profile), max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Log", "Runtime", "Accessibility"):
                await tab.do(f"{domain}.enable")
            yield tab
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _tab(session: aiohttp.ClientSession, profile: Path) -> str:
    """The address of the only tab."""
    port = profile / "DevToolsActivePort"
    async with asyncio.timeout(_PATIENCE):
        while not (port.exists() and port.read_text()):
            await asyncio.sleep(0.05)
        while True:
            pages = await _pages(session, f"http://127.0.0.1:{port.read_text().split()[0]}/json")
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
            await asyncio.sleep(0.05)


async def _pages(session: aiohttp.ClientSession, url: str) -> Sequence[Mapping[str, str]]:
    """Its tabs, none while it does not say. A browser that is just starting may take a question and never answer it."""
    try:
        async with asyncio.timeout(_MOMENT), session.get(url) as answer:
            return [one for one in await answer.json() if one["type"] == "page"]
    except TimeoutError:
        return ()

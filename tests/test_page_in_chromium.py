"""The page in a real browser: without JavaScript, light and dark, narrow and wide, by keyboard and as a screen reader hears it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.tools.chromium import PROGRAM, Tab, chromium

from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import (
    ABSENT,
    Cpu,
    CpuMode,
    CpuModel,
    Document,
    Driver,
    Element,
    Enum,
    Facts,
    Host,
    Identity,
    Report,
    Unmet,
    Verdict,
    question,
)
from domcaps_exporter.past import Guest, Past, Trace
from domcaps_exporter.probing import Watch
from domcaps_exporter.service import Service
from domcaps_exporter.web import serve

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs chromium: it is what people look at the page with")

EMULATOR = "/opt/a-distribution-with-very-long-paths/libexec/qemu-10.0.3-with-everything/bin/qemu-system-x86_64"
VFIO = (Unmet("iommu-groups", "refuses"), Unmet("vfio-pci-driver", "accepts"))
MODELS = (CpuModel("qemu64", "yes"), CpuModel("EPYC-Milan", "no", vendor="AMD", blockers=tuple(f"feature-{n}" for n in range(30))))
DOCUMENT = Document(
    "kvm",
    "x86_64",
    EMULATOR,
    "pc-q35-10.0",
    288,
    (
        Cpu((CpuMode("custom", True, models=MODELS),)),
        Element("firmwareFeatures", children=(Enum("secureBoot", ("yes",)),)),
        Element("devices", children=(Element("video", (("supported", "yes"),), children=(Enum("modelType", ("vga", "bochs")),)),)),
    ),
)


def report(machine: str, *, runs: bool = True) -> Report:
    lacks = () if runs else (Unmet("dev-kvm", "refuses"),)
    return Report(
        Identity(EMULATOR, "x86_64", machine, "kvm"),
        Verdict("guest", "", "", runs, lacks),
        DOCUMENT,
        (
            Verdict("hostdev", "pciBackend", "vfio", False, VFIO),
            Verdict("panic", "model", "s390", False, (Unmet("arch:s390", "refuses"),)),
            Verdict("tpm", "model", "tpm-crb", None),
        ),
        loaders=(("/usr/share/OVMF/OVMF_CODE_4M.fd", True), ("/usr/share/OVMF/GONE.fd", False)),
        version="10.0.3",
        canonical="pc-q35-10.0",
        notes=("what the kernel was built with is not readable",),
    )


def driver(name: str, *reports: Report) -> Driver:
    return Driver(name, lambda _: {question("uname"): ABSENT}, lambda _: reports)


def broken(host: Host) -> Facts:
    raise RuntimeError("a driver that fails in a_word_that_is_far_longer_than_any_window_that_shows_it_could_ever_be_wide")


BADGES = "td > b, th > b, summary > b, :not(.lack) > li > b"
BROKEN = """
[...document.querySelectorAll('.matrix th, .lost th, .changes td, .have li, code.whole')].flatMap(place => {
  const found = [], texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT), range = document.createRange()
  while (texts.nextNode()) {
    const node = texts.currentNode
    let line = null
    for (let at = 0; at < node.length; at++) {
      range.setStart(node, at)
      range.setEnd(node, at + 1)
      const rect = range.getClientRects()[0]
      if (!rect || !rect.width) continue
      if (line !== null && rect.top > line + 3 && /\\w/.test(node.data[at - 1]) && /\\w/.test(node.data[at])) found.push(node.data)
      line = rect.top
    }
  }
  return found
})
"""
"""The texts whose lines end between two letters."""

SERVED = (driver("qemu", report("q35"), report("pc", runs=False)), Driver("acme", broken, lambda _: ()))
LOST = (("hostdev", "pciBackend", "vfio"), ("loader", "", "/usr/share/OVMF/GONE.fd"), ("cpu", "hostPassthroughMigratable", "off"))
HELD = {("panic", "model", "s390"): Trace(True)}
REMEMBERED = Past({report("q35").identity: Guest({key: Trace(False, 1_770_000_000.0) for key in LOST} | HELD)})
"""Three things were lost before the start; one is with the first answer."""
REFUSED = Plugin("other", "1.0", "does not import")


@asynccontextmanager
async def exporter() -> AsyncIterator[str]:
    """Serves the reports above; the address."""
    watches = [Watch(one, lambda deadline: RealHost(deadline, Paths(), Store()), 20) for one in SERVED]
    service = Service(watches, (REFUSED,), chronicle=Chronicle(("qemu", "acme"), known={"qemu": REMEMBERED}))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(service, ["127.0.0.1:0"], "/metrics", stop, lambda urls: ready.set_result(urls[0])))
    try:
        yield await ready
    finally:
        stop.set()
        await running


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@dataclass(frozen=True)
class Looking:
    """A browser, and the exporter that it looks at."""

    runner: asyncio.Runner
    tab: Tab
    url: str

    def see(self, look: Callable[[Tab, str], Coroutine[None, None, None]]) -> None:
        """Open the page afresh, and look."""

        async def opened() -> None:
            await self.tab.open(self.url)
            await look(self.tab, self.url)

        self.runner.run(opened())


@pytest.fixture(scope="module")
def looking(runner: asyncio.Runner) -> Iterator[Looking]:
    """One browser for all tests: it takes a second to start."""
    stack = AsyncExitStack()

    async def start() -> Looking:
        url = await stack.enter_async_context(exporter())
        return Looking(runner, await stack.enter_async_context(chromium()), url)

    yield runner.run(start())
    runner.run(stack.aclose())


def test_the_page_needs_nothing_that_its_policy_refuses(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        complaints = [event["params"]["entry"]["text"] for event in tab.events if event.get("method") == "Log.entryAdded"]
        assert not [text for text in complaints if "favicon" not in text and "404" not in text]
        assert await tab.value("getComputedStyle(document.querySelector('.have li')).borderRadius") != "0px"
        assert await tab.value("document.scripts.length + document.images.length + document.querySelectorAll('link').length") == 0

    looking.see(look)


def test_nothing_is_wider_than_the_window_however_narrow(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        await tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        for width in (320, 360, 768, 1400):
            await tab.look(width, 900, "light")
            beyond = "[...document.querySelectorAll('*')].filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
            assert await tab.value(f"{beyond}.map(one => one.outerHTML.slice(0, 80))") == []

    looking.see(look)


def test_no_badge_and_no_name_is_broken_where_it_needs_not_be(looking: Looking) -> None:
    """A badge is as high as one line; names of elements, and the words of what a driver says, end where they may."""

    async def look(tab: Tab, url: str) -> None:
        await tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        for width in (400, 1400):
            await tab.look(width, 900, "light")
            badges = await tab.value(f"[...document.querySelectorAll('{BADGES}')].map(one => one.getBoundingClientRect().height)")
            assert len(badges) > 5
            assert max(badges) < 30
            assert await tab.value(BROKEN) == []

    looking.see(look)


def test_the_page_is_dark_for_those_who_like_it_dark(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        ground = "getComputedStyle(document.body).backgroundColor"
        await tab.look(1000, 800, "light")
        assert await tab.value(ground) == "rgb(255, 255, 255)"
        await tab.look(1000, 800, "dark")
        assert await tab.value(ground) == "rgb(15, 19, 24)"

    looking.see(look)


def test_everything_folded_opens_without_javascript_and_by_keyboard(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        await tab.do("Emulation.setScriptExecutionDisabled", value=True)
        await tab.open(url)
        await tab.do("Emulation.setScriptExecutionDisabled", value=False)  # the page has been loaded without
        focused = "document.activeElement.tagName + ' ' + document.activeElement.textContent.trim().slice(0, 20)"
        stops = []
        for _ in range(8):
            await tab.press("Tab", 9)
            stops.append(await tab.value(focused))
        assert stops[:6] == [
            "A Skip to the content",
            "A Metrics",
            "A Documents (JSON)",
            "A Why",
            "A qemu x86_64 q35 kvm",
            "A qemu x86_64 pc kvm",
        ]
        assert stops[6].startswith("SUMMARY qemu x86_64 q35 kvm")
        assert stops[7] == "A XML"
        await tab.press("Tab", 9)
        await tab.press("Enter", 13, "\r")
        assert await tab.value("document.activeElement.tagName + document.activeElement.parentElement.open") == "SUMMARYtrue"

    looking.see(look)


def test_a_screen_reader_hears_tables_with_headers_and_lists_with_names(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        nodes = [node for node in (await tab.do("Accessibility.getFullAXTree"))["nodes"] if not node.get("ignored")]
        heard = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
        for expected in (
            ("heading", "What guests can have on this host"),
            ("navigation", "Machine-readable"),
            ("main", ""),
            ("table", "Each kind of guest, and how much of what its matrix below names it has and misses"),
            ("columnheader", "Can run"),
            ("heading", "Lost, and not back"),
            ("table", "What a guest could have and cannot now: 4"),
            (
                "rowheader",
                f"✗ lost hostdev pciBackend vfio qemu x86_64 q35 kvm /{EMULATOR[1:].replace('/', '/ ')}",
            ),  # where it may be broken
            ("rowheader", "hostdev pciBackend"),
            ("list", "missing"),
            ("list", "available"),
            ("list", "nobody knows"),
        ):
            assert expected in heard, expected

    looking.see(look)


def test_a_link_in_the_overview_opens_the_guest_it_leads_to(looking: Looking) -> None:
    async def look(tab: Tab, url: str) -> None:
        await tab.value("document.querySelectorAll('details').forEach(one => one.open = false)")
        await tab.open(f"{url}#guest-2")
        assert await tab.value("document.querySelector('#guest-2').closest('details').open") is True
        assert "Such a guest cannot run here" in await tab.value("document.querySelector('#guest-2').innerText")

    looking.see(look)


def test_the_page_can_be_looked_at(looking: Looking) -> None:
    """A window full of one colour would be a tenth of this."""

    async def look(tab: Tab, url: str) -> None:
        await tab.look(1200, 900, "light")
        assert len(await tab.picture()) > 20_000

    looking.see(look)

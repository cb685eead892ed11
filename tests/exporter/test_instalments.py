"""Large answers arrive as they are, whatever their pieces, and whoever leaves before their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import pytest
from aiohttp import web

from domcaps_exporter.instalments import Instalments

KIB = 1024
PIECES: Sequence[Sequence[int]] = (
    (),
    (0, 0),
    (1, 2, 3),
    (64 * KIB,),
    (64 * KIB - 1, 1, 64 * KIB, 1),
    (10, 64 * KIB, 10),
    (700_000, 7, 3 * 64 * KIB, 0, 64 * KIB + 1, 20),
    (40_000, 40_000, 40_000),
)


def made(sizes: Sequence[int]) -> list[bytes]:
    return [bytes((start + place) % 251 for place in range(size)) for start, size in enumerate(sizes)]


async def served(pieces: Sequence[bytes], ask: Callable[[aiohttp.ClientSession, str], Awaitable[None]]) -> None:
    """Ask a server that answers with these pieces."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=Instalments(pieces))

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:
            await ask(session, f"http://{host}:{port}/")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("sizes", PIECES, ids=str)
def test_what_arrives_is_all_of_the_pieces_in_their_order(sizes: Sequence[int]) -> None:
    pieces = made(sizes)

    async def ask(session: aiohttp.ClientSession, url: str) -> None:
        for _ in range(2):
            async with session.get(url) as answer:
                assert answer.headers["Content-Length"] == str(sum(sizes))
                assert await answer.read() == b"".join(pieces)
        async with session.head(url) as answer:
            assert answer.headers["Content-Length"] == str(sum(sizes))
            assert await answer.read() == b""

    asyncio.run(served(pieces, ask))


def test_who_leaves_before_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as answer:
            await answer.content.readexactly(10)
            answer.close()
        async with session.get(url) as answer:
            assert len(await answer.read()) == 20_000_000

    asyncio.run(served([bytes(20_000_000)], ask))
    assert not caplog.records

"""Callers who mean no good, and one honest scraper, against an exporter. All three are processes of their own.

As a program, `crowd.py PORT NUMBER BEHAVIOUR`: that many callers do this again and again, until it is ended.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).with_name("server.py")
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
UNPACKED = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"

Caller = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@dataclass(frozen=True)
class Victim:
    """A running exporter with some hundred kilobytes of metrics."""

    process: subprocess.Popen[str]
    port: int

    async def answer(self, request: bytes, patience: float = 20) -> bytes:
        """All that is answered until the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), patience)
        finally:
            writer.close()

    async def scraped(self, times: int) -> Sequence[float]:
        """How long honest scrapes take, in seconds, each on a connection of its own."""
        took = []
        for _ in range(times):
            before = time.perf_counter()
            answer = await self.answer(SCRAPE)
            took.append(time.perf_counter() - before)
            assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:200]
            await asyncio.sleep(0.02)
        return took

    @contextmanager
    def besieged(self, number: int, behaviour: Caller) -> Iterator[None]:
        """That many callers do this again and again."""
        with subprocess.Popen([sys.executable, __file__, str(self.port), str(number), behaviour.__name__]) as crowd:
            time.sleep(1)
            try:
                yield
                assert crowd.poll() is None
            finally:
                crowd.kill()


@contextmanager
def victim(*argv: str) -> Iterator[Victim]:
    """`argv`: see server.py."""
    with subprocess.Popen([sys.executable, SERVER, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Victim(process, int(process.stdout.readline()))
        finally:
            process.kill()


def typical(took: Sequence[float]) -> float:
    return statistics.median(took)


# ---- behaviours ------------------------------------------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await reader.read()


async def half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: he")
    await reader.read()


async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float = 2) -> None:
    """One byte after each pause, of a head that never ends."""
    writer.write(b"GET /metrics HTTP/1.1\r\nX: ")
    while not reader.at_eof() and not writer.is_closing():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(pause)


async def trickling_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n")
    while not reader.at_eof() and not writer.is_closing():
        writer.write(b"a")
        await writer.drain()
        await reader.read(100_000)
        await asyncio.sleep(0.2)


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, and then nothing on a connection that stays."""
    writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: here\r\n\r\n")
    await reader.read()


async def not_reading(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask, and read nothing."""
    await _unread(writer, 3)


async def gorging(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for far more than the kernel keeps for one who does not read."""
    await _unread(writer, 100)


async def _unread(writer: asyncio.StreamWriter, times: int) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.write(UNPACKED * times)
    await asyncio.sleep(60)


async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect, ask, and leave."""
    writer.write(UNPACKED)
    await asyncio.sleep(0.05)


async def leafing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Open the page, and leave."""
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    await asyncio.sleep(0.05)


async def half_a_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say hello, hear the answer out, and say no more."""
    writer.write(hello())
    await reader.read()


async def dropping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leave amid the handshake, without a farewell."""
    writer.write(hello())
    await reader.read(100)
    writer.transport.abort()


def hello() -> bytes:
    """The first words of TLS, from one who trusts anybody."""
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname, caller.verify_mode = False, ssl.CERT_NONE
    said = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        caller.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


async def malformed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    await reader.read()
    await asyncio.sleep(0.1)


# ---- the program -----------------------------------------------------------------------------------------------------------

BEHAVIOURS = {
    one.__name__: one
    for one in (silent, half_a_head, trickling, idle, not_reading, hasty, leafing, malformed, half_a_handshake, dropping)
}


async def main(port: int, number: int, behaviour: Caller) -> None:
    await asyncio.gather(*(again(port, behaviour) for _ in range(number)))


async def again(port: int, behaviour: Caller) -> None:
    while True:
        with suppress(OSError):
            await once(port, behaviour)
        await asyncio.sleep(0.1)


async def once(port: int, behaviour: Caller) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await behaviour(reader, writer)
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), BEHAVIOURS[sys.argv[3]]))

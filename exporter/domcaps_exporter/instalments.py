"""An answer in pieces that others hold as well, handed on as fast as its asker reads: a slow one holds no copy of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

_INSTALMENT = 1 << 16
"""Bytes; so many may wait for one asker, as many again are on their way."""


class Instalments(Payload):
    """The pieces, one after the other."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(pieces)
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of it, for aiohttp's own messages."""
        return b"".join(self._pieces).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Wait for the asker after each instalment. Everybody else has a turn as well, and it comes out if the asker has left."""
        for one in _instalments(self._pieces):
            await writer.write(one)
            await writer.drain()
            await asyncio.sleep(0)


def _instalments(pieces: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """Small pieces together, large ones in parts."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > _INSTALMENT:
            yield b"".join(gathered)
            gathered, size = [], 0
        whole = len(piece) - len(piece) % _INSTALMENT
        yield from (memoryview(piece)[start : start + _INSTALMENT] for start in range(0, whole, _INSTALMENT))
        gathered.append(piece[whole:])
        size += len(piece) - whole
    yield b"".join(gathered)

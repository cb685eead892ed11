"""A crowd: thousands of simulated hosts that cost next to nothing to scrape. It serves (`python -m tests.fleet.crowd`).

Hosts that are alike have the same body, compressed once. What differs from scrape to scrape (how long the probe took, when it
was, what the process uses) is written anew for each, as an exporter would, from a clock that may run faster than time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import time

from tests.fleet.fleet import EXPECTED, WAIT, planned
from tests.fleet.hosts import Host, merged
from tests.fleet.worlds import World

from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.drivers import Plugin
from domcaps_exporter.exposition import TEXT_0, Part, written
from domcaps_exporter.ledger import Ledger
from domcaps_exporter.metrics import Options
from domcaps_exporter.model import Outcome
from domcaps_exporter.process import Process

LISTEN = "127.0.0.1"
DRIVERS = ("qemu", "xen", "bhyve", "libvirt")
"""Those of an exporter as it is installed."""

BEGIN = time() - 3600
"""When hosts lost what they lost: an hour ago."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Hosts that are alike: their world, and what was taken from it."""

    world: World
    thing: str = ""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Hosts by name with their kinds and groups. Deterministic by seed."""

    kinds: Mapping[str, Kind]
    groups: Mapping[str, str]

    def labels(self, name: str) -> dict[str, str]:
        return {"instance": name, "group": self.groups[name]}

    def targets(self, address: str) -> bytes:
        """http_sd's list."""
        listed = [{"targets": [address], "labels": {**self.labels(name), "__metrics_path__": f"/{name}"}} for name in self.kinds]
        return json.dumps(listed).encode()


def crowd(hosts: int, lacking: float = 0.04, seed: int = 1) -> Crowd:
    """Groups of ten, whose worlds are a plan's; this share of the hosts has lost something, and all of one group the same."""
    plan, chance = planned(seed, hosts), random.Random(seed)  # noqa: S311  the same every time, on purpose
    kinds = {name: Kind(world) for name, world in plan.fleet.worlds.items()}
    for name in chance.sample(sorted(kinds), round(lacking * hosts)):
        kinds[name] = Kind(kinds[name].world, chance.choice([thing for thing in EXPECTED if thing not in kinds[name].world.lacks]))
    for name in list(kinds)[:10]:
        kinds[name] = Kind(kinds[name].world, "virtiofsd")
    return Crowd(kinds, plan.fleet.groups)


# ---- bytes -------------------------------------------------------------------------------------------------------------------


@cache
def body(kind: Kind) -> Part:
    """What the documents say, and what was lost."""
    host = Host("", kind.world)
    host.options = Options()
    host.documents(BEGIN)
    if kind.thing:
        host.world = host.world.without(kind.thing)
    return Part(written(merged(host.documents(BEGIN + WAIT))))


@cache
def _packed(kind: Kind) -> tuple[bytes, int, int]:
    """The body's blocks, checksum and size: taken out of a Part once."""
    packed = body(kind).packed(TEXT_0)
    return packed.blocks, packed.crc, len(body(kind).plain(TEXT_0))


_MOVING = re.compile(
    rb"^(domcaps_probe_duration_seconds|domcaps_probe_last_success_timestamp_seconds|process_cpu_seconds_total"
    rb"|process_resident_memory_bytes|process_open_fds|python_gc_collections_total)(\{[^}]*\})? \S+$",
    re.MULTILINE,
)


@cache
def _tail() -> tuple[bytes, tuple[str, ...]]:
    """What an exporter says about itself, with %f in the place of what moves, and the names of that. Compiled once."""
    plugins = [Plugin(name, "1.0.0", None, (name,)) for name in DRIVERS]
    ledger, chronicle = Ledger(DRIVERS, plugins, "1.0.0"), Chronicle(DRIVERS)
    ledger.note(Outcome("qemu", (), None, 0.01, BEGIN, BEGIN), 500)
    own = (*chronicle.families(DRIVERS), *ledger.families(DRIVERS))
    whole = Part(written(own)).plain(TEXT_0) + Process().plain(TEXT_0)
    names = tuple(found[1].decode() for found in _MOVING.finditer(whole))
    return _MOVING.sub(rb"\1\2 %f", whole.replace(b"%", b"%%")), names


def moving(name: str, now: float) -> Mapping[str, float]:
    """By metric, what moves at a host by a time."""
    host, chance = zlib.crc32(name.encode()), zlib.crc32(f"{name} {now:.0f}".encode()) / 2**32
    age = now - BEGIN + 86_400 + host % 86_400
    return {
        "domcaps_probe_duration_seconds": 0.002 + chance / 500,
        "domcaps_probe_last_success_timestamp_seconds": now + chance,
        "process_cpu_seconds_total": round(age / 15_000, 2),
        "process_resident_memory_bytes": 60e6 + 4096 * (host % 4096 + age // 600),
        "process_open_fds": 10 + int(3 * chance),
        "python_gc_collections_total": age // 300,
    }


def tail(name: str, now: float) -> bytes:
    """What an exporter says about itself at a time."""
    template, names = _tail()
    values = moving(name, now)
    return template % tuple(values[one] for one in names)


def compressed(kind: Kind, last: bytes) -> bytes:
    """A whole exposition as one gzip member, as the exporter makes it."""
    blocks, crc, size = _packed(kind)
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    header, trailer = b"\x1f\x8b\x08" + bytes(6) + b"\xff", struct.pack("<II", zlib.crc32(last, crc), size + len(last) & 0xFFFFFFFF)
    return header + blocks + deflate.compress(last) + deflate.flush(zlib.Z_FINISH) + trailer


def exposition(one: Crowd, name: str, now: float) -> bytes:
    """The same in plain text."""
    return body(one.kinds[name]).plain(TEXT_0) + tail(name, now)


def samples(one: Crowd) -> dict[str, int]:
    """How many samples each host sends."""
    counts = {kind: _count(body(kind).plain(TEXT_0)) for kind in set(one.kinds.values())}
    own = _count(tail("", BEGIN))
    return {name: counts[kind] + own for name, kind in one.kinds.items()}


def _count(text: bytes) -> int:
    return sum(not line.startswith(b"#") for line in text.splitlines())


# ---- serving -----------------------------------------------------------------------------------------------------------------


class Stand:
    """Serves a crowd. `speed`: how much faster its clock runs; `count`: how many of its hosts are on the list."""

    def __init__(self, one: Crowd, speed: float = 1.0) -> None:
        self._crowd, self._speed, self._began = one, speed, time()

    def now(self) -> float:
        return self._began + (time() - self._began) * self._speed

    def answer(self, path: str, address: str, gzip: bool) -> tuple[bytes, Sequence[str]]:
        """The body of an answer, and its headers; no host of that name: the list."""
        name = path.strip("/")
        kind = self._crowd.kinds.get(name)
        if kind is None:
            return self._crowd.targets(address), ("Content-Type: application/json",)
        headers = (f"Content-Type: {TEXT_0.content_type}",)
        last = tail(name, self.now())
        if gzip:
            return compressed(kind, last), (*headers, "Content-Encoding: gzip")
        return body(kind).plain(TEXT_0) + last, headers

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        host, port = writer.get_extra_info("sockname")[:2]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                told, headers = self.answer(head.split(b" ", 2)[1].decode(), f"{host}:{port}", b"gzip" in head.lower())
                lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(told)}", *headers, "", "")
                writer.write("\r\n".join(lines).encode() + told)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it hung up
        finally:
            writer.close()


async def serve(one: Crowd, port: int, speed: float) -> None:
    """Until the process is told to end; the first line that is printed is the address."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Stand(one, speed).attend, LISTEN, port, backlog=1024)
    print(f"{LISTEN}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def warm(one: Crowd) -> None:
    """Write what can be written beforehand."""
    for kind in set(one.kinds.values()):
        _packed(kind)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.crowd", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--lacking", type=float, default=0.04, help="the share of hosts that have lost something (%(default)s)")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster its clock runs (%(default)s)")
    said = parser.parse_args(argv)
    one = crowd(said.hosts, said.lacking)
    warm(one)
    asyncio.run(serve(one, said.port, said.speed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

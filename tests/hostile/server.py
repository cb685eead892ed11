"""The exporter's server as a program, with a driver that answers at once: `server.py [--web FILE] [--head SECONDS] …`.

It writes its port on stdout. The deadlines can be made short, so that a test need not wait for them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from domcaps_exporter.connections import Limits
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import ABSENT, Driver, Element, Enum, Host, Identity, Report, Verdict, question
from domcaps_exporter.model import Document as Words
from domcaps_exporter.probing import Watch
from domcaps_exporter.service import Service
from domcaps_exporter.web import Front, serve


def reports(count: int) -> tuple[Report, ...]:
    many = tuple(f"model-{number}" for number in range(count))
    video = Element("video", (("supported", "yes"),), children=(Enum("modelType", many),))
    words = Words("kvm", "x86_64", "/bin/emulator", "pc-q35-10.0", 4096, (Element("devices", children=(video,)),))
    verdicts = tuple(Verdict("video", "modelType", value, True) for value in many)
    return (Report(Identity("/bin/emulator", "x86_64", "q35", "kvm"), Verdict("guest", "", "", True), words, verdicts),)


def service(count: int) -> Service:
    told = reports(count)
    driver = Driver("qemu", lambda host: {question("uname"): ABSENT}, lambda facts: told)

    def host(deadline: float) -> Host:
        return RealHost(deadline, Paths(), Store())

    return Service([Watch(driver, host, 20)], ())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--web", type=Path)
    for name, default in (("handshake", 5.0), ("head", 15.0), ("body", 2.0), ("answer", 20.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--values", type=int, default=400)
    said = parser.parse_args()
    limits = Limits(said.connections, said.handshake, said.head, said.body, said.answer)
    front = Front(said.web, limits=limits)
    await serve(service(said.values), ["127.0.0.1:0"], "/metrics", asyncio.Event(), announce, front=front)


def announce(urls: Sequence[str]) -> None:
    (url,) = urls
    sys.stdout.write(f"{url.rstrip('/').rpartition(':')[2]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

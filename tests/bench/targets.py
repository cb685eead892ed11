"""What an exporter costs that asks many libvirts (/probe), and what hanging ones cost the others. Prints a table, judges nothing.

virsh is a script: it answers as the libvirt of a simulated host does, at once or after a second per question, never, or with a
refusal. All targets are asked once an interval, evenly spread, as Prometheus does it.
Usage: python -m tests.bench.targets [--targets N] [--over S]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tests.endtoend import Serving, children, serving, threads
from tests.fleet.worlds import CAPABILITIES, World, described

from domcaps_exporter.document import write

VIRSH = """#!/bin/sh
case $3 in
    *//hung-*) exec sleep 1000 ;;
    *//slow-*) sleep 1 ;;
    *//dead-*) echo "error: failed to connect to the hypervisor" >&2; exit 1 ;;
esac
case $4 in capabilities) exec cat FOLDER/capabilities.xml ;; *) exec cat FOLDER/document.xml ;; esac
"""
TIMEOUT = 10.0
"""Seconds that a probe of a target may take, and that the scraper waits."""
_TICKS = os.sysconf("SC_CLK_TCK")


def named(**counts: int) -> tuple[str, ...]:
    """Names of targets that behave as their names say: `named(host=2, hung=1)` is host-0, host-1, hung-0."""
    return tuple(f"{kind}-{number}" for kind, count in counts.items() for number in range(count))


@contextmanager
def exporting(folder: Path, names: Iterable[str], timeout: float = TIMEOUT) -> Iterator[Serving]:
    """An exporter of these targets, and of nothing else."""
    (document,) = (report.document for report in described(World()) if report.document is not None)
    (folder / "document.xml").write_bytes(write(document))
    (folder / "capabilities.xml").write_text(CAPABILITIES)
    virsh = folder / "virsh"
    virsh.write_text(VIRSH.replace("FOLDER", str(folder)))
    virsh.chmod(0o755)
    targets = {name: {"uri": f"qemu+ssh://{name}/system", "timeout": timeout} for name in names}
    (folder / "domcaps.yml").write_text(json.dumps({"targets": targets}))
    path = {"PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"}
    native = (f"--no-driver.{driver}" for driver in ("qemu", "xen", "bhyve"))
    # a busy machine may leave many under way: how long they take is asked here, not how many there may be
    flags = (f"--config.file={folder / 'domcaps.yml'}", "--web.max-requests=0", *native)
    with serving(*flags, env={**os.environ, **path}) as running:
        yield running


# ---- asking ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one question: when it was asked (monotonic), the seconds it took, whether the target gave an answer."""

    target: str
    began: float
    seconds: float
    status: int
    answered: bool

    @property
    def kind(self) -> str:
        return self.target.partition("-")[0]


@dataclass
class Peak:
    """The most that was seen of an exporter."""

    threads: int = 0
    children: int = 0


class Scraper:
    """Asks an exporter's targets, as Prometheus does."""

    def __init__(self, session: aiohttp.ClientSession, exporter: Serving) -> None:
        self._session, self._exporter = session, exporter

    async def ask(self, target: str, delay: float = 0.0) -> Asked:
        await asyncio.sleep(delay)
        began = time.monotonic()
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": str(TIMEOUT)}
        async with self._session.get(f"{self._exporter.url}probe?target={target}", headers=headers) as got:
            body = await got.read()
        answered = b'domcaps_probe_success{driver="libvirt"} 1.0' in body
        return Asked(target, began, time.monotonic() - began, got.status, answered)

    async def round(self, targets: Sequence[str], over: float) -> list[Asked]:
        """Every target once, in an order of its own, over so many seconds."""
        order = random.Random(1).sample(targets, len(targets))  # noqa: S311  the same every time, on purpose
        asked = (self.ask(target, number * over / len(order)) for number, target in enumerate(order))
        return list(await asyncio.gather(*asked))


@asynccontextmanager
async def scraping(exporter: Serving) -> AsyncIterator[Scraper]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Scraper(session, exporter)


@asynccontextmanager
async def watched(exporter: Serving) -> AsyncIterator[Peak]:
    """Looks at its threads and children four times a second."""
    peak = Peak()

    async def look() -> None:
        while True:
            peak.threads = max(peak.threads, threads(exporter.process.pid))
            peak.children = max(peak.children, len(children(exporter.process.pid)))
            await asyncio.sleep(0.25)

    looking = asyncio.create_task(look())
    try:
        yield peak
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


# ---- the bench ---------------------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """One interval: what was asked, and the exporter's threads, children, CPU seconds (with its children's) and megabytes."""

    name: str
    asked: list[Asked] = field(default_factory=list)
    peak: Peak = field(default_factory=Peak)
    cpu: float = 0.0
    memory: float = 0.0


async def measured(exporter: Serving, name: str, targets: Sequence[str], over: float) -> Round:
    before = _cpu(exporter.process.pid)
    async with scraping(exporter) as scraper, watched(exporter) as peak:
        asked = await scraper.round(targets, over)
    return Round(name, asked, peak, _cpu(exporter.process.pid) - before, _memory(exporter.process.pid))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _memory(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def table(rounds: Iterable[Round]) -> str:
    lines = [f"{'':<34} {'asked':>5} {'answers':>7} {'min ms':>7} {'median':>7} {'p95':>7} {'max':>7}"]
    for done in rounds:
        lines.append(
            f"{done.name}: {done.peak.threads} threads, {done.peak.children} children at most, "
            f"{done.cpu:.1f} s CPU with children's, {done.memory:.0f} MB"
        )
        lines += [_line(kind, [one for one in done.asked if one.kind == kind]) for kind in Counter(one.kind for one in done.asked)]
    return "\n".join(lines)


def _line(kind: str, asked: Sequence[Asked]) -> str:
    taken = sorted(one.seconds * 1e3 for one in asked)
    numbers = (taken[0], statistics.median(taken), percentile(taken, 95), taken[-1])
    return f"    {kind:<30} {len(asked):>5} {sum(one.answered for one in asked):>7} " + " ".join(f"{one:>7.0f}" for one in numbers)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many per cent do not exceed."""
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]


def of_kinds(targets: int) -> Mapping[str, int]:
    """A twentieth each is hung, slow and dead; five in a hundred is a bad day."""
    few = targets // 20
    return {"host": targets - 3 * few, "hung": few, "slow": few, "dead": few}


def main(argv: Sequence[str]) -> int:
    """Two rounds of the healthy targets alone, then two with the others among them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.targets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--over", type=float, default=60.0, help="the interval in seconds (%(default)s)")
    said = parser.parse_args(argv)
    every = named(**of_kinds(said.targets))
    healthy = [name for name in every if name.startswith("host-")]
    plan = (("first answers", healthy), ("the healthy alone", healthy), ("all, first", every), ("all, again", every))
    with tempfile.TemporaryDirectory() as folder, exporting(Path(folder), every) as exporter:
        print(
            f"{said.targets} targets in {said.over:.0f} s; {_memory(exporter.process.pid):.0f} MB before the first answer",
            flush=True,
        )
        print(table(asyncio.run(measured(exporter, name, targets, said.over)) for name, targets in plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

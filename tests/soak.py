"""Is it the same after an hour? An exporter on a host that changes, whose probes are killed, is scraped all the while.

What it holds (memory, descriptors, threads, children) is looked at after each round of all that may happen to it, when it rests.
Usage, as root: python -m tests.soak [--minutes N] [--pause SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from tests.endtoend import EMULATOR, Serving, children, descriptors, eventually, program, resident, run, serving, threads
from tests.test_changing_host import KVM, Host, descriptor, privately

FEWEST = 6
"""Rounds, however little time there is: the first two are for what is set up once."""

SLACK = 1 << 20
"""Bytes by which memory may differ: what the allocator keeps is never quite the same."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int
    children: int


@dataclass(frozen=True)
class Soaked:
    """What became of it: what was held after each round, and how often each thing was done, or was in the log."""

    held: Sequence[Held]
    done: Counter[str]
    logged: Counter[str]

    def problems(self) -> list[str]:
        """What has grown from the second third of the time to the last: of each the least, for that is what is never given back."""
        third = len(self.held) // 3
        before, after = (
            Held(*map(min, zip(*map(astuple, part), strict=True))) for part in (self.held[third:-third], self.held[-third:])
        )
        grown = [
            f"{name}: {old} -> {new}"
            for name, old, new in zip(Held.__annotations__, astuple(before), astuple(after), strict=True)
            if new > old + (SLACK if name == "memory" else 0)
        ]
        return grown + [f"logged: {message} ({count})" for message, count in self.logged.items() if "failed" in message]


class Soaking:
    """One exporter, and all that happens to it."""

    def __init__(self, running: Serving, host: Host, state: Path) -> None:
        self.pid, self._running, self._host, self._state = running.process.pid, running, host, state
        self._usual = host.scrape().about_documents()
        self.done: Counter[str] = Counter()
        self.happenings: Sequence[Callable[[], None]] = (
            self.firmware_goes,
            self.an_iommu_comes_up,
            *((self.kvm_goes, self.a_probe_is_killed) if KVM.exists() else ()),
            self.callers_hang_up,
            self.nonsense_is_asked,
            self.everything_is_looked_at,
            self.losses_are_forgotten,
        )

    def round(self, pause: float) -> Held:
        """Everything once; afterwards the host is as it was, and so must be what is said of it."""
        for happening in self.happenings:
            happening()
            self.done[happening.__name__] += 1
            time.sleep(pause)
            assert self._host.scrape().about_documents() == self._usual, f"after {happening.__name__}"
            self._running.ask("/metrics", Accept_Encoding="gzip", Accept="application/openmetrics-text;version=1.0.0")
        eventually(lambda: not children(self.pid))
        return Held(resident(self.pid), descriptors(self.pid), threads(self.pid), len(children(self.pid)))

    def firmware_goes(self) -> None:
        with self._host.without(self._host.firmware):
            self._host.scrape()

    def an_iommu_comes_up(self) -> None:
        group = self._host.sysfs / "kernel/iommu_groups/0"
        group.mkdir()
        self._host.scrape()
        group.rmdir()

    def kvm_goes(self) -> None:
        with self._host.kvm(None):
            self._host.scrape()

    def a_probe_is_killed(self) -> None:
        """KVM comes back, so QEMU is asked anew, and ended while it is."""
        with self._host.kvm(None):
            self._host.scrape()
        scrape = threading.Thread(target=self._host.scrape)
        scrape.start()
        while scrape.is_alive():
            for child in children(self.pid):
                if "qemu" in program(child):
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                    self.done["killed"] += 1
        scrape.join()

    def callers_hang_up(self) -> None:
        for path in ("/metrics", "/", "/documents"):
            with self._running.scraping(path):
                pass

    def nonsense_is_asked(self) -> None:
        host, port = self._running.address.split(":")
        for text in (b"nonsense\r\n\r\n", b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"GET /metr"):
            with socket.create_connection((host, int(port)), timeout=20) as caller, suppress(ConnectionError):
                caller.sendall(text)
                caller.shutdown(socket.SHUT_WR)
                caller.recv(1000)

    def everything_is_looked_at(self) -> None:
        for path in ("/", "/documents", "/-/healthy", "/nothing", "/metrics?collect[]=qemu"):
            self._running.ask(path)
        self._host.xml()

    def losses_are_forgotten(self) -> None:
        with self._host.without(self._host.firmware):
            self._host.scrape()
            assert run("--state.file", str(self._state), "forget").code == 0


def soak(folder: Path, seconds: float, pause: float, tell: Callable[[Held], None] = lambda held: None) -> Soaked:
    """For so many seconds, with a pause after each thing that happens. `tell` hears what is held, after each round."""
    state, until = folder / "state.json", time.monotonic() + seconds
    held: list[Held] = []
    with soaking(folder, state) as (one, logged):
        while time.monotonic() < until or len(held) < FEWEST:
            held.append(one.round(pause))
            tell(held[-1])
    return Soaked(held, one.done, logged)


@contextmanager
def soaking(folder: Path, state: Path) -> Iterator[tuple[Soaking, Counter[str]]]:
    """On a private host with UEFI; what is logged is counted."""
    (folder / "sys/kernel/iommu_groups").mkdir(parents=True)
    for name in ("CODE.fd", "VARS.fd"):
        (folder / name).touch()
    logged: Counter[str] = Counter()
    with serving(f"--path.sysfs={folder / 'sys'}", f"--state.file={state}", within=privately()) as running:
        host = Host(running, folder)
        host.descriptor.parent.mkdir()
        host.descriptor.write_text(descriptor(folder))
        counting = threading.Thread(target=_count, args=(running, logged), daemon=True)
        counting.start()
        yield Soaking(running, host, state), logged


def _count(running: Serving, logged: Counter[str]) -> None:
    """Somebody has to read the log, or the exporter waits for it."""
    assert running.process.stderr is not None
    for line in running.process.stderr:
        event = json.loads(line)
        logged[f"{event['level']}: {event['msg'][:60]}"] += 1


def main() -> int:
    """Soak, print what is held from time to time, and say what has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="for how long (default: 60)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds after each thing that happens (default: 0.5)")
    said = parser.parse_args()
    if os.geteuid() != 0 or not EMULATOR:
        print("needs root, for a host of its own, and a QEMU for this machine's architecture", file=sys.stderr)
        return 2
    began = time.monotonic()
    last = -60.0

    def tell(held: Held) -> None:
        nonlocal last
        now = time.monotonic() - began
        if now - last >= 60:
            last = now
            print(
                f"{now / 60:5.1f} min {held.memory / 1e6:7.1f} MB {held.descriptors:3} descriptors "
                f"{held.threads:2} threads {held.children} children",
                flush=True,
            )

    with tempfile.TemporaryDirectory() as folder:
        soaked = soak(Path(folder), said.minutes * 60, said.pause, tell)
    for what, count in (*soaked.done.items(), *soaked.logged.items()):
        print(f"{count:6} x {what}")
    for problem in soaked.problems():
        print(f"GROWN: {problem}")
    return 1 if soaked.problems() else 0


if __name__ == "__main__":
    sys.exit(main())

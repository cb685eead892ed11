"""The exporter as a process of its own: started, scraped, looked at through /proc, and ended."""

from __future__ import annotations

import http.client
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

COMMAND = str(Path(sys.executable).with_name("domcaps-exporter"))
ARCH = platform.machine()
NAME = f"qemu-system-{ARCH}"
"""The emulator for this machine's own architecture."""
EMULATOR = shutil.which(NAME) or ""
MACHINES = {"x86_64": "q35", "s390x": "s390-ccw-virtio", "ppc64le": "pseries"}
MACHINE = MACHINES.get(ARCH, "virt")


REAL_QEMU = pytest.mark.skipif(not EMULATOR, reason=f"needs {NAME}: it is what is asked")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(*argv: str, env: Mapping[str, str] | None = None) -> Done:
    """The installed command, to its end."""
    done = subprocess.run([COMMAND, *argv], capture_output=True, text=True, timeout=60, check=False, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


class Samples(tuple[Sample, ...]):
    """What an exposition says."""

    __slots__ = ()

    @classmethod
    def of(cls, families: Iterable[Metric]) -> Samples:
        return cls(Sample(one.name, one.labels, one.value) for family in families for one in family.samples)

    def having(self, name: str, **labels: str) -> tuple[Sample, ...]:
        """The samples of that name with (at least) those labels."""
        return tuple(one for one in self if one.name == name and labels.items() <= one.labels.items())

    def value(self, name: str, **labels: str) -> float:
        """That of the only such sample."""
        (found,) = self.having(name, **labels)
        return found.value

    def about_documents(self) -> tuple[Sample, ...]:
        """Those that have an identity, and tell of the host as it is now."""
        return tuple(one for one in self if "emulator" in one.labels and one.name != "domcaps_lost_timestamp_seconds")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Serving:
    """A running exporter; `url` ends in a slash."""

    process: subprocess.Popen[str]
    url: str

    @property
    def address(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def scrape(self, **headers: str) -> Samples:
        answer = self.ask("/metrics", **headers)
        assert answer.status == 200, answer
        return Samples.of(text_string_to_metric_families(answer.body.decode()))

    @contextmanager
    def scraping(self, path: str = "/metrics") -> Iterator[None]:
        """A scrape is sent, and nobody reads its answer."""
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port))) as scraper:
            scraper.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            yield

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """The exit code, and how many seconds it took."""
        before = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(10), time.monotonic() - before


@contextmanager
def serving(
    *argv: str, env: Mapping[str, str] | None = None, within: Sequence[str] = (), command: str = COMMAND
) -> Iterator[Serving]:
    """An exporter on a free port; `within` is a command that becomes the exporter (unshare, sh -c 'exec …')."""
    whole = [*within, command, "--web.listen-address=127.0.0.1:0", "--log.format=json", *argv]
    with subprocess.Popen(whole, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serving(process, _address(process))
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("msg") == "listening":
            return str(event["url"])
        said.append(line)
    raise AssertionError("".join(said))


# ---- stand-ins ---------------------------------------------------------------------------------------------------------------


def install(folder: Path, script: str) -> Mapping[str, str]:
    """A shell script in the emulator's place; the environment in which it is the only program to be found."""
    folder.mkdir(exist_ok=True)
    program = folder / NAME
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": str(folder)}


HANGING = f"exec {shutil.which('sleep')} 1000"
"""An emulator that never answers."""


# ---- processes ---------------------------------------------------------------------------------------------------------------


def children(pid: int) -> frozenset[int]:
    """The processes that this one started and that still run."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return frozenset(number for number in numbers if _parent(number) == pid)


def _parent(pid: int) -> int | None:
    """None for what has ended, reaped or not."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(parent)


def runs(pid: int) -> bool:
    return _parent(pid) is not None


def program(pid: int) -> str:
    """The file that a process runs; empty where it has ended."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now."""
    (pages,) = Path(f"/proc/{pid}/statm").read_text().split()[1:2]
    return int(pages) * resource.getpagesize()


def busy(pid: int) -> float:
    """Seconds of CPU that a process has used, its ended threads and the children that it waited for among it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of loopback's at which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Does it come true in time?"""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def swift(work: Callable[[], float], most: float, least: float = 0) -> bool:
    """Does it take less than so many seconds, once at least in ten times? `work` says how long it took: never less than `least`.

    On a machine that stands still now and then some of them take longer. What is too slow is so each time.
    """
    for _ in range(10):
        took = work()
        assert took >= least
        if took < most:
            return True
    return False

"""Prometheus and VictoriaMetrics as processes of their own: started, asked, looked at through /proc, and ended."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tests.endtoend import eventually, free_port

Vector: TypeAlias = Mapping[tuple[tuple[str, str], ...], float]

LONGEST = 60.0
"""Seconds for one query."""
_TICKS = os.sysconf("SC_CLK_TCK")


class TooLong(Exception):
    """A query was not answered in time."""


@dataclass(frozen=True)
class Store:
    """A running one; `data` is the folder of its data, `root` what stands before /api/v1."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    data: Path

    def api(self, path: str, **query: object) -> Any:
        """The `data` of an answer.

        Raises:
            TooLong: there is none in time.
            ValueError: the store refuses; with its words.
        """
        return json.loads(self.ask(path, **query))["data"]

    def ask(self, path: str, **query: object) -> bytes:
        """The answer's bytes; raises as `api` does."""
        body = urllib.parse.urlencode(query).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", body, LONGEST) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(f"{self.name}: {error.read().decode()}") from error
        except OSError as error:
            raise TooLong(f"{self.name}: {error}") from error

    def vector(self, expr: str, at: float) -> Vector:
        """An instant query's result."""
        return vector(self.api("query", query=expr, time=at))

    def number(self, expr: str) -> float:
        """The only value of a query of now; NaN where there is none."""
        found = self.api("query", query=expr)["result"]
        return float(found[0]["value"][1]) if found else float("nan")

    def own(self, metric: str) -> float:
        """The sum of a metric of its own."""
        return sum(self.own_by(metric).values())

    def own_by(self, metric: str) -> dict[str, float]:
        """A metric of its own by its labels, as they are written."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=LONGEST) as answer:  # noqa: S310
            text = answer.read().decode()
        found = re.findall(rf"^{metric}(\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    def cpu(self) -> float:
        """Seconds of processor time since it started."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / _TICKS

    def memory(self, what: str = "VmRSS") -> float:
        """Megabytes; `VmHWM`: at its highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{what}:"))
        return int(line.split()[1]) / 1024

    def disk(self) -> int:
        return size(self.data)


def vector(data: Any) -> Vector:
    return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in data["result"]}


def size(folder: Path) -> int:
    """Bytes of the files in it that have any."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


@contextmanager
def running(folder: Path, name: str, argv: Sequence[str], address: str, ready: str) -> Iterator[Store]:
    """One that is ready, on its address; `ready` is where it says so."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    store = Store(name, f"http://{address}", process, folder / name)
    try:
        if not eventually(lambda: process.poll() is not None or _says(f"{store.url}/{ready}"), 120) or process.poll() is not None:
            raise RuntimeError((folder / f"{name}.log").read_text()[-2000:])
        yield store
    finally:
        process.terminate()
        process.wait()


def _says(url: str) -> bool:
    time.sleep(0.1)
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


@contextmanager
def prometheus(folder: Path, configured: object, *flags: str, agent: bool = False, name: str = "prometheus") -> Iterator[Store]:
    """A Prometheus so configured; it can be told to read prometheus.yml again (`reload`)."""
    configure(folder, configured, name)
    address = f"127.0.0.1:{free_port()}"
    places = (
        ("--enable-feature=agent", f"--storage.agent.path={folder / name}") if agent else (f"--storage.tsdb.path={folder / name}",)
    )
    lasting = () if agent else ("--storage.tsdb.retention.time=30d", f"--query.timeout={LONGEST:.0f}s")
    argv = ("prometheus", f"--config.file={folder / name}.yml", f"--web.listen-address={address}", "--web.enable-lifecycle")
    with running(folder, name, (*argv, *places, *lasting, *flags), address, "-/ready") as store:
        yield store


def configure(folder: Path, configured: object, name: str = "prometheus") -> None:
    (folder / f"{name}.yml").write_text(json.dumps(configured))  # JSON is YAML


def reload(store: Store) -> None:
    with urllib.request.urlopen(f"{store.url}/-/reload", b"", LONGEST):  # noqa: S310
        pass


@contextmanager
def victoria(folder: Path, name: str = "victoria") -> Iterator[Store]:
    """A single-node VictoriaMetrics, which answers for the last second too, not only for what is thirty seconds old."""
    address = f"127.0.0.1:{free_port()}"
    argv = ("victoria-metrics", f"-storageDataPath={folder / name}", f"-httpListenAddr={address}", "-retentionPeriod=30d")
    with running(folder, name, (*argv, "-search.latencyOffset=1s", "-search.maxQueryDuration=60s"), address, "health") as store:
        yield store


@contextmanager
def crowded(hosts: int, speed: float = 1.0, lacking: float = 0.04) -> Iterator[str]:
    """A crowd in a process of its own: its address."""
    argv = [sys.executable, "-m", "tests.fleet.crowd", f"--hosts={hosts}", f"--speed={speed}", f"--lacking={lacking}"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def scraped(address: str, interval: float) -> dict[str, object]:
    """The scrape configuration for a crowd."""
    timeout = f"{min(interval, 10.0):g}s"
    discovery = [{"url": f"http://{address}/", "refresh_interval": "1h"}]
    return {"job_name": "domcaps", "scrape_interval": f"{interval:g}s", "scrape_timeout": timeout, "http_sd_configs": discovery}

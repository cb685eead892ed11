"""What serving costs, beside prometheus_client's own server, nginx with the same bytes in a file, and node_exporter.

Everything is measured in one run, in turn, several rounds: on a shared machine only minimums and ratios mean something. The server
is bound to one core, who asks (wrk) to another. CPU time is the server's, of all its threads; what a scrape starts (nothing, on a
host that stands still) would be in it. Prints tables; judges nothing.

Usage: python -m tests.bench.serving [--rounds N] [--seconds N]
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.endtoend import EMULATOR, busy, eventually, free_port, resident, run, serving

from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import Driver
from domcaps_exporter.probing import Watch
from domcaps_qemu.probe import Qemu
from domcaps_qemu.settings import wanted

TOOLS = Path(__file__).parent.parent.parent / ".venv" / "bench" / "usr"
STILL = Path(__file__).with_name("still.py")
RIVAL = Path(__file__).with_name("rival.py")
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus 3 says that it accepts."""

FEWEST = 5
"""Scrapes, for the kernel counts in hundredths of a second."""

SETTINGS = {
    1000: "drivers: {qemu: {guest_user: root, machines: [q35, pc]}}\n",
    10000: "drivers: {qemu: {guest_user: root, machines: [q35, pc, microvm, pc-q35-6.2], virttypes: [kvm, qemu], "
    "host_features: all, machine_types: true}}\n"
    "metrics: {blockers: true}\n",
}
"""What makes about so many series of an x86 host."""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log off; gzip_static on; keepalive_requests 1000000;
    default_type "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4;
    scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@dataclass
class Server:
    """One that runs, and what each of its scrapes cost in every round, in seconds of CPU, gzipped and not."""

    name: str
    pid: int
    url: str
    cost: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def round(self, seconds: int, packed: bool) -> None:
        before, scrapes = busy(self.pid), 0
        while scrapes < FEWEST:
            scrapes += load(self.url, seconds, packed)
        self.cost[packed].append((busy(self.pid) - before) / scrapes)

    def least(self, packed: bool) -> float:
        return min(self.cost[packed])


def load(url: str, seconds: int, packed: bool) -> int:
    """One caller after the other on one connection; how many answers there were. None may be an error."""
    headers = [f"Accept: {PROMETHEUS}", *(["Accept-Encoding: gzip"] if packed else [])]
    argv = ["taskset", "-c", "1", str(TOOLS / "bin/wrk"), "-t1", "-c1", f"-d{seconds}", "--timeout", "10s"]
    libraries = ":".join(str(path) for path in (TOOLS / "lib").glob("*-linux-gnu"))
    done = subprocess.run(
        [*argv, *(word for header in headers for word in ("-H", header)), url],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"([0-9]+) requests in", done.stdout)
    if found is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{url}: {done.stdout}")
    return int(found[1])


# ---- servers -----------------------------------------------------------------------------------------------------------------

BOUND = ("taskset", "-c", "0")


@contextmanager
def ours(name: str, *flags: str) -> Iterator[Server]:
    with serving(*flags, within=BOUND) as running:
        running.ask("/metrics")
        yield Server(name, running.process.pid, f"{running.url}metrics")


@contextmanager
def still(name: str, recording: Path, config: Path) -> Iterator[Server]:
    with serving(str(recording), str(config), within=(*BOUND, sys.executable), command=str(STILL)) as running:
        running.ask("/metrics")
        yield Server(name, running.process.pid, f"{running.url}metrics")


@contextmanager
def started(name: str, url: str, *argv: str) -> Iterator[Server]:
    """Another's server, once it listens."""
    with subprocess.Popen([*BOUND, *argv], env={**os.environ, "GOMAXPROCS": "1"}, stderr=subprocess.DEVNULL) as process:
        try:
            if not eventually(partial(listens, url), 10):
                sys.exit(f"{name} does not listen")
            yield Server(name, process.pid, url)
        finally:
            process.kill()


def rival(name: str, exposition: Path) -> AbstractContextManager[Server]:
    """prometheus_client's start_http_server."""
    port = free_port()
    return started(name, f"http://127.0.0.1:{port}/metrics", sys.executable, str(RIVAL), str(exposition), str(port))


def nginx(name: str, exposition: Path) -> AbstractContextManager[Server]:
    """The bytes in a file, gzipped as well, in the folder in which it is."""
    port, folder = free_port(), exposition.parent
    exposition.with_name("metrics.gz").write_bytes(gzip.compress(exposition.read_bytes(), 6))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    argv = (str(TOOLS / "sbin/nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr")
    return started(name, f"http://127.0.0.1:{port}/{exposition.name}", *argv)


def node_exporter(name: str) -> AbstractContextManager[Server]:
    """With its usual collectors: other work, which it does anew for each scrape."""
    address = f"127.0.0.1:{free_port()}"
    argv = (str(TOOLS / "bin/prometheus-node-exporter"), f"--web.listen-address={address}", "--log.level=error")
    return started(name, f"http://{address}/metrics", *argv)


def listens(url: str) -> bool:
    address = urlsplit(url)
    with suppress(OSError), socket.create_connection((address.hostname or "", address.port or 0)):
        return True
    return False


# ---- what is measured --------------------------------------------------------------------------------------------------------


def compare(size: int, rounds: int, seconds: int, folder: Path) -> str:
    """All servers with about so many series, in turn."""
    config, recording, exposition = folder / "domcaps.yaml", folder / "recording", folder / "metrics"
    config.write_text(SETTINGS[size])
    flags = (f"--config.file={config}", "--series.limit=20000")
    assert run(*flags, "record", "qemu", str(recording)).code == 0
    exposition.write_text(run(*flags, "--replay", str(recording), "show", "--format=metrics").out)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(server)
            for server in (
                ours("domcaps-exporter", *flags),
                still("its serving alone, the host's answer at hand", recording, config),
                rival("prometheus_client's start_http_server", exposition),
                nginx("nginx, the same bytes in a file", exposition),
                node_exporter("node_exporter, its own metrics"),
            )
        ]
        for _ in range(rounds):
            for server in servers:
                for packed in (True, False):
                    server.round(seconds, packed)
        return table(exposition.read_text(), servers)


def table(exposition: str, servers: Sequence[Server]) -> str:
    """Minimums in milliseconds, and how many times less than prometheus_client's server that is."""
    series = sum(not line.startswith("#") for line in exposition.splitlines())
    (other,) = (server for server in servers if "start_http_server" in server.name)
    lines = [
        f"{f'{series} series, CPU ms of the server per scrape':<50} {'gzip':>8} {'less':>7} {'plain':>8} {'less':>7} {'MB':>5}"
    ]
    for server in servers:
        columns = (
            f"{server.least(packed) * 1e3:8.3f} {other.least(packed) / server.least(packed):6.1f}x" for packed in (True, False)
        )
        lines.append(f"{server.name:<50} {' '.join(columns)} {resident(server.pid) / 1e6:5.1f}")
    return "\n".join(lines)


def first_scrape() -> float:
    """Seconds from the start of the process to the end of the first scrape, which finds what the emulator can do."""
    before = time.monotonic()
    with serving() as running:
        found = running.scrape()
        took = time.monotonic() - before
    assert found.value("domcaps_probe_success", driver="qemu") == 1
    return took


def asked_again(times: int) -> float:
    """Seconds of CPU to ask a host again that stands still, all that QEMU's driver looks at: the probe alone."""
    qemu, store = Qemu(wanted({"guest_user": "root"}, "auto")), Store()
    watch = Watch(Driver("qemu", qemu.probe, qemu.describe), lambda deadline: RealHost(deadline, Paths(), store), 60)
    first = watch.join().result()
    before = time.process_time()
    for _ in range(times):
        assert watch.join().result().reports is first.reports
    return (time.process_time() - before) / times


def idle(seconds: float) -> float:
    """The part of a core that an exporter takes which nobody asks."""
    with serving() as running:
        running.ask("/metrics")
        time.sleep(1)
        before = precisely(running.process.pid)
        time.sleep(seconds)
        return (precisely(running.process.pid) - before) / seconds


def precisely(pid: int) -> float:
    """Seconds of CPU of the threads that run now, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured, in turn (default: 5)")
    parser.add_argument("--seconds", type=int, default=1, help="for how long each time (default: 1)")
    said = parser.parse_args()
    if not EMULATOR or not (TOOLS / "bin/wrk").exists() or len(os.sched_getaffinity(0)) < 2:
        print("needs a QEMU for this machine's architecture, two cores, and what .setup/bench unpacks", file=sys.stderr)
        return 2
    for size in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            print(compare(size, said.rounds, said.seconds, Path(folder)), end="\n\n", flush=True)
    print(f"{'asking a host that stands still again, CPU ms':<50} {min(asked_again(200) for _ in range(said.rounds)) * 1e3:8.3f}")
    print(f"{'start to the end of the first scrape, ms':<50} {min(first_scrape() for _ in range(said.rounds)) * 1e3:8.0f}")
    print(f"{'of a core, where nobody asks, %':<50} {idle(20) * 100:8.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

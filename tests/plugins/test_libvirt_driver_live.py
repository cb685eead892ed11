"""The libvirt driver and a real libvirtd, a private one: its very words, and what becomes of a scrape when it stops or hangs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.endtoend import ARCH, EMULATOR, NAME, Samples, Serving, eventually, free_port, serving, swift
from tests.exporter.certificates import Authority
from tests.live import libvirtd, sshd
from tests.live.libvirtd import Libvirt as Daemon
from tests.live.libvirtd import NotStarted
from tests.live.sshd import Far

from domcaps_exporter import ProbeRefused
from domcaps_exporter.document import write
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_libvirt.clients import SYSTEM_PYTHON
from domcaps_libvirt.probe import Libvirt
from domcaps_libvirt.settings import Wanted


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lacking = libvirtd.lacking() or ("" if EMULATOR else NAME)
    if lacking:
        pytest.skip(f"needs libvirtd: {lacking} is not here")
    folder = tmp_path_factory.mktemp("path")
    libvirtd.linked(folder)
    (folder / NAME).symlink_to(EMULATOR)
    return folder


@pytest.fixture(scope="module")
def daemon(path: Path) -> Iterator[Daemon]:
    with ExitStack() as running:
        try:
            yield running.enter_context(libvirtd.private(str(path)))
        except NotStarted as error:
            pytest.skip(f"needs libvirtd: it does not start: {error}")


# ---- its words ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["libvirt-python", "virsh"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    """Both ways of asking, where there are both. libvirt-python is our own Python's, or the system's where there is no virsh."""
    if request.param == "virsh":
        monkeypatch.setitem(sys.modules, "libvirt", None)
    elif importlib.util.find_spec("libvirt") is None:
        monkeypatch.setenv("PATH", str(path))
        if run((SYSTEM_PYTHON, "-c", "import libvirt")) != 0:
            pytest.skip("needs libvirt-python: it is one of the two ways to ask")
    return str(request.param)


def run(argv: tuple[str, ...]) -> int:
    """The exit code; that of a shell where there is no such program."""
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return 127


def test_the_documents_are_those_that_virsh_prints(daemon: Daemon, path: Path, way: str) -> None:
    machines = ("q35", "pc") if ARCH == "x86_64" else ("virt",)
    libvirt = Libvirt(Wanted((daemon.uri,), machines=machines, virttypes=("kvm", "qemu")))
    facts = libvirt.probe(RealHost(time.monotonic() + 60, Paths(), Store()))
    found = [report for report in libvirt.describe(facts) if report.document is not None]
    assert {report.identity.machine for report in found} == set(machines), way
    for report in found:
        assert report.document is not None
        said = daemon.domcapabilities(str(path / NAME), ARCH, report.identity.machine, report.identity.virttype)
        assert write(report.document).decode().strip() == said.strip()
        assert (report.identity.emulator, report.source, report.guest.supported) == (str(path / NAME), daemon.uri, True)


def test_it_is_quick_when_libvirt_is(daemon: Daemon, way: str) -> None:
    libvirt = Libvirt(Wanted((daemon.uri,)))
    facts = libvirt.probe(RealHost(time.monotonic() + 60, Paths(), Store()))
    before = time.monotonic()
    assert libvirt.probe(RealHost(time.monotonic() + 60, Paths(), Store())) is facts, way
    assert time.monotonic() - before < 5


# ---- its life ----------------------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """A libvirt that stops, hangs and starts again, always at the same address."""

    path: Path
    socket: Path
    running: ExitStack = field(default_factory=ExitStack)
    pid: int = 0

    def start(self) -> None:
        daemon = self.running.enter_context(libvirtd.private(str(self.path)))
        self.pid = int((daemon.socket.parent / "pid").read_text())
        self.socket.unlink(missing_ok=True)
        self.socket.symlink_to(daemon.socket)

    def stop(self) -> None:
        self.running.close()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def life(daemon: Daemon, path: Path, tmp_path: Path) -> Iterator[Life]:
    """It is not running yet. `daemon` is another one, which shows that one runs here."""
    with ExitStack() as running:
        yield Life(path, tmp_path / "libvirt-sock", running)


@contextmanager
def exporter(life: Life, daemon: Daemon, folder: Path) -> Iterator[Serving]:
    uri, file = Daemon(life.socket).uri, folder / "domcaps.yaml"
    targets = f"{{hasty: {{uri: '{uri}', timeout: 1s}}, patient: {{uri: '{uri}'}}, other: {{uri: '{daemon.uri}'}}}}"
    file.write_text(f"drivers: {{libvirt: {{uris: ['{uri}']}}}}\ntargets: {targets}\n")
    with serving(f"--config.file={file}", "--no-driver.qemu", "--probe.timeout=60s") as running:
        yield running


def scraped(running: Serving, seconds: float, path: str = "/metrics") -> tuple[Samples, float]:
    """What a scraper that waits so long is told, and how long it took."""
    before = time.monotonic()
    answer = running.ask(path, X_Prometheus_Scrape_Timeout_Seconds=str(seconds))
    assert answer.status == 200, answer
    return Samples.of(text_string_to_metric_families(answer.body.decode())), time.monotonic() - before


def state(found: Samples) -> tuple[float, dict[str, float]]:
    """Its success, and its failures by reason."""
    counted = found.having("domcaps_probe_failures_total", driver="libvirt")
    return found.value("domcaps_probe_success", driver="libvirt"), {one.labels["reason"]: one.value for one in counted if one.value}


def test_a_libvirt_that_is_away_hangs_and_comes_back_is_told_apart_scrape_by_scrape(
    life: Life, daemon: Daemon, tmp_path: Path
) -> None:
    with exporter(life, daemon, tmp_path) as running:
        found, _ = scraped(running, 10)
        assert (state(found), found.about_documents()) == ((0, {"refused": 1}), ())

        life.start()
        before, _ = scraped(running, 60)
        assert state(before) == (1, {"refused": 1})
        assert before.value("domcaps_supported", element="disk", enum="bus", value="virtio", driver="libvirt") == 1
        assert before.having("domcaps_document_info", source=Daemon(life.socket).uri)

        late = []

        def scrape() -> float:
            found, took = scraped(running, 2)
            late.append(took)
            assert (state(found), found.about_documents()) == ((0, {"refused": 1, "timeout": len(late)}), ())
            return took

        with life.hanging():
            assert swift(scrape, 2)
        found, _ = scraped(running, 60)
        assert (state(found)[0], found.about_documents()) == (1, before.about_documents())

        life.stop()
        found, _ = scraped(running, 10)
        assert (state(found), found.about_documents()) == ((0, {"refused": 2, "timeout": len(late)}), ())


def test_targets_are_asked_each_for_itself(life: Life, daemon: Daemon, tmp_path: Path) -> None:
    life.start()
    with exporter(life, daemon, tmp_path) as running:
        found, _ = scraped(running, 60, "/probe?target=patient")
        assert state(found) == (1, {})
        assert {one.labels["source"] for one in found.having("domcaps_document_info")} == {Daemon(life.socket).uri}
        assert not [one for one in found if one.name.startswith(("process_", "python_", "domcaps_plugin", "domcaps_exporter"))]

        with life.hanging(), running.scraping("/probe?target=patient"):
            found, took = scraped(running, 60, "/probe?target=hasty")
            assert (state(found), found.about_documents()) == ((0, {"timeout": 1}), ())
            assert 1 <= took < 20
            found, took = scraped(running, 60, "/probe?target=other")
            assert state(found) == (1, {})
            assert {one.labels["source"] for one in found.having("domcaps_document_info")} == {daemon.uri}
        assert eventually(lambda: state(scraped(running, 60, "/probe?target=hasty")[0])[0] == 1)


# ---- other hosts' ------------------------------------------------------------------------------------------------------------

NETCAT = """#!PYTHON -IS
import os, select, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[-1])
while True:
    for source in select.select([0, there.fileno()], [], [])[0]:
        data = os.read(source, 65536)
        if not data:
            sys.exit()
        os.write(1 if source else there.fileno(), data)
"""
"""What stands for nc on the far side, which the URI names."""


def answered(uri: str) -> list[str]:
    """The machines that a libvirt answers for."""
    libvirt = Libvirt(Wanted((uri,)))
    facts = libvirt.probe(RealHost(time.monotonic() + 60, Paths(), Store()))
    return [report.identity.machine for report in libvirt.describe(facts) if report.document is not None]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    if sshd.lacking():
        pytest.skip(f"needs sshd: {sshd.lacking()} is not here")
    with sshd.private(tmp_path_factory.mktemp("far")) as running:
        yield running


def behind(far: Far, daemon: Daemon, folder: Path, known_hosts: Path) -> str:
    """The URI of that libvirt, reached through the real ssh, which knows these hosts only."""
    ssh = f'exec {far.ssh} -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=none "$@"'
    for name, text in (("ssh", f"#!/bin/sh\n{ssh}\n"), ("nc", NETCAT.replace("PYTHON", sys.executable))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = "system" if os.geteuid() == 0 else "session"
    programs = f"command={folder / 'ssh'}&proxy=netcat&netcat={folder / 'nc'}"
    return f"qemu+ssh://{far.user}@127.0.0.1:{far.port}/{path}?keyfile={far.key}&socket={daemon.socket}&{programs}"


def test_a_libvirt_behind_ssh_is_asked(daemon: Daemon, far: Far, tmp_path: Path, way: str) -> None:
    assert len(answered(behind(far, daemon, tmp_path, far.known_hosts))) == 1, way


def test_a_host_that_ssh_does_not_know_is_refused_and_nobody_is_asked(daemon: Daemon, far: Far, tmp_path: Path, way: str) -> None:
    (tmp_path / "none").touch()
    before = time.monotonic()
    with pytest.raises(ProbeRefused, match="Host key verification failed"):
        answered(behind(far, daemon, tmp_path, tmp_path / "none"))
    assert time.monotonic() - before < 30, way


def test_a_libvirt_behind_tls_is_asked_with_libvirts_certificates(path: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a session libvirt does not listen")
    authority = Authority(tmp_path)
    server, client = (authority.certify(name, "DNS:localhost,IP:127.0.0.1") for name in ("server", "client"))
    for certificate in (server, client):
        shutil.copy(certificate, tmp_path / f"{certificate.stem}cert.pem")
        shutil.copy(certificate.with_suffix(".key"), tmp_path / f"{certificate.stem}key.pem")
    shutil.copy(tmp_path / "ca.pem", tmp_path / "cacert.pem")
    port = free_port()
    files = {"key_file": "serverkey.pem", "cert_file": "servercert.pem", "ca_file": "cacert.pem"}
    names = "".join(f'{name} = "{tmp_path / file}"\n' for name, file in files.items())
    listening = f'listen_tls = 1\nlisten_addr = "127.0.0.1"\ntls_port = "{port}"\nauth_tls = "none"\n{names}'
    with libvirtd.private(str(path), listening):
        assert len(answered(f"qemu+tls://localhost:{port}/system?pkipath={tmp_path}")) == 1
        with pytest.raises(ProbeRefused, match=r"(?i)certificate|verify"):
            answered(f"qemu+tls://localhost:{port}/system?pkipath={tmp_path / 'nowhere'}")

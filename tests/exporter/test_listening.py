"""Addresses, sockets and systemd: what is listened on, and what systemd is told."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.endtoend import COMMAND, eventually, serving

from domcaps_exporter.listening import listening, url

QUIET = ("--no-driver.qemu", "--no-driver.xen", "--no-driver.bhyve")
UNIT = Path(__file__).parent.parent.parent / "docs" / "systemd" / "domcaps-exporter.service"


@pytest.mark.parametrize(
    ("address", "shown"), [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:"), ("[::]:0", "http://[::]:")]
)
def test_an_address_is_shown_as_one_to_open_and_every_interface_as_that(address: str, shown: str) -> None:
    if "[" in address and not socket.has_ipv6:
        pytest.skip("needs IPv6: the address is one")
    with listening(address) as listener:
        assert url(listener).startswith(shown)
        assert url(listener, secure=True).startswith(shown.replace("http", "https"))


def test_a_unix_socket_is_listened_on_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    with listening(f"unix:{path}") as listener:
        assert url(listener) == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
    assert not path.exists()


def test_a_socket_that_somebody_left_behind_makes_way(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with listening(f"unix:{path}"):
        assert path.is_socket()


def test_a_socket_that_somebody_listens_on_does_not(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    taken = pytest.raises(OSError, match=f"cannot listen on unix:{path}: Address already in use")
    with listening(f"unix:{path}"), taken, listening(f"unix:{path}"):
        pass


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    with pytest.raises(OSError, match="Address already in use"), listening(f"unix:{path}"):
        pass
    assert path.read_text() == "mine"


@pytest.mark.parametrize("address", ["unix:", "unix:relative", f"unix:/{'x' * 200}"])
def test_a_path_that_no_socket_can_have_is_refused_by_name(address: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {address}: "), listening(address):
        pass


def test_several_addresses_are_served_at_once(tmp_path: Path) -> None:
    path = tmp_path / "exporter.sock"
    with serving(f"--web.listen-address=unix:{path}", *QUIET) as running:
        assert running.ask("/-/healthy").status == 200
        assert b" 200 OK" in asked_by(path)
        assert running.end(signal.SIGTERM)[0] == 0
    assert not path.exists()


def asked_by(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10)
        caller.connect(str(path))
        caller.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: caller.recv(4096), b""))


# ---- systemd ---------------------------------------------------------------------------------------------------------------


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execve(sys.argv[2], sys.argv[2:], {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
"""


@contextmanager
def activated(listener: socket.socket, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """The exporter, started as systemd starts a service with a socket: it is descriptor 3."""
    words = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), COMMAND, "--web.systemd-socket", *QUIET, *argv]
    with subprocess.Popen(words, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_socket_that_systemd_opened_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, activated(listener):
        caller = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
        with closing(caller):
            caller.request("GET", "/-/healthy")
            assert caller.getresponse().status == 200


def test_what_systemd_opened_must_listen() -> None:
    with socket.socket() as idle, activated(idle) as process:
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "descriptor 3: expected a stream socket that listens" in process.stderr.read()


@pytest.mark.parametrize("environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_without_a_socket_of_systemds_it_says_so(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [COMMAND, "--web.systemd-socket", *QUIET],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "systemd has opened no socket for this process" in done.stderr


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_it_is_ready_alive_and_about_to_stop(tmp_path: Path, abstract: bool) -> None:
    name = f"@domcaps-{tmp_path.name}-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(20)

        def beats() -> float:
            """How long five of them take: no time where they have queued while this machine stood still."""
            began = time.monotonic()
            assert [systemd.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
            return time.monotonic() - began

        with serving(*QUIET, env={**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}) as running:
            told = {systemd.recv(100), systemd.recv(100)}
            assert told == {b"READY=1", b"WATCHDOG=1"}
            assert any(0.3 < beats() < 5 for _ in range(10))
            assert running.end(signal.SIGTERM)[0] == 0
            assert eventually(lambda: systemd.recv(100) == b"STOPPING=1")


def test_nobody_else_is_told_of_systemd() -> None:
    with serving(*QUIET, env={**os.environ, "NOTIFY_SOCKET": "/nowhere", "LISTEN_PID": "1"}) as running:
        assert running.ask("/-/ready").status == 200  # a socket that is not there costs nothing


def test_the_unit_is_as_tight_as_promised() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: it judges the unit")
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)]
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: it reads the units")
    for unit in (UNIT, UNIT.with_suffix(".socket")):
        text = unit.read_text().replace("/opt/domcaps-exporter/bin/domcaps-exporter", COMMAND)
        (tmp_path / unit.name).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name), str(tmp_path / f"{UNIT.stem}.socket")]
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    about_ours = [line for line in judged.stderr.splitlines() if UNIT.stem in line]
    assert not about_ours

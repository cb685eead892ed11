"""The exporter's processes: it ends when told, leaves nothing behind, waits for nobody who hangs, and starts nothing in vain."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.endtoend import (
    EMULATOR,
    HANGING,
    REAL_QEMU,
    Samples,
    Serving,
    children,
    eventually,
    install,
    program,
    runs,
    serving,
    swift,
    threads,
)

TIMEOUT = 0.4
HURRIED = {"X_Prometheus_Scrape_Timeout_Seconds": f"{TIMEOUT}"}
ENDINGS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


# ---- it ends, and nothing stays behind ---------------------------------------------------------------------------------------


@REAL_QEMU
@ENDINGS
def test_it_ends_cleanly_within_a_second(number: signal.Signals) -> None:
    with serving() as running:
        assert running.scrape().having("domcaps_guest_supported")
        code, seconds = running.end(number)
    assert code == 0
    assert seconds < 3  # a tenth of a second where nobody else uses the machine


@ENDINGS
def test_it_ends_cleanly_within_a_second_with_a_probe_in_the_air(number: signal.Signals, tmp_path: Path) -> None:
    with serving(env=install(tmp_path, HANGING)) as running, running.scraping():
        (emulator,) = awaited_children(running)
        code, seconds = running.end(number)
    assert code == 0
    assert seconds < 3  # a tenth of a second where nobody else uses the machine
    assert eventually(lambda: not runs(emulator))


@REAL_QEMU
def test_no_qemu_outlives_an_exporter_that_is_killed() -> None:
    with serving() as running, running.scraping():
        assert eventually(lambda: any("qemu" in program(child) for child in children(running.process.pid)))
        left = children(running.process.pid)
        running.end(signal.SIGKILL)
    assert left
    assert eventually(lambda: not any(map(runs, left)))


def test_no_emulator_that_hangs_outlives_an_exporter_that_is_killed(tmp_path: Path) -> None:
    with serving(env=install(tmp_path, HANGING)) as running, running.scraping():
        left = awaited_children(running)
        running.end(signal.SIGKILL)
    assert eventually(lambda: not any(map(runs, left)))


def awaited_children(running: Serving) -> frozenset[int]:
    """What the exporter started, once it is the stand-in that runs."""
    assert eventually(lambda: any(program(child).endswith(SLEEPS) for child in children(running.process.pid)))
    return children(running.process.pid)


SLEEPS = (os.path.realpath(shutil.which("sleep") or "sleep"),)


# ---- an emulator that hangs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(env=install(tmp_path_factory.mktemp("hung"), HANGING)) as running:
        running.ask("/metrics", **HURRIED)
        yield running


def test_a_scrape_of_a_hung_emulator_answers_in_time_and_says_why(hung: Serving) -> None:
    def scrape() -> float:
        before = time.monotonic()
        answer = hung.ask("/metrics", **HURRIED)
        took = time.monotonic() - before
        found = Samples.of(text_string_to_metric_families(answer.body.decode()))
        assert found.value("domcaps_probe_success", driver="qemu") == 0
        assert found.value("domcaps_probe_failures_total", driver="qemu", reason="timeout") >= 1
        assert not found.about_documents()
        return took

    assert swift(scrape, TIMEOUT)


def test_a_hung_emulator_costs_one_thread_and_one_process_however_often_it_is_asked(hung: Serving) -> None:
    pid = hung.process.pid
    cost, emulators = threads(pid), children(pid)
    for _ in range(5):
        hung.scrape(**HURRIED)
    assert eventually(lambda: threads(pid) <= cost)
    assert children(pid) == emulators
    assert len(emulators) == 1


def test_many_scrapes_of_a_hung_emulator_at_once_wait_together(hung: Serving) -> None:
    cost = threads(hung.process.pid)

    def scrape_at_once() -> float:
        before = time.monotonic()
        scrapes = [threading.Thread(target=hung.scrape, kwargs=HURRIED) for _ in range(20)]
        for scrape in scrapes:
            scrape.start()
        for scrape in scrapes:
            scrape.join()
        return time.monotonic() - before

    assert swift(scrape_at_once, 2)
    assert eventually(lambda: threads(hung.process.pid) <= cost)


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/documents", 200), ("/documents/qemu-x.xml", 503), ("/-/healthy", 200)])
def test_while_an_emulator_hangs_all_else_answers(hung: Serving, path: str, status: int) -> None:
    def ask() -> float:
        before = time.monotonic()
        assert hung.ask(path, **HURRIED).status == status
        return time.monotonic() - before

    assert swift(ask, 0.5)


def test_an_emulator_that_hangs_is_ended_at_the_probes_own_deadline(tmp_path: Path) -> None:
    with serving("--probe.timeout=300ms", env=install(tmp_path, HANGING)) as running:
        found = running.scrape()
        assert eventually(lambda: not children(running.process.pid))
    assert found.value("domcaps_probe_failures_total", driver="qemu", reason="timeout") == 1


BABBLING = f"""exec {sys.executable} -c '
import os, sys
(monitor,) = [word.rpartition("fd=")[2] for word in sys.argv if word.startswith("socket,")]
os.write(int(monitor), b"hello\\n")
' "$@"
"""


@pytest.mark.parametrize(
    ("script", "reason", "text"),
    [
        ("kill -9 $$", "refused", "QEMU hung up"),
        ("echo it is broken >&2; exit 1", "refused", "said: it is broken"),
        (BABBLING, "unreadable", "no QMP reply but b&#x27;hello"),
    ],
)
def test_an_emulator_that_fails_is_no_answer_but_a_reason(tmp_path: Path, script: str, reason: str, text: str) -> None:
    with serving(env=install(tmp_path, script)) as running:
        found, page = running.scrape(), running.ask("/").body.decode()
    assert found.value("domcaps_probe_success", driver="qemu") == 0
    assert found.value("domcaps_probe_failures_total", driver="qemu", reason=reason) == 1
    assert not found.about_documents()
    assert text in page


def test_a_host_without_an_emulator_raises_no_alarm(tmp_path: Path) -> None:
    with serving(env={**os.environ, "PATH": str(tmp_path)}) as running:
        found = running.scrape()
    assert not found.having("domcaps_probe_success", driver="qemu")
    assert {one.value for one in found.having("domcaps_probe_failures_total", driver="qemu")} == {0}


# ---- an unchanged host -------------------------------------------------------------------------------------------------------

AUDIT = """
import os, sys

def note(event, args):
    if event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"):
        with open(os.environ["STARTED"], "a") as file:
            file.write(f"{event} {args}\\n")

sys.addaudithook(note)
"""
"""Notes every program that a Python starts, or tries to."""


@REAL_QEMU
@pytest.mark.parametrize("alone", [False, True], ids=["with what else is in PATH", "with nothing but QEMU in PATH"])
def test_an_unchanged_host_starts_no_program_between_two_scrapes(alone: bool, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AUDIT)
    noted = tmp_path / "started"
    python_path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    env = install(tmp_path / "bin", f'exec {EMULATOR} "$@"') if alone else os.environ
    with serving(env={**env, "PYTHONPATH": python_path, "STARTED": str(noted)}) as running:
        first = running.scrape()
        started = noted.read_text()
        second = running.scrape()
    assert "qemu-system" in started
    assert noted.read_text() == started
    assert first.about_documents() == second.about_documents() != ()


@REAL_QEMU
def test_an_emulator_that_is_replaced_is_asked_again(tmp_path: Path) -> None:
    launches = tmp_path / "launches"
    script = f'echo >> {launches}; exec {EMULATOR} "$@"'
    with serving(env=install(tmp_path / "bin", script)) as running:
        running.scrape()
        once = launches.read_text()
        running.scrape()
        assert launches.read_text() == once
        install(tmp_path / "bin", f"{script} # new")
        assert running.scrape().value("domcaps_probe_success", driver="qemu") == 1
    assert len(launches.read_text()) > len(once)

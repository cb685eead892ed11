"""Strangers' drivers in processes of their own: whatever they do there, the exporter goes on and says what it was."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.endtoend import children, eventually, runs, swift

from domcaps_exporter import Driver, Facts, Host, Identity, Report, SettingError, Settings, apart, question
from domcaps_exporter.drivers import Mustered, muster
from domcaps_exporter.errors import PluginLoadError
from domcaps_exporter.host import RealHost, Store
from domcaps_exporter.model import Failure, Outcome
from domcaps_exporter.parcel import Lease
from domcaps_exporter.probing import Watch
from domcaps_exporter.rootfs import Paths

PLUGIN = """
import ctypes, os, signal, subprocess, sys, time
from domcaps_exporter import *

ASKED = []

class Own(bytes):
    pass

def endless():
    for number in range(10**12):
        yield Report(Identity("/bin/acme", "x86_64", str(number), "acme"), Verdict("guest", "", "", True))

def probe(host):
    ASKED.append(host)
    facts = {question("asked"): str(len(ASKED)).encode(), question("pid"): str(os.getpid()).encode()}
    MODE
    return facts

def describe(facts):
    DESCRIBE
    return [Report(Identity("/bin/acme", "x86_64", "", "acme"), Verdict("guest", "", "", True))]

@hookimpl
def domcaps_drivers(settings):
    if "x" in settings.section("acme"):
        raise SettingError("x", "means nothing")
    return [Driver("acme", probe, describe)]
"""

Make = Callable[..., Driver]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of throw-away plugins, which a process apart finds as well."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def make(shelf: Path) -> Iterator[Make]:
    """A driver apart, which does this when it is asked, and this when it is to understand."""
    made: list[apart.Apart] = []

    def brought(mode: str = "pass", describe: str = "pass", paths: Paths | None = None) -> Driver:
        (shelf / "throwaway.py").write_text(PLUGIN.replace("MODE", mode).replace("DESCRIBE", describe))
        made.append(apart.Apart(Lease("acme", "throwaway", Settings(), paths or Paths()), "acme"))
        return Driver("acme", made[-1].probe, made[-1].describe)

    yield brought
    for one in made:
        one.close()
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "tenant"])


def port(deadline: float) -> Host:
    return RealHost(deadline, Paths(), Store())


def outcome(driver: Driver, seconds: float = 20) -> Outcome:
    return Watch(driver, port, seconds).join().result(60)


def failure(driver: Driver, seconds: float = 20) -> Failure:
    found = outcome(driver, seconds).failure
    assert found is not None
    return found


def pid(facts: Facts) -> int:
    answer = facts[question("pid")]
    assert isinstance(answer, bytes)
    return int(answer)


# ---- what a good one is worth ------------------------------------------------------------------------------------------------


def test_a_driver_apart_answers_as_it_would_here(make: Make) -> None:
    found = outcome(make())
    assert found.failure is None
    assert [report.identity for report in found.reports] == [Identity("/bin/acme", "x86_64", "", "acme")]
    assert found.facts[question("asked")] == b"1"


def test_its_process_lasts_from_probe_to_probe_with_what_it_remembers(make: Make) -> None:
    driver = make()
    first, second = outcome(driver).facts, outcome(driver).facts
    assert (second[question("asked")], pid(second)) == (b"2", pid(first))
    assert pid(first) != os.getpid()


def test_what_stands_still_is_the_same_object(make: Make) -> None:
    driver = make("facts = {question('uname'): host.ask(question('uname'))}")
    host = port(time.monotonic() + 20)
    assert driver.probe(host) is driver.probe(host)


def test_it_understands_recordings_as_well(make: Make) -> None:
    (report,) = make().describe({question("recorded"): b"elsewhere"})
    assert isinstance(report, Report)


def test_it_asks_the_host_that_the_exporter_asks(shelf: Path, make: Make) -> None:
    (shelf / "etc").mkdir()
    (shelf / "etc" / "acme").write_text("moved")
    asks = "facts = {question('read', '/etc/acme'): host.ask(question('read', '/etc/acme'))}"
    assert outcome(make(asks, paths=Paths(rootfs=str(shelf)))).facts == {question("read", "/etc/acme"): b"moved"}


def test_what_it_prints_does_not_come_between_the_exporters_own_words(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    outcome(make("print('hello'); print('there', file=sys.stderr)"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "there" in err


# ---- what a bad one costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason", "text"),
    [
        ("os._exit(3)", "crashed", "its process ended with exit status 3"),
        ("ctypes.string_at(0)", "crashed", "its process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", "its process was ended by SIGKILL"),
        ("os.abort()", "crashed", "its process was ended by SIGABRT"),
        ("raise SystemExit(2)", "crashed", "SystemExit: 2"),
        ("raise KeyboardInterrupt", "crashed", "KeyboardInterrupt: "),
        ("1 / 0", "crashed", "ZeroDivisionError: division by zero"),
        ("raise HypervisorAbsent('no acmed')", "absent", "no acmed"),
        ("raise ProbeRefused('not for you')", "refused", "not for you"),
        ("raise UnreadableAnswer('read x: no sense')", "unreadable", "read x: no sense"),
        ("return None", "contract", "probe gave None, not a mapping of questions"),
        ("return {question('x'): Own(b'')}", "contract", "its process sent what is no answer: it holds a throwaway.Own, which is"),
        ("return {question('x'): bytes(65 << 20)}", "contract", "an answer of 65 MiB, more than the 64 MiB allowed"),
        (
            "for fd in range(3, 64):\n        try: os.close(fd)\n        except OSError: pass",
            "crashed",
            "its process ended with exit st",
        ),
        ("for fd in range(3, 64):\n        try: os.write(fd, b'noise')\n        except OSError: pass", "crashed", "its process "),
    ],
)
def test_whatever_a_probe_does_costs_only_itself_and_is_said(make: Make, mode: str, reason: str, text: str) -> None:
    found = failure(make(mode))
    assert (found.reason, found.text[: len(text)]) == (reason, text)


@pytest.mark.parametrize(
    ("describe", "reason", "text"),
    [
        ("os._exit(0)", "crashed", "its process ended with exit status 0"),
        ("raise SystemExit", "crashed", "SystemExit: "),
        ("return [Report(Identity('', '', '', ''), lambda: None)]", "contract", "an answer that cannot be handed over: "),
        ("return [None]", "contract", "describe gave None where a Report"),
    ],
)
def test_whatever_a_description_does_costs_only_itself_and_is_said(make: Make, describe: str, reason: str, text: str) -> None:
    found = failure(make(describe=describe))
    assert (found.reason, found.text[: len(text)]) == (reason, text)


@pytest.mark.parametrize(
    "mode",
    [
        "time.sleep(1000)",
        "while True: pass",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)",
        "ctypes.PyDLL(None).pause()",  # holds the interpreter's lock
        "os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_a_probe_that_hangs_is_ended_at_its_deadline_with_all_it_started(make: Make, mode: str, tmp_path: Path) -> None:
    driver = make(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(subprocess.Popen(['sleep', '1000']).pid)); {mode}"
        if not mode.startswith("while")
        else f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    {mode}"
    )
    pid = tmp_path / "pid"
    pid.touch()

    def hang() -> float:
        before = time.monotonic()
        found = failure(driver, 1)
        assert (found.reason, found.text) == ("timeout", "no answer at the deadline; its process was ended")
        return time.monotonic() - before if pid.read_text() else math.inf  # it was ended before it came to hang

    assert swift(hang, 4)
    assert eventually(lambda: not runs(int(pid.read_text())))


def test_a_description_without_end_is_ended_at_the_probes_deadline(make: Make) -> None:
    assert failure(make(describe="return endless()"), 1).reason in ("timeout", "contract")


def test_after_a_crash_the_next_probe_starts_anew(make: Make, tmp_path: Path) -> None:
    once = tmp_path / "once"
    driver = make(f"if not os.path.exists({str(once)!r}):\n        open({str(once)!r}, 'w').close(); os._exit(1)")
    assert failure(driver).reason == "crashed"
    again = outcome(driver)
    assert (again.failure, again.facts[question("asked")]) == (None, b"1")


def test_a_process_that_is_killed_between_two_probes_is_missed_by_one(make: Make) -> None:
    driver = make()
    os.kill(pid(outcome(driver).facts), signal.SIGKILL)
    assert failure(driver).text == "its process was ended by SIGKILL"
    assert outcome(driver).failure is None


def test_the_log_has_the_traceback_from_the_other_process(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "domcaps_exporter.probing")
    failure(make("1 / 0"))
    assert 'throwaway.py", line' in caplog.text


# ---- loading -----------------------------------------------------------------------------------------------------------------


def mustered(shelf: Path, source: str, section: dict[str, object] | None = None) -> Mustered:
    (shelf / "throwaway.py").write_text(source)
    settings = Settings({"acme": section or {}})
    return muster(settings, [EntryPoint("acme", "throwaway", "domcaps")], partial(apart.brought, paths=Paths()))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os; os._exit(7)", "its process ended with exit status 7 while it was loaded"),
        ("import ctypes; ctypes.string_at(0)", "its process was ended by SIGSEGV while it was loaded"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "throwaway has no hook domcaps_drivers (is it marked with @hookimpl?)"),
    ],
)
def test_a_plugin_that_loads_badly_is_refused_and_never_seen_by_the_exporter(shelf: Path, source: str, error: str) -> None:
    (plugin,) = mustered(shelf, source).plugins
    assert (plugin.error, plugin.drivers) == (error, ())
    assert "throwaway" not in sys.modules


def test_a_plugin_that_never_loads_is_given_up(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE", 0.5)
    (plugin,) = mustered(shelf, "import time; time.sleep(1000)").plugins
    assert plugin.error == "it had not loaded after 0.5 s, and its process was ended"
    assert not children(os.getpid())


def test_a_plugin_that_loads_brings_drivers_by_their_names(shelf: Path) -> None:
    found = mustered(shelf, PLUGIN.replace("MODE", "pass").replace("DESCRIBE", "pass"))
    assert ([driver.name for driver in found.drivers], found.plugins[0].drivers) == (["acme"], ("acme",))
    assert not children(os.getpid())


def test_a_setting_that_means_nothing_is_still_the_users_business(shelf: Path) -> None:
    with pytest.raises(SettingError, match="x: means nothing"):
        mustered(shelf, PLUGIN.replace("MODE", "pass").replace("DESCRIBE", "pass"), {"x": 1})


def test_where_no_process_can_be_started_the_plugin_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(shelf / "nothing"))
    with pytest.raises(PluginLoadError, match="no process can be started for it"):
        apart.brought(EntryPoint("acme", "throwaway", "domcaps"), Settings(), Paths())

"""A stranger's driver: built, installed beside this project's own in a clean environment, found, scraped, checked; and bad ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.endtoend import COMMAND, Serving, children, eventually, runs, serving
from tests.test_prometheus import PROTOCOLS, scraping

ROOT = Path(__file__).parent.parent
ACME = ROOT / "tests" / "thirdparty" / "domcaps-acme"
README = (ROOT / "README.md").read_text()


def call(*argv: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- a clean environment -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clean:
    """A virtual environment with both wheels and what they need, and a host where nothing but `acmevm` is installed."""

    folder: Path
    host: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def command(self) -> str:
        return str(self.folder / "bin" / "domcaps-exporter")

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": str(self.host), "LC_ALL": "C.UTF-8"}

    def run(self, *argv: str) -> str:
        return call(self.command, *argv, cwd=self.folder, env=self.environment)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    for part in ("pip", "hatchling"):
        if find_spec(part) is None:
            pytest.skip(f"needs {part}: the wheels are built and installed")
    folder, host, wheels = (tmp_path_factory.mktemp(name) for name in ("clean", "host", "wheels"))
    shutil.copytree(ACME, wheels / "acme")
    for project in (ROOT, wheels / "acme"):
        call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=project)
    call(sys.executable, "-m", "venv", "--without-pip", str(folder))
    lend(folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(folder / "bin" / "python"))
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", *map(str, wheels.glob("*.whl")))
    call(*pip, "check")
    (host / "acmevm").write_text("#!/bin/sh\n")
    (host / "acmevm").chmod(0o755)
    return Clean(folder, host)


def lend(site: Path) -> None:
    """The dependencies as they are pinned, file by file, from where the tests run, with what is compiled of them there."""
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE):
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:  # not for this Python
            continue
        for file in files:
            there = Path(str(file.locate()))
            if ".." not in file.parts and (there.suffix != ".pyc" or there.exists()):
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(there, site / file)  # with its time, by which Python knows whether what is compiled is up to date


@pytest.fixture(scope="module")
def exporter(clean: Clean) -> Iterator[Serving]:
    with serving(env=clean.environment, command=clean.command) as running:
        yield running


def test_both_are_found_and_asked(clean: Clean) -> None:
    rows = [line.split(maxsplit=3) for line in clean.run("drivers").splitlines()]
    assert ["acme", "1.0", "acme", "answers: 1"] in rows
    why = "absent: no QEMU system emulator for this architecture in PATH, nor /usr/libexec/qemu-kvm"
    assert ["qemu", distribution("domcaps-exporter").version, "qemu", why] in rows


def test_the_strangers_capabilities_are_scraped(exporter: Serving, clean: Clean) -> None:
    found = exporter.scrape()
    of_acme = {"driver": "acme", "emulator": str(clean.host / "acmevm"), "arch": "x86_64", "machine": "", "virttype": "acme"}
    assert found.value("domcaps_supported", **of_acme, element="disk", enum="bus", value="virtio") == 1
    assert found.value("domcaps_supported", **of_acme, element="disk", enum="bus", value="acme") == 0
    assert found.value("domcaps_unmet_prerequisite", **of_acme, prerequisite="dev-acme", libvirt="refuses") == 1
    assert found.value("domcaps_vcpus_max", **of_acme) == 64
    assert found.value("domcaps_plugin_info", plugin="acme", version="1.0") == 1


def test_a_real_prometheus_takes_the_strangers_series(exporter: Serving, tmp_path: Path) -> None:
    with scraping(exporter, tmp_path) as prometheus:
        assert [value for _, value in prometheus.query('domcaps_vcpus_max{driver="acme"}')] == [64] * len(PROTOCOLS)


def test_the_strangers_code_is_never_in_the_exporters_own_process(exporter: Serving) -> None:
    exporter.scrape()
    (child,) = children(exporter.process.pid)
    assert b"domcaps_exporter.tenant" in Path(f"/proc/{child}/cmdline").read_bytes()


def mypy(clean: Clean, source: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    argv = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={cache}",
        f"--python-executable={clean.python}",
    ]
    return subprocess.run([*argv, str(source)], cwd=source.parent, capture_output=True, text=True, check=False)


def test_the_strangers_types_are_checked_against_the_installed_package(clean: Clean, tmp_path: Path) -> None:
    if find_spec("mypy") is None:
        pytest.skip("needs mypy: it checks the types")
    code = (ACME / "domcaps_acme" / "__init__.py").read_text()
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(code)
    bad.write_text(code.replace('"no acmevm in PATH"', "b''").replace("vcpus_max=64", "vcpus_max='64'"))
    checked = mypy(clean, good, tmp_path / "cache")
    assert (checked.returncode, checked.stdout) == (0, "Success: no issues found in 1 source file\n")
    assert 'Argument "vcpus_max" to "Document" has incompatible type "str"' in mypy(clean, bad, tmp_path / "cache").stdout


@pytest.mark.parametrize(
    ("language", "file"), [("python", "domcaps_acme/__init__.py"), ("toml", "pyproject.toml"), ("python", "test_acme.py")]
)
def test_the_readme_shows_the_driver_that_is_tested(language: str, file: str) -> None:
    assert (ACME / file).read_text() in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_a_whole_driver_is_about_twenty_lines() -> None:
    lines = (ACME / "domcaps_acme" / "__init__.py").read_text().splitlines()
    assert len([line for line in lines if line]) <= 22


# ---- bad ones ----------------------------------------------------------------------------------------------------------------

HOOK = "import ctypes, os, sys, time\nfrom domcaps_exporter import *\n{before}\n@hookimpl\ndef domcaps_drivers():\n    {body}\n"
DRIVER = """
def probe(host):
    {probe}
    return {{question("x"): b""}}
def describe(facts):
    for number in range({reports}):
        yield Report(Identity("/bin/" + str(number), "x86_64", "", "acme"), Verdict("guest", "", "", True))
"""


def bad(name: str, probe: str = "pass", reports: int = 1) -> str:
    return HOOK.format(before=DRIVER.format(probe=probe, reports=reports), body=f"return [Driver({name!r}, probe, describe)]")


BAD = {
    "unloadable": ("import no_such_module", "refused", "plugin unloadable: ModuleNotFoundError: No module named 'no_such_module'"),
    "fatal": ("import os; os._exit(9)", "refused", "plugin fatal: its process ended with exit status 9 while it was loaded"),
    "liar": (bad("liar", "return {1: 2}"), "contract", "driver liar: contract: probe gave a int where a Question belongs"),
    "hung": (bad("hung", "time.sleep(999)"), "timeout", "driver hung: timeout: no answer"),
    "flood": (bad("flood", reports=20_000), "limit", "driver flood: limit: 40000 series are more than the 10000 allowed"),
    "crash": (bad("crash", "ctypes.string_at(0)"), "crashed", "driver crash: crashed: its process was ended by SIGSEGV"),
    "leaver": (bad("leaver", "sys.exit('bye')"), "crashed", "driver leaver: crashed: SystemExit: bye"),
    "good": (bad("good"), "answers: 1", ""),
}
"""A plugin's source, the state that `drivers` shows, and the explanation."""
IMPATIENT = "--probe.timeout=5s"


@pytest.fixture(scope="module")
def plagued(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a host where all these are installed."""
    folder = tmp_path_factory.mktemp("plagued")
    for name, (source, *_) in BAD.items():
        (folder / f"{name}_plugin.py").write_text(source)
        metadata = folder / f"{name}_plugin-1.5.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.5\n")
        (metadata / "entry_points.txt").write_text(f"[domcaps]\n{name} = {name}_plugin\n")
    return {**os.environ, "PYTHONPATH": str(folder), "PATH": str(folder)}


def test_no_driver_outlives_an_exporter_that_is_killed(plagued: Mapping[str, str]) -> None:
    with serving("--no-driver.hung", env=plagued) as running:
        running.scrape()
        left = children(running.process.pid)
        running.end(signal.SIGKILL)
    assert left
    assert eventually(lambda: not any(map(runs, left)))


def test_every_bad_driver_is_named_and_explained(plagued: Mapping[str, str]) -> None:
    command = [COMMAND, "drivers", IMPATIENT]
    done = subprocess.run(command, env=plagued, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for name, (_, state, explanation) in BAD.items():
        (row,) = (line for line in done.stdout.splitlines() if line.startswith(name))
        assert row.split()[1] == "1.5"
        assert row.split()[3].rstrip(":") == state.split()[0].rstrip(":")
        assert (explanation.partition(": ")[2] or state) in row
        assert explanation in done.stderr


def test_beside_bad_drivers_a_good_one_is_served(plagued: Mapping[str, str]) -> None:
    with serving("--no-driver.hung", env=plagued) as running:
        first, second = running.scrape(), running.scrape()
        assert running.process.poll() is None
    for found in (first, second):
        assert found.value("domcaps_guest_supported", driver="good") == 1
        assert {one.labels["driver"] for one in found.about_documents()} == {"good"}
    for name, reason in (("liar", "contract"), ("flood", "limit"), ("crash", "crashed"), ("leaver", "crashed")):
        assert second.value("domcaps_probe_failures_total", driver=name, reason=reason) == 2
    assert second.value("domcaps_plugin_loaded", plugin="fatal") == 0

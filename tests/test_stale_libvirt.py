"""A real libvirtd that holds a stale answer: an emulator behind a wrapper is replaced, and libvirt looks at the wrapper only.

Our own driver sees what really runs; a Prometheus that scrapes both shows where they differ.
"""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.endtoend import ARCH, EMULATOR, NAME, Serving, eventually, serving
from tests.live import libvirtd
from tests.live.libvirtd import Libvirt, NotStarted
from tests.test_prometheus import Prometheus, prometheus_of, version

MODULES = Path("/usr/lib", str(sysconfig.get_config_var("MULTIARCH")), "qemu")
MODULE = "hw-display-qxl.so"
QXL = {"element": "video", "enum": "modelType", "value": "qxl"}
(RULES,) = re.findall(r"```yaml\n(groups:.*?)```", (Path(__file__).parent.parent / "README.md").read_text(), re.DOTALL)
"""The README's: what libvirt promises and a guest cannot have, but for what libvirt never looks at."""


@dataclass(frozen=True)
class Installed:
    """A QEMU of our own below a folder: a wrapper in `path`, the program in `bin`, its modules where it looks for them."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "path"

    def install(self) -> None:
        modules = self.folder / MODULES.relative_to("/usr")
        modules.mkdir(parents=True)
        for module in MODULES.iterdir():
            (modules / module.name).symlink_to(module)
        self.replace()
        self.path.mkdir()
        libvirtd.linked(self.path)
        (self.path / NAME).write_text(f'#!/bin/sh\nexec {self.folder}/bin/{NAME} "$@"\n')
        (self.path / NAME).chmod(0o755)

    def replace(self) -> None:
        """As an upgrade does: another file by the same name."""
        program = self.folder / "bin" / NAME
        program.parent.mkdir(exist_ok=True)
        shutil.copy(EMULATOR, program.with_suffix(".new"))
        program.with_suffix(".new").rename(program)

    def lose_qxl(self) -> None:
        (self.folder / MODULES.relative_to("/usr") / MODULE).unlink()
        self.replace()


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    lacking = libvirtd.lacking() or ("" if EMULATOR else NAME) or ("" if version() else "prometheus")
    if lacking:
        pytest.skip(f"needs libvirtd: and {lacking} to be compared with it")
    if not (MODULES / MODULE).exists():
        pytest.skip(f"needs {MODULE}: it is taken away")
    found = Installed(tmp_path / "qemu")
    found.folder.mkdir()
    found.install()
    return found


@contextmanager
def running(installed: Installed) -> Iterator[tuple[Serving, Libvirt]]:
    """An exporter with both drivers, which see the same emulator."""
    with libvirtd.private(str(installed.path)) as libvirt:
        file = installed.folder / "domcaps.yaml"
        file.write_text(f"drivers: {{libvirt: {{uris: ['{libvirt.uri}']}}, qemu: {{guest_user: root}}}}\n")
        with serving(f"--config.file={file}", env={**os.environ, "PATH": str(installed.path)}) as exporter:
            yield exporter, libvirt


@contextmanager
def watching(exporter: Serving, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes every second and evaluates the rule as often."""
    (folder / "rules.yml").write_text(RULES)
    job = {
        "job_name": "domcaps",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [exporter.address]}],
    }
    configured = {"global": {"evaluation_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": [job]}
    with prometheus_of(folder, configured) as server:
        yield server


def stale(prometheus: Prometheus) -> set[tuple[str, ...]]:
    return {tuple(labels[name] for name in QXL) for labels, _ in prometheus.query("domcaps:libvirt_stale")}


def test_prometheus_shows_what_a_stale_libvirt_still_promises(installed: Installed, tmp_path: Path) -> None:
    try:
        with running(installed) as (exporter, libvirt), watching(exporter, tmp_path) as prometheus:
            exporter.scrape(X_Prometheus_Scrape_Timeout_Seconds="60")  # the first answers take longer than Prometheus waits
            both = 'count(count by (driver) (domcaps_supported{element="video",enum="modelType",value="qxl"} == 1)) == 2'
            assert eventually(lambda: prometheus.query(both), 20), prometheus.log.read_text()
            before = stale(prometheus)
            assert tuple(QXL.values()) not in before

            installed.lose_qxl()
            assert "<value>qxl</value>" in libvirt.domcapabilities(str(installed.path / NAME), ARCH)
            found = []

            def told() -> bool:
                found.append(stale(prometheus) - before)
                return bool(found[-1])

            assert eventually(told, 20), exporter.scrape().having("domcaps_supported", **QXL)
            assert found[-1] == {tuple(QXL.values())}
    except NotStarted as error:
        pytest.skip(f"needs libvirtd: it does not start: {error}")

"""The rules under vmalert: it reads the files, and records and alerts beside VictoriaMetrics as Prometheus does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.bench.panels import rule_files
from tests.bench.stores import Store, crowded, prometheus, running, scraped, victoria
from tests.endtoend import eventually, free_port

HOSTS = 12
MADE = '{__name__=~"domcaps:.+|ALERTS"}'
"""What rules make."""

Needs = Callable[[str, object, str], None]


def test_vmalert_finds_nothing_to_blame(tmp_path: Path, needs: Needs) -> None:
    needs("vmalert", shutil.which("vmalert"), "it checks the rules")
    assert all(read(file) == 0 for file in rule_files())
    broken = tmp_path / "broken.yml"
    broken.write_text(rule_files()[0].read_text().replace("count without (", "count without ((", 1))
    assert read(broken) != 0


def read(file: Path) -> int:
    """What vmalert ends with when it only reads a file."""
    return subprocess.run(["vmalert", "-dryRun", f"-rule={file}"], capture_output=True, check=False).returncode


# ---- beside VictoriaMetrics --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Both:
    """A Prometheus with the rules, and a VictoriaMetrics that has from it only what was scraped; its rules run in vmalert.

    vmalert wants somebody to tell of alerts, and tells VictoriaMetrics, which will not hear: they are seen in what it records.
    """

    prometheus: Store
    victoria: Store

    def found(self, expr: str) -> tuple[set[tuple[tuple[str, str], ...]], ...]:
        """The series that each has, by their labels."""
        at = float(self.prometheus.api("query", query="time()")["result"][1])
        return tuple(set(one.vector(expr, at)) for one in (self.prometheus, self.victoria))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    for program in ("prometheus", "victoria-metrics", "vmalert"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: it runs the rules, or is compared with what does")
    folder = tmp_path_factory.mktemp("vmalert")
    files = [str(hurried(file, folder)) for file in rule_files()]
    with ExitStack() as stack:
        address, store = stack.enter_context(crowded(HOSTS)), stack.enter_context(victoria(folder))
        dropped = [{"source_labels": ["__name__"], "regex": "domcaps:.+|ALERTS.*", "action": "drop"}]
        told = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": files,
            "scrape_configs": [scraped(address, 2)],
            "remote_write": [{"url": f"{store.url}/api/v1/write", "write_relabel_configs": dropped}],
        }
        server = stack.enter_context(prometheus(folder, told))
        listening = f"127.0.0.1:{free_port()}"
        argv = ["vmalert", f"-datasource.url={store.url}", f"-remoteWrite.url={store.url}", f"-httpListenAddr={listening}"]
        argv += [
            "-disableAlertgroupLabel",
            f"-notifier.url={store.url}",
            "-evaluationInterval=1s",
            "-remoteWrite.flushInterval=1s",
            *(f"-rule={file}" for file in files),
        ]
        stack.enter_context(running(folder, "vmalert", argv, listening, "health"))
        yield Both(server, store)


def hurried(file: Path, folder: Path) -> Path:
    """A file of rules, with those that are evaluated seldom as often as the others."""
    made = folder / file.name
    made.write_text(file.read_text().replace("interval: 4m", "interval: 1s"))
    return made


@pytest.mark.slow
def test_vmalert_records_and_alerts_as_prometheus_does(both: Both) -> None:
    found = [both.found(MADE)]

    def same() -> bool:
        found[0] = both.found(MADE)
        return names(found[0][0]) >= {"domcaps:cpu_model_usable", "domcaps:loss_reason", "ALERTS"} and found[0][0] == found[0][1]

    eventually(same, 120)  # each rule that builds upon another waits some ten seconds for what VictoriaMetrics lets it find
    ours, theirs = found[0]
    assert "ALERTS" in names(ours)
    assert theirs == ours


def names(found: set[tuple[tuple[str, str], ...]]) -> set[str]:
    return {dict(labels)["__name__"] for labels in found}

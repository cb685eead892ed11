"""The rules in a real Prometheus that scrapes a simulated fleet, and what a real Alertmanager tells a webhook.

Only the waiting is shortened: what takes three minutes takes seconds. They are enough for each host to be scraped several times
between a loss and its first alert, so that it does not matter if the machine stands still for two of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from grafana.alerts.rules import OLD_ENOUGH
from tests.endtoend import eventually, free_port
from tests.fleet.fleet import Fleet, lose, regain
from tests.fleet.serve import Site, serving
from tests.fleet.worlds import World
from tests.test_prometheus import Prometheus

pytestmark = pytest.mark.slow

ALERTS = Path(__file__).parent.parent / "grafana" / "alerts"
HOSTS = tuple(f"host-{number}" for number in range(20))
AGE, PATIENCE = 5, 7
"""Seconds after which a loss counts for a wave, and after which it is a host's own alert: later, as they are in the rules."""
FLEET = Fleet(dict.fromkeys(HOSTS, World()), dict.fromkeys(HOSTS, "rack"))


@dataclass
class Webhook:
    """What Alertmanager has told: each notification's alerts, as (status, alert, host, summary)."""

    told: list[list[tuple[str, str, str, str]]] = field(default_factory=list)

    def having(self, status: str, alert: str) -> list[list[tuple[str, str, str, str]]]:
        """The notifications that tell of such an alert."""
        return [told for told in self.told if any(one[:2] == (status, alert) for one in told)]


@dataclass(frozen=True)
class Watched:
    """A fleet that is watched."""

    site: Site
    prometheus: Prometheus
    webhook: Webhook

    def firing(self) -> set[tuple[str, str]]:
        return self._alerts('alertstate="firing"')

    def coming(self) -> set[tuple[str, str]]:
        """The alerts about losses that fire, and those that will if nothing changes."""
        return self._alerts('alertname=~"Domcaps.*Lost"')

    def _alerts(self, matcher: str) -> set[tuple[str, str]]:
        found = self.prometheus.query(f"ALERTS{{{matcher}}}")
        return {(labels["alertname"], labels.get("instance", "")) for labels, _ in found}

    def losses(self) -> int:
        """As Prometheus counts them."""
        return len(self.prometheus.query("domcaps:loss"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: it evaluates the rules and tells of them")
    folder = tmp_path_factory.mktemp("alerts")
    site, webhook = Site(FLEET), Webhook()
    with ExitStack() as stack:
        fleet, receiver = stack.enter_context(serving(site)), stack.enter_context(hearing(webhook))
        manager, watcher = (f"127.0.0.1:{free_port()}" for _ in range(2))
        (folder / "alertmanager.yml").write_text(json.dumps(told_to(receiver)))
        (folder / "rules.yml").write_text(json.dumps(hurried()))
        (folder / "prometheus.yml").write_text(json.dumps(configuration(folder, fleet, manager)))
        stack.enter_context(running(folder, manager_argv(folder, manager)))
        assert eventually(lambda: answers(f"http://{manager}/-/ready"), 30), (folder / "alertmanager.log").read_text()
        stack.enter_context(running(folder, prometheus_argv(folder, watcher)))
        prometheus = Prometheus(f"http://{watcher}", folder / "prometheus.log")
        assert eventually(lambda: counted(prometheus) == len(HOSTS), 60), (folder / "prometheus.log").read_text()
        yield Watched(site, prometheus, webhook)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  our own server
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def counted(prometheus: Prometheus) -> int:
    """Hosts that were scraped twice at least."""
    return len(prometheus.query("count_over_time(up[1m]) >= 2"))


def hurried() -> Any:
    rules = yaml.safe_load((ALERTS / "domcaps.rules.yml").read_text().replace(f"> {OLD_ENOUGH}", f"> {AGE}"))
    for rule in rules["groups"][0]["rules"]:
        if rule.get("for") == "3m":
            rule["for"] = f"{PATIENCE}s"
    return rules


def told_to(receiver: str) -> Any:
    """The example for Alertmanager, in a hurry."""
    found = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    found["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    (webhook,) = found["receivers"][0]["webhook_configs"]
    webhook["url"] = f"http://{receiver}/"
    return found


def configuration(folder: Path, fleet: str, manager: str) -> Any:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
        "scrape_configs": [
            {"job_name": "domcaps", "http_sd_configs": [{"url": f"http://{fleet}/targets", "refresh_interval": "5s"}]},
        ],
    }


TEMPLATES = Path("/usr/share/prometheus/alertmanager")
"""Where Debian's Alertmanager has its templates, and ends if there are none."""
_UNPACKED = f"""mount -t tmpfs tmpfs /usr/share
mkdir -p {TEMPLATES}
cp "$1"/*.tmpl {TEMPLATES}
shift
exec "$@"
"""


def manager_argv(folder: Path, address: str) -> Sequence[str]:
    """One that is unpacked, not installed, gets its templates in a mount namespace of its own."""
    program = Path(shutil.which("prometheus-alertmanager") or "")
    unpacked = program.parents[1] / TEMPLATES.relative_to("/usr")
    needed = unpacked.exists() and not TEMPLATES.exists()
    mapped = () if os.geteuid() == 0 else ("--map-root-user",)
    within = ("unshare", "--mount", *mapped, "sh", "-ec", _UNPACKED, "sh", str(unpacked)) if needed else ()
    return *within, *_manager_argv(folder, address)


def _manager_argv(folder: Path, address: str) -> Sequence[str]:
    listening = (f"--web.listen-address={address}", "--cluster.listen-address=")
    return (
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'manager'}",
        *listening,
    )


def prometheus_argv(folder: Path, address: str) -> Sequence[str]:
    places = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    return "prometheus", *places, f"--web.listen-address={address}"


@contextmanager
def running(folder: Path, argv: Sequence[str]) -> Iterator[None]:
    name = "alertmanager" if "prometheus-alertmanager" in argv else "prometheus"
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def hearing(webhook: Webhook) -> Iterator[str]:
    """The receiver's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            webhook.told.append([heard(alert) for alert in said["alerts"]])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def heard(alert: Any) -> tuple[str, str, str, str]:
    labels = alert["labels"]
    return alert["status"], labels["alertname"], labels.get("instance", ""), alert["annotations"]["summary"]


def test_when_host_17_loses_vfio_exactly_that_alert_reaches_the_webhook_and_is_resolved_when_it_is_back(watched: Watched) -> None:
    assert watched.firing() == set()
    watched.site.happen("host-17", lose("iommu"))
    summary = "host-17 lost PCI passthrough (VFIO): iommu-groups"
    assert eventually(lambda: watched.webhook.told, 30)
    assert watched.webhook.told == [[("firing", "DomcapsVfioLost", "host-17", summary)]]
    assert watched.firing() == {("DomcapsVfioLost", "host-17")}
    watched.site.happen("host-17", regain("iommu"))
    assert eventually(lambda: watched.webhook.having("resolved", "DomcapsVfioLost"), 30)
    assert eventually(lambda: watched.firing() == set())
    assert len(watched.webhook.told) == 2


def test_when_all_hosts_lose_the_same_one_alert_is_told_and_it_names_them(watched: Watched) -> None:
    watched.webhook.told.clear()
    watched.site.happen_at_once(HOSTS, lose("virtiofsd"))
    assert eventually(lambda: watched.losses() == len(HOSTS), 30)
    assert eventually(lambda: watched.webhook.having("firing", "DomcapsManyHostsLost"), 30)
    ((told,),) = watched.webhook.told
    assert told[3] == "20 hosts of the group 'rack' lost the same (virtiofs): filesystem driverType virtiofs"
    assert watched.firing() == {("DomcapsManyHostsLost", "")}
    assert eventually(lambda: watched.coming() == {("DomcapsManyHostsLost", "")})  # a late host brings back what it had lost

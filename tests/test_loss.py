"""A host that loses something: the exporter as a process, ended, started again, and told to forget."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.endtoend import REAL_QEMU, Sample, Samples, Serving, run, serving
from tests.test_changing_host import EFI, Host, descriptor, privately

from domcaps_exporter.past import Past, Trace
from domcaps_exporter.statefile import StateFile

pytestmark = REAL_QEMU

LOADER = {"element": "loader", "enum": ""}


class Losing:
    """A host with one UEFI, whose exporter is started again and again. `log` is what the last one that ended had logged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state.json"
        self.log: Sequence[dict[str, str]] = ()
        for name in ("CODE.fd", "VARS.fd"):
            (folder / name).touch()

    @contextmanager
    def exporter(self) -> Iterator[Serving]:
        flags = [f"--state.file={self.state}"]
        with serving(*flags, within=privately()) as running:
            host = Host(running, self.folder)
            host.descriptor.parent.mkdir()
            host.descriptor.write_text(descriptor(self.folder))
            yield running
            code, _ = running.end(signal.SIGTERM)
            assert code == 0
            assert running.process.stderr is not None
            self.log = [json.loads(line) for line in running.process.stderr]


@pytest.fixture
def host(tmp_path: Path) -> Losing:
    if shutil.which("unshare") is None or subprocess.run([*privately(), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root and mount namespaces: the host that changes is a private one")
    return Losing(tmp_path)


def missed(found: Samples, **labels: str) -> tuple[Sample, ...]:
    return found.having("domcaps_lost_timestamp_seconds", **labels)


def changes(log: Sequence[dict[str, str]]) -> list[tuple[str, str, str]]:
    """What was logged of losses and gains: which, of what, and what it lacks."""
    return [
        (one["direction"], f"{one['element']} {one['value']}".strip(), one.get("lacks", ""))
        for one in log
        if one["msg"].startswith("capability")
    ]


def test_a_lost_firmware_file_is_missed_from_the_same_time_on_after_a_restart_until_it_returns(host: Losing) -> None:
    with host.exporter() as running:
        assert missed(running.scrape()) == ()
        (host.folder / "CODE.fd").unlink()
        lost = running.scrape()
    efi, *_ = missed(lost, **EFI)
    (loader, *_) = missed(lost, **LOADER, value=str(host.folder / "CODE.fd"))
    assert efi.value == loader.value == pytest.approx(running_time(host), abs=120)
    assert ("lost", "os efi", "firmware-file") in changes(host.log)
    assert ("lost", f"loader {host.folder / 'CODE.fd'}", "firmware-file") in changes(host.log)

    with host.exporter() as running:
        assert missed(running.scrape()) == missed(lost)
        page = running.ask("/").body.decode()
        assert "Nothing was lost or gained since the exporter started." in page
        assert page.index('<h2 id="lost">Lost, and not back</h2>') < page.index("<h2>Changes</h2>")
        assert page.count("✗ lost") == len(missed(lost))
        assert {one.value for one in running.scrape().having("domcaps_supported", **EFI)} == {0}
        (host.folder / "CODE.fd").touch()
        found = running.scrape()
    assert missed(found) == ()
    assert {one.value for one in found.having("domcaps_supported", **EFI)} == {1}
    assert changes(host.log).count(("gained", "os efi", "")) == len(missed(lost, **EFI))
    counted = {one.labels["direction"]: one.value for one in found.having("domcaps_capability_changes_total", driver="qemu")}
    assert counted == {"lost": 0, "gained": len(missed(lost))}


def test_what_a_stricter_exporter_denies_of_an_unchanged_host_is_no_loss_and_what_the_host_lost_meanwhile_is(host: Losing) -> None:
    """The earlier exporter is this one, in whose memory things stand that only laxer rules would have said."""
    with host.exporter() as running:
        assert missed(running.scrape()) == ()
    memory = StateFile(host.state).read()
    StateFile(host.state).write({"qemu": laxer(memory["qemu"])})
    (host.folder / "CODE.fd").unlink()
    with host.exporter() as running:
        found = running.scrape()
    assert missed(found, **EFI)
    assert not missed(found, **UNLIKELY)
    assert {one.value for one in found.having("domcaps_supported", **UNLIKELY)} == {0}
    with host.exporter() as running:
        assert missed(running.scrape()) == missed(found)


UNLIKELY = {"element": "filesystem", "enum": "driverType", "value": "handle"}
"""QEMU dropped it in 4.0."""


def laxer(past: Past) -> Past:
    """What other code would have remembered, to whose rules that was possible."""
    assert past.basis is not None
    key = (UNLIKELY["element"], UNLIKELY["enum"], UNLIKELY["value"])
    guests = {one: replace(guest, traces={**guest.traces, key: Trace(held=True)}) for one, guest in past.guests.items()}
    return replace(past, guests=guests, basis=replace(past.basis, code="another"))


def running_time(host: Losing) -> float:
    """When the exporter last wrote its state, by the file's own clock."""
    return host.state.stat().st_mtime


def test_what_is_acknowledged_is_not_missed_by_a_running_exporter(host: Losing) -> None:
    with host.exporter() as running:
        running.scrape()
        (host.folder / "CODE.fd").unlink()
        before = missed(running.scrape())
        done = run("forget", "element=os,value=efi", f"--state.file={host.state}")
        assert (done.code, done.err) == (0, "")
        assert all("element=os,enum=firmware,value=efi (lost since 20" in line for line in done.out.splitlines())
        after = missed(running.scrape())
        assert set(map(str, before)) - set(map(str, after)) == set(map(str, missed(Samples(before), **EFI)))
        assert run("forget", f"--state.file={host.state}").code == 0
        assert missed(running.scrape()) == ()
        (host.folder / "CODE.fd").touch()
        running.scrape()
        (host.folder / "CODE.fd").unlink()
        assert len(missed(running.scrape())) == len(before)
    acknowledged = [one for one in host.log if one["msg"] == "loss acknowledged"]
    assert len(acknowledged) == len(before)
    assert {one["level"] for one in acknowledged} == {"info"}
    assert acknowledged[0]["element"] == "os"


def test_systemds_folder_is_where_it_is_remembered_by_default(tmp_path: Path) -> None:
    with serving(env={**os.environ, "STATE_DIRECTORY": f"{tmp_path}:/elsewhere"}) as running:
        running.scrape()
        assert json.loads((tmp_path / "state.json").read_text())["format"] == 1

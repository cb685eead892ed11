"""A configuration that names what this host has not: a warning at the first scrape, a note everywhere else, and no failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.endtoend import EMULATOR, MACHINE, REAL_QEMU, Serving, run, serving

NAME = f"{MACHINE}x"
NOTES = (
    f"machines: found {NAME!r}, which {EMULATOR} does not have; did you mean {MACHINE}",
    "guest_user: there is no user 'nobodyy' (did you mean ",
)

pytestmark = REAL_QEMU


@pytest.fixture
def misspelt(tmp_path: Path) -> str:
    file = tmp_path / "domcaps.yaml"
    file.write_text(f"drivers: {{qemu: {{machines: [{NAME}], guest_user: nobodyy, virttypes: [kvm, qemu]}}}}\n")
    return str(file)


def warned(exporter: Serving, number: int) -> list[str]:
    """The next warnings in its log; it waits for them."""
    assert exporter.process.stderr is not None
    events = map(json.loads, exporter.process.stderr)
    warnings = (event["msg"] for event in events if event["level"] == "warn")
    return [next(warnings) for _ in range(number)]


@pytest.mark.skipif(not Path("/dev/kvm").exists(), reason="needs /dev/kvm: without it nobody is asked who may open it")
def test_it_is_in_the_log_at_the_first_scrape_and_only_once(misspelt: str) -> None:
    with serving("--config.file", misspelt) as exporter:
        exporter.scrape()
        said = sorted(warned(exporter, 2), reverse=True)
        assert [one.startswith(note) for one, note in zip(said, NOTES, strict=True)] == [True, True]
        page = exporter.ask("/").body.decode()
        exporter.scrape()
        exporter.process.terminate()
        assert exporter.process.stderr is not None
        assert "warn" not in exporter.process.stderr.read()
    assert f"did you mean {MACHINE}" in page


def test_show_and_drivers_say_it_and_drivers_does_not_fail(misspelt: str) -> None:
    only = ("--driver.qemu", "--no-driver.xen", "--no-driver.bhyve", "--no-driver.libvirt", "--config.file", misspelt)
    done = run("drivers", *only)
    assert (done.code, done.err) == (0, "")
    assert f"\nqemu: {NOTES[0]}" in done.out
    assert f"machines: found {NAME!r}, which" in run("show", *only).out

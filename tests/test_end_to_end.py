"""The exporter as it runs on a host: recordings, the terminal, HTTP, and words that mean nothing, with the real QEMU."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.endtoend import EMULATOR, REAL_QEMU, Done, Serving, install, run, serving

from domcaps_exporter.cli import main
from domcaps_exporter.document import read


@pytest.fixture(scope="module")
def exporter() -> Iterator[Serving]:
    """One that has asked this host."""
    with serving() as running:
        running.scrape()
        yield running


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This host's QEMUs, recorded."""
    place = str(tmp_path_factory.mktemp("recorded") / "host")
    done = run("record", "qemu", place)
    assert (done.code, done.err) == (0, "")
    return place


# ---- a recording -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(recorded: str) -> Iterator[Serving]:
    """What was recorded, served where there is no emulator."""
    with serving("--replay", recorded, env={**os.environ, "PATH": "/nowhere"}) as running:
        yield running


@REAL_QEMU
def test_a_recording_has_the_series_of_the_host_it_was_made_on(exporter: Serving, replayed: Serving) -> None:
    assert replayed.scrape().about_documents() == exporter.scrape().about_documents() != ()


@REAL_QEMU
def test_a_recording_has_the_documents_of_the_host_it_was_made_on(exporter: Serving, replayed: Serving) -> None:
    listed = json.loads(exporter.ask("/documents").body)
    assert json.loads(replayed.ask("/documents").body) == listed != []
    for entry in listed:
        link = entry["links"]["xml"]
        assert replayed.ask(link).body == exporter.ask(link).body


# ---- on the terminal ---------------------------------------------------------------------------------------------------------


@REAL_QEMU
def test_a_table_fits_a_terminal() -> None:
    done = run("show")
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if len(line) > 80] == []
    assert EMULATOR in done.out


def test_a_complaint_fits_a_terminal_however_long_its_words(tmp_path: Path) -> None:
    done = run("show", env=install(tmp_path / ("long" * 30), "exit 1"))
    assert done.code == 1
    assert [line for line in done.out.splitlines() if len(line) > 80] == []


@REAL_QEMU
def test_shown_as_json_everything_is_there(recorded: str) -> None:
    (outcome,) = json.loads(run("--replay", recorded, "show", "--format=json").out)
    assert outcome["failure"] is None
    assert outcome["reports"][0]["identity"]["emulator"] == EMULATOR
    assert outcome["reports"][0]["document"]["path"] == EMULATOR


@REAL_QEMU
def test_shown_as_xml_every_document_can_be_read_again(recorded: str, replayed: Serving) -> None:
    end = "</domainCapabilities>\n"
    shown = run("--replay", recorded, "show", "--format=xml").out
    documents = [f"{text}{end}" for text in shown.split(end)[:-1]]
    listed = [entry["links"]["xml"] for entry in json.loads(replayed.ask("/documents").body)]
    assert [replayed.ask(link).body.decode() for link in listed] == documents != []
    assert {read(document.encode()).path for document in documents} == {EMULATOR}


# ---- HTTP --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/documents", "/-/healthy", "/-/ready"])
def test_every_page_has_a_head_without_a_body(exporter: Serving, path: str) -> None:
    whole, head = exporter.ask(path), exporter.ask(path, "HEAD")
    assert (whole.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert whole.body


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/documents/", "/documents/x", "/documents/x.xml", "/../etc/passwd"])
def test_what_is_not_there_is_not_found(exporter: Serving, path: str) -> None:
    assert exporter.ask(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(exporter: Serving, method: str) -> None:
    answer = exporter.ask("/metrics", method)
    assert answer.status == 405
    assert set(answer.headers["allow"].split(",")) == {"GET", "HEAD"}


def test_metrics_can_be_compressed(exporter: Serving) -> None:
    answer = exporter.ask("/metrics", Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"domcaps_exporter_build_info" in gzip.decompress(answer.body)
    assert len(answer.body) < len(gzip.decompress(answer.body)) / 3


def test_some_drivers_can_be_left_out(exporter: Serving) -> None:
    assert exporter.ask("/metrics?collect[]=vmm").status == 400
    assert exporter.ask("/metrics?collect[]=qemu").status == 200


@REAL_QEMU
def test_every_document_is_found_under_its_link(exporter: Serving) -> None:
    listed = json.loads(exporter.ask("/documents").body)
    page = exporter.ask("/").body.decode()
    assert listed
    for entry in listed:
        answer = exporter.ask(entry["links"]["xml"])
        document = read(answer.body)
        assert answer.headers["content-type"].startswith("application/xml")
        assert (document.path, document.arch, document.domain) == (entry["emulator"], entry["arch"], entry["virttype"])
        assert entry["links"]["xml"] in page


# ---- words that mean nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("drivers: {qemu: {machine: [q35]}}", "drivers.qemu.machine: no such key; allowed: archs, machines"),
        ("drivers: {qemu: {machines: q35}}", "drivers.qemu.machines: found 'q35', expected a list"),
        ("drivers: {qemu: {machines: {pdp11: [x]}}}", "drivers.qemu.machines: found the architecture 'pdp11', allowed are x86_64"),
        ("drivers: {qemu: {archs: [amd64]}}", "drivers.qemu.archs: found 'amd64', allowed are x86_64"),
        ("drivers: {qemu: {virttypes: [xen]}}", "drivers.qemu.virttypes: found 'xen', allowed are kvm, qemu"),
        ("drivers: {qemu: {emulators: [qemu]}}", "drivers.qemu.emulators: found 'qemu', expected an absolute path"),
        ("drivers: {qemu: {guest_user: 0}}", "drivers.qemu.guest_user: found 0, expected a user's name"),
        ("drivers: {qemu: [q35]}", "drivers.qemu: found ['q35'], expected a mapping"),
        ("drivers: {qemuu: {}}", "drivers.qemuu: no installed plugin brings this driver; there are: "),
        ("driver: {}", "driver: no such key; allowed: drivers"),
        ("- drivers", "the file: found ['drivers'], expected a mapping"),
        ("drivers: {qemu: {}, qemu: {}}", "line 1: the key 'qemu' stands twice"),
        ("drivers: {qemu: {archs: [}}", "line 1: "),
        ("drivers: &a {qemu: *a}", "line 1: "),
        ("\0", "not YAML: "),
    ],
)
def test_a_configuration_that_means_nothing_is_one_line_and_exit_code_2(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "domcaps.yaml"
    file.write_text(f"{text}\n")
    assert main(["--config.file", str(file), "show"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"domcaps-exporter: error: {file}: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--web.listen-address=nowhere"], ["--config.file=/nowhere"]])
def test_the_command_itself_refuses_in_one_line(argv: list[str]) -> None:
    done = run(*argv)
    assert done == Done(2, "", done.err)
    assert done.err.startswith("domcaps-exporter: error: ")
    assert done.err.count("\n") == 1

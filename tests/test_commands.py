"""The operator's commands, as the installed program: diff, textfile, show with a selector, completion, manual."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.endtoend import ARCH, COMMAND, EMULATOR, HANGING, MACHINE, REAL_QEMU, install, run, serving

from domcaps_exporter.claims import GUEST
from domcaps_exporter.past import Trace
from domcaps_exporter.statefile import StateFile

QEMU_ONLY = ("--driver.qemu", "--no-driver.xen", "--no-driver.bhyve", "--no-driver.libvirt")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This host, recorded."""
    place = str(tmp_path_factory.mktemp("host") / "recorded")
    assert run("record", "qemu", place).code == 0
    return place


@pytest.fixture(scope="module")
def document(recorded: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first document."""
    shown = run("--replay", recorded, "show", "--format=xml").out
    file = tmp_path_factory.mktemp("documents") / "monday.xml"
    file.write_text(shown.partition("</domainCapabilities>\n")[0] + "</domainCapabilities>\n")
    return file


@REAL_QEMU
def test_a_recorded_host_is_the_host_it_was_recorded_on(recorded: str) -> None:
    done = run("diff", recorded, "local")
    assert (done.code, done.err) == (0, "")
    assert "  equal\n" in done.out


@REAL_QEMU
def test_what_last_nights_update_took_away_is_told(recorded: str, document: Path, tmp_path: Path) -> None:
    today = tmp_path / "tuesday.xml"
    today.write_text(document.read_text().replace("<value>rom</value>", ""))
    done = run("diff", str(document), str(today))
    assert (done.code, done.err) == (1, "")
    assert "- loader type rom\n" in done.out
    (guest,) = json.loads(run("diff", str(today), recorded, "--format=json").out)["guests"]
    assert [(one["kind"], one["place"]) for one in guest["differences"]] == [("gained", ["loader", "type", "rom"])]


@REAL_QEMU
def test_a_document_is_compared_with_a_whole_host_by_its_machine(recorded: str, document: Path) -> None:
    told = json.loads(run("diff", str(document), recorded, "--format=json").out)
    assert (told["equal"], len(told["guests"]), told["new"]) == (True, 1, [])


@REAL_QEMU
def test_another_exporters_host_is_compared_over_the_network(recorded: str, document: Path) -> None:
    with serving("--replay", recorded) as other:
        assert run("diff", recorded, other.url).code == 0
        assert run("diff", other.url, str(document)).code == 0


@pytest.mark.parametrize(
    ("operands", "complaint"),
    [
        (("nowhere", "local"), "diff: nowhere: not there; expected an XML file, a recorded directory, http://HOST:PORT"),
        (("http://127.0.0.1:1", "local"), "diff: http://127.0.0.1:1: "),
        (("/", "local"), "diff: /: there is no recording.json in it; expected a folder that `record` wrote"),
        (("local",), "diff: found 'local' after the command; expected A B"),
        (("a", "b", "--format=xml"), "--format: found 'xml'; expected table or json, which diff has"),
    ],
)
def test_what_cannot_be_compared_is_exit_code_2_and_one_line(operands: tuple[str, ...], complaint: str) -> None:
    done = run("diff", *operands)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"domcaps-exporter: error: {complaint}")


@REAL_QEMU
def test_a_textfile_is_what_is_served_without_the_process(tmp_path: Path) -> None:
    file = tmp_path / "domcaps.prom"
    done = run("textfile", str(file), *QEMU_ONLY)
    assert (done.code, done.out, done.err) == (0, "", "")
    text = file.read_text()
    assert f'domcaps_guest_supported{{arch="{ARCH}",driver="qemu",emulator="{EMULATOR}"' in text
    assert 'domcaps_probe_success{driver="qemu"} 1.0' in text
    assert "process_" not in text
    assert "python_info" not in text


def test_a_textfile_is_written_also_where_a_driver_fails_and_the_exit_code_says_so(tmp_path: Path) -> None:
    env: Mapping[str, str] = install(tmp_path / "bin", HANGING)
    done = run("textfile", str(tmp_path / "domcaps.prom"), "--probe.timeout=300ms", *QEMU_ONLY, env=env)
    assert done.code == 1
    assert done.err.startswith("domcaps-exporter: error: qemu: ")
    assert 'domcaps_probe_success{driver="qemu"} 0.0' in (tmp_path / "domcaps.prom").read_text()


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/usr/../dev/null"])
def test_a_stream_is_no_textfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("textfile", name, *QEMU_ONLY)
    assert (done.code, done.out, list(tmp_path.iterdir())) == (2, "", [])
    assert done.err == (
        f"domcaps-exporter: error: textfile: found '{name}'; expected a file, such as domcaps.prom; "
        "`show --format=metrics` writes to stdout\n"
    )


@REAL_QEMU
def test_a_textfile_that_the_collector_does_not_read_is_written_with_a_warning(recorded: str, tmp_path: Path) -> None:
    done = run("textfile", str(tmp_path / "domcaps.txt"), "--replay", recorded)
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith(f' level=warn msg="node_exporter reads *.prom only" file={tmp_path / "domcaps.txt"}\n')
    assert done.err.count("\n") == 1
    assert "domcaps_document_info" in (tmp_path / "domcaps.txt").read_text()


def test_a_textfile_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = run("textfile", str(tmp_path / "nowhere" / "domcaps.prom"), *QEMU_ONLY, env={**os.environ, "PATH": "/nowhere"})
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "domcaps.prom: it, or a folder on the way, is not there; expected a file in a folder that this user may" in done.err


def test_a_textfile_that_finds_no_room_is_not_told_to_go_elsewhere(tmp_path: Path) -> None:
    """As on a full disk, by a limit of a kilobyte for files."""
    file = tmp_path / "domcaps.prom"
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "limited", COMMAND, "textfile", str(file), *QEMU_ONLY]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(limited, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr == f"domcaps-exporter: error: textfile: {file}: file too large; expected room for it in {tmp_path}\n"


@REAL_QEMU
def test_a_textfile_says_once_that_its_memory_is_damaged(tmp_path: Path) -> None:
    state, file = tmp_path / "state.json", tmp_path / "domcaps.prom"
    state.write_text("nonsense")
    words = ("textfile", str(file), f"--state.file={state}", *QEMU_ONLY)
    first, second = run(*words), run(*words)
    assert first.err.count("\n") == 1
    assert "level=warn" in first.err
    assert f"file={state}" in first.err
    assert (first.code, second.code, second.err) == (0, 0, "")
    assert file.exists()


@REAL_QEMU
@pytest.mark.parametrize("form", ["table", "metrics"])
def test_some_guests_can_be_shown_alone(recorded: str, form: str) -> None:
    chosen = run("--replay", recorded, "show", f"machine={MACHINE},driver=qemu", "--format", form)
    assert chosen.code == 0
    assert MACHINE in chosen.out
    nothing = run("--replay", recorded, "show", "machine=acme", "--format", form)
    assert (nothing.code, EMULATOR in nothing.out) == (1, False)
    assert f"show: this host has nothing of what was selected; there is qemu {ARCH} {MACHINE} " in nothing.err


def test_a_driver_that_no_plugin_brings_cannot_be_selected() -> None:
    done = run("show", "driver=acme")
    assert (done.code, done.out) == (2, "")
    assert "show: found driver=acme; expected one of: bhyve, libvirt, qemu, xen" in done.err


@REAL_QEMU
def test_show_tells_what_the_exporter_remembers_as_lost_and_is_not_back_and_leaves_its_file_alone(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    assert run("textfile", str(tmp_path / "domcaps.prom"), f"--state.file={state}", *QEMU_ONLY).code == 0
    (qemu,) = StateFile(state).read().values()
    lost, back = ("disk", "bus", "acme"), ("disk", "bus", "virtio")
    missed = {lost: Trace(False, 60.0, listed=True), back: Trace(False, 60.0)}
    running = {one: guest for one, guest in qemu.guests.items() if guest.traces[GUEST].held}
    guests = {one: replace(guest, traces={**guest.traces, **missed}) for one, guest in running.items()}
    assert guests
    StateFile(state).write({"qemu": replace(qemu, guests=guests)})
    before = state.read_bytes()
    shown = run("show", f"--state.file={state}", *QEMU_ONLY)
    assert (shown.code, shown.err) == (0, "")
    assert "  1970-01-01T00:01:00Z disk bus acme\n" in shown.out
    assert "1970-01-01T00:01:00Z disk bus virtio" not in shown.out
    metrics = run("show", f"--state.file={state}", "--format=metrics", *QEMU_ONLY).out
    assert metrics.count("\ndomcaps_lost_timestamp_seconds{") == len(guests)
    assert "lost, and not back" not in run("show", *QEMU_ONLY).out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["domcaps.prom", "state.json", "state.json.lock"]
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "code", "complaint"),
    [
        (None, 1, "it, or a folder on the way, is not there; expected the file that the exporter writes"),
        ("nonsense", 1, "is damaged"),
    ],
)
def test_a_state_file_that_show_cannot_use_is_an_error_and_stays_as_it_is(
    content: str | None, code: int, complaint: str, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    if content is not None:
        state.write_text(content)
    done = run("show", f"--state.file={state}", *QEMU_ONLY)
    assert (done.code, done.out) == (code, "")
    assert f"--state.file: {state}" in done.err
    assert complaint in done.err
    assert [one.read_text() for one in tmp_path.iterdir()] == [content] * (content is not None)


def test_a_selector_that_means_nothing_is_exit_code_2() -> None:
    done = run("show", "qemu")
    assert (done.code, done.out) == (2, "")
    assert "show: found 'qemu'; expected LABEL=VALUE with one of driver, emulator, arch, machine, virttype" in done.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: it reads the script")
def test_the_completion_is_a_script_that_bash_reads() -> None:
    done = run("completion", "bash")
    assert (done.code, done.err) == (0, "")
    assert "--no-driver.qemu" in done.out
    subprocess.run(["bash", "-n"], input=done.out, text=True, check=True, timeout=10)


def test_the_manual_is_printed() -> None:
    done = run("manual")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(".TH DOMCAPS-EXPORTER 1 ")

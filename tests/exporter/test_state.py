"""--state.file and `forget`: where the memory is, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from domcaps_exporter import state
from domcaps_exporter.claims import GUEST
from domcaps_exporter.cli import main
from domcaps_exporter.flags import UsageError, parse
from domcaps_exporter.model import Identity
from domcaps_exporter.past import RETENTION, Guest, Past, Trace
from domcaps_exporter.statefile import StateFile

KVM = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One with two losses."""
    path = tmp_path / "state.json"
    missed = {("hostdev", "pciBackend", "vfio"): Trace(False, 0.0), ("os", "firmware", "efi"): Trace(False, 86400.0)}
    StateFile(path).write({"qemu": Past({KVM: Guest({GUEST: Trace(True), **missed})})})
    return path


def test_losses_are_listed_as_they_are_forgotten(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whose = "driver=qemu,emulator=/usr/bin/qemu-system-x86_64,arch=x86_64,machine=q35,virttype=kvm"
    assert main(["forget", "element=os", f"--state.file={file}"]) == 0
    assert capfd.readouterr().out == f"forgotten: {whose},element=os,enum=firmware,value=efi (lost since 1970-01-02T00:00:00Z)\n"
    assert main(["forget", f"--state.file={file}"]) == 0
    forgotten = f"forgotten: {whose},element=hostdev,enum=pciBackend,value=vfio (lost since 1970-01-01T00:00:00Z)\n"
    assert capfd.readouterr().out == forgotten
    assert main(["forget", f"--state.file={file}"]) == 0
    assert capfd.readouterr() == ("", "domcaps-exporter: note: there is nothing to forget\n")


def test_a_selector_that_chooses_nothing_is_an_error_that_says_what_there_is(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    assert main(["forget", "element=tpm", f"--state.file={file}"]) == 1
    whose = "driver=qemu,emulator=/usr/bin/qemu-system-x86_64,arch=x86_64,machine=q35,virttype=kvm"
    assert capsys.readouterr().err == (
        f"domcaps-exporter: error: forget: no loss is like that; there are: {whose},element=hostdev,enum=pciBackend,value=vfio; "
        f"{whose},element=os,enum=firmware,value=efi\n"
    )
    assert file.read_bytes() == before


@pytest.mark.parametrize(("count", "expected"), [(0, "there is none\n"), (5, "value=b4\n"), (12, "value=b4; and 7 more\n")])
def test_of_many_losses_some_are_named(count: int, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missed = {("disk", "bus", f"b{number}"): Trace(False, 0.0) for number in range(count)}
    StateFile(tmp_path / "state.json").write({"qemu": Past({KVM: Guest(missed)})})
    assert main(["forget", "element=tpm", f"--state.file={tmp_path / 'state.json'}"]) == 1
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["forget", ""], 2, "forget: found an empty selector; expected LABEL=VALUE, or none at all for every loss"),
        (
            ["forget", "vfio"],
            2,
            "forget: found 'vfio'; expected LABEL=VALUE with one of driver, emulator, arch",
        ),
        (["forget", "value=a", "value=b"], 2, "forget: found 'value=a' 'value=b' after the command; expected [SELECTOR]"),
        (
            ["forget", "--state.file=/no/such/folder/state.json"],
            2,
            "--state.file: found '/no/such/folder/state.json'; expected a file",
        ),
        (
            ["serve", "--state.file=/no/such/folder/state.json"],
            2,
            "--state.file: found '/no/such/folder/state.json'; expected a file",
        ),
        (["--state.retention=30"], 2, "--state.retention: found '30'; expected a time such as 12h, 30d, 4w or 1y"),
        (["--state.retention=0d"], 2, "--state.retention: found '0d'; expected a time such as 12h, 30d, 4w or 1y"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    words: list[str], code: int, complaint: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words if any("state.file" in word for word in words) else [*words, f"--state.file={file}"]
    assert main(words) == code
    assert capsys.readouterr().err.startswith(f"domcaps-exporter: error: {complaint}")


def test_there_is_nothing_to_forget_where_there_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert main(["forget"]) == 2
    assert "forget: in which file? expected --state.file FILE" in capsys.readouterr().err
    assert main(["forget", f"--state.file={tmp_path / 'none.json'}"]) == 1
    assert (
        f"--state.file: {tmp_path / 'none.json'}: it, or a folder on the way, is not there; expected the" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("nonsense", "Expecting value: line 1 column 1 (char 0)"),
        ("{}", "'format' is missing, or means nothing"),
        ("[]", "an object is missing"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_a_damaged_file_is_left_to_the_exporter(content: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.json").write_text(content)
    assert main(["forget", f"--state.file={tmp_path / 'state.json'}"]) == 1
    assert f"--state.file: {tmp_path / 'state.json'} is damaged: {why}; the exporter sets it aside" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_cannot_be_replaced_is_named_with_what_was_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", f"--state.file={tmp_path}"]) == 1
    complaint = f"--state.file: {tmp_path}: it is not a regular file; expected the file that the exporter writes"
    assert capsys.readouterr().err == f"domcaps-exporter: error: {complaint}\n"


def test_a_state_file_that_cannot_be_one_is_refused_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"--state.file={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"domcaps-exporter: error: --state.file: {tmp_path}: it is not a regular file\n"


def test_a_replayed_host_has_no_state_file(tmp_path: Path, file: Path) -> None:
    said = parse([f"--replay={tmp_path}", f"--state.file={file}"])
    with pytest.raises(UsageError, match=r"--state\.file: a replayed host has no state"):
        state.chronicle(said, ["qemu"], {})
    assert state.chronicle(parse([f"--replay={tmp_path}"]), ["qemu"], {"STATE_DIRECTORY": str(tmp_path)}).seen == []


@pytest.mark.parametrize(("drivers", "count"), [(["qemu"], 2), (["xen"], 0)])
def test_the_log_says_at_the_start_how_many_losses_are_remembered_of_the_drivers_that_are_asked(
    drivers: list[str], count: int, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    said = parse([f"--state.file={file}"])
    made = state.chronicle(said, drivers, {})
    assert len(made.losses) == count
    assert not caplog.records
    state.tell(said, {}, made)
    assert [vars(record)["fields"] for record in caplog.records] == [{"file": file, "losses": count}]


@pytest.mark.parametrize(("folders", "seen"), [("{}", ["qemu"]), ("{}:/elsewhere", ["qemu"]), ("", [])])
def test_systemds_folder_is_used_where_no_file_is_named(folders: str, seen: list[str], file: Path) -> None:
    environ = {"STATE_DIRECTORY": folders.format(file.parent)}
    assert state.chronicle(parse([]), ["qemu"], environ).seen == seen


def test_a_file_that_is_named_wins_over_systemds_folder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    environ = {"STATE_DIRECTORY": str(tmp_path / "other")}
    assert state.chronicle(parse([f"--state.file={file}"]), ["qemu"], environ).seen == ["qemu"]


def test_what_is_not_reported_is_remembered_for_thirty_days_unless_it_is_said_otherwise() -> None:
    assert parse([]).state_retention == RETENTION == 30 * 86400
    assert [parse([f"--state.retention={text}"]).state_retention for text in ("12h", "30d", "4w", "1y")] == [
        43200,
        30 * 86400,
        28 * 86400,
        365 * 86400,
    ]


def test_a_file_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"--state.file={tmp_path / ('long' * 100)}"]) == 2
    assert capsys.readouterr().err.endswith(": File name too long\n")

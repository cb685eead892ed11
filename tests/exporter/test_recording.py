"""Facts to a directory and back."""

import json
import os
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domcaps_exporter import ABSENT, Facts, Question, Refusal, question
from domcaps_exporter.errors import RecordingError
from domcaps_exporter.recording import load, save, settings

FACTS: Facts = {
    question("stat", "/usr/bin/qemu-system-x86_64"): b"file 1 2 3",
    question("qmp", "/usr/bin/qemu-system-x86_64", "kvm:tcg", "query-machines"): b'[{"name": "q35"}]',
    question("read", "/sys/firmware/blob"): b"\x00\xff",
    question("uname"): b"Linux\x006.1\x00x86_64",
    question("exists", "/dev/sev"): ABSENT,
    question("run", "xl", "info"): Refusal("error", "exit status 1: ü"),
}

system_text = st.binary(max_size=20).map(os.fsdecode)
"""Text as the system has it: bytes that are no UTF-8 are lone surrogates."""
questions = st.builds(Question, system_text, st.lists(system_text, max_size=4).map(tuple))
refusals = st.builds(Refusal, st.sampled_from(["absent", "denied", "error"]), system_text)
json_bytes = st.lists(st.integers() | st.text()).map(lambda value: json.dumps(value).encode())


@given(system_text, st.dictionaries(questions, st.binary() | json_bytes | refusals, max_size=8))
def test_every_fact_comes_back_byte_for_byte(driver: str, facts: Facts) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "recording"), driver, facts)
        assert load(Path(folder, "recording")) == (driver, facts)


def test_the_files_have_names_a_person_can_read(tmp_path: Path) -> None:
    save(tmp_path / "host", "qemu", FACTS)
    assert sorted(path.name for path in (tmp_path / "host").iterdir()) == [
        "0001-qmp-bin-qemu-system-x86_64-kvm-tcg-query-machines.json",
        "0002-read-sys-firmware-blob.bin",
        "0004-stat-usr-bin-qemu-system-x86_64.txt",
        "0005-uname.bin",
        "recording.json",
    ]


def test_an_answers_file_is_the_answer(tmp_path: Path) -> None:
    save(tmp_path, "qemu", FACTS)
    assert next(tmp_path.glob("*-stat-*.txt")).read_bytes() == b"file 1 2 3"


def test_only_objects_and_arrays_are_called_json(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    save(
        tmp_path, "x", {question("a"): b"12\n", question("b"): b" {}", question("c"): b"{", question("d"): deep, question("e"): b""}
    )
    assert sorted(path.suffix for path in tmp_path.glob("0*")) == [".json", ".txt", ".txt", ".txt", ".txt"]


def test_the_same_facts_make_the_same_files_in_whatever_order(tmp_path: Path) -> None:
    save(tmp_path / "a", "qemu", FACTS)
    save(tmp_path / "b", "qemu", dict(reversed(list(FACTS.items()))))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_earlier_recording_is_replaced_whole(tmp_path: Path) -> None:
    save(tmp_path / "host", "qemu", FACTS)
    save(tmp_path / "host", "xen", {question("uname"): b"Linux"})
    assert load(tmp_path / "host") == ("xen", {question("uname"): b"Linux"})
    assert len(list((tmp_path / "host").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["host"]


def test_who_replaces_a_recording_is_told_of_when_it_was(tmp_path: Path) -> None:
    assert save(tmp_path / "host", "qemu", FACTS) is None
    os.utime(tmp_path / "host/recording.json", (60.0, 60.0))
    assert save(tmp_path / "host", "qemu", FACTS) == 60.0


def test_the_settings_that_it_was_made_with_come_back_as_far_as_json_has_them(tmp_path: Path) -> None:
    save(tmp_path, "qemu", FACTS, {"guest_user": "root", "machines": {"x86_64": ["q35"]}, "since": date(2026, 1, 2)})
    assert settings(tmp_path) == ("qemu", {"guest_user": "root", "machines": {"x86_64": ["q35"]}, "since": "2026-01-02"})


def test_an_earlier_exporters_recording_says_nothing_of_settings(tmp_path: Path) -> None:
    save(tmp_path, "qemu", FACTS)
    edited(lambda manifest: manifest.pop("settings"))(tmp_path)
    assert (settings(tmp_path), load(tmp_path)) == (("qemu", None), ("qemu", FACTS))


@pytest.mark.parametrize("occupied", ["stranger", "stranger beside a recording", "file", "broken recording"])
def test_what_is_no_recording_is_left_alone(tmp_path: Path, occupied: str) -> None:
    place = tmp_path / "place"
    if occupied == "stranger beside a recording":
        save(place, "qemu", FACTS)
    if occupied == "file":
        place.write_text("precious")
    else:
        place.mkdir(exist_ok=True)
        (place / ("recording.json" if occupied == "broken recording" else "thesis.tex")).write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordingError, match="place"):
        save(place, "qemu", FACTS)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_recording_that_cannot_be_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    class Spoilt(bytes):
        def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "host", "qemu", {**FACTS, question("z"): Spoilt(b"x")})
    assert list(tmp_path.iterdir()) == []


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "recording.json").read_text())
        change(manifest)
        (folder / "recording.json").write_text(json.dumps(manifest))

    return edit


def entry(**values: object) -> Callable[[Path], object]:
    return edited(lambda manifest: manifest.update(answers=[{"kind": "uname", "args": [], **values}]))


def overwritten(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "recording.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "recording.json").unlink(),
            "host: there is no recording.json in it; expected a folder that `record` wrote",
        ),
        (overwritten("{"), "recording.json: not JSON"),
        (overwritten("[" * 100_000), "recording.json: not JSON"),
        (overwritten("[]"), "recording.json: an object was expected"),
        (edited(lambda manifest: manifest.update(format=2)), "format: 2 found, 1 expected"),
        (edited(lambda manifest: manifest.pop("format")), "format: None found"),
        (edited(lambda manifest: manifest.update(driver=None)), "driver: a name"),
        (edited(lambda manifest: manifest.update(settings=[])), "settings: an object"),
        (edited(lambda manifest: manifest.update(answers={})), "answers: an array"),
        (edited(lambda manifest: manifest.update(answers=[1])), r"answers\[0\]: an object"),
        (entry(), r"answers\[0\]: either file or refusal"),
        (entry(file="0005-uname.bin", refusal={}), r"answers\[0\]: either file or refusal"),
        (entry(file="0005-uname.bin", kind=1), r"answers\[0\]\.kind: a string"),
        (entry(file="0005-uname.bin", args="x"), r"answers\[0\]\.args: an array of strings"),
        (entry(file="0005-uname.bin", args=[1]), r"answers\[0\]\.args: an array of strings"),
        (entry(file=1), r"answers\[0\]\.file: a string"),
        (entry(file="../outside"), "not a plain file"),
        (entry(file="/etc/passwd"), "not a plain file"),
        (entry(file="."), "not a plain file"),
        (entry(file=""), "not a plain file"),
        (entry(file="link"), "not a plain file"),
        (entry(file="missing"), r"answers\[0\]\.file: .*missing: No such file"),
        (entry(file="folder"), r"answers\[0\]\.file: .*folder: Is a directory"),
        (entry(refusal=1), r"answers\[0\]\.refusal: an object"),
        (entry(refusal={"why": "tired", "text": ""}), r"answers\[0\]\.refusal\.why: 'tired' found"),
        (entry(refusal={"why": "absent"}), r"answers\[0\]\.refusal\.text: a string"),
        (
            edited(lambda m: m.update(answers=[{"kind": "a", "args": [], "refusal": {"why": "absent", "text": ""}}] * 2)),
            "'a' is there twice",
        ),
    ],
)
def test_whatever_is_wrong_is_named_with_its_file_and_key(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    save(tmp_path / "host", "qemu", FACTS)
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "host/link").symlink_to(tmp_path / "outside")
    (tmp_path / "host/folder").mkdir()
    spoil(tmp_path / "host")
    with pytest.raises(RecordingError, match=message):
        load(tmp_path / "host")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=rf"^{tmp_path}/file/host: cannot be written: a file stands where a folder should be$"):
        save(tmp_path / "file" / "host", "qemu", FACTS)


def test_a_recordings_folder_can_be_read_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save(tmp_path / "host", "qemu", FACTS)
    finally:
        os.umask(before)
    assert (tmp_path / "host").stat().st_mode & 0o777 == 0o755

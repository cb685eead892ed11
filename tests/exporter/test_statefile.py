"""The state file: what it keeps, what becomes of a damaged one, and that it is never half."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from domcaps_exporter.claims import GUEST
from domcaps_exporter.memoir import Damaged, Memory, decode, encode
from domcaps_exporter.model import Identity
from domcaps_exporter.past import Guest, Past, Trace
from domcaps_exporter.statefile import StateFile

IDENTITY = Identity("/opt/\udcff/qemu", "x86_64", "q35", "kvm")
TRACES = {
    GUEST: Trace(True),
    ("hostdev", "pciBackend", "vfio"): Trace(False, 1770000000.123456, True),
    ("disk", "bus", 'a "quoted" value, ✓'): Trace(True, None, True),
    ("disk", "bus", "tape"): Trace(False),
    ("cpu", "model", "EPYC"): Trace(None, None, True),
}
MEMORY: Memory = {
    "qemu": Past(
        {IDENTITY: Guest(TRACES), replace(IDENTITY, machine=""): Guest({}, "gone", 17.5, native=False)}, 1770000000.123456
    ),
    "xen": Past({}, None),
}


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state.json")


# ---- the bytes ---------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again() -> None:
    assert decode(encode(MEMORY)) == MEMORY


def test_any_byte_that_changes_is_noticed() -> None:
    data = encode({"qemu": Past({Identity("e", "a", "m", "v"): Guest({("disk", "bus", "fdc"): Trace(True)})})})
    for place in range(len(data)):
        damaged = bytes((*data[:place], data[place] ^ 1, *data[place + 1 :]))
        with pytest.raises(Damaged):
            decode(damaged)


def test_any_byte_that_is_missing_is_noticed() -> None:
    data = encode(MEMORY)
    for end in range(len(data)):
        with pytest.raises(Damaged):
            decode(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format":1}',
        b'{"format":1,"digest":"","drivers":[]}',
        b'{"format":1e400,"digest":"","drivers":{}}',
    ],
)
def test_what_is_no_state_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data)


def test_a_file_of_a_format_to_come_is_not_guessed_at() -> None:
    later = {**json.loads(encode(MEMORY)), "format": 2}
    with pytest.raises(Damaged, match="is of the format 2, and this exporter knows 1"):
        decode(json.dumps(later).encode())


# ---- the file ----------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_says_nothing(file: StateFile) -> None:
    assert file.read() == {}
    assert not file.moved()
    assert not file.vanished()


def test_a_file_is_written_and_read(file: StateFile) -> None:
    file.write(MEMORY)
    assert StateFile(file.path).read() == MEMORY
    assert [entry.name for entry in file.path.parent.iterdir()] == ["state.json"]
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_who_replaces_it_keeps_its_mode(file: StateFile) -> None:
    file.write(MEMORY)
    file.path.chmod(0o640)
    file.write({})
    assert file.path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it writes another user's file")
def test_who_replaces_it_leaves_it_to_its_owner(file: StateFile) -> None:
    file.write(MEMORY)
    os.chown(file.path, 4711, 4712)
    StateFile(file.path).write({})
    found = file.path.stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    StateFile(tmp_path / "link").write(MEMORY)
    assert (tmp_path / "link").is_symlink()
    assert StateFile(tmp_path / "real").read() == MEMORY


def test_it_is_seen_when_somebody_else_writes_or_takes_it(file: StateFile) -> None:
    file.write(MEMORY)
    assert not file.moved()
    StateFile(file.path).write({})
    assert file.moved()
    file.read()
    assert not file.moved()
    file.path.unlink()
    assert file.vanished()
    assert not file.moved()


def test_what_could_not_be_read_is_still_to_be_read(file: StateFile) -> None:
    file.write(MEMORY)
    file.path.unlink()
    file.path.mkdir()
    with pytest.raises(OSError, match="it is not a regular file"):
        file.read()
    assert file.moved()


def test_what_would_be_too_large_is_not_written(file: StateFile) -> None:
    file.write({})
    with pytest.raises(OSError, match="it would be larger than 200 bytes"):
        StateFile(file.path, limit=200).write(MEMORY)
    assert file.read() == {}


def test_what_is_too_large_is_damaged(file: StateFile) -> None:
    file.write(MEMORY)
    with pytest.raises(Damaged, match="is larger than 200 bytes"):
        StateFile(file.path, limit=200).read()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_not_read(file: StateFile, make: Callable[[Path], None]) -> None:
    make(file.path)
    with pytest.raises(OSError, match="it is not a regular file"):
        file.read()


def test_a_damaged_file_is_kept_under_another_name(file: StateFile) -> None:
    file.path.write_text("nonsense")
    aside = file.set_aside()
    assert aside.name.startswith("state.json.damaged-2")
    assert aside.read_text() == "nonsense"
    assert not file.path.exists()


def test_only_one_writes_at_a_time(file: StateFile) -> None:
    with file.locked(), pytest.raises(BlockingIOError), StateFile(file.path).locked():
        pass
    with StateFile(file.path).locked():
        pass


def test_the_lock_is_a_file_that_only_its_owner_can_open_and_that_stays(file: StateFile) -> None:
    mask = os.umask(0)
    try:
        for _ in range(2):
            with file.locked():
                assert lock_of(file).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)
    assert [entry.name for entry in file.path.parent.iterdir()] == ["state.json.lock"]


def test_who_locks_the_folder_or_the_file_keeps_nobody_from_writing(file: StateFile) -> None:
    file.write({})
    for path in (file.path.parent, file.path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with file.locked():
                file.write(MEMORY)
        finally:
            os.close(descriptor)
    assert file.read() == MEMORY


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it locks another user's file")
def test_a_lock_that_root_makes_is_for_the_owner_of_the_file(file: StateFile) -> None:
    file.write(MEMORY)
    os.chown(file.path, 4711, 4712)
    with file.locked():
        found = lock_of(file).stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files away")
def test_links_that_somebody_laid_out_beside_it_are_neither_followed_nor_given_away(file: StateFile, tmp_path: Path) -> None:
    file.write({})
    os.chown(file.path, 4711, 4712)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for name in ("state.json.lock", "state.json.new"):
        (tmp_path / name).hardlink_to(secret)
    with file.locked():
        file.write(MEMORY)
    assert (secret.read_text(), secret.stat().st_uid) == ("secret", 0)
    assert file.read() == MEMORY
    lock_of(file).unlink()
    lock_of(file).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"), file.locked():
        pass


def lock_of(file: StateFile) -> Path:
    return file.path.with_name("state.json.lock")


def test_who_has_patience_waits_for_the_lock(file: StateFile) -> None:
    with file.locked():
        pass
    holding = "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); time.sleep(0.2)"
    with subprocess.Popen([sys.executable, "-c", holding, str(lock_of(file))], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError, match="another process has its lock"), file.locked():
            pass
        with file.locked(patience=10):
            assert holder.wait(10) == 0


WRITING = """
import sys
from pathlib import Path
from domcaps_exporter.model import Identity
from domcaps_exporter.past import Guest, Past, Trace
from domcaps_exporter.statefile import StateFile

file, number = StateFile(Path(sys.argv[1])), 0
while True:
    number += 1
    traces = {("video", "modelType", str(value)): Trace(False, float(number)) for value in range(500)}
    file.write({"qemu": Past({Identity("e", "a", "m", "v"): Guest(traces)}, float(number))})
    print(number, flush=True)
"""


def test_who_dies_while_writing_leaves_the_old_file_or_the_new_one(file: StateFile) -> None:
    for delay in (0.001, 0.003, 0.005, 0.007, 0.011):
        with subprocess.Popen([sys.executable, "-c", WRITING, str(file.path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
            said = [1, *map(int, writer.stdout.read().split())]
        past = file.read()["qemu"]
        assert past.changed in (said[-1], said[-1] + 1)
        assert {trace.lost for guest in past.guests.values() for trace in guest.traces.values()} == {past.changed}


def test_the_lock_ends_with_who_holds_it(file: StateFile) -> None:
    with pytest.raises(KeyError), file.locked():
        raise KeyError
    with file.locked():
        pass

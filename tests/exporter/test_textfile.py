from __future__ import annotations

import stat
from pathlib import Path

import pytest

from domcaps_exporter.textfile import write


def test_the_file_is_there_as_a_whole_and_can_be_read_by_others(tmp_path: Path) -> None:
    write(tmp_path / "domcaps.prom", b"old\n")
    write(tmp_path / "domcaps.prom", b"new\n")
    assert (tmp_path / "domcaps.prom").read_bytes() == b"new\n"
    assert stat.S_IMODE((tmp_path / "domcaps.prom").stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [tmp_path / "domcaps.prom"]


def test_who_reads_the_old_file_meanwhile_reads_it_to_its_end(tmp_path: Path) -> None:
    write(tmp_path / "domcaps.prom", b"old\n")
    with (tmp_path / "domcaps.prom").open("rb") as reading:
        write(tmp_path / "domcaps.prom", b"new and longer\n")
        assert reading.read() == b"old\n"


def test_a_folder_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "domcaps.prom").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "domcaps.prom", b"new\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "domcaps.prom"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write(tmp_path / "nowhere" / "domcaps.prom", b"new\n")

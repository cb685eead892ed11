from __future__ import annotations

import shutil
import subprocess

import pytest

from domcaps_exporter.flags import COMMANDS, SUMMARIES, parser
from domcaps_exporter.manual import page

MAN = shutil.which("man")


def test_every_command_has_a_summary() -> None:
    assert list(SUMMARIES) == list(COMMANDS)


@pytest.mark.skipif(MAN is None, reason="needs man: it reads the page")
def test_the_page_is_read_without_a_warning_and_tells_every_flag_and_command() -> None:
    done = subprocess.run(
        [MAN or "", "--warnings", "--local-file", "-"],
        input=page("1.0"),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*COMMANDS, *(option for action in parser()._actions for option in action.option_strings)):
        assert name in done.stdout


def test_no_line_of_the_text_is_taken_for_a_request() -> None:
    assert not [line for line in page(".1\\x").splitlines() if line.startswith(("'", "..")) or "\\x" in line]


def test_help_fits_in_80_columns() -> None:
    lines = parser().format_help().splitlines()
    assert max(map(len, lines)) <= 80
    for name, operands in COMMANDS.items():
        assert any(line.startswith(f"  {' '.join((name, *operands))} ") for line in lines)

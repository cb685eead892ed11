from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from domcaps_exporter.commands import COMMANDS, EXAMPLES, HEEDED, PROGRAM, SUMMARIES
from domcaps_exporter.flags import guide, parse, parser
from domcaps_exporter.manual import page

MAN = shutil.which("man")


def test_every_command_has_a_summary_its_flags_and_an_example() -> None:
    assert list(SUMMARIES) == list(COMMANDS) == list(HEEDED) == list(EXAMPLES)


def test_every_flag_is_heeded_by_some_command() -> None:
    there = {action.option_strings[-1].removeprefix("--") for action in parser()._actions if action.option_strings}
    assert there - {"help", "version"} == {name for names in HEEDED.values() for name in names}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_is_about_it_alone_and_fits_in_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = guide(command).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("usage: domcaps-exporter ")
    assert {line.split()[0].removeprefix("--") for line in lines if line.startswith("  --")} == set(HEEDED[command])
    assert lines[-1] == f"  {EXAMPLES[command]}"


@pytest.mark.parametrize("argv", [["show", "--help"], ["-h", "show"], ["show", "a=b", "c=d", "--log.level", "info", "--help"]])
def test_help_beside_a_command_is_that_commands(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert (ended.value.code, capsys.readouterr().out) == (0, guide("show"))


def test_a_commands_help_offers_no_format_that_it_has_not() -> None:
    assert "--format {table,json} " in " ".join(guide("diff").split())
    assert "--format {table,xml,json,metrics}" in guide("show")
    assert "diff" not in guide("show")


def test_every_flag_has_its_words() -> None:
    assert all(len((action.help or "").split("(")[0]) > 3 for action in parser()._actions)


def test_help_alone_is_about_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--log.level=info", "--help"])
    assert (ended.value.code, capsys.readouterr().out) == (0, parser().format_help())


def test_the_examples_are_calls_that_are_understood() -> None:
    for command, example in EXAMPLES.items():
        words = shlex.split(example.replace("source <(", "").replace(")", "").partition(" | ")[0])
        assert words[0] == PROGRAM
        assert parse(words[1:]).command == command


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
    for name in (*COMMANDS, *EXAMPLES.values(), *(option for action in parser()._actions for option in action.option_strings)):
        assert name in done.stdout


def test_the_page_has_the_endpoints_that_the_readme_has() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text().partition("## Endpoints")[2].partition("\n## ")[0]
    named = re.findall(r"^\| (`.*?`) \|", readme, re.MULTILINE)
    told = page("1.0").partition(".SH ENDPOINTS")[2].replace("\\", "").replace("&", "")
    assert re.findall(r"^\.B (.*)$", told, re.MULTILINE) == [names.replace("`", "") for names in named]


def test_no_line_of_the_text_is_taken_for_a_request() -> None:
    assert not [line for line in page(".1\\x").splitlines() if line.startswith(("'", "..")) or "\\x" in line]


def test_help_fits_in_80_columns() -> None:
    lines = parser().format_help().splitlines()
    assert max(map(len, lines)) <= 80
    for name, operands in COMMANDS.items():
        assert any(line.startswith(f"  {' '.join((name, *operands))} ") for line in lines)

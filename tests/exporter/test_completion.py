from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from domcaps_exporter.commands import COMMANDS, PROGRAM
from domcaps_exporter.completion import script
from domcaps_exporter.flags import UsageError

BASH = shutil.which("bash")
DRIVERS = ("qemu", "xen")

in_bash = pytest.mark.skipif(BASH is None, reason="needs bash: it is what completes")


def completed(words: list[str], folder: Path) -> list[str]:
    """What a real bash offers for the last of these words."""
    asked = f"""
{script("bash", DRIVERS)}
COMP_WORDS=({PROGRAM} {" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words)}
_domcaps_exporter
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([BASH or "", "--norc", "-uc", asked], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@in_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sh"], ["show"]),
        (["--log.level", ""], ["debug", "info", "warn", "error"]),
        (["--log.level", "=", "de"], ["debug"]),
        (["--log.level", "="], ["debug", "info", "warn", "error"]),
        (["--no-dr"], ["--no-driver.qemu", "--no-driver.xen"]),
        (["--probe.timeout", ""], [""]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["record", "--log.level", "info", "x"], ["xen"]),
        (["--config.file", ""], ["a file.yaml"]),
        (["diff", "lo"], ["local"]),
        (["diff", "local", "a"], ["a file.yaml"]),
        (["show", "--format", "j"], ["json"]),
    ],
)
def test_bash_offers_what_can_stand_there(words: list[str], offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "a file.yaml").touch()
    assert completed(words, tmp_path) == offered


@in_bash
def test_bash_offers_every_command(tmp_path: Path) -> None:
    assert completed([""], tmp_path) == list(COMMANDS)


def test_zsh_uses_the_same() -> None:
    assert script("zsh", DRIVERS).endswith(script("bash", DRIVERS))


def test_fish_is_told_every_command_and_flag() -> None:
    text = script("fish", DRIVERS)
    for part in (
        *(f"-a {name} " for name in COMMANDS),
        "-l log.level -x -a 'debug info warn error'",
        "-l no-driver.xen -d",
        "-l replay -r -F",
    ):
        assert part in text


def test_another_shell_is_refused() -> None:
    with pytest.raises(UsageError, match="found 'csh'; expected one of bash, zsh, fish"):
        script("csh", DRIVERS)

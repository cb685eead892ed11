from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domcaps_exporter.commands import COMMANDS, PROGRAM, SHELLS
from domcaps_exporter.completion import script
from domcaps_exporter.flags import UsageError

BASH, ZSH, FISH = (shutil.which(shell) for shell in SHELLS)
ALONE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "dumb"}
"""The environment of a shell that nobody has configured."""
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
        (["show", "driv"], ["driver=qemu", "driver=xen"]),
        (["show", "driver", "="], ["qemu", "xen"]),
        (["show", "machine", "=", "q35,virttype", "=", "k"], ["kvm"]),
        (["show", "machine", "=", "q35,m"], ["q35,machine="]),
        (["show", "machine", "=", "q"], [""]),
        (["forget", "el"], ["element="]),
        (["record", ""], ["qemu", "xen"]),
        (["record", "qemu", "a"], ["a file.yaml"]),
        (["record", "--log.level", "=", "info", "qemu", ""], ["a file.yaml"]),
        (["diff", "show", "l"], ["local"]),
        (["manual", "--"], ["--help"]),
        (["completion", "-"], ["--help", "--config.file"]),
        (["show", "--for"], ["--format"]),
        (["serve", "--for"], [""]),
        (["record", "qemu", "--lo"], ["--log.level", "--log.format"]),
    ],
)
def test_bash_offers_what_can_stand_there(words: list[str], offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "a file.yaml").touch()
    assert completed(words, tmp_path) == offered


@in_bash
def test_bash_offers_every_command(tmp_path: Path) -> None:
    assert completed([""], tmp_path) == list(COMMANDS)


TYPED = {
    "sho": "show ",
    "show --for": "show --format ",
    "show --format x": "show --format xml ",
    "--log.level=de": "--log.level=debug ",
    "--no-driver.x": "--no-driver.xen ",
    "show mach": "show machine=",
    "show machine=q35,virttype=k": "show machine=q35,virttype=kvm",
    "forget ele": "forget element=",
    "diff lo": "diff local ",
    "record q": "record qemu ",
    "record xen a": "record xen a.xml ",
    "manual --": "manual --help ",
    "drivers --se": "drivers --series.limit ",
    "diff a.x": "diff a.xml ",
    "--config.file a.x": "--config.file a.xml ",
}
"""What is typed before the tabulator, and what then stands there."""


@pytest.fixture
def zsh(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A real zsh at a terminal: what it makes of a line when the tabulator is pressed. ^G prints the line, and empties it: no
    other key begins with it, so that zsh waits for none."""
    (tmp_path / "completion").write_text(script("zsh", DRIVERS))
    (tmp_path / "a.xml").touch()
    number, terminal = pty.openpty()
    with subprocess.Popen(
        [ZSH or "", "-f", "-i"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=tmp_path, env=ALONE
    ) as shell:
        os.close(terminal)

        def press(keys: str, until: str) -> str:
            os.write(number, keys.encode())
            said = ""
            while until not in said:
                assert select.select([number], [], [], 20)[0], said
                said += os.read(number, 4096).decode()
            return said

        def complete(typed: str) -> str:
            return press(f"{PROGRAM} {typed}\t\x07", "]]").rpartition("[[")[2].partition("]]")[0]

        try:
            press("tell() { print -r -- '[['$BUFFER']''] '; BUFFER= }; zle -N tell; bindkey '^G' tell; source ./completion\n", "\n")
            press("print -r -- rea''dy\n", "ready")
            yield complete
        finally:
            shell.kill()
            os.close(number)


@pytest.mark.skipif(ZSH is None, reason="needs zsh: it is what completes")
def test_zsh_completes_what_is_typed(zsh: Callable[[str], str]) -> None:
    assert {typed: zsh(typed) for typed in TYPED} == {typed: f"{PROGRAM} {there}" for typed, there in TYPED.items()}


@pytest.mark.skipif(FISH is None, reason="needs fish: it is what completes")
def test_fish_completes_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(script("fish", DRIVERS))
    (tmp_path / "a.xml").touch()
    asked = "source completion; " + "; ".join(f"complete -C '{PROGRAM} {typed}' | head -n 1" for typed in TYPED)
    done = subprocess.run(
        [FISH or "", "--no-config", "-c", asked], cwd=tmp_path, env=ALONE, capture_output=True, text=True, timeout=20, check=True
    )
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert offered == [there.split()[-1] for there in TYPED.values()]


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_can_be_no_drivers_name_is_no_word_of_a_shell(shell: str) -> None:
    assert script(shell, [*DRIVERS, "it's';touch /tmp/here;'"]) == script(shell, DRIVERS)

"""What makes a shell complete the command line, made from the same flags as `--help`. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from domcaps_exporter.commands import COMMANDS, HEEDED, PROGRAM, SHELLS, SUMMARIES
from domcaps_exporter.contract import is_name
from domcaps_exporter.flags import UsageError, parser
from domcaps_exporter.past import LABELS as LOSS
from domcaps_exporter.selector import LABELS as GUEST

_VIRTTYPES = ("kvm", "qemu", "xen", "bhyve")
_FILES = ("A", "B", "DIR", "FILE")
"""Operands that stand for a name in the file system."""

_BASH = """\
_domcaps_exporter() {{
    local word command='' place='' flags='' label='' part current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    if [[ $current == '=' ]]; then current='' label="${{previous##*,}}="; fi
    if [[ $previous == '=' ]]; then previous=${{COMP_WORDS[COMP_CWORD-2]}} label="${{previous##*,}}="; fi
    part=${{current##*,}}
    [[ $part == "$current" ]] || label=''
    COMPREPLY=()
    case $previous in
{values}
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $command:$word in
            {commands}) command=$word ;;
            {seconds}) place=2 ;;
        esac
    done
    if [[ $current == -* ]]; then
        case $command in
{flags}
        esac
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
        return
    fi
    case $command$place in
        '') mapfile -t COMPREPLY < <(compgen -W '{all}' -- "$current") ;;
{operands}
    esac
}}
complete -F _domcaps_exporter {program}
"""
"""bash takes a selector apart: of `machine=q35,virttype=k` the current word is `k`, and `q35,virttype` stands before the `=`."""

_ZSH = """\
(( $+functions[compdef] )) || {{ autoload -U compinit && compinit; }}
_domcaps_exporter() {{
    local word command='' place='' previous=${{words[CURRENT-1]}}
    if [[ $PREFIX == --*=* ]]; then
        previous=${{PREFIX%%=*}}
        compset -P '*='
    fi
    case $previous in
{values}
    esac
    for word in ${{words[2,CURRENT-1]}}; do
        case $command:$word in
            ({commands}) command=$word ;;
            ({seconds}) place=2 ;;
        esac
    done
    if [[ $PREFIX == -* ]]; then
        case $command in
{flags}
        esac
        return
    fi
    case $command$place in
        ('') compadd -- {all} ;;
{operands}
    esac
}}
compdef _domcaps_exporter {program}
"""


@dataclass(frozen=True, slots=True)
class _Completed:
    """A flag or a command; what follows it: some of `words`, a file, something unknown (`open`), or nothing.

    `pairs`: it is a selector, any of these joined by commas; one that ends in `=` wants a value that nobody here knows.
    `then`: after one of `words` comes a file. `flags` are those that a command heeds.
    """

    name: str
    help: str
    words: tuple[str, ...] = ()
    file: bool = False
    open: bool = False
    pairs: tuple[str, ...] = ()
    then: bool = False
    flags: tuple[str, ...] = ()

    @property
    def second(self) -> _Completed:
        """What follows one of its words."""
        return _Completed(f"{self.name}2", self.help, file=True)


def script(shell: str, drivers: Sequence[str]) -> str:
    """The script for this shell; `drivers` are those that the command line may name.

    What cannot be a driver's name, as that of a refused plugin may be anything, is no word for a shell either.

    Raises:
        UsageError: there is none for it.
    """
    drivers = [name for name in drivers if is_name(name)]
    flags = tuple(_flags(drivers))
    commands = tuple(_commands(drivers, [flag.name for flag in flags]))
    match shell:
        case "bash":
            return _bash(flags, commands)
        case "zsh":
            return _zsh(flags, commands)
        case "fish":
            return "".join(f"{line}\n" for line in _fish(flags, commands))
    raise UsageError(f"completion: found {shell!r}; expected one of {', '.join(SHELLS)}")


def _flags(drivers: Iterable[str]) -> Iterator[_Completed]:
    for action in parser()._actions:
        name = next((option for option in action.option_strings if option.startswith("--")), "")
        if name.startswith("--[no-]"):
            yield from (_Completed(f"--driver.{driver}", f"insist on the driver {driver}") for driver in drivers)
            yield from (_Completed(f"--no-driver.{driver}", f"leave the driver {driver} alone") for driver in drivers)
        elif name:
            yield _flag(name, action)


def _flag(name: str, action: argparse.Action) -> _Completed:
    words, file = tuple(map(str, action.choices or ())), action.metavar in _FILES
    return _Completed(name, action.help or "", words, file, action.nargs != 0)


def _commands(drivers: Sequence[str], flags: Sequence[str]) -> Iterator[_Completed]:
    special = {"completion": SHELLS, "diff": ("local",), "record": tuple(drivers)}
    labels = {"show": GUEST, "forget": LOSS}
    for name, operands in COMMANDS.items():
        files = [operand in _FILES for operand in operands]
        yield _Completed(
            name,
            SUMMARIES[name],
            special.get(name, ()),
            files[:1] == [True],
            pairs=tuple(_pairs(labels.get(name, ()), drivers)),
            then=files == [False, True],
            flags=tuple(flag for flag in flags if _stem(flag) in (*HEEDED[name], "help")),
        )


def _stem(flag: str) -> str:
    """What a command says that it heeds."""
    return "[no-]driver.NAME" if flag.startswith(("--driver.", "--no-driver.")) else flag.removeprefix("--")


def _pairs(labels: Iterable[str], drivers: Sequence[str]) -> Iterator[str]:
    """What a selector is made of. The values of other labels take a probe or the state file: too long for a key to wait."""
    known = {"driver": drivers, "virttype": _VIRTTYPES}
    for label in labels:
        yield from (f"{label}={value}" for value in known.get(label, ("",)))


def _named(commands: Sequence[_Completed]) -> dict[str, str]:
    """The names that bash's script and zsh's have in common: of the first case that is none yet, and of those in the second."""
    names = [command.name for command in commands]
    seconds = [f"{command.name}:{word}" for command in commands if command.then for word in command.words]
    return {
        "program": PROGRAM,
        "commands": "|".join(f":{name}" for name in names),
        "seconds": "|".join(seconds) or "''",
        "all": " ".join(names),
    }


def _heeded(flags: Iterable[_Completed], commands: Iterable[_Completed]) -> Iterator[tuple[str, str]]:
    """Each command and its flags; before there is a command, all of them."""
    yield "''", " ".join(flag.name for flag in flags)
    yield from ((command.name, " ".join(command.flags)) for command in commands)


def _placed(commands: Iterable[_Completed]) -> Iterator[_Completed]:
    """What may stand in a command's first place, and in its second where that is another."""
    for command in commands:
        yield command
        if command.then:
            yield command.second


# ---- bash --------------------------------------------------------------------------------------------------------------------


def _bash(flags: Sequence[_Completed], commands: Sequence[_Completed]) -> str:
    return _BASH.format(
        **_named(commands),
        flags="\n".join(f"            {name}) flags='{words}' ;;" for name, words in _heeded(flags, commands)),
        values="\n".join(f"        {flag.name}) {_replies(flag)}; return ;;" for flag in flags if flag.open),
        operands="\n".join(
            f"        {command.name}) {_selected(command) if command.pairs else _replies(command)} ;;"
            for command in _placed(commands)
            if command.words or command.file or command.pairs
        ),
    )


def _selected(command: _Completed) -> str:
    """What has been said of the selector stays in front (`-P`), and a label before the `=` is taken off again."""
    found = f"""compgen -P "${{current%"$part"}}" -W '{" ".join(command.pairs)}' -- "$label$part\""""
    return f'compopt -o nospace 2>/dev/null; mapfile -t COMPREPLY < <({found}); COMPREPLY=("${{COMPREPLY[@]#"$label"}}")'


def _replies(completed: _Completed) -> str:
    kinds = f"-W '{' '.join(completed.words)}'" if completed.words else ""
    files = "-f" if completed.file else ""
    if not kinds and not files:
        return ":"
    named = "compopt -o filenames 2>/dev/null; " if files else ""
    return f'{named}mapfile -t COMPREPLY < <(compgen {" ".join(filter(None, (files, kinds)))} -- "$current")'


# ---- zsh ---------------------------------------------------------------------------------------------------------------------


def _zsh(flags: Sequence[_Completed], commands: Sequence[_Completed]) -> str:
    return _ZSH.format(
        **_named(commands),
        flags="\n".join(f"            ({name}) compadd -- {words} ;;" for name, words in _heeded(flags, commands)),
        values="\n".join(f"        ({flag.name}) {_added(flag)}; return ;;" for flag in flags if flag.open),
        operands="\n".join(f"        ({command.name}) {_added(command)} ;;" for command in _placed(commands)),
    )


def _added(completed: _Completed) -> str:
    said = [f"compadd -- {' '.join(completed.words)}"] if completed.words else []
    said += ["_files"] if completed.file else []
    said += [f"compset -P '*,'; compadd -S '' -- {' '.join(completed.pairs)}"] if completed.pairs else []
    return "; ".join(said) or ":"


# ---- fish --------------------------------------------------------------------------------------------------------------------


def _fish(flags: Sequence[_Completed], commands: Sequence[_Completed]) -> Iterator[str]:
    head = f"complete -c {PROGRAM}"
    names = " ".join(command.name for command in commands)
    yield f"{head} -f"
    for command in commands:
        yield f"{head} -n 'not __fish_seen_subcommand_from {names}' -a {command.name} -d {_quoted(command.help)}"
        here = f"__fish_seen_subcommand_from {command.name}"
        seen = f"{head} -n '{here}'"
        if command.then:
            placed = f"__fish_seen_subcommand_from {' '.join(command.words)}"
            yield f"{head} -n '{here}; and {placed}' -F"
            yield f"{head} -n '{here}; and not {placed}' -a {_quoted(' '.join(command.words))}"
        elif command.words:
            yield f"{seen} -a {_quoted(' '.join(command.words))}"
        if command.file:
            yield f"{seen} -F"
        if command.pairs:
            before = '(string replace -r "[^,]*\\$" "" -- (commandline -ct))'
            yield f"{seen} -a '{before}{{{','.join(command.pairs)}}}'"
    for flag in flags:
        value = f" -x -a {_quoted(' '.join(flag.words))}" if flag.words else " -r -F" if flag.file else " -x" if flag.open else ""
        deaf = " ".join(command.name for command in commands if flag.name not in command.flags)
        when = f" -n 'not __fish_seen_subcommand_from {deaf}'" if deaf else ""
        yield f"{head}{when} -l {flag.name.removeprefix('--')}{value} -d {_quoted(flag.help)}"


def _quoted(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

"""The command line: words in, `Flags` out. It says what was found and what is allowed, and acts on nothing."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import NoReturn

from domcaps_exporter.commands import COMMANDS, EXAMPLES, HEEDED, PROGRAM, SUMMARIES
from domcaps_exporter.config import Config
from domcaps_exporter.durations import long_seconds, seconds
from domcaps_exporter.errors import DomcapsError
from domcaps_exporter.log import FORMATS, LEVELS
from domcaps_exporter.past import RETENTION

PROFILES = ("auto", "9.0", "11.3", "12.8")
OUTPUTS = ("table", "xml", "json", "metrics")
COMPARED = ("table", "json")
"""Those of them that `diff` has."""
_DRIVER_FLAG = re.compile(r"--(no-)?driver\.([a-z][a-z0-9_]*)")
DESCRIPTION = """\
What this host's hypervisors can give a guest: libvirt's domain capabilities,
without libvirt, and why something is missing.
"""
_COLUMN = 22
_WIDTH = 78


class UsageError(DomcapsError):
    """The command line means nothing; the message names the flag, what was found and what was expected."""


class Flags(argparse.Namespace):
    """What the command line said. What it did not say is as it stands here.

    `drivers` is what `--driver.NAME` (True) and `--no-driver.NAME` (False) said; `probe_timeout` is in seconds. `config` is what
    the configuration file says, once it was read.
    """

    command: str
    operands: tuple[str, ...]
    drivers: dict[str, bool]
    words: list[str]
    help: bool = False
    config_file: Path | None = None
    replay: Path | None = None
    libvirt_profile: str = "auto"
    probe_timeout: float = 30.0
    series_limit: int = 10_000
    state_file: Path | None = None
    state_retention: float = RETENTION
    path_rootfs: str = "/"
    path_procfs: str = "/proc"
    path_sysfs: str = "/sys"
    web_listen_address: list[str] | None = None
    web_telemetry_path: str = "/metrics"
    web_config_file: Path | None = None
    web_systemd_socket: bool = False
    web_max_requests: int = 40
    log_level: str | None = None
    log_format: str = "logfmt"
    format: str = "table"
    config: Config = Config()


def parse(argv: Sequence[str]) -> Flags:
    """Flags may stand before and after the command.

    Raises:
        UsageError: they mean nothing.
    """
    about_drivers = [word for word in argv if word.startswith(("--driver.", "--no-driver."))]
    flags = parser().parse_intermixed_args([word for word in argv if word not in about_drivers], Flags())
    flags.drivers = _drivers(about_drivers)
    if flags.help and not flags.words:
        raise _told(parser().format_help())
    flags.command, *operands = flags.words or ["serve"]
    flags.operands = tuple(operands)
    if flags.command not in COMMANDS:
        raise UsageError(f"found the command {flags.command!r}; expected one of {', '.join(COMMANDS)}")
    if flags.help:
        raise _told(guide(flags.command))
    _insist_on_operands(flags.command, operands)
    _insist_on_own(flags)
    return flags


def _insist_on_operands(command: str, operands: Sequence[str]) -> None:
    expected = COMMANDS[command]
    needed = [word for word in expected if word[0] != "["]
    if not len(needed) <= len(operands) <= len(expected) or "" in operands[: len(needed)]:
        found = " ".join(map(repr, operands))
        raise UsageError(f"{command}: found {found or 'nothing'} after the command; expected {' '.join(expected) or 'nothing'}")


def _insist_on_own(flags: Flags) -> None:
    """The service's flags are every command's, so that one line of them does for all; others belong to some commands only."""
    for name in {name for names in HEEDED.values() for name in names} - {*HEEDED["serve"], *HEEDED[flags.command]}:
        if name in vars(flags):
            having = " or ".join(command for command, names in HEEDED.items() if name in names)
            raise UsageError(f"--{name}: means nothing to {flags.command}; expected it with {having} only")


def _told(text: str) -> SystemExit:
    """All that was asked is told."""
    print(text, end="")
    return SystemExit(0)


def _drivers(words: Sequence[str]) -> dict[str, bool]:
    drivers: dict[str, bool] = {}
    for word in words:
        match = _DRIVER_FLAG.fullmatch(word)
        if match is None:
            raise UsageError(f"{word}: expected --driver.NAME or --no-driver.NAME")
        wanted = match[1] is None
        if drivers.setdefault(match[2], wanted) is not wanted:
            raise UsageError(f"--no-driver.{match[2]}: contradicts --driver.{match[2]}; expected one of them")
    return drivers


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def parser() -> argparse.ArgumentParser:
    """All flags, in the groups of `--help`."""
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [flags] [command]",
        description="\n".join((DESCRIPTION, "commands:", *(line for name in COMMANDS for line in _command(name)))),
        epilog=f"{PROGRAM} COMMAND --help: that command's flags, and an example",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true", help="this; after a command: about that command alone")
    parser.add_argument("--version", action="version", version=_version())
    _add_host_flags(parser)
    _add_log_flags(parser)
    _add_web_flags(parser)
    how = f"how (table); diff has {' and '.join(COMPARED)}"
    parser.add_argument_group("show, diff").add_argument("--format", choices=OUTPUTS, help=how)
    return parser


def guide(command: str) -> str:
    """What `COMMAND --help` says: how it is called, what it does, the flags that it heeds, an example."""
    synopsis = " ".join((f"[{command}]" if command == "serve" else command, *COMMANDS[command]))
    guide = _Parser(
        usage=f"{PROGRAM} {synopsis}{' [flags]' if HEEDED[command] else ''}",
        description="\n".join(wrap(SUMMARIES[command], _WIDTH)),
        epilog=f"example:\n  {EXAMPLES[command]}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH + 2),
        add_help=False,
    )
    flags = guide.add_argument_group("flags")
    actions = {action.option_strings[-1].removeprefix("--"): action for action in parser()._actions if action.option_strings}
    for name in HEEDED[command]:
        if name == "format":
            flags.add_argument("--format", choices=COMPARED if command == "diff" else OUTPUTS, help="how (table)")
        else:
            flags._add_action(actions[name])
    return guide.format_help()


def _command(name: str) -> list[str]:
    """Its lines in `--help`."""
    label, indent = f"  {' '.join((name, *COMMANDS[name]))}", " " * _COLUMN
    return wrap(SUMMARIES[name], _WIDTH, initial_indent=f"{label} ".ljust(_COLUMN), subsequent_indent=indent)


def _version() -> str:
    return f"{PROGRAM}, version {version(PROGRAM)} (python {platform.python_version()})"


def _add_host_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config.file", dest="config_file", type=_file, metavar="FILE", help="YAML: a section per driver")
    insist = "--driver.NAME: an error where no plugin brings this driver; --no-driver.NAME: leave it alone"
    add("--[no-]driver.NAME", dest="drivers", action="store_true", default=argparse.SUPPRESS, help=insist)
    add("--replay", type=_file, metavar="DIR", help="answer from what `record` wrote instead of asking this host")
    add("--libvirt.profile", dest="libvirt_profile", choices=PROFILES, help="whose XML (auto: the installed libvirt's)")
    add("--probe.timeout", dest="probe_timeout", type=_duration, metavar="TIME", help="how long a probe may take (30s)")
    add("--series.limit", dest="series_limit", type=_count, metavar="N", help="how many series a driver may make (10000)")
    add(
        "--state.file",
        dest="state_file",
        type=_file,
        metavar="FILE",
        help="where losses are remembered ($STATE_DIRECTORY/state.json)",
    )
    retention = "for how long a kind of guest is remembered that is no longer reported (30d)"
    add("--state.retention", dest="state_retention", type=_long_duration, metavar="TIME", help=retention)
    add("--path.rootfs", dest="path_rootfs", type=_folder, metavar="DIR", help="where this host's files are read (/)")
    add("--path.procfs", dest="path_procfs", type=_folder, metavar="DIR", help="its procfs (/proc)")
    add("--path.sysfs", dest="path_sysfs", type=_folder, metavar="DIR", help="its sysfs (/sys)")


def _add_log_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log.level", dest="log_level", choices=LEVELS, help="how much is logged (serve: info; else error)")
    parser.add_argument("--log.format", dest="log_format", choices=FORMATS, help="how (logfmt)")


def _add_web_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("serve").add_argument
    where = "where to listen; may stand several times (:19177)"
    add("--web.listen-address", dest="web_listen_address", action="append", type=_address, metavar="ADDR", help=where)
    add("--web.telemetry-path", dest="web_telemetry_path", type=_path, metavar="PATH", help="where the metrics are (/metrics)")
    add(
        "--web.config.file",
        dest="web_config_file",
        type=_file,
        metavar="FILE",
        help="TLS, passwords, limits: exporter-toolkit's format",
    )
    add("--web.systemd-socket", dest="web_systemd_socket", action="store_true", default=None, help="listen on what systemd opened")
    most = "how many requests may be under way; 0: any number (40)"
    add("--web.max-requests", dest="web_max_requests", type=_bound, metavar="N", help=most)


# ---- values ------------------------------------------------------------------------------------------------------------------


def _duration(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _long_duration(text: str) -> float:
    try:
        return long_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0")
    return int(text)


def _bound(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number, or 0 for any number")
    return int(text)


def _file(text: str) -> Path:
    """One that need not be there; without a name there is none."""
    if not text:
        raise argparse.ArgumentTypeError("found nothing; expected a name")
    return Path(text)


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a folder that is there")
    return str(Path(text).absolute())


def _address(text: str) -> str:
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})", text)
    if not re.fullmatch("unix:/.+", text) and (match is None or int(match[1]) > 65535):
        expected = ":PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH, such as 127.0.0.1:19177"
        raise argparse.ArgumentTypeError(f"found {text!r}; expected {expected}")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a path that begins with /, such as /metrics")
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+", text) or re.match("/(documents|probe|-)(/|$)", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a path that nothing else has, such as /metrics")
    return text

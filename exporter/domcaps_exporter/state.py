"""Where an exporter's memory lies: --state.file, else systemd's folder for it, else nowhere. It opens that file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from domcaps_exporter.basis import Judge
from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.durations import moment
from domcaps_exporter.errors import DomcapsError, FileTrouble
from domcaps_exporter.flags import Flags, UsageError
from domcaps_exporter.forget import forget, remembered
from domcaps_exporter.memoir import Damaged
from domcaps_exporter.past import LABELS, Loss, labels
from domcaps_exporter.rootfs import Paths
from domcaps_exporter.selector import Selector, SelectorError, selector
from domcaps_exporter.statefile import StateFile
from domcaps_exporter.terminal import printable

_NAME = "state.json"
_OF_THE_SERVICE = Path("/var/lib/domcaps-exporter") / _NAME
"""Where the systemd service of this project has it."""
_NAMED = 5
"""Losses that are named where none was chosen."""
_LOG = logging.getLogger(__name__)


class NoSuchLoss(DomcapsError):
    """Nothing that was lost is as it was said."""


def chronicle(
    said: Flags, drivers: Collection[str], environ: Mapping[str, str], judges: Callable[[], Mapping[str, Judge]] = dict
) -> Chronicle:
    """The memory of these drivers. A replayed host has one for as long as it is replayed. `judges` is asked where there is a file.

    Raises:
        UsageError: --state.file cannot be a state file here.
    """
    _refuse_replayed(said)
    file = None if said.replay else _file(said, environ)
    try:
        return Chronicle(drivers, file, said.state_retention, _there(said), judges=judges() if file is not None else {})
    except OSError as error:
        raise UsageError(f"--state.file: {error.filename}: {error.strerror}") from error


def tell(said: Flags, environ: Mapping[str, str], made: Chronicle) -> None:
    """The log where this memory lies and how many losses it holds, or that there is none."""
    file = None if said.replay else _file(said, environ)
    if file is not None:
        _LOG.info("what is lost is remembered", extra={"fields": {"file": file.path, "losses": len(made.losses)}})
    elif not said.replay:
        _LOG.warning("what is lost is forgotten at the next start: there is no --state.file, and no folder from systemd")


def consulted(said: Flags, drivers: Collection[str], judges: Callable[[], Mapping[str, Judge]] = dict) -> Chronicle | None:
    """The memory in --state.file, to be looked at: the file stays as it is, whatever is learnt. None where none is named.

    Raises:
        UsageError: --state.file cannot be a state file here.
        Damaged: it is none; it stays as it is.
        FileTrouble: it cannot be read.
    """
    _refuse_replayed(said)
    file = _file(said, {})
    if file is None:
        return None
    with _explained(file):
        known = file.existing()
    return Chronicle(drivers, None, said.state_retention, _there(said), judges=judges(), known=known)


def acknowledge(said: Flags, environ: Mapping[str, str], text: str | None) -> tuple[str, ...]:
    """Forget the losses that `text` selects (None: all); a line for each.

    Raises:
        UsageError: the selector means nothing, or there is nothing to say where the state file is.
        NoSuchLoss: it selects none, though it was meant to select some.
        Damaged: that is none; it stays as it is.
        FileTrouble: it cannot be read or replaced.
    """
    file = _file(said, environ) or (StateFile(_OF_THE_SERVICE) if _OF_THE_SERVICE.is_file() else None)
    if file is None:
        raise UsageError(f"forget: in which file? expected --state.file FILE; there is no {_OF_THE_SERVICE}")
    chosen = _selector(text)
    with _explained(file):
        found = forget(file, chosen)
        if text is not None and not found:
            raise NoSuchLoss(f"forget: no loss is like that; {_listed(remembered(file))}")
    return tuple(f"forgotten: {_shown(loss)} (lost since {moment(loss.since)})" for loss in found)


@contextmanager
def _explained(file: StateFile) -> Generator[None]:
    """What is wrong with the file, said of the flag that names it."""
    try:
        yield
    except Damaged as error:
        raise Damaged(f"--state.file: {file.path} {error}; the exporter sets it aside at its next scrape") from error
    except OSError as error:
        raise FileTrouble(f"--state.file: {file.path}", error, "the file that the exporter writes") from error


def _refuse_replayed(said: Flags) -> None:
    if said.replay and said.state_file:
        raise UsageError("--state.file: a replayed host has no state; expected --replay without it")


def _file(said: Flags, environ: Mapping[str, str]) -> StateFile | None:
    """systemd may give several folders, joined by colons."""
    folder = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    path = said.state_file or (Path(folder) / _NAME if folder else None)
    if path is None:
        return None
    if not path.parent.is_dir():
        raise UsageError(f"--state.file: found {str(path)!r}; expected a file in a folder that is there")
    return StateFile(path)


def _there(said: Flags) -> Callable[[str], bool]:
    """Is there such a file, as this process sees it, or below --path.rootfs?"""
    paths = Paths(said.path_rootfs, said.path_procfs, said.path_sysfs)

    def there(path: str) -> bool:
        with suppress(OSError, ValueError):
            return Path(path).exists() or Path(paths.real(path)).exists()
        return False

    return there


def _selector(text: str | None) -> Selector:
    if text == "":
        raise UsageError("forget: found an empty selector; expected LABEL=VALUE, or none at all for every loss")
    try:
        return selector(text or "", LABELS)
    except SelectorError as error:
        raise UsageError(f"forget: {error}") from error


def _shown(loss: Loss) -> str:
    """The loss as the selector that chooses it."""
    text = ",".join(f"{label}={value}" for label, value in labels(loss).items())
    return printable(text.encode("utf-8", "backslashreplace").decode())


def _listed(losses: Sequence[Loss]) -> str:
    """Some of them; the first is as good as any to show what a selector has to look like."""
    more = f"; and {len(losses) - _NAMED} more" if len(losses) > _NAMED else ""
    return f"there are: {'; '.join(map(_shown, losses[:_NAMED]))}{more}" if losses else "there is none"

"""The command: wiring and exit codes. What it prints and serves is made elsewhere.

Exit codes: 0 done; 1 this host or its surroundings would not (no answer, an address that is taken, a refused plugin); 2 the command
line or the configuration file means nothing. `diff`: 0 equal, 1 different, 2 not comparable. Whatever goes wrong is one line on
stderr, `domcaps-exporter: error: …`.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from domcaps_exporter import (
    apart,
    completion,
    config,
    diff,
    flags,
    inventory,
    log,
    manual,
    recording,
    show,
    state,
    systemd,
    textfile,
)
from domcaps_exporter.basis import Judge
from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.commands import HEEDED, PROGRAM
from domcaps_exporter.drivers import Mustered, Plugin, installed, is_ours, judges, muster
from domcaps_exporter.durations import moment
from domcaps_exporter.errors import DomcapsError, FileTrouble, RecordingError, SettingError
from domcaps_exporter.exposition import TEXT_0
from domcaps_exporter.flags import Flags, UsageError
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import Driver, Facts, Host, Outcome, Report, Settings
from domcaps_exporter.notices import Notices
from domcaps_exporter.past import Loss, labels
from domcaps_exporter.probing import Watch
from domcaps_exporter.process import share_memory
from domcaps_exporter.progress import Progress, Told
from domcaps_exporter.selector import LABELS, Selector, SelectorError, selector
from domcaps_exporter.service import Service, catalogue
from domcaps_exporter.sides import sides
from domcaps_exporter.targets import DRIVER, Target, targets

_GRACE = 1.0
"""Seconds beyond a probe's own deadline in which it may still say what kept it."""

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        return _run(_configuring(flags.parse(sys.argv[1:] if argv is None else argv)))
    except (UsageError, SettingError, config.ConfigError) as error:
        return _complain(str(error), 2)
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _complain(str(error) if error.filename or not error.strerror else error.strerror, 1)
    except DomcapsError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return 130


def _configuring(said: Flags) -> Flags:
    """With what the files say that it names."""
    if said.config_file:
        said.config = config.load(said.config_file)
    return _as_recorded(said, said.replay, "--replay: ") if said.replay and "replay" in HEEDED[said.command] else said


def _run(said: Flags) -> int:
    level = said.log_level or ("info" if said.command == "serve" else "error")
    heeded = () if said.log_level else (Chronicle.__module__, textfile.__name__)  # who writes one must hear that its memory is gone
    log.configure(level, said.log_format, sys.stderr, heeded)
    match said.command, *said.operands:
        case ("serve",):
            return _serve(said)
        case "show", *chosen:
            return _show(said, _selector(*chosen))
        case "diff", before, after:
            return _diff(said, before, after)
        case "record", driver, directory:
            return _record(said, driver, Path(directory))
        case "forget", *chosen:
            return _forget(said, *chosen)
        case "textfile", file:
            return _write_textfile(said, Path(file))
        case "completion", shell:
            return _print(completion.script(shell, sorted(_known(_configured(said)))).encode())
        case ("manual",):
            return _print(manual.page(version(PROGRAM)).encode())
        case _:
            return _list_drivers(said)


def _complain(message: str, code: int) -> int:
    _say(f"error: {message}")
    return code


def _note(message: str) -> None:
    """What is no error, and no part of the answer either."""
    _say(f"note: {message}")


def _say(message: str) -> None:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)


def _print(data: bytes) -> int:
    with os.fdopen(1, "wb", closefd=False) as stdout:
        stdout.write(data)
    return 0


def _bytes(words: str) -> bytes:
    """File names may hold what is no UTF-8."""
    return words.encode("utf-8", "backslashreplace")


# ---- drivers -----------------------------------------------------------------------------------------------------------------


def _muster(said: Flags) -> Mustered:
    """The plugins, configured, and of their drivers those that the flags leave."""
    mustered = _configured(said)
    known = _known(mustered)
    for name, wanted in said.drivers.items():
        if name not in known:
            raise UsageError(f"--{'' if wanted else 'no-'}driver.{name}: no plugin brings this driver; there are: {_listed(known)}")
    left = tuple(driver for driver in mustered.drivers if said.drivers.get(driver.name, True))
    if mustered.drivers and not left:
        raise UsageError(f"--no-driver.{_listed(said.drivers)}: leaves no driver to ask")
    return replace(mustered, drivers=_replayed(said.replay, left, "--replay: ") if said.replay else left)


def _configured(said: Flags) -> Mustered:
    """The plugins with their settings. All that the file says is understood by then, also what only `serve` acts upon."""
    mustered = _understood(said, Settings(said.config.drivers, said.libvirt_profile))
    for name in said.config.drivers:
        config.claim(_home(said, name), [name], _known(mustered))
    if said.command != "serve":  # which makes and keeps them
        _targets(said, mustered)
    return mustered


def _home(said: Flags, driver: str) -> Path | None:
    """The file that this driver's section stands in."""
    return said.config.borrowed.get(driver, said.config_file)


def _understood(said: Flags, settings: Settings) -> Mustered:
    """A plugin names only its own key; whose section it stands in comes out when the plugins are asked one by one."""
    points, load = installed(), partial(apart.brought, paths=_paths(said))
    try:
        return muster(settings, points, load)
    except SettingError as error:
        for point in points:
            try:
                muster(settings, (point,), load)
            except SettingError as own:
                raise config.located(_home(said, point.name), point.name, own) from error
        raise


def _known(mustered: Mustered) -> frozenset[str]:
    """The names that flags and sections may have: the drivers', and those of refused plugins, which may have brought their like."""
    refused = (plugin.name for plugin in mustered.plugins if plugin.error)
    return frozenset((*refused, *(driver.name for driver in mustered.drivers)))


def _as_recorded(said: Flags, directory: Path, prefix: str = "") -> Flags:
    """With the section of its driver that a recording was made with, unless the configuration has one: under other settings other
    things are asked, and what was not asked nobody knows. That they differ is told, without their values: some may be secret."""
    try:
        name, section = recording.settings(directory)
    except RecordingError as error:
        raise UsageError(f"{prefix}{error}") from error
    borrowed, own = said.config.borrowed, said.config.drivers.get(name, {})
    if section is None or section == own:
        return said
    then = f"{prefix}{directory} was recorded with {_listed(section)} of drivers.{name} set"
    if name in said.config.drivers and name not in borrowed:
        _note(f"{then}; it is read by the section of {said.config_file}, which differs")
        return said
    if not prefix:
        _note(f"{then}, and is read by that; the other side may have other settings")
    drivers, borrowed = {**said.config.drivers, name: section}, {**borrowed, name: directory / recording.MANIFEST}
    adopted = copy(said)
    adopted.config = replace(said.config, drivers=drivers, borrowed=borrowed)
    return adopted


def _replayed(directory: Path, drivers: Sequence[Driver], prefix: str) -> tuple[Driver, ...]:
    """The driver that made the recording, which from now on gets nothing else to read."""
    try:
        name, facts = recording.load(directory)
    except RecordingError as error:
        raise UsageError(f"{prefix}{error}") from error
    driver = _named(name, drivers, f"{prefix}{directory} was recorded by the driver")
    return (replace(driver, probe=_always(facts)),)


def _always(facts: Facts) -> Callable[[Host], Facts]:
    return lambda _host: facts


def _named(name: str, drivers: Sequence[Driver], context: str) -> Driver:
    for driver in drivers:
        if driver.name == name:
            return driver
    raise UsageError(f"{context} {name!r}; expected one of: {_listed(driver.name for driver in drivers)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _service(said: Flags, mustered: Mustered, progress: Progress | None = None, chronicle: Chronicle | None = None) -> Service:
    watches = [_watch(driver, _paths(said), said.probe_timeout, progress) for driver in mustered.drivers]
    return _serviced(said, watches, mustered.plugins, chronicle, Notices())


def _serviced(
    said: Flags,
    watches: Iterable[Watch],
    plugins: Iterable[Plugin],
    chronicle: Chronicle | None = None,
    notices: Notices | None = None,
) -> Service:
    host, limit, options = "" if said.replay else platform.node(), said.series_limit, said.config.metrics
    return Service(watches, plugins, series_limit=limit, options=options, chronicle=chronicle, host=host, notices=notices)


def _chronicle(said: Flags, mustered: Mustered) -> Chronicle:
    names = [driver.name for driver in mustered.drivers]
    return state.chronicle(said, names, os.environ, lambda: _judges(mustered))


def _judges(mustered: Mustered) -> Mapping[str, Judge]:
    """A stranger's driver may describe nothing while its process is asked: what another version of it denies is told."""
    return judges(mustered, filter(is_ours, installed()))


def _targets(said: Flags, mustered: Mustered) -> dict[str, Target]:
    """What /probe may ask: for each target, the driver made anew with the target's own settings."""
    bringing = {plugin.name for plugin in mustered.plugins if DRIVER in plugin.drivers}
    points, load = [point for point in installed() if point.name in bringing], partial(apart.brought, paths=_paths(said))

    def drivers(section: Mapping[str, object]) -> Iterable[Driver]:
        return muster(Settings({DRIVER: section}, said.libvirt_profile), points, load).drivers

    def service(name: str, driver: Driver, timeout: float) -> Service:
        return _serviced(said, [_watch(driver, _paths(said), timeout, target=name)], ())

    return targets(said.config_file, said.config.targets, drivers, service, said.probe_timeout)


def _paths(said: Flags) -> Paths:
    return Paths(said.path_rootfs, said.path_procfs, said.path_sysfs)


def _watch(driver: Driver, paths: Paths, timeout: float, progress: Progress | None = None, *, target: str = "") -> Watch:
    store = Store()

    def host(deadline: float) -> Host:
        real = RealHost(deadline, paths, store)
        return real if progress is None else Told(real, progress)

    return Watch(driver, host, timeout, resident=not target, target=target)


def _once(said: Flags, mustered: Mustered, chronicle: Chronicle | None = None) -> tuple[Service, Sequence[Outcome]]:
    """Ask everything once; who sits at a terminal sees how far it is. What is kept of it is the chronicle's, if there is one."""
    progress = Progress(sys.stderr if sys.stderr.isatty() else None)
    service = _service(said, mustered, progress, chronicle)
    try:
        return service, asyncio.run(service.scrape(said.probe_timeout + _GRACE))
    finally:
        progress.end()


# ---- the commands ------------------------------------------------------------------------------------------------------------


def _serve(said: Flags) -> int:
    share_memory()
    if not os.isatty(0):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it serves, and says what it makes of it
    serving: Any = importlib.import_module("domcaps_exporter.serving")  # aiohttp takes longer to load than all else together
    notifier, front = systemd.Notifier(os.environ), serving.front(said)  # first: what systemd says is for nobody started below
    mustered = _muster(said)
    for plugin in mustered.plugins:
        if plugin.error:
            _LOG.error("plugin refused", extra={"fields": {"plugin": plugin.name, "error": plugin.error}})
    aims = _targets(said, mustered)
    service = _service(said, mustered, chronicle=_chronicle(said, mustered))
    asyncio.run(serving.serving(service, aims, said, front, notifier))
    return 0


def _show(said: Flags, chosen: Selector) -> int:
    mustered = _muster(said)
    _insist_on_driver(chosen, mustered)
    chronicle = state.consulted(said, [driver.name for driver in mustered.drivers], lambda: _judges(mustered))
    service, answers = _once(said, mustered, chronicle)
    asked = [outcome for outcome in answers if chosen.wanted.get("driver", outcome.driver) == outcome.driver]
    outcomes = [_choose(chosen, outcome) for outcome in asked]
    missed = None if chronicle is None else _missed(chosen, outcomes, chronicle.losses)
    _print(_shown(said.format, service, outcomes, missed))
    if chosen.wanted and not missed and not any(outcome.reports for outcome in outcomes):
        if any(outcome.reports for outcome in asked):
            _complain(f"show: {show.nothing(chosen, asked)}", 1)
        _tell_failures(asked)
        return 1
    return _tell_failures(outcomes)


def _insist_on_driver(chosen: Selector, mustered: Mustered) -> None:
    wanted, known = chosen.wanted.get("driver"), _known(mustered)
    if wanted is not None and wanted not in known:
        raise UsageError(f"show: found driver={wanted}; expected one of: {_listed(known)}")


def _selector(text: str = "") -> Selector:
    try:
        return selector(text, LABELS)
    except SelectorError as error:
        raise UsageError(f"show: {error}") from error


def _choose(chosen: Selector, outcome: Outcome) -> Outcome:
    """With those reports only that are selected, also by the version that the machine's name means here."""

    def chooses(report: Report) -> bool:
        words = {"driver": outcome.driver, **asdict(report.identity)}
        return chosen.chooses(words) or (report.canonical != "" and chosen.chooses({**words, "machine": report.canonical}))

    return replace(outcome, reports=tuple(filter(chooses, outcome.reports)))


def _missed(chosen: Selector, outcomes: Iterable[Outcome], losses: Iterable[Loss]) -> list[Loss]:
    """The losses that are selected, and those of the guests that are."""
    shown = {(outcome.driver, report.identity) for outcome in outcomes for report in outcome.reports}
    return [loss for loss in losses if chosen.chooses(labels(loss)) or (loss.driver, loss.identity) in shown]


def _tell_failures(outcomes: Iterable[Outcome]) -> int:
    """The drivers that should have answered and did not, on stderr; the exit code."""
    outcomes = tuple(outcomes)
    answered = any(outcome.reports for outcome in outcomes)
    wrong = [(outcome.driver, outcome.problem) for outcome in outcomes if outcome.problem is not None]
    absent = [(outcome.driver, outcome.failure) for outcome in outcomes if outcome.failure is not None and not answered]
    complaints = [f"{driver}: {failure.text}" for driver, failure in wrong or absent]
    if not answered and not complaints:
        complaints = ["no driver found anything to report"]
    for complaint in complaints:
        _complain(complaint, 1)
    return 1 if complaints else 0


def _shown(form: str, service: Service, outcomes: Sequence[Outcome], missed: Sequence[Loss] | None) -> bytes:
    match form:
        case "xml":
            return b"".join(entry.xml() for entry in catalogue(outcomes).values())
        case "json":
            return _bytes(show.as_json(outcomes, missed))
        case "metrics":
            return b"".join(service.metrics(outcomes, TEXT_0, gzip=False))
        case _:
            return _bytes(show.table(outcomes, missed or ()))


def _diff(said: Flags, before: str, after: str) -> int:
    if said.format not in flags.COMPARED:
        raise UsageError(f"--format: found {said.format!r}; expected {' or '.join(flags.COMPARED)}, which diff has")
    try:
        compared = sides(before, after, partial(_answers, said), said.probe_timeout, replayed=said.replay is not None)
        comparison = diff.compared(*compared)
    except DomcapsError as error:
        return _complain(f"diff: {error}", 2)
    if not comparison.pairs:
        return _complain(f"diff: {diff.unlike(comparison.before, comparison.after)}", 2)
    _print(_bytes((diff.as_json if said.format == "json" else diff.as_text)(comparison)))
    return 0 if comparison.equal else 1


def _answers(said: Flags, recorded: Path | None) -> Sequence[Outcome]:
    if recorded is not None:
        said = _as_recorded(said, recorded)
    mustered = _muster(said)
    if recorded is not None:
        mustered = replace(mustered, drivers=_replayed(recorded, mustered.drivers, ""))
    return _once(said, mustered)[1]


def _forget(said: Flags, text: str | None = None) -> int:
    lines = state.acknowledge(said, os.environ, text)
    if not lines:
        _note("there is nothing to forget")
    return _print(_bytes("".join(f"{line}\n" for line in lines)))


def _write_textfile(said: Flags, file: Path) -> int:
    """Written also where a driver failed: the file then says so."""
    try:
        textfile.check(file)
    except ValueError as error:
        raise UsageError(f"textfile: {error}") from error
    mustered = _muster(said)
    chronicle = _chronicle(said, mustered)
    state.tell(said, os.environ, chronicle)
    service, outcomes = _once(said, mustered, chronicle)
    try:
        textfile.write(file, service.textfile(outcomes))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        expected = f"room for it in {file.parent}" if full else "a file in a folder that this user may write to"
        raise FileTrouble(f"textfile: {file}", error, expected) from error
    return _tell_failures(outcomes)


def _record(said: Flags, name: str, directory: Path) -> int:
    """The facts are kept also where the driver cannot make sense of them: that is when somebody wants to see them."""
    mustered = _muster(said)
    driver = replace(_named(name, mustered.drivers, "record: found the driver"), describe=_nothing)
    _, (outcome,) = _once(said, replace(mustered, drivers=(driver,)))
    if outcome.failure is not None:
        return _complain(f"{name}: {outcome.failure.text}", 1)
    replaced = recording.save(directory, name, outcome.facts, said.config.drivers.get(name))
    if replaced is not None:
        _note(f"{directory}: this replaced the recording of {moment(replaced)}")
    _print(f"{directory}: {len(outcome.facts)} answers\n".encode())
    return 0


def _nothing(_facts: Facts) -> tuple[Report, ...]:
    return ()


def _list_drivers(said: Flags) -> int:
    """Every plugin, its drivers, and what becomes of asking them now."""
    mustered = _muster(said)
    outcomes = {one.driver: one for one in _once(said, mustered)[1]}
    _print(_bytes(inventory.table(mustered.plugins, outcomes)))
    complaints = tuple(inventory.complaints(mustered.plugins, outcomes))
    for complaint in complaints:
        _complain(complaint, 1)
    return 1 if complaints else 0

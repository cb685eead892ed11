"""An exporter's memory: what it adds to the exposition, across restarts, and what it writes into the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

import pytest
from tests.exporter.test_past import ARM, KVM, VFIO, report, vfio

from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.exposition import TEXT_0
from domcaps_exporter.forget import forget
from domcaps_exporter.metrics import Options
from domcaps_exporter.model import Driver, Failure, Outcome, Report
from domcaps_exporter.past import labels
from domcaps_exporter.selector import Selector
from domcaps_exporter.service import Service
from domcaps_exporter.statefile import StateFile

DAY = 86400.0


class Answering:
    """A watch whose probes end at once, in what `reports` or `reason` say at the time."""

    def __init__(self, clock: Clock, *reports: Report) -> None:
        self.driver = Driver("qemu", lambda host: {}, lambda facts: ())
        self._clock, self.reports, self.reason = clock, reports, ""

    def join(self) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        failure = Failure(self.reason, "why") if self.reason else None
        reports = () if self.reason else self.reports
        future.set_result(Outcome("qemu", reports, failure, started=self._clock(), finished=self._clock()))
        return future

    def overdue(self) -> bool:
        return False

    def silent(self, waited: float) -> Outcome:
        raise AssertionError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A host, and an exporter on it that can be started anew. A second goes by before each scrape.

    `clock` is the host's, which can be set; `ticks` go on as they do.
    """

    def __init__(self, file: Path | None, *, options: Options | None = None, limit: int = 10_000) -> None:
        self.clock, self.ticks, self.path = Clock(), Clock(), file
        self.host = Answering(self.clock, report(vfio(True), listed={"bus": ["virtio", "fdc"]}, models={"EPYC": "yes"}))
        self._options, self._limit = options, limit
        self.start()

    def start(self, drivers: Iterable[str] = ("qemu",)) -> None:
        file = StateFile(self.path) if self.path is not None else None
        there = {KVM.emulator}.__contains__
        chronicle = Chronicle(tuple(drivers), file, there=there, clock=self.clock, ticks=self.ticks)
        self.service = Service([self.host], [], series_limit=self._limit, options=self._options, chronicle=chronicle)

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.ticks.now += seconds

    def scrape(self) -> list[str]:
        """The lines of the exposition about the host."""
        self.passes(1)
        outcomes = asyncio.run(self.service.scrape(5))
        text = b"".join(self.service.metrics(outcomes, TEXT_0, gzip=False)).decode()
        return [line for line in text.splitlines() if line.startswith("domcaps_")]

    def says(self, *reports: Report) -> list[str]:
        self.host.reports, self.host.reason = reports, ""
        return self.scrape()

    def fails(self, reason: str) -> list[str]:
        self.host.reason = reason
        return self.scrape()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def world(file: Path) -> World:
    """One that was scraped once."""
    made = World(file)
    made.scrape()
    return made


def sample(name: str, element: str = "", enum: str = "", value: str = "", **more: str) -> str:
    """A sample's name and labels as they stand in the text."""
    every = {"arch": KVM.arch, "driver": "qemu", "emulator": KVM.emulator, "machine": KVM.machine, "virttype": KVM.virttype, **more}
    every |= {"element": element, "enum": enum, "value": value} if element else {}
    return name + "{" + ",".join(f'{label}="{every[label]}"' for label in sorted(every)) + "} "


LOST_VFIO = sample("domcaps_lost_timestamp_seconds", *VFIO)
LESS = report(vfio(False), listed={"bus": ["virtio"]}, models={})


def about(lines: Iterable[str], *names: str) -> list[str]:
    return [line for line in lines if line.startswith(names)]


def lost(lines: Iterable[str]) -> list[str]:
    return about(lines, "domcaps_lost_timestamp_seconds")


# ---- the exposition ----------------------------------------------------------------------------------------------------------


def test_a_loss_has_the_time_at_which_it_was_first_seen(world: World) -> None:
    assert lost(world.scrape()) == []
    for _ in range(2):
        assert f"{LOST_VFIO}1003.0" in world.says(report(vfio(False)))


def test_what_vanished_is_a_zero(world: World) -> None:
    lines = world.says(LESS)
    assert sample("domcaps_supported", "disk", "bus", "fdc") + "0.0" in lines
    assert sample("domcaps_cpu_model_usable", model="EPYC") + "0.0" in lines
    assert len(lost(lines)) == 3


def test_after_a_restart_everything_is_said_as_before(world: World) -> None:
    before = world.says(LESS)
    world.start()
    after = world.scrape()
    own = ("domcaps_probe", "domcaps_capability_changes")
    assert sorted(set(after) - set(about(after, *own))) == sorted(set(before) - set(about(before, *own)))
    assert len(lost(after)) == 3


def test_a_restart_without_a_state_file_forgets() -> None:
    world = World(None)
    world.scrape()
    assert len(lost(world.says(LESS))) == 3
    world.start()
    assert lost(world.scrape()) == []


def test_what_returns_after_a_restart_is_no_longer_missed(world: World) -> None:
    world.says(report(vfio(False)))
    world.start()
    lines = world.says(report(vfio(True)))
    assert lost(lines) == []
    assert 'domcaps_capability_changes_total{direction="gained",driver="qemu"} 1.0' in lines


def test_what_is_lost_while_the_exporter_does_not_run_is_lost_when_it_does(world: World) -> None:
    world.start()
    assert f"{LOST_VFIO}1002.0" in world.says(report(vfio(False)))


def test_losses_are_told_while_probes_fail_also_after_a_restart(world: World) -> None:
    world.says(report(vfio(False)))
    for _ in range(2):
        lines = world.fails("timeout")
        assert lost(lines) == [f"{LOST_VFIO}1002.0"]
        assert about(lines, "domcaps_supported", "domcaps_guest_supported") == []
        world.start()


def test_a_guest_that_is_gone_is_no_zero_while_probes_fail(world: World) -> None:
    world.says(report(identity=ARM))
    for _ in range(2):
        assert about(world.says(), "domcaps_guest_supported")
        assert not about(world.fails("timeout"), "domcaps_guest_supported")


def test_what_an_early_answer_says_when_it_comes_late_is_not_taken_for_what_is_known(world: World) -> None:
    world.service.chronicle.learn(Outcome("qemu", (report(vfio(False)),), started=2000.0, finished=2000.0))
    assert lost(world.scrape())  # of a probe that began before that
    world.clock.now = 3000.0
    assert not lost(world.scrape())


def test_a_hypervisor_that_left_before_a_restart_was_seen_all_the_same(world: World) -> None:
    world.start()
    lines = world.fails("absent")
    assert 'domcaps_probe_success{driver="qemu"} 0.0' in lines
    assert lost(lines) == [sample("domcaps_lost_timestamp_seconds", "guest") + "1002.0"]
    assert about(lines, "domcaps_guest_supported") == []


def test_the_guest_of_an_emulator_that_is_gone_is_a_zero_with_its_reason(world: World) -> None:
    other = report(identity=ARM)
    world.says(report(), other)
    lines = world.says(report())
    gone = {"arch": ARM.arch, "emulator": ARM.emulator, "machine": ARM.machine, "virttype": ARM.virttype}
    assert sample("domcaps_guest_supported", **gone) + "0.0" in lines
    reason = sample("domcaps_unmet_prerequisite", "guest", prerequisite="emulator", libvirt="refuses", **gone)
    assert f"{reason}1.0" in lines
    assert len(lost(lines)) == 1


def test_lost_cpu_models_name_their_blockers_unasked_and_once(file: Path) -> None:
    for options in (None, Options(blockers=True)):
        world = World(file, options=options)
        world.scrape()
        lines = world.says(report(models={"EPYC": "no"}, blockers=("svm",)))
        assert about(lines, "domcaps_cpu_model_blocker{") == [
            sample("domcaps_cpu_model_blocker", model="EPYC", feature="svm") + "1.0"
        ]
        file.unlink()


def test_a_guest_that_cannot_run_says_so_once_and_nothing_of_what_it_had(world: World) -> None:
    world.says(report(models={"EPYC": "no"}, blockers=("svm",)))
    lines = world.says(report(guest=False, models={"EPYC": "no"}, blockers=("svm",)))
    assert about(lines, "domcaps_guest_supported") == [sample("domcaps_guest_supported") + "0.0"]
    assert len(about(lines, "domcaps_unmet_prerequisite")) == 1
    assert about(lines, "domcaps_cpu_model", "domcaps_supported") == []
    assert len(lost(lines)) == 2


def test_no_sample_is_there_twice(world: World) -> None:
    names = [line.rpartition(" ")[0] for line in world.says(LESS)]
    assert len(names) == len(set(names))


def test_changes_are_counted_and_the_last_has_a_time(world: World) -> None:
    lines = world.scrape()
    counts = 'domcaps_capability_changes_total{direction="lost",driver="qemu"} '
    assert f"{counts}0.0" in lines
    assert about(lines, "domcaps_last_change_timestamp_seconds") == []
    for _ in range(2):
        lines = world.says(LESS)
        assert f"{counts}3.0" in lines
        assert 'domcaps_last_change_timestamp_seconds{driver="qemu"} 1003.0' in lines
    assert [change.direction for change in world.service.chronicle.changes] == ["lost"] * 3


def test_zeros_of_what_vanished_count_against_the_limit(file: Path) -> None:
    world = World(file, limit=100)
    many = [str(number) for number in range(60)]
    world.says(report(listed={"bus": many}))
    lines = world.says(report(listed={"bus": ["other"], "model": [f"x{number}" for number in range(60)]}))
    assert 'domcaps_probe_failures_total{driver="qemu",reason="limit"} 1.0' in lines


# ---- what it costs -----------------------------------------------------------------------------------------------------------


def test_an_unchanged_scrape_writes_nothing_and_serves_the_same_bytes(world: World, file: Path) -> None:
    before = file.stat()
    outcomes = asyncio.run(world.service.scrape(5))
    body = world.service.body(outcomes)
    for _ in range(3):
        world.scrape()
    assert world.service.body(asyncio.run(world.service.scrape(5))) is body
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_answer_that_comes_late_changes_nothing(world: World) -> None:
    early, late = Outcome("qemu", (LESS,), started=1.0, finished=5.0), Outcome("qemu", (report(vfio(True)),), started=2000.0)
    chronicle = world.service.chronicle
    chronicle.learn(late)
    before = chronicle.past("qemu")
    chronicle.learn(early)
    assert chronicle.past("qemu") is before


# ---- forgetting --------------------------------------------------------------------------------------------------------------


def test_a_running_exporter_notices_what_was_forgotten(world: World, file: Path) -> None:
    world.says(LESS)
    found = forget(StateFile(file), Selector({"element": "hostdev", "value": "vfio"}))
    assert [labels(loss)["value"] for loss in found] == ["vfio"]
    assert sorted(line.rpartition(" ")[0] for line in lost(world.scrape())) == sorted(
        sample("domcaps_lost_timestamp_seconds", *key).rstrip() for key in (("disk", "bus", "fdc"), ("cpu", "model", "EPYC"))
    )
    world.says(report(vfio(True)))
    assert any(line.startswith(LOST_VFIO) for line in world.says(LESS))


def acknowledged(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """What was logged, at the level info, of losses that somebody else took out of the file."""
    return [vars(one)["fields"] for one in caplog.records if (one.levelname, one.getMessage()) == ("INFO", "loss acknowledged")]


def test_a_loss_that_somebody_acknowledged_is_one_line_that_says_why_its_alert_ended(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.says(report(vfio(False)))
    forget(StateFile(file), Selector())
    for _ in range(2):
        world.scrape()
    identity = {"driver": "qemu", "emulator": KVM.emulator, "arch": "x86_64", "machine": "q35", "virttype": "kvm"}
    what = {"element": "hostdev", "enum": "pciBackend", "value": "vfio", "since": "1970-01-01T00:16:42Z", "file": file}
    assert acknowledged(caplog) == [{**identity, **what}]


def test_what_returned_or_was_lost_while_somebody_wrote_the_file_was_acknowledged_by_nobody(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.says(LESS)
    forget(StateFile(file), Selector({"element": "disk"}))
    less = report(vfio(False), guest=False)
    world.service.chronicle.learn(Outcome("qemu", (less,), started=2000.0, finished=2000.0))
    world.clock.now = 2000.0
    world.says(less)
    assert [one["element"] for one in acknowledged(caplog)] == ["disk"]


def test_a_loss_that_another_exporter_saw_come_back_was_acknowledged_by_nobody(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.says(report(vfio(True)))
    before = file.read_bytes()
    world.says(LESS)
    file.write_bytes(before)
    world.scrape()
    assert acknowledged(caplog) == []
    assert "loss is over, says the state file" in caplog.messages


def test_a_loss_that_could_not_be_written_yet_does_not_end_with_another(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    had, has = {"bus": ["virtio", "fdc", "usb"]}, {"bus": ["virtio", "fdc"]}
    world.says(report(vfio(False), models={"EPYC": "yes"}))
    with StateFile(file).locked():
        world.says(report(vfio(False), listed=had, models={"EPYC": "yes"}))
        world.says(report(vfio(False), listed=has, models={}))
    forget(StateFile(file), Selector({"element": "hostdev"}))
    missed = [sample("domcaps_lost_timestamp_seconds", *key) for key in (("cpu", "model", "EPYC"), ("disk", "bus", "usb"))]
    for _ in range(2):
        assert sorted(line.rpartition(" ")[0] + " " for line in lost(world.scrape())) == sorted(missed)
        world.start()
    assert [one["element"] for one in acknowledged(caplog)] == ["hostdev"]
    assert [text for text in warnings(caplog) if text != "capability lost"] == [
        "the state file cannot be written: another process has its lock"
    ]


def test_exporters_that_ask_other_drivers_and_write_one_file_are_told_once_and_lose_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    made = {driver: Chronicle((driver,), StateFile(file), clock=clock, ticks=clock) for driver in ("qemu", "xen")}
    written = set()
    for truth in (True, False, *[False] * 8):
        for driver, chronicle in made.items():
            clock.now += 1
            chronicle.look()
            chronicle.learn(Outcome(driver, (report(vfio(truth)),), started=clock.now, finished=clock.now))
            written.add(file.stat().st_mtime_ns)
    assert len(written) == 4
    assert warnings(caplog).count("another exporter writes this state file: each needs its own") == 2
    for driver, chronicle in made.items():
        assert [labels(loss)["driver"] for loss in chronicle.losses] == [driver]
        clock.now += 31 * DAY
        chronicle.look()
        assert [labels(loss)["driver"] for loss in Chronicle((driver,), StateFile(file), clock=clock).losses] == [driver]


def test_what_somebody_elses_file_does_not_have_is_written_again(world: World, file: Path) -> None:
    before = file.read_bytes()
    world.says(report(vfio(True)), report(identity=ARM))
    file.write_bytes(before)
    world.scrape()
    assert set(StateFile(file).read()["qemu"].guests) == {KVM, ARM}


def test_a_file_that_is_damaged_or_taken_away_acknowledges_nothing(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.says(LESS)
    file.write_text("nonsense")
    world.scrape()
    file.unlink()
    world.scrape()
    assert acknowledged(caplog) == []


def test_what_is_forgotten_between_a_probe_and_its_entry_stays_forgotten(world: World, file: Path) -> None:
    world.says(LESS)
    forget(StateFile(file), Selector())
    world.service.chronicle.learn(Outcome("qemu", (report(guest=False),), started=2000.0, finished=2000.0))
    world.clock.now = 2000.0
    assert [line.partition("{")[2].partition(",emu")[0] for line in lost(world.says(report(guest=False)))] == [
        'arch="x86_64",driver="qemu",element="guest"'
    ]


def test_zeros_of_what_vanished_are_forgotten_with_the_loss(world: World, file: Path) -> None:
    world.says(LESS)
    assert len(forget(StateFile(file), Selector())) == 3
    lines = world.scrape()
    assert lost(lines) == []
    assert about(lines, sample("domcaps_supported", "disk", "bus", "fdc")) == []
    assert sample("domcaps_supported", *VFIO) + "0.0" in lines


def test_nothing_is_written_where_nothing_is_forgotten(world: World, file: Path) -> None:
    before = file.stat().st_ino
    assert forget(StateFile(file), Selector({"element": "tpm"})) == ()
    assert file.stat().st_ino == before


# ---- time --------------------------------------------------------------------------------------------------------------------


def test_guests_that_are_long_gone_are_forgotten(world: World) -> None:
    assert len(lost(world.fails("absent"))) == 1
    world.clock.now += 29 * DAY
    assert len(lost(world.fails("absent"))) == 1
    world.clock.now += DAY
    assert lost(world.fails("absent")) == []
    world.start()
    assert about(world.fails("absent"), "domcaps_probe_success") == []


def test_drivers_that_are_not_asked_are_forgotten_in_the_end(world: World, file: Path) -> None:
    world.start(drivers=())
    world.service.chronicle.look()
    world.passes(30 * DAY)
    world.service.chronicle.look()
    assert StateFile(file).read() == {}


def test_that_a_driver_is_not_asked_is_written_with_what_is_worth_it(world: World, file: Path) -> None:
    before = file.stat().st_ino
    world.start(drivers=("xen",))
    world.service.chronicle.look()
    assert file.stat().st_ino == before
    world.service.chronicle.learn(Outcome("xen", (report(),), started=2000.0, finished=2000.0))
    assert StateFile(file).read()["qemu"].guests[KVM].presence == "withdrawn"


def test_a_clock_that_is_set_forgets_nothing(world: World) -> None:
    assert len(lost(world.fails("absent"))) == 1
    world.clock.now = 1_790_000_000.0  # an NTP server was found
    assert len(lost(world.fails("absent"))) == 1
    world.passes(29 * DAY)
    world.start()
    assert len(lost(world.fails("absent"))) == 1
    world.passes(DAY)
    assert lost(world.fails("absent")) == []


def test_a_clock_that_was_set_while_the_exporter_did_not_run_forgets_nothing(world: World, file: Path) -> None:
    world.fails("absent")
    world.clock.now = 1_790_000_000.0
    world.start()
    assert len(lost(world.fails("absent"))) == 1
    assert StateFile(file).read()["qemu"].guests[KVM].since == 1_790_000_001.0


# ---- a file that fails -------------------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_damaged_file_is_set_aside_with_a_warning_and_makes_no_zeros(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.says(LESS)
    file.write_bytes(file.read_bytes().replace(b"EPYC", b"EPYX"))
    world.start()
    lines = world.scrape()
    assert lost(lines) == []
    assert not any("EPY" in line for line in lines)
    assert warnings(caplog)[-1] == "the state file cannot be used, and is set aside"
    assert len(list(file.parent.glob("state.json.damaged-*"))) == 1
    assert StateFile(file).read()["qemu"].guests


def test_a_file_that_is_damaged_while_it_is_used_is_written_anew(world: World, file: Path) -> None:
    before = world.says(LESS)
    file.write_text("nonsense")
    assert lost(world.scrape()) == lost(before)
    world.start()
    assert sorted(lost(world.scrape())) == sorted(lost(before))


def test_a_file_that_was_taken_away_is_written_anew(world: World, file: Path) -> None:
    world.says(LESS)
    file.unlink()
    assert len(lost(world.scrape())) == 3
    assert len(list(StateFile(file).read())) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc: a folder that not even root may write to")
def test_a_file_that_cannot_be_written_is_one_warning_and_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Path("/proc/self/state.json"))
    for _ in range(3):
        world.scrape()
    assert len(lost(world.says(LESS))) == 3
    assert warnings(caplog)[:1] == ["the state file cannot be written: No such file or directory"]
    assert len([text for text in warnings(caplog) if "state file" in text]) == 1


def test_a_file_that_could_not_be_written_is_tried_again_after_a_minute(tmp_path: Path) -> None:
    world = World(tmp_path / "folder" / "state.json")
    for _ in range(2):
        world.scrape()
        (tmp_path / "folder").mkdir(exist_ok=True)
    assert list((tmp_path / "folder").iterdir()) == []
    world.clock.now -= DAY  # which is no time that passes
    world.passes(60)
    world.scrape()
    assert (tmp_path / "folder" / "state.json").exists()


def test_what_could_not_be_written_is_when_the_exporter_ends_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = World(tmp_path / "folder" / "state.json")
    world.scrape()
    assert len(lost(world.says(report(vfio(False))))) == 1
    (tmp_path / "folder").mkdir()
    world.service.chronicle.close()
    told = [one.getMessage() for one in caplog.records if "state file" in one.getMessage()]
    assert told == ["the state file cannot be written: No such file or directory", "the state file is written again"]
    world.start()
    assert len(lost(world.scrape())) == 1


def test_a_lock_that_another_holds_costs_the_answer_a_moment_and_the_next_scrape_writes(world: World, file: Path) -> None:
    before = file.read_bytes()
    with StateFile(file).locked():
        assert len(lost(world.says(LESS))) == 3
        assert file.read_bytes() == before
    world.scrape()
    world.start()
    assert len(lost(world.scrape())) == 3


def test_a_lock_that_another_keeps_is_one_warning_holds_nobody_up_and_is_tried_again(
    world: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, began = file.read_bytes(), time.monotonic()
    with StateFile(file).locked():
        for _ in range(2):
            assert len(lost(world.says(LESS))) == 3
        assert "the state file cannot be written: another process has its lock" not in warnings(caplog)
        for number in range(50):
            world.says(report(vfio(False), listed={"bus": [str(number)]}))
    assert time.monotonic() - began < 2  # at 0.1 s for each change it would be more than 5 s
    assert [text for text in warnings(caplog) if "state file" in text] == [
        "the state file cannot be written: another process has its lock"
    ]
    assert file.read_bytes() == before
    world.passes(60)
    after = world.scrape()
    world.start()
    assert sorted(lost(world.scrape())) == sorted(lost(after))
    assert len(lost(after)) > 50


def test_a_file_that_could_not_be_read_is_not_written_over(world: World, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.unlink()
    file.mkdir()
    for listed in ("a", "b"):
        assert len(lost(world.says(report(vfio(False), listed={"bus": [listed]})))) > 0
    assert file.is_dir()
    assert [text for text in warnings(caplog) if "state file" in text] == [
        "the state file cannot be read: it is not a regular file"
    ]


def test_a_file_that_cannot_be_read_is_nothing_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is not a regular file"):
        Chronicle((), StateFile(tmp_path))


# ---- the log -----------------------------------------------------------------------------------------------------------------


def test_each_change_is_one_line_with_what_it_is_and_what_it_lacks(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.says(report(vfio(False)))
    world.scrape()
    world.start()
    world.scrape()
    world.says(report(vfio(True)))
    told = [record for record in caplog.records if record.name == "domcaps_exporter.changes"]
    assert [(record.levelname, record.getMessage()) for record in told] == [
        ("WARNING", "capability lost"),
        ("INFO", "capability gained"),
    ]
    identity = {"driver": "qemu", "emulator": KVM.emulator, "arch": "x86_64", "machine": "q35", "virttype": "kvm"}
    value = {"element": "hostdev", "enum": "pciBackend", "value": "vfio"}
    assert [record.__dict__["fields"] for record in told] == [
        {**identity, **value, "direction": "lost", "lacks": "iommu-groups"},
        {**identity, **value, "direction": "gained"},
    ]

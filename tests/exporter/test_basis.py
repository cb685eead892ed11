"""An exporter that another one with stricter rules replaces: what the host lost is told, and what the rules alone deny is not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from domcaps_exporter import ABSENT, Answer, Facts, Identity, Question, Refusal, Report, Verdict, question
from domcaps_exporter.basis import Basis, Judge, basis, standing
from domcaps_exporter.chronicle import Chronicle
from domcaps_exporter.claims import GUEST
from domcaps_exporter.memoir import decode, encode
from domcaps_exporter.model import Outcome
from domcaps_exporter.past import Past, losses
from domcaps_exporter.rules import ElementRow, Need, element, enum, evaluate, value
from domcaps_exporter.statefile import StateFile
from domcaps_exporter.truths import Key
from domcaps_exporter.view import View

KVM = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
GROUPS, DEVICE, PARAMETER = question("list", "/groups"), question("exists", "/dev/vfio"), question("read", "/parameter")
HOST: Mapping[Question, Answer] = {GROUPS: b"0\x001", PARAMETER: b"N"}
VFIO: Key = ("hostdev", "pciBackend", "vfio")
PASST: Key = ("interface", "backendType", "passt")

groups: Need[View] = Need("iommu-groups", lambda view: bool(entries) if (entries := view.entries(GROUPS)) is not None else None)
device: Need[View] = Need("dev-vfio", lambda view: view.there(DEVICE))
parameter: Need[View] = Need("parameter", lambda view: view.text(PARAMETER) == "Y" if view.there(PARAMETER) else None)


def rules(*vfio: Need[View], passt: tuple[Need[View], ...] = ()) -> Judge:
    """An exporter that knows two values, and what they need."""
    table: list[ElementRow[View]] = [
        element("hostdev", enum("pciBackend", value("vfio", *vfio))),
        element("interface", enum("backendType", value("passt", *passt))),
    ]

    def describe(facts: Facts) -> Iterable[Report]:
        verdicts = evaluate(table, View(facts), (0, 0)).verdicts
        return [Report(KVM, Verdict(*GUEST, True), verdicts=tuple(one for one in verdicts if one.enum))]

    return Judge(" ".join(need.name for need in (*vfio, *passt)) or "none", describe)


@dataclass
class World:
    """A host with a state file, and one exporter after the other on it. A second goes by before each answer."""

    file: Path
    facts: dict[Question, Answer] = field(default_factory=lambda: dict(HOST))
    now: float = 1000.0

    def runs(self, judge: Judge, judges: Mapping[str, Judge] | None = None) -> set[Key]:
        """Start that exporter and let it ask once; what it says is missed."""
        known = {"qemu": judge} if judges is None else judges
        self.chronicle = Chronicle(("qemu",), StateFile(self.file), clock=lambda: self.now, judges=known, ticks=lambda: self.now)
        return self.asks(judge)

    def asks(self, judge: Judge) -> set[Key]:
        self.now += 1
        outcome = Outcome("qemu", tuple(judge.describe(self.facts)), started=self.now, finished=self.now, facts=dict(self.facts))
        self.chronicle.look()
        self.chronicle.learn(outcome)
        return {loss.key for loss in losses("qemu", self.chronicle.past("qemu"))}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Its exporter wants nothing but IOMMU groups."""
    made = World(tmp_path / "state.json")
    assert made.runs(rules(groups)) == set()
    return made


def test_a_rule_that_asks_something_new_makes_no_loss(world: World) -> None:
    world.facts[DEVICE] = ABSENT
    assert world.runs(rules(groups, device)) == set()
    assert world.chronicle.changes == ()


def test_a_rule_that_asks_more_of_an_old_answer_makes_no_loss(world: World) -> None:
    assert world.runs(rules(groups, parameter)) == set()


def test_what_the_host_lost_during_the_upgrade_is_told(world: World) -> None:
    world.facts[GROUPS] = b""
    assert world.runs(rules(groups, passt=(parameter,))) == {VFIO}
    (change,) = world.chronicle.changes
    assert (change.key, change.lacks) == (VFIO, ("iommu-groups",))


def test_what_the_stricter_rule_denies_is_not_told_though_the_host_changed_elsewhere(world: World) -> None:
    world.facts |= {question("uname"): b"new", GROUPS: b"0\x001\x002"}
    assert world.runs(rules(groups, parameter)) == set()


def test_what_both_deny_is_the_rules_alone(world: World) -> None:
    world.facts[GROUPS] = b""
    assert world.runs(rules(groups, parameter)) == set()


def test_a_restart_of_the_same_exporter_excuses_nothing(world: World) -> None:
    world.facts[GROUPS] = b""
    assert world.runs(rules(groups)) == {VFIO}


def test_after_its_first_answer_the_new_exporter_tells_losses_as_ever(world: World) -> None:
    world.facts[DEVICE] = b"device"
    assert world.runs(rules(groups, device)) == set()
    world.facts[DEVICE] = ABSENT
    assert world.asks(rules(groups, device)) == {VFIO}


def test_a_loss_from_before_the_upgrade_stays_one(world: World) -> None:
    world.facts[GROUPS] = b""
    assert world.asks(rules(groups)) == {VFIO}
    assert world.runs(rules(groups, parameter)) == {VFIO}


def test_a_memory_that_does_not_say_what_it_rests_on_excuses_nothing(world: World) -> None:
    memory = StateFile(world.file).read()
    StateFile(world.file).write({"qemu": Past(memory["qemu"].guests)})
    assert world.runs(rules(groups, parameter)) == {VFIO}


def test_a_driver_that_cannot_look_back_costs_a_warning_and_excuses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: Facts) -> Iterable[Report]:
        raise RuntimeError("no")

    assert world.runs(rules(groups, parameter), {"qemu": Judge("other", fails)}) == {VFIO}
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["what an upgrade changed is taken for the host's", "capability lost"]


# ---- what it rests on --------------------------------------------------------------------------------------------------------


def test_of_what_the_host_answers_otherwise_nobody_knows() -> None:
    before = basis("code", {GROUPS: b"0", PARAMETER: ABSENT})
    now: Mapping[Question, Answer] = {GROUPS: b"1", PARAMETER: ABSENT, DEVICE: b"device"}
    stands = standing(now, before)
    assert isinstance(stands[GROUPS], Refusal)
    assert stands[GROUPS] != ABSENT
    assert {one: stands[one] for one in (PARAMETER, DEVICE)} == {PARAMETER: ABSENT, DEVICE: b"device"}


def test_a_refusal_in_other_words_is_the_same() -> None:
    before = basis("code", {GROUPS: Refusal("error", "at 10:00")})
    now: Mapping[Question, Answer] = {GROUPS: Refusal("error", "at 11:00")}
    assert standing(now, before) == now
    assert standing({GROUPS: ABSENT}, before)[GROUPS] != ABSENT


def test_it_is_remembered() -> None:
    past = Past(basis=basis("code", HOST))
    assert decode(encode({"qemu": past})) == {"qemu": past}
    assert decode(encode({"qemu": Past(basis=Basis("code", {}))}))["qemu"].basis == Basis("code", {})


def test_other_answers_alone_are_written_once_a_minute(world: World) -> None:
    before = world.file.stat().st_ino
    for number in range(3):
        world.facts[question("uname")] = b"%d" % number
        world.asks(rules(groups))
    assert world.file.stat().st_ino == before
    world.now += 60
    world.asks(rules(groups))
    heard = StateFile(world.file).read()["qemu"].basis
    assert heard == basis("iommu-groups", world.facts)

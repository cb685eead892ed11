"""What becomes of answers that are missing, refused, cut or wrong: unknown or unreadable, never a value that nobody vouches for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.plugins import corpus, standins

from domcaps_exporter import Answer, Facts, Question, Refusal, Report, UnreadableAnswer, document, question
from domcaps_exporter.model import Truth
from domcaps_exporter.rules import ElementRow, EnumRow
from domcaps_exporter.view import Parsed, View, gather
from domcaps_qemu.describe import reports
from domcaps_qemu.needs import SWTPM_FEATURES
from domcaps_qemu.probe import Qemu
from domcaps_qemu.settings import ALL, Wanted
from domcaps_qemu.table import AFTER_CPU, OS_AND_MEMORY
from domcaps_qemu.world import BINARY, World

ERROR = b'{"error": {"class": "GenericError", "desc": "no"}}'
UNKNOWN = b'{"error": {"class": "CommandNotFound", "desc": "no"}}'
QEMU_CONF = question("read", "/etc/libvirt/qemu.conf")
RECORDED = frozenset(
    ("qemu_10.0.0.x86_64+amdsev", "qemu_8.2.0-virt.aarch64", "qemu_7.1.0.ppc64", "qemu_9.2.0.s390x", "qemu_7.0.0.x86_64")
)
few = settings(max_examples=int(os.environ.get("DOMCAPS_FUZZ", "60")), suppress_health_check=list(HealthCheck))


class Recording:
    """Facts that make sense, and the driver that understands them. No dataclass: Hypothesis would print them all."""

    def __init__(self, qemu: Qemu, facts: Facts) -> None:
        self.qemu, self.facts = qemu, facts

        self._parsed = Parsed()

    def described(self, changes: Mapping[Question, Answer | None]) -> list[Report]:
        """The reports where these answers are others, or missing."""
        return list(self.qemu.describe(self._changed(changes)))

    def machines(self, changes: Mapping[Question, Answer | None], *names: str, anew: bool) -> dict[tuple[str, str], Report]:
        """The same for these machines (with KVM and without), by what was made of all earlier changes, or from nothing."""
        wanted = replace(self.qemu.wanted, machines={"": names}, profile=(9, 0))
        view = View(self._changed(changes), Parsed() if anew else self._parsed)
        return {(report.canonical, report.identity.virttype): report for report in reports(view, wanted)}

    def _changed(self, changes: Mapping[Question, Answer | None]) -> Facts:
        changed = {**self.facts, **{one: answer for one, answer in changes.items() if answer is not None}}
        return {one: answer for one, answer in changed.items() if changes.get(one, b"") is not None}


@cache
def recordings() -> tuple[Recording, ...]:
    """The real QEMU's answers, and libvirt's recordings where they are."""
    return (*_real(), *_recorded())


def _real() -> Iterator[Recording]:
    path = shutil.which("qemu-system-x86_64")
    if path is not None:
        qemu = Qemu(Wanted(emulators=(path,), virttypes=("kvm", "qemu"), profile=(12, 8)))
        yield Recording(qemu, qemu.probe(standins.Hosts()()))


def _recorded() -> Iterator[Recording]:
    folder = os.environ.get("DOMCAPS_LIBVIRT_CORPUS")
    cases = corpus.recorded(Path(folder)) if folder else []
    for case in cases:
        if case.expected.stem in RECORDED:
            wanted = Wanted(emulators=(case.emulator,), virttypes=("kvm", "qemu"), profile=(12, 8))
            host, parsed = corpus.MockedHost(case.expected.parents[1], case), Parsed()
            facts = gather(lambda view, wanted=wanted: list(reports(view, wanted)), host.ask, parsed)  # type: ignore[misc]
            yield Recording(Qemu(wanted), facts)


@pytest.fixture(autouse=True)
def _something_to_change() -> None:
    if not recordings():
        pytest.skip("needs qemu-system-x86_64: its answers are changed")


# ---- wrong answers -----------------------------------------------------------------------------------------------------------

JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [10**30, -(10**30), 2**64, -1, 1.5, float("nan"), float("inf"), "", "\ud800", "\0", "x" * 1000, [], {}, [[]], [{}]]
    ),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.sampled_from(["name", "class", "props", "return", "error"]), st.integers(), max_size=2),
)


@st.composite
def mangled_json(draw: st.DrawFn, text: bytes) -> bytes:
    """The same JSON with one thing in it replaced or left out."""
    try:
        whole = json.loads(text)
    except ValueError:
        return draw(st.binary(max_size=40))
    holder = [whole]
    here: Any = holder
    key: Any = 0
    while isinstance(here[key], (dict, list)) and here[key] and draw(st.integers(0, 7)):
        here = here[key]
        key = draw(st.sampled_from(sorted(here)) if isinstance(here, dict) else st.integers(0, len(here) - 1))
    if here is not holder and draw(st.booleans()):
        del here[key]
    else:
        here[key] = draw(JUNK)
    return json.dumps(holder[0]).encode()


@st.composite
def wrong(draw: st.DrawFn, right: Answer) -> Answer | None:
    """Another answer, or none."""
    if not isinstance(right, bytes):
        return draw(st.one_of(st.none(), st.binary(max_size=20), st.sampled_from([Refusal("denied"), Refusal("error")])))
    others: st.SearchStrategy[Answer | None] = st.one_of(
        mangled_json(right),
        mangled_json(right),
        st.sampled_from([None, Refusal("absent"), Refusal("denied"), Refusal("error"), ERROR, b"", b"[" * 100_000]),
        st.integers(0, len(right)).map(lambda end: right[:end]),
        st.binary(max_size=40),
        st.sampled_from([b"9" * 5000, b"-1", b"1e999", b"\0", b"{}", b"[]", b"null", b'{"return": null}', b'{"return": {}}']),
    )
    return draw(others)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Recording, dict[Question, Answer | None]]:
    recording = draw(st.sampled_from(recordings()))
    chosen = draw(st.lists(st.sampled_from(_interesting(recording)), min_size=1, max_size=3, unique=True))
    return recording, {one: draw(wrong(recording.facts[one])) for one in chosen}


def _interesting(recording: Recording) -> list[Question]:
    """QEMU's answers more than once, so that they are chosen as often as the many files."""
    told = sorted(one for one in recording.facts if one.kind == "qmp")
    return [*sorted(recording.facts), *told * 4]


@few
@given(changes())
def test_wrong_answers_are_understood_or_unreadable_by_name(change: tuple[Recording, dict[Question, Answer | None]]) -> None:
    recording, changed = change
    words = ""
    try:
        recording.described(changed)
    except UnreadableAnswer as error:
        words = str(error)
    assert not words or any(str(one) in words for one in changed)


# ---- missing answers ---------------------------------------------------------------------------------------------------------

Key = tuple[str, ...]


def truths(told: list[Report]) -> dict[Key, Truth]:
    """Every verdict, by its report's and its own name."""
    return {
        (*named(one), verdict.element, verdict.enum, verdict.value): verdict.supported
        for one in told
        for verdict in (one.guest, *one.verdicts)
    }


def named(one: Report) -> Key:
    return one.identity.emulator, one.identity.arch, one.identity.machine, one.identity.virttype


@st.composite
def losses(draw: st.DrawFn, refusals: tuple[Answer | None, ...]) -> tuple[Recording, dict[Question, Answer | None]]:
    recording = draw(st.sampled_from(recordings()))
    losable = [one for one in sorted(recording.facts) if one.kind != "uname"]
    chosen = draw(st.lists(st.sampled_from(losable), min_size=1, max_size=4, unique=True))
    return recording, {one: draw(st.sampled_from(refusals)) for one in chosen}


@few
@given(losses((None, Refusal("denied"), Refusal("error"))))
def test_an_answer_that_is_missing_settles_nothing(change: tuple[Recording, dict[Question, Answer | None]]) -> None:
    recording, changed = change
    before, after = truths(recording.described({})), truths(recording.described(changed))
    moved = {key: (before[key], truth) for key, truth in after.items() if key in before and truth not in (None, before[key])}
    assert not moved


@few
@given(losses((Refusal("absent"), UNKNOWN)))
def test_an_answer_that_is_a_no_makes_nothing_possible(change: tuple[Recording, dict[Question, Answer | None]]) -> None:
    recording, changed = change
    assume(all(one.kind == "qmp" or answer != UNKNOWN for one, answer in changed.items()))
    assume(QEMU_CONF not in changed)  # without libvirt, guests are another user's, who may do more
    before, after = truths(recording.described({})), truths(recording.described(changed))
    assert not {key for key, truth in after.items() if key in before and truth is True and before[key] is not True}


def by_type(rows: tuple[ElementRow[World], ...], above: bool = False) -> Iterator[tuple[str, str, str]]:
    """The values and elements that a QOM type decides."""
    for row in rows:
        mine = above or any(need.name.startswith("qemu-device:") for need in row.needs)
        yield from [(row.name, "", "")] if mine else []
        for child in row.rows:
            if isinstance(child, EnumRow):
                for value in child.values:
                    if mine or any(need.name.startswith("qemu-device:") for need in (*value.needs, *value.besides)):
                        yield row.name, child.name, value.value
            elif isinstance(child, ElementRow):
                yield from by_type((child,), mine)


@pytest.mark.parametrize("lost", [None, Refusal("denied"), Refusal("error"), Refusal("absent"), UNKNOWN], ids=str)
def test_without_qemus_types_no_value_that_hangs_on_them_is_possible(lost: Answer | None) -> None:
    decided = set(by_type((*OS_AND_MEMORY, *AFTER_CPU)))
    assert len(decided) > 40
    for recording in recordings():
        types = [one for one in recording.facts if one.args[1:] == (BINARY, "qom-list-types")]
        told = recording.described(dict.fromkeys(types, lost))
        assert told
        kept = [
            one for report in told for one in report.verdicts if (one.element, one.enum, one.value) in decided and one.supported
        ]
        assert not kept


def test_an_emulator_that_left_a_question_unanswered_has_no_document_but_a_reason() -> None:
    for recording in recordings():
        left = next(one for one in recording.facts if one.args[2:] == ("query-command-line-options",))
        told = recording.described({left: Refusal("error", "it hung up")})
        assert any(one.document is not None for one in recording.described({}))
        assert all(one.document is None and "it hung up" in one.notes for one in told)


def test_an_emulator_that_failed_to_list_its_cpu_models_is_not_one_that_has_none() -> None:
    for recording in recordings():
        lists = [one for one in recording.facts if one.args[2:] == ("query-cpu-definitions",)]
        with pytest.raises(UnreadableAnswer, match="query-cpu-definitions"):
            recording.described(dict.fromkeys(lists, ERROR))


def test_a_model_that_qemu_has_and_failed_to_expand_is_asked_for_again() -> None:
    seen = set()
    for recording in recordings():
        models = [one for one in recording.facts if one.args[2:] and one.args[2].startswith("query-cpu-model-expansion")]
        for error, doubted in ((ERROR, {*models}), (UNKNOWN, set[Question]())):
            parsed, facts = Parsed(), {**recording.facts, **dict.fromkeys(models, error)}
            told = list(reports(View(facts, parsed), recording.qemu.wanted))
            assert parsed.senseless(facts) <= doubted
            seen |= {(one.identity.arch, bool(parsed.senseless(facts))) for one in told}
    archs = {arch for arch, _ in seen}
    assert {arch for arch, doubted in seen if doubted} == archs & {"x86_64", "s390x"}
    assert "x86_64" in archs


def test_that_swtpm_does_not_say_what_it_makes_is_one_line_and_nothing_where_it_is_not_there() -> None:
    setup, silent = question("which", "swtpm_setup"), Refusal("error", "status 1: no swtpm\n.")
    for recording in recordings():
        for swtpm, noted in ((b"/usr/bin/swtpm", True), (Refusal("absent"), False)):
            changes: dict[Question, Answer | None] = {setup: b"/usr/bin/swtpm_setup", SWTPM_FEATURES: silent}
            told = recording.described({**changes, question("which", "swtpm"): swtpm})
            notes = {note for one in told for note in one.notes if "versions of TPM" in note}
            text = "which versions of TPM swtpm makes is unknown: swtpm_setup --print-capabilities: status 1: no swtpm ."
            assert notes == ({text} if noted else set())


# ---- what is kept ------------------------------------------------------------------------------------------------------------


@few
@given(st.data(), losses((None, Refusal("denied"), Refusal("absent"), UNKNOWN)))
def test_what_is_kept_of_other_machines_and_other_answers_is_what_would_be_said_anew(
    data: st.DataObject, change: tuple[Recording, dict[Question, Answer | None]]
) -> None:
    recording, changed = change
    assume(all(one.kind == "qmp" or answer != UNKNOWN for one, answer in changed.items()))
    kept = recording.machines(changed, ALL, anew=False)
    told = sorted(guest for guest, report in kept.items() if report.canonical)
    assume(told)
    machine, virttype = data.draw(st.sampled_from(told))
    assert recording.machines(changed, machine, anew=True)[machine, virttype] == kept[machine, virttype]


def test_what_is_kept_for_one_wish_is_not_taken_for_another() -> None:
    for recording in recordings():
        usual, parsed = recording.qemu.wanted, Parsed()
        for wanted in (usual, replace(usual, beyond=True), replace(usual, host_features=True), usual):
            kept = tuple(reports(View(recording.facts, parsed), wanted))
            assert kept == tuple(reports(View(recording.facts), wanted))


def test_an_emulated_guest_is_not_offered_what_the_hosts_processor_has() -> None:
    for recording in recordings():
        told = {(one.identity.virttype, bool(one.host_features)) for one in recording.described({}) if one.document is not None}
        assert ("qemu", False) in told
        assert ("qemu", True) not in told


def test_only_guests_that_might_use_kvm_have_a_note_that_nobody_knows_who_runs_them() -> None:
    users = ("", "libvirt-qemu", "qemu")
    nobody: Mapping[Question, Answer] = {question("access", "/dev/kvm", "rw", user): Refusal("error", "no user") for user in users}
    foreign: Answer = b'{"return": {"arch": "avr"}}'
    for recording in recordings():
        asked = {one: foreign for one in recording.facts if one.args[2:] == ("query-target",)}
        for changed, noted in (({}, True), (asked, False)):
            told = recording.described({QEMU_CONF: Refusal("denied"), **nobody, **changed})
            assert {any("qemu.conf may not be read" in note for note in one.notes) for one in told} == {noted}


# ---- a later QEMU ------------------------------------------------------------------------------------------------------------

NEW_ENTITIES = [
    {"name": "query-tomorrow", "meta-type": "command", "arg-type": "0", "ret-type": "0", "coroutine": True, "features": ["x"]},
    {"name": "9999", "meta-type": "tomorrow", "members": 5},
]


def later(asked: Question, answer: Answer) -> Answer:
    """The same answer with what nobody knows yet."""
    if asked.kind != "qmp" or not isinstance(answer, bytes) or b'"return"' not in answer[:10]:
        return answer
    told = json.loads(answer)
    value = told["return"]
    if isinstance(value, dict):
        value["tomorrow"] = {"x": [1]}
    elif value and isinstance(value[0], dict):
        for entry in value:
            entry["tomorrow"] = [None]
        if asked.args[2].startswith(("qom-list", "query-machines")):
            value.append({"name": "tomorrows-thing", "cpu-max": 9, "deprecated": False, "parent": {}})
        if asked.args[2] == "query-qmp-schema":
            value.extend(NEW_ENTITIES)
        if asked.args[2] == "query-command-line-options":
            value.append({"option": "tomorrow", "parameters": [{"name": "x", "type": "tomorrow"}]})
    return json.dumps({**told, "id": 1}).encode()


def test_what_a_later_qemu_says_besides_changes_nothing() -> None:
    for recording in recordings():
        told = recording.described({one: later(one, answer) for one, answer in recording.facts.items()})
        assert told == recording.described({})
        assert all(document.write(one.document) for one in told if one.document is not None)

"""What is remembered of a driver's guests, and what counts as lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from domcaps_exporter.claims import GUEST
from domcaps_exporter.memoir import decode, encode
from domcaps_exporter.model import (
    Cpu,
    CpuMode,
    CpuModel,
    Document,
    Element,
    Enum,
    Failure,
    Identity,
    Outcome,
    Report,
    Truth,
    Unmet,
    Verdict,
)
from domcaps_exporter.past import (
    Change,
    Loss,
    Past,
    acknowledges,
    fold,
    forgotten,
    kept,
    losses,
    merged,
    oldest,
    revised,
    withdrawn,
)
from domcaps_exporter.truths import Key

KVM = Identity("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "kvm")
TCG = replace(KVM, virttype="qemu")
ARM = Identity("/usr/bin/qemu-system-aarch64", "aarch64", "virt", "qemu")
MOVED = replace(KVM, emulator="/usr/libexec/qemu-kvm")
VFIO: Key = ("hostdev", "pciBackend", "vfio")
EPYC: Key = ("cpu", "model", "EPYC")
CODE: Key = ("loader", "", "/fw/CODE.fd")
DAY = 86400.0


def report(
    *verdicts: Verdict,
    identity: Identity = KVM,
    guest: Truth = True,
    listed: Mapping[str, Iterable[str]] | None = None,
    models: Mapping[str, str] | None = None,
    blockers: tuple[str, ...] = (),
) -> Report:
    """`listed` are the values of disk's enums in the document, `models` its CPU models and their `usable`, with blockers."""
    disk = Element("disk", (("supported", "yes"),), children=tuple(Enum(name, tuple(of)) for name, of in (listed or {}).items()))
    offered = tuple(CpuModel(name, usable, blockers=blockers) for name, usable in (models or {}).items())
    cpu = () if models is None else (Cpu((CpuMode("custom", True, models=offered),)),)
    children: tuple[Element | Cpu, ...] = (Element("devices", children=(disk,)), *cpu)
    document = Document(identity.virttype, identity.arch, children=children)
    unmet = () if guest is not False else (Unmet("dev-kvm", "refuses"),)
    return Report(identity, Verdict(*GUEST, guest, unmet), document, verdicts)


def vfio(truth: Truth) -> Verdict:
    return Verdict(*VFIO, truth, () if truth is not False else (Unmet("iommu-groups", "refuses"),))


class Host:
    """A host that is probed now and then; a second goes by each time. `files` are the emulators that are there."""

    def __init__(self, *emulators: str) -> None:
        self.past, self.files, self.now = Past(), set(emulators), 1000.0

    def says(self, *reports: Report) -> tuple[Change, ...]:
        return self._folds(Outcome("qemu", reports, finished=self.now))

    def fails(self, reason: str) -> tuple[Change, ...]:
        return self._folds(Outcome("qemu", failure=Failure(reason, "why"), finished=self.now))

    def _folds(self, outcome: Outcome) -> tuple[Change, ...]:
        self.past, changes = fold(self.past, outcome, self.files.__contains__)
        self.now += 1
        return changes

    @property
    def missed(self) -> dict[Key, float]:
        return {loss.key: loss.since for loss in losses("qemu", self.past)}


# ---- lost and gained ---------------------------------------------------------------------------------------------------------


def test_what_was_possible_and_is_not_is_lost_since_it_was_first_missed() -> None:
    host = Host()
    assert host.says(report(vfio(True))) == ()
    assert host.says(report(vfio(False))) == (Change(1001, "qemu", KVM, VFIO, "lost", ("iommu-groups",)),)
    host.says(report(vfio(False)))
    assert host.missed == {VFIO: 1001}
    assert host.past.changed == 1001


def test_what_returns_is_gained_and_no_longer_missed() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    assert host.says(report(vfio(True))) == (Change(1002, "qemu", KVM, VFIO, "gained"),)
    assert host.missed == {}
    assert host.past.changed == 1002


def test_what_never_was_possible_is_no_loss() -> None:
    host = Host()
    assert host.says(report(vfio(False))) == host.says(report(vfio(False))) == ()
    assert host.missed == {}


def test_what_becomes_possible_is_gained_also_where_it_never_was() -> None:
    host = Host()
    host.says(report(vfio(False)))
    assert [change.direction for change in host.says(report(vfio(True)))] == ["gained"]


def test_an_exporter_that_knows_more_values_than_before_finds_neither_losses_nor_gains() -> None:
    host = Host()
    host.says(report())
    more = Verdict("tpm", "model", "tpm-crb", True)
    assert host.says(report(vfio(False), more)) == ()
    assert host.missed == {}


def test_what_nobody_knows_any_more_is_no_loss() -> None:
    host = Host()
    host.says(report(vfio(True)))
    assert host.says(report(vfio(None))) == host.says(report()) == ()
    assert [change.direction for change in host.says(report(vfio(False)))] == ["lost"]
    assert host.says(report(vfio(None))) == ()
    assert list(host.missed) == [VFIO]


def test_a_failed_probe_is_no_loss() -> None:
    host = Host()
    host.says(report(vfio(True)))
    before = host.past
    for reason in ("timeout", "unreadable", "refused", "crashed", "contract", "limit"):
        assert host.fails(reason) == ()
        assert host.past is before


def test_an_unchanged_host_has_the_very_same_past() -> None:
    host = Host()
    host.says(report(vfio(True)), report(vfio(True), identity=ARM))
    before = host.past
    host.says(report(vfio(True)), report(vfio(True), identity=ARM))
    assert host.past is before


def test_a_versioned_machine_of_another_name_changes_nothing() -> None:
    host = Host()
    host.says(replace(report(vfio(True)), canonical="pc-q35-9.2", version="9.2.0"))
    before = host.past
    host.says(replace(report(vfio(True)), canonical="pc-q35-10.0", version="10.0.0"))
    assert host.past is before


# ---- what vanishes -----------------------------------------------------------------------------------------------------------


def test_a_value_that_vanishes_from_its_enum_is_lost() -> None:
    host = Host()
    host.says(report(listed={"bus": ["virtio", "fdc"]}))
    host.says(report(listed={"bus": ["virtio"]}))
    assert list(host.missed) == [("disk", "bus", "fdc")]


def test_a_value_that_another_exporter_no_longer_lists_is_no_loss_where_the_answers_are_the_same() -> None:
    host = Host()
    host.says(report(listed={"bus": ["virtio", "fdc"]}))
    now = [report(listed={"bus": ["virtio"]})]
    host.past = revised(host.past, now, now)
    assert host.says(*now) == ()
    assert host.missed == {}


def test_a_value_that_vanishes_with_an_answer_is_lost_whichever_exporter_looks() -> None:
    host = Host()
    host.says(report(listed={"bus": ["virtio", "fdc"]}))
    now = [report(listed={"bus": ["virtio"]})]
    host.past = revised(host.past, now, [report(listed={})])
    host.says(*now)
    assert list(host.missed) == [("disk", "bus", "fdc")]


def test_a_value_is_not_lost_with_an_enum_that_is_not_there() -> None:
    host = Host()
    host.says(report(listed={"bus": ["virtio"], "model": ["virtio"]}))
    assert host.says(report(listed={"bus": ["virtio"]})) == ()
    assert host.missed == {}


def test_a_value_is_lost_with_its_element() -> None:
    host = Host()
    host.says(report(listed={"bus": ["virtio"]}))
    unsupported = Document("kvm", "x86_64", children=(Element("devices", children=(Element("disk", (("supported", "no"),)),)),))
    host.says(replace(report(), document=unsupported))
    assert set(host.missed) == {("disk", "", ""), ("disk", "bus", "virtio")}


def test_a_value_that_no_document_ever_named_cannot_vanish() -> None:
    host = Host()
    host.says(report(Verdict("disk", "bus", "tape", True), listed={"bus": ["virtio"]}))
    assert host.says(report(listed={"bus": ["virtio"]})) == ()


def test_a_cpu_model_that_is_unusable_or_no_longer_listed_is_lost() -> None:
    host = Host()
    host.says(report(models={"EPYC": "yes", "Haswell": "yes"}))
    changes = host.says(report(models={"EPYC": "no"}, blockers=("svm", "npt")))
    assert {change.key: change.lacks for change in changes} == {EPYC: ("svm", "npt"), ("cpu", "model", "Haswell"): ()}


def test_a_cpu_model_that_never_was_usable_vanishes_without_a_loss() -> None:
    host = Host()
    host.says(report(models={"EPYC": "no", "Haswell": "unknown"}))
    assert host.says(report(models={})) == ()
    assert host.missed == {}


def test_cpu_models_are_not_lost_with_a_cpu_section_that_is_not_there() -> None:
    host = Host()
    host.says(report(models={"EPYC": "yes"}))
    assert host.says(report()) == ()


def test_a_versioned_cpu_model_that_is_only_another_name_is_no_loss_of_its_own() -> None:
    host = Host()
    both = (CpuModel("EPYC", "yes", canonical="EPYC-v1"), CpuModel("EPYC-v1", "yes"))
    document = Document("kvm", "x86_64", children=(Cpu((CpuMode("custom", True, models=both),)),))
    host.says(replace(report(), document=document))
    host.says(report(models={}))
    assert list(host.missed) == [EPYC]


def test_a_feature_of_the_host_is_lost_when_it_is_no_longer_offered_and_not_when_nobody_asks() -> None:
    host = Host()
    host.says(replace(report(), host_features=(("hle", True), ("vmx", True))))
    host.says(replace(report(), host_features=(("hle", False),)))
    assert list(host.missed) == [("cpu", "feature", "hle")]


def test_a_firmware_file_is_lost_while_something_names_it() -> None:
    host = Host()
    host.says(replace(report(), loaders=(("/fw/CODE.fd", True), ("/fw/other.fd", True))))
    changes = host.says(replace(report(), loaders=(("/fw/CODE.fd", False),)))
    assert changes == (Change(1001, "qemu", KVM, CODE, "lost", ("firmware-file",)),)
    assert list(host.missed) == [CODE]


# ---- guests ------------------------------------------------------------------------------------------------------------------


def test_a_host_that_loses_kvm_has_one_loss_and_not_two_hundred() -> None:
    host = Host()
    host.says(report(vfio(True), models={"EPYC": "yes"}))
    assert host.says(report(vfio(False), guest=False)) == (Change(1001, "qemu", KVM, GUEST, "lost", ("dev-kvm",)),)
    assert list(host.missed) == [GUEST]


def test_losses_from_before_are_kept_while_the_guest_cannot_run() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    host.says(report(guest=False))
    assert host.missed == {VFIO: 1001, GUEST: 1002}
    host.says(report(vfio(False)))
    assert host.missed == {VFIO: 1001}


def test_an_emulator_that_is_gone_takes_its_guests_with_it() -> None:
    host = Host(KVM.emulator)
    host.says(report(vfio(True)), report(vfio(True), identity=ARM))
    assert host.says(report(vfio(True))) == (Change(1001, "qemu", ARM, GUEST, "lost", ("emulator",)),)
    assert host.says(report(vfio(True)), report(vfio(True), identity=ARM))[0].direction == "gained"
    assert host.missed == {}


def test_an_emulator_that_is_gone_while_another_serves_its_guests_is_forgotten() -> None:
    host = Host()
    host.says(report(vfio(True)))
    assert host.says(report(vfio(False), identity=MOVED)) == ()
    assert list(host.past.guests) == [MOVED]


def test_a_successor_whose_guests_cannot_run_serves_nobody() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(guest=False, identity=MOVED))
    assert host.missed == {GUEST: 1001}


def test_a_guest_that_nobody_asks_for_any_more_is_no_loss_and_its_losses_return_with_it() -> None:
    host = Host(KVM.emulator)
    host.says(report(vfio(True), identity=TCG))
    host.says(report(vfio(False), identity=TCG))
    assert host.says(report()) == ()
    assert host.missed == {}
    host.says(report(), report(vfio(False), identity=TCG))
    assert host.missed == {VFIO: 1001}


def test_an_emulator_that_says_too_little_to_know_its_guests_leaves_them_as_they_are() -> None:
    host = Host(KVM.emulator)
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    assert host.says(report(guest=None, identity=replace(KVM, machine=""))) == ()
    assert host.missed == {VFIO: 1001}


def test_a_hypervisor_that_is_no_longer_there_is_the_loss_of_its_guests() -> None:
    host = Host(KVM.emulator)
    host.says(report(vfio(True)))
    assert host.fails("absent") == (Change(1001, "qemu", KVM, GUEST, "lost", ("hypervisor",)),)
    assert host.fails("absent") == ()
    assert host.says(report(vfio(True)))[0].direction == "gained"


def test_a_hypervisor_that_never_was_there_is_no_loss() -> None:
    host = Host()
    assert host.fails("absent") == ()
    assert host.past == Past()


def test_what_another_program_told_is_no_loss_when_it_is_no_longer_asked() -> None:
    host = Host()
    host.says(replace(report(vfio(True)), source="qemu+ssh://far/system"))
    assert host.fails("absent") == host.says() == ()
    assert host.missed == {}


def test_what_is_no_longer_reported_is_forgotten_after_a_while() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.fails("absent")
    assert kept(host.past, 1001 + 30 * DAY - 1, 30 * DAY) is host.past
    assert kept(host.past, 1001 + 30 * DAY, 30 * DAY).guests == {}
    assert oldest(host.past) == 1001


def test_what_is_far_too_old_all_at_once_is_kept_for_as_long_again() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.fails("absent")
    for now in (1001 + 31 * DAY, 1_790_000_000.0):
        past = kept(host.past, now, 30 * DAY)
        assert list(losses("qemu", past)) == list(losses("qemu", host.past))
        assert oldest(past) == now
        assert kept(past, now + 30 * DAY, 30 * DAY).guests == {}


def test_what_is_reported_is_never_too_old() -> None:
    host = Host()
    host.says(report(vfio(True)))
    assert kept(host.past, 1e12, DAY) is host.past


def test_a_driver_that_is_not_asked_any_more_has_no_losses_to_tell() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    assert list(losses("qemu", withdrawn(host.past, 2000))) == []


# ---- forgetting --------------------------------------------------------------------------------------------------------------


def test_what_is_forgotten_is_not_missed_until_it_happens_again() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    host.past, (loss,) = forgotten("qemu", host.past, lambda loss: loss.key == VFIO)
    assert (loss.key, loss.since) == (VFIO, 1001)
    assert host.says(report(vfio(False))) == ()
    assert host.missed == {}
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    assert host.missed == {VFIO: 1004}


def test_what_is_not_chosen_is_not_forgotten() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    assert forgotten("qemu", host.past, lambda _: False) == (host.past, ())


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    many = report(*(Verdict("video", "modelType", str(number), True) for number in range(100)))
    past, _ = fold(Past(), Outcome("qemu", (many, replace(many, identity=ARM))), lambda _: True, room=120)
    assert past.size == 120
    again, _ = fold(past, Outcome("qemu", (many,)), lambda _: True, room=0)
    assert again.guests[KVM] is past.guests[KVM]


# ---- a file that somebody else has written -----------------------------------------------------------------------------------


def test_what_another_exporter_saw_is_taken_over_where_this_one_saw_nothing_since() -> None:
    host, other = Host(), Host()
    host.says(report(vfio(True)))
    filed = other.past = host.past
    other.says(report(vfio(False)), report(identity=ARM))
    assert merged(host.past, filed, other.past).traces == other.past.traces
    host.says(report(vfio(None)))
    assert merged(host.past, filed, other.past).guests[KVM].traces[VFIO] == other.past.guests[KVM].traces[VFIO]


def test_whom_others_do_not_ask_for_or_do_not_know_stays_who_it_is() -> None:
    host = Host()
    host.says(report(vfio(True)))
    host.says(report(vfio(False)))
    for found in (withdrawn(host.past, 2000), Past()):
        assert merged(host.past, host.past, found).guests == host.past.guests


def test_what_was_forgotten_here_does_not_come_back() -> None:
    host = Host()
    host.says(report(), report(identity=ARM))
    filed = host.past
    host.says(report(identity=replace(ARM, emulator="/usr/bin/other")), report())
    assert ARM not in host.past.guests
    assert merged(host.past, filed, filed) == host.past


def test_a_file_without_some_losses_acknowledges_and_any_other_is_another_exporters() -> None:
    host = Host()
    host.says(report(vfio(True), models={"EPYC": "yes"}))
    host.says(report(vfio(False), models={}))
    filed = {"qemu": host.past}
    for chosen in ({VFIO}, {EPYC}, {VFIO, EPYC}, set[Key]()):
        left, gone = forgotten("qemu", host.past, lambda loss: loss.key in chosen)  # noqa: B023  it is asked at once
        assert {loss.key for loss in gone} == chosen
        assert acknowledges({"qemu": left}, filed)
    assert not acknowledges({"qemu": withdrawn(host.past, 2000)}, filed)
    assert not acknowledges({**filed, "xen": Past()}, filed)
    assert not acknowledges({}, filed)
    host.says(report(vfio(True), models={}))
    assert not acknowledges({"qemu": host.past}, filed)


# ---- whatever happens --------------------------------------------------------------------------------------------------------

TRUTHS = st.sampled_from((True, False, None))
VALUES = st.dictionaries(st.sampled_from("abc"), TRUTHS)
LISTED = st.one_of(st.none(), st.lists(st.sampled_from("abcd"), unique=True).map(lambda values: {"bus": values}))
REPORTS = st.builds(
    lambda values, guest, listed, models: report(
        *(Verdict("disk", "bus", value, truth) for value, truth in values.items()), guest=guest, listed=listed, models=models
    ),
    VALUES,
    TRUTHS,
    LISTED,
    st.one_of(st.none(), st.dictionaries(st.sampled_from("xyz"), st.sampled_from(("yes", "no", "unknown")))),
)
OUTCOMES = st.one_of(
    st.tuples(REPORTS).map(lambda reports: Outcome("qemu", reports)),
    st.just(Outcome("qemu")),
    st.tuples(REPORTS, REPORTS.map(lambda one: replace(one, identity=ARM))).map(lambda reports: Outcome("qemu", reports)),
    st.sampled_from(("absent", "timeout")).map(lambda reason: Outcome("qemu", failure=Failure(reason, "why"))),
)
FEWER = settings(max_examples=50)
LIVES = st.lists(st.tuples(OUTCOMES, st.booleans()), min_size=1, max_size=12)


def always(truth: bool) -> Callable[[str], bool]:
    return lambda _: truth


@FEWER
@given(LIVES)
def test_the_same_outcome_twice_is_the_same_as_once(life: list[tuple[Outcome, bool]]) -> None:
    past = Past()
    for now, (outcome, there) in enumerate(life):
        past, _ = fold(past, replace(outcome, finished=now), always(there))
        assert fold(past, replace(outcome, finished=now + 0.5), always(there)) == (past, ())


@FEWER
@given(LIVES)
def test_every_loss_was_possible_before(life: list[tuple[Outcome, bool]]) -> None:
    past, held = Past(), set[tuple[Identity, Key]]()
    for now, (outcome, there) in enumerate(life):
        past, changes = fold(past, replace(outcome, finished=now), always(there))
        assert all((change.identity, change.key) in held for change in changes if change.direction == "lost")
        assert {(loss.identity, loss.key) for loss in losses("qemu", past)} <= held
        held |= {(one, key) for one, guest in past.guests.items() for key, trace in guest.traces.items() if trace.held}


@FEWER
@given(LIVES)
def test_a_restart_at_any_time_changes_nothing(life: list[tuple[Outcome, bool]]) -> None:
    lived, restarted = Past(), Past()
    for now, (outcome, there) in enumerate(life):
        at = replace(outcome, finished=now)
        lived, changes = fold(lived, at, always(there))
        restarted = decode(encode({"qemu": restarted}))["qemu"]
        restarted, same = fold(restarted, at, always(there))
        assert (restarted, set(same)) == (lived, set(changes))


@FEWER
@given(LIVES)
def test_once_all_is_forgotten_nothing_is_missed_until_something_is_lost(life: list[tuple[Outcome, bool]]) -> None:
    past = Past()
    for now, (outcome, there) in enumerate(life):
        past, changes = fold(past, replace(outcome, finished=now), always(there))
        lost = {(change.identity, change.key) for change in changes if change.direction == "lost"}
        assert {(loss.identity, loss.key) for loss in losses("qemu", past)} <= lost
        past, _ = forgotten("qemu", past, lambda _: True)


@FEWER
@given(LIVES, st.integers(0, 12), st.sets(st.sampled_from(("disk", "cpu", "guest"))))
def test_what_is_acknowledged_ends_and_nothing_else_does(
    life: list[tuple[Outcome, bool]], writing: int, acknowledged: set[str]
) -> None:
    filed = past = Past()
    for now, (outcome, there) in enumerate(life):
        past, _ = fold(past, replace(outcome, finished=now), always(there))
        filed = past if now <= writing else filed
    left, ended = forgotten("qemu", filed, lambda loss: loss.key[0] in acknowledged)
    after = merged(past, filed, left)
    assert missed(after) == missed(past) - set(ended)
    assert after.guests.keys() == past.guests.keys()
    assert [guest.presence for guest in after.guests.values()] == [guest.presence for guest in past.guests.values()]
    assert merged(past, filed, filed) == past
    assert merged(filed, filed, left).traces == left.traces


def missed(past: Past) -> set[Loss]:
    """Also of guests that nobody asks for."""
    return set(forgotten("qemu", past, lambda _: True)[1])

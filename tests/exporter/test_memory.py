"""What is remembered, and for how long."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from domcaps_exporter.memory import Store
from domcaps_exporter.model import ABSENT, DENIED, Answer, Facts, Question, question

BINARY, MODULES, EXE = question("stat", "/qemu"), question("stat", "/modules"), question("stat", "/qemu.real")
TYPES, MACHINES = question("qmp", "types"), question("qmp", "machines")


class World:
    """A host whose files change when a test says so, and an emulator whose launches are counted."""

    def __init__(self) -> None:
        self.files: dict[Question, Answer] = {BINARY: b"1", MODULES: b"1", EXE: b"1"}
        self.launches: list[frozenset[Question]] = []
        self.named: tuple[Question, ...] = (BINARY,)
        self.store = Store()

    def host(self, asked: Question) -> Answer:
        return self.files[asked]

    def launch(self, wanted: frozenset[Question]) -> Facts:
        self.launches.append(wanted)
        return {asked: f"{asked} {len(self.launches)}".encode() for asked in wanted}

    def recall(self, *wanted: Question, ask: Callable[[frozenset[Question]], Facts] | None = None) -> Facts:
        return self.store.remember(frozenset(wanted), lambda _: self.named, ask or self.launch, self.host)


def test_while_nothing_changes_the_very_same_bytes_come_back() -> None:
    world = World()
    first, second = world.recall(TYPES), world.recall(TYPES)
    assert first[TYPES] is second[TYPES]
    assert len(world.launches) == 1


def test_only_what_is_not_yet_known_is_asked() -> None:
    world = World()
    world.recall(TYPES)
    assert set(world.recall(TYPES, MACHINES)) == {TYPES, MACHINES}
    assert world.launches == [{TYPES}, {MACHINES}]


def test_a_changed_identity_asks_again() -> None:
    world = World()
    world.recall(TYPES)
    world.files[BINARY] = ABSENT
    assert world.recall(TYPES)[TYPES] == b"qmp types 2"


def test_answers_of_a_host_that_moved_meanwhile_are_used_once_and_not_kept() -> None:
    world = World()

    def upgraded_meanwhile(wanted: frozenset[Question]) -> Facts:
        world.files[BINARY] = b"2"
        return world.launch(wanted)

    assert world.recall(TYPES, ask=upgraded_meanwhile)[TYPES] == b"qmp types 1"
    assert world.recall(TYPES)[TYPES] == b"qmp types 2"


def test_what_a_launch_has_shown_is_compared_by_later_probes() -> None:
    world = World()

    def shows_the_real_file(wanted: frozenset[Question]) -> Facts:
        world.named = (BINARY, EXE)
        return world.launch(wanted)

    world.recall(TYPES, ask=shows_the_real_file)
    world.recall(TYPES)
    assert len(world.launches) == 1
    world.files[EXE] = b"2"
    world.recall(TYPES)
    assert len(world.launches) == 2


def test_what_was_named_before_counts_even_if_it_is_not_named_afterwards() -> None:
    world = World()

    def names_something_else(wanted: frozenset[Question]) -> Facts:
        world.named = (EXE,)
        world.files[BINARY] = b"2"
        return world.launch(wanted)

    world.recall(TYPES, ask=names_something_else)
    world.recall(TYPES)
    assert len(world.launches) == 2


def test_an_identity_is_looked_at_once_per_recall_however_many_answers_rest_on_it() -> None:
    world = World()
    many = [question("qmp", str(number)) for number in range(50)]
    world.recall(*many)
    looked: list[Question] = []

    def host(asked: Question) -> Answer:
        looked.append(asked)
        return world.files[asked]

    world.store.remember(frozenset(many), lambda _: world.named, world.launch, host)
    assert looked == [BINARY]


def test_every_answer_rests_on_its_own_identity() -> None:
    world = World()
    rests = {TYPES: (BINARY,), MACHINES: (MODULES,)}

    def recall() -> Facts:
        return world.store.remember(frozenset(rests), rests.__getitem__, world.launch, world.host)

    recall()
    world.files[MODULES] = b"2"
    assert recall() == {TYPES: b"qmp types 1", MACHINES: b"qmp machines 2"}


def test_a_move_meanwhile_spoils_only_what_rests_on_it() -> None:
    world = World()
    rests = {TYPES: (BINARY,), MACHINES: (MODULES,)}

    def upgraded_meanwhile(wanted: frozenset[Question]) -> Facts:
        world.files[MODULES] = b"2"
        return world.launch(wanted)

    world.store.remember(frozenset(rests), rests.__getitem__, upgraded_meanwhile, world.host)
    assert world.store.remember(frozenset(rests), rests.__getitem__, world.launch, world.host)[TYPES] == b"qmp types 1"
    assert world.launches[1] == {MACHINES}


def test_a_refusal_is_asked_again_and_replaces_what_was_known() -> None:
    world = World()
    assert world.recall(TYPES, ask=lambda _: {TYPES: DENIED}) == {TYPES: DENIED}
    assert world.recall(TYPES) == {TYPES: b"qmp types 1"}
    world.files[BINARY] = b"2"
    world.recall(TYPES, ask=lambda _: {TYPES: DENIED})
    world.files[BINARY] = b"1"
    assert world.recall(TYPES) == {TYPES: b"qmp types 2"}


def test_the_store_is_bounded_and_forgets_what_was_used_least_recently() -> None:
    world = World()
    world.store = Store(limit=2)
    world.recall(TYPES)
    world.recall(MACHINES)
    world.recall(TYPES)
    world.recall(question("qmp", "third"))
    world.recall(TYPES)
    assert len(world.launches) == 3
    world.recall(MACHINES)
    assert len(world.launches) == 4


@given(st.lists(st.one_of(st.sampled_from([BINARY, MODULES]), st.frozensets(st.sampled_from([TYPES, MACHINES]), min_size=1))))
def test_no_recalled_answer_is_older_than_the_last_change(steps: list[Question | frozenset[Question]]) -> None:
    world = World()
    world.named = (BINARY, MODULES)
    changes = 0

    def ask(wanted: frozenset[Question]) -> Facts:
        return dict.fromkeys(wanted, str(changes).encode())

    for step in steps:
        if isinstance(step, Question):
            changes += 1
            world.files[step] = f"changed {changes}".encode()
        else:
            assert world.recall(*step, ask=ask) == dict.fromkeys(step, str(changes).encode())


def test_what_is_forgotten_is_asked_again_with_all_that_was_learnt_with_it_from_the_same() -> None:
    world = World()
    world.recall(TYPES, MACHINES)
    world.store.forget(frozenset({TYPES}))
    world.recall(TYPES, MACHINES)
    assert world.launches == [{TYPES, MACHINES}] * 2


def test_what_was_learnt_from_something_else_is_kept_and_so_is_all_where_nothing_is_known_of_it() -> None:
    world = World()
    world.recall(TYPES)
    world.named = (BINARY, MODULES)
    world.recall(MACHINES)
    world.store.forget(frozenset({MACHINES, question("qmp", "never asked")}))
    world.recall(TYPES, MACHINES)
    assert world.launches == [{TYPES}, {MACHINES}, {MACHINES}]

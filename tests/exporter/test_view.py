"""What is kept of a view's facts, and for how long."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from domcaps_exporter import ABSENT, Answer, Question, UnreadableAnswer, question
from domcaps_exporter.view import Aspect, Parsed, View

ONE, TWO = question("read", "/one"), question("read", "/two")
SHAPE: Aspect = ("shape",)


class Maker:
    """Makes texts of facts and of its subject's shape, and counts how often. `Parsed` is what outlives the views."""

    def __init__(self) -> None:
        self.parsed, self.made = Parsed(), 0

    def text(self, facts: Mapping[Question, Answer], *asked: Question, shape: str = "round") -> tuple[str, frozenset[Question]]:
        """The text, and what the view misses."""
        view = View(facts, self.parsed)
        return self.of(view, *asked, shape=shape), view.missed

    def of(self, view: View, *asked: Question, shape: str = "round") -> str:
        def make() -> str:
            self.made += 1
            return " ".join((view.look(SHAPE, shape), *(str(view.text(one)) for one in asked)))

        return view.memo(asked, make, lambda _: shape)


def test_what_was_made_of_the_same_facts_is_not_made_again() -> None:
    maker = Maker()
    first, second = maker.text({ONE: b"1"}, ONE), maker.text({ONE: b"1", TWO: b"never looked at"}, ONE)
    assert first == second == ("round 1", frozenset())
    assert maker.made == 1


@pytest.mark.parametrize("before", [None, ABSENT, b"0"], ids=str)
def test_an_answer_that_comes_or_changes_is_seen(before: Answer | None) -> None:
    maker = Maker()
    maker.text({} if before is None else {ONE: before}, ONE)
    assert maker.text({ONE: b"1"}, ONE)[0] == "round 1"


def test_what_is_missing_is_missed_also_by_what_was_made_before() -> None:
    maker = Maker()
    assert maker.text({}, ONE)[1] == maker.text({}, ONE)[1] == {ONE}
    assert maker.made == 1


def test_another_subject_has_its_own_and_comes_back_to_it() -> None:
    maker = Maker()
    texts = [maker.text({ONE: b"1"}, ONE, shape=shape)[0] for shape in ("round", "flat", "round", "flat")]
    assert texts == ["round 1", "flat 1", "round 1", "flat 1"]
    assert maker.made == 2


def test_the_whole_rests_on_what_its_parts_rest_on_made_or_kept() -> None:
    maker = Maker()

    def whole(facts: Mapping[Question, Answer], shape: str) -> tuple[str, set[Question]]:
        view = View(facts, maker.parsed)
        maker.of(view, ONE, shape=shape)
        told = view.memo("whole", lambda: f"<{maker.of(view, ONE, shape=shape)}>", lambda _: shape)
        return told, view.used

    assert whole({ONE: b"1"}, "round") == ("<round 1>", {ONE})
    assert whole({ONE: b"2"}, "round") == ("<round 2>", {ONE})
    assert whole({ONE: b"2"}, "flat") == ("<flat 2>", {ONE})
    assert whole({}, "flat") == ("<flat None>", {ONE})


def test_answers_that_could_not_be_parsed_are_known_as_long_as_they_stand() -> None:
    parsed = Parsed()
    facts = {ONE: b"1", TWO: b"two"}
    view = View(facts, parsed)
    assert view.form(ONE, int) == 1
    with pytest.raises(UnreadableAnswer):
        view.form(TWO, int)
    assert parsed.senseless(facts) == {TWO}
    assert parsed.senseless({**facts, TWO: b"2"}) == frozenset()
    with pytest.raises(UnreadableAnswer):
        view.joint([ONE, TWO], lambda answers: [int(answer) for answer in answers.values()], "both")
    assert parsed.senseless(facts) == {ONE, TWO}

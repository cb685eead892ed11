"""When a program that did not answer in time, or made no sense, is asked again."""

from __future__ import annotations

from itertools import pairwise

from domcaps_exporter import Answer, Question, question
from domcaps_exporter.hearsay import Told
from domcaps_exporter.model import LATE
from domcaps_exporter.patience import FIRST, LONGEST, Doubts, Hangs

ASKED, FILE = question("within", "3", "program"), question("program", "/usr/bin/program")


class Host(Told):
    """One that counts how often the program was asked, and whose clock is set by hand."""

    def __init__(self) -> None:
        self.now, self.times = 0.0, 0
        self.answers: dict[Question, Answer] = {ASKED: LATE, FILE: b"one"}
        super().__init__(0, self.answers)
        self._hangs = Hangs(lambda: self.now)

    def ask(self, question: Question) -> Answer:
        self.times += question == ASKED
        return super().ask(question)

    def asked(self) -> Answer:
        return self._hangs.ask(ASKED, self, (FILE,))


def test_an_answer_is_asked_for_each_time() -> None:
    host = Host()
    host.answers[ASKED] = b"yes"
    assert [host.asked() for _ in range(3)] == [b"yes"] * 3
    assert host.times == 3


def test_a_program_that_hung_is_left_alone_for_a_while_and_then_for_longer() -> None:
    host, tried = Host(), []
    while host.now < 4 * 3600:
        before = host.times
        assert host.asked() == LATE
        tried += [host.now] if host.times > before else []
        host.now += 15
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses[:5] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST]
    assert set(pauses[5:]) == {LONGEST}


def test_another_program_is_asked_at_once_and_hangs_like_a_new_one() -> None:
    host = Host()
    host.asked()
    host.now += FIRST
    host.asked()
    host.answers[FILE] = b"another"
    host.asked()
    assert host.times == 3
    host.now += FIRST
    host.asked()
    assert host.times == 4


def test_one_that_answers_again_has_hung_for_the_first_time_when_it_next_does() -> None:
    host = Host()
    host.asked()
    host.now += FIRST
    host.answers[ASKED] = b"yes"
    assert host.asked() == b"yes"
    host.answers[ASKED] = LATE
    host.asked()
    host.now += FIRST
    host.answers[ASKED] = b"yes"
    assert host.asked() == b"yes"


# ---- nonsense ----------------------------------------------------------------------------------------------------------------


class Doubting:
    """Doubts whose clock is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.doubts = Doubts(lambda: self.now)

    def due(self, senseless: frozenset[Question], seconds: int) -> list[float]:
        """When it is asked again, in so many seconds of a probe each fifteen, all of which find this senseless."""
        until, times = self.now + seconds, []
        while self.now < until:
            times += [self.now] if self.doubts.due() else []
            self.doubts.hold(senseless)
            self.now += 15
        return times


def test_what_makes_no_sense_is_asked_again_after_a_minute_and_then_later_each_time() -> None:
    pauses = [after - before for before, after in pairwise([0.0, *Doubting().due(frozenset({ASKED}), 4 * 3600)])]
    assert pauses[:5] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST]
    assert set(pauses[5:]) == {LONGEST}


def test_what_makes_sense_again_is_no_longer_doubted_and_is_a_new_doubt_when_it_next_makes_none() -> None:
    world = Doubting()
    world.due(frozenset({ASKED}), 600)
    assert world.due(frozenset(), 3600) == []
    began = world.now
    assert world.due(frozenset({ASKED}), 200) == [began + FIRST, began + 3 * FIRST]


def test_each_question_is_doubted_for_itself() -> None:
    world = Doubting()
    world.doubts.hold(frozenset({ASKED}))
    world.now = 30
    world.doubts.hold(frozenset({ASKED, FILE}))
    world.now = FIRST
    assert world.doubts.due() == {ASKED}
    world.now = FIRST + 30
    assert world.doubts.due() == {FILE}

"""Conversations with a monitor: both ends of a socket, no QEMU."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domcaps_exporter import ProbeError, ProbeRefused, ProbeTimeout, UnreadableAnswer
from domcaps_exporter.qmp import REPLY_LIMIT, Monitor, command, exchange, exchange_first

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
AGREED = b'{"return": {}}\r\n'
EVENT = b'{"timestamp": {"seconds": 1}, "event": "RTC_CHANGE"}\r\n'


class Line:
    """A monitor and QEMU's end of it."""

    def __init__(self) -> None:
        ours, self.qemu = socket.socketpair()
        self.monitor = Monitor(ours, "/usr/bin/qemu")

    def close(self) -> None:
        self.monitor.stream.close()
        self.qemu.close()

    def hear(self, *commands: str, seconds: float = 5) -> list[bytes]:
        """What QEMU answers to these commands."""
        self.monitor.say(commands)
        exchange([self.monitor], time.monotonic() + seconds)
        return [] if self.monitor.failure is not None else self.monitor.replies(len(commands))

    def failure(self, *commands: str, seconds: float = 5) -> ProbeError | None:
        """How that conversation fails."""
        self.hear(*commands, seconds=seconds)
        return self.monitor.failure


@pytest.fixture
def line() -> Generator[Line]:
    made = Line()
    yield made
    made.close()


def test_replies_come_word_for_word_in_the_order_of_their_commands(line: Line) -> None:
    line.qemu.sendall(GREETING + AGREED + b'{"return":  1}\r\n' + b'{"error": {"class": "CommandNotFound", "desc": "x"}}\r\n')
    assert line.hear("query-a", "query-b") == [b'{"return":  1}', b'{"error": {"class": "CommandNotFound", "desc": "x"}}']


def test_everything_is_said_at_once_negotiation_first(line: Line) -> None:
    line.qemu.sendall(GREETING + AGREED + 2 * AGREED)
    line.hear("query-a", command("qom-list-properties", typename="x"))
    assert line.qemu.recv(4096).splitlines() == [
        b'{"execute":"qmp_capabilities"}',
        b'{"execute":"query-a"}',
        b'{"execute":"qom-list-properties","arguments":{"typename":"x"}}',
    ]


def test_a_second_round_goes_on_where_the_first_stopped(line: Line) -> None:
    line.qemu.sendall(GREETING + AGREED + b'{"return": 1}\n')
    assert line.hear("query-a") == [b'{"return": 1}']
    line.qemu.sendall(b'{"return": 2}\n')
    assert line.hear("query-b") == [b'{"return": 2}']


def test_events_are_passed_over_wherever_they_come(line: Line) -> None:
    line.qemu.sendall(EVENT + GREETING + EVENT + AGREED + EVENT + b'{"return": 1}\n' + EVENT)
    assert line.hear("query-a") == [b'{"return": 1}']


@given(cuts=st.lists(st.integers(0, 150), max_size=6))
def test_where_the_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    line = Line()
    told = GREETING + EVENT + AGREED + b'{"return": {"a": "b"}}\r\n{"return": 2}\n'
    line.monitor.say(["query-a", "query-b"])
    marks = sorted({0, len(told), *(cut for cut in cuts if cut < len(told))})
    for start, end in pairwise(marks):
        line.qemu.sendall(told[start:end])
        line.monitor.receive()
    assert line.monitor.replies(2) == [b'{"return": {"a": "b"}}', b'{"return": 2}']
    assert line.monitor.failure is None
    line.close()


def test_replies_that_dribble_in_are_put_together(line: Line) -> None:
    told = GREETING + AGREED + b'{"return": "' + b"x" * 200 + b'"}\n'

    def dribble() -> None:
        for start in range(0, len(told), 7):
            line.qemu.sendall(told[start : start + 7])
            time.sleep(0.0005)

    talker = threading.Thread(target=dribble)
    talker.start()
    assert line.hear("query-a") == [b'{"return": "' + b"x" * 200 + b'"}']
    talker.join()


def test_more_commands_than_the_socket_takes_at_once_are_all_sent(line: Line) -> None:
    commands = [command("qom-list-properties", typename="x" * 5000)] * 200

    def answer() -> None:
        line.qemu.sendall(GREETING + AGREED)
        with line.qemu.makefile("rb") as heard:
            for _ in [heard.readline() for _ in range(201)][1:]:
                line.qemu.sendall(AGREED)

    qemu = threading.Thread(target=answer)
    qemu.start()
    assert len(line.hear(*commands)) == 200
    qemu.join()


def test_silence_is_a_timeout_that_says_what_is_missing(line: Line) -> None:
    line.qemu.sendall(GREETING + AGREED + AGREED)
    failure = line.failure("query-a", "query-b", seconds=0.1)
    assert isinstance(failure, ProbeTimeout)
    assert str(failure) == "/usr/bin/qemu: 1 of 2 QMP replies missing at the deadline"


def test_a_monitor_that_hangs_up_is_a_refusal(line: Line) -> None:
    line.qemu.sendall(GREETING + AGREED + b'{"return": [')
    line.qemu.shutdown(socket.SHUT_WR)
    assert isinstance(line.failure("query-a"), ProbeRefused)


@pytest.mark.parametrize(
    "told",
    [
        b"I am no QEMU\n",
        AGREED,
        GREETING + GREETING,
        GREETING + b'{"error": {"class": "CommandNotFound", "desc": "no"}}\n',
        GREETING + AGREED + b"[1]\n",
        GREETING + AGREED + b"\xff\xfe\n",
        GREETING + AGREED + 2 * AGREED,
    ],
    ids=["no greeting", "reply first", "two greetings", "no agreement", "no reply", "no text", "one reply too many"],
)
def test_what_is_no_qmp_is_unreadable(line: Line, told: bytes) -> None:
    line.qemu.sendall(told)
    assert isinstance(line.failure("query-a"), UnreadableAnswer)


@pytest.mark.parametrize("part", [b"x", EVENT], ids=["an endless line", "endless events"])
def test_a_flood_ends_at_the_limit(line: Line, part: bytes) -> None:
    def flood() -> None:
        line.qemu.sendall(GREETING + AGREED)
        with suppress(OSError):
            while True:
                line.qemu.sendall(part * (65536 // len(part)))

    talker = threading.Thread(target=flood)
    talker.start()
    failure = line.failure("query-a", seconds=20)
    line.monitor.stream.close()
    talker.join()
    assert isinstance(failure, UnreadableAnswer)
    assert str(REPLY_LIMIT) in str(failure)


def test_a_monitor_that_fails_does_not_keep_the_others(line: Line) -> None:
    other = Line()
    other.qemu.close()
    other.monitor.say(["query-a"])
    line.qemu.sendall(GREETING + AGREED + AGREED)
    line.monitor.say(["query-a"])
    exchange([other.monitor, line.monitor], time.monotonic() + 5)
    assert isinstance(other.monitor.failure, ProbeRefused)
    assert line.monitor.replies(1) == [AGREED.strip()]
    other.close()


def test_the_first_group_that_is_done_is_enough_and_the_others_go_on_later(line: Line) -> None:
    other, silent = Line(), Line()
    for one in (line, other, silent):
        one.monitor.say(["query-a"])
    line.qemu.sendall(GREETING + AGREED + AGREED)
    other.qemu.sendall(GREETING + AGREED + AGREED)
    before = time.monotonic()
    exchange_first([[line.monitor, silent.monitor], [other.monitor]], before + 20)
    assert time.monotonic() - before < 10
    assert other.monitor.replies(1) == [AGREED.strip()]
    assert silent.monitor.waiting
    silent.qemu.sendall(GREETING + AGREED + b'{"return": "late"}\n')
    exchange_first([[line.monitor, silent.monitor]], time.monotonic() + 5)
    assert (line.monitor.replies(1), silent.monitor.replies(1)) == ([AGREED.strip()], [b'{"return": "late"}'])
    other.close()
    silent.close()


def test_the_first_failure_is_the_one_that_is_told(line: Line) -> None:
    line.qemu.sendall(b"nonsense\nmore of it\n")
    failure = line.failure("query-a")
    line.monitor.fail(ProbeTimeout("later"))
    assert line.monitor.failure is failure

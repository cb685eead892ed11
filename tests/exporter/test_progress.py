from __future__ import annotations

import io
import time

from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import question
from domcaps_exporter.progress import Progress, Told


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_waits_is_told_what_is_asked_and_the_line_is_gone_at_the_end() -> None:
    terminal, clock = io.StringIO(), Clock()
    progress = Progress(terminal, clock)
    clock.now = 1
    progress.tell("/usr/bin/qemu-system-x86_64")
    progress.tell("/a/path/that/is/longer/than/a/terminal/is/wide/" * 3)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[1] == "1 started, now /usr/bin/qemu-system-x86_64"
    assert len(lines[2]) < 80
    progress.end()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_quick_answer_is_not_announced() -> None:
    terminal = io.StringIO()
    progress = Progress(terminal, Clock())
    progress.tell("/usr/bin/qemu-system-x86_64")
    progress.end()
    assert terminal.getvalue() == ""


def test_a_host_that_tells_is_otherwise_the_host_it_was() -> None:
    terminal, clock = io.StringIO(), Clock()
    deadline = time.monotonic() + 10
    real = RealHost(deadline, Paths(), Store())
    told = Told(real, Progress(terminal, clock))
    clock.now = 1
    assert (told.deadline, told.ask(question("uname"))) == (deadline, real.ask(question("uname")))
    assert told.remember(frozenset({question("uname")}), lambda _: (), lambda _: {question("uname"): b"x"}) == {
        question("uname"): b"x"
    }
    with told.launch(("/bin/true",), ()) as child:
        assert child.pid > 0
    assert "1 started, now /bin/true" in terminal.getvalue()

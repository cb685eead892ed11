"""Real programs, started and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from domcaps_exporter.children import launched, run
from domcaps_exporter.errors import ProbeRefused, ProbeTimeout
from domcaps_exporter.model import Refusal


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def alive(pid: int) -> bool:
    """Does the process run? One that is dead and not reaped by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def forked_child(program_pid: int) -> int:
    """The process that a shell has started."""
    children = Path(f"/proc/{program_pid}/task/{program_pid}/children")
    assert within(5, lambda: children.read_text().strip() != "")
    return int(children.read_text().split()[0])


def test_a_program_answers_with_its_output() -> None:
    assert run(("printf", "a\\0b\\n"), soon()) == b"a\0b\n"


@pytest.mark.parametrize(
    ("script", "text"),
    [("exit 3", "exit status 3"), ("echo why >&2; exit 1", "exit status 1: why"), ("kill -9 $$", "ended by signal 9")],
)
def test_a_program_that_fails_says_how(script: str, text: str) -> None:
    assert run(("sh", "-c", script), soon()) == Refusal("error", text)


def test_only_the_end_of_a_long_lament_is_kept() -> None:
    answer = run(("sh", "-c", "yes lament | head -c 500000 >&2; echo the reason >&2; exit 1"), soon())
    assert isinstance(answer, Refusal)
    assert answer.text.endswith("the reason")
    assert len(answer.text) < 2200


def test_a_program_that_takes_too_long_is_a_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(ProbeTimeout, match="sleep"):
        run(("sleep", "1000"), soon(0.2))
    assert time.monotonic() - started < 5


def test_a_program_that_closes_its_output_and_stays_is_a_timeout() -> None:
    with pytest.raises(ProbeTimeout):
        run(("sh", "-c", "exec >&- 2>&-; sleep 1000"), soon(0.2))


def test_a_flood_stops_at_the_limit() -> None:
    assert run(("yes",), soon(), limit=100_000) == Refusal("error", "over 100000 bytes of output")


def test_a_programs_surroundings_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    path = os.environ["PATH"]
    assert run(("sh", "-c", 'echo "$SECRET/$LC_ALL/$PATH/$(pwd)/$(cat)"'), soon()) == f"/C.UTF-8/{path}///\n".encode()


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        run(("/no/such/program",), soon())


def test_a_launched_program_runs_in_a_session_of_its_own_and_ends_with_the_block() -> None:
    with launched(("sleep", "1000"), (), soon()) as child:
        pid = child.pid
        assert alive(pid)
        assert os.getsid(pid) == pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_launched_program_has_no_output_and_gets_the_descriptors_passed() -> None:
    mine, its = os.pipe()
    with launched(("sh", "-c", f"echo lost; echo kept >/dev/fd/{its}; exec sleep 1000"), (its,), soon()):
        os.close(its)
        assert os.read(mine, 100) == b"kept\n"
    os.close(mine)


def test_the_whole_group_ends_with_the_block() -> None:
    with launched(("sh", "-c", "sleep 1000 & wait"), (), soon()) as child:
        grandchild = forked_child(child.pid)
        assert alive(grandchild)
    assert within(5, lambda: not alive(grandchild))


def test_a_group_whose_leader_left_early_ends_with_the_block() -> None:
    mine, its = os.pipe()
    with os.fdopen(mine) as said, launched(("sh", "-c", f"sleep 1000 & echo $! >/dev/fd/{its}"), (its,), soon()) as child:
        os.close(its)
        grandchild = int(said.readline())
        assert within(5, lambda: not alive(child.pid))
        assert alive(grandchild)
    assert within(5, lambda: not alive(grandchild))


def test_a_launched_program_is_killed_at_the_deadline_while_the_block_goes_on() -> None:
    with launched(("sleep", "1000"), (), soon(0.1)) as child:
        assert within(5, lambda: not alive(child.pid))


def test_what_fails_because_the_deadline_killed_the_program_is_a_timeout() -> None:
    mine, its = os.pipe()

    def wait_for_an_answer() -> None:
        with os.fdopen(mine) as monitor, launched(("sleep", "1000"), (its,), soon(0.2)):
            os.close(its)
            if not monitor.read():
                raise EOFError

    with pytest.raises(ProbeTimeout, match="sleep had to be ended") as caught:
        wait_for_an_answer()
    assert isinstance(caught.value.__cause__, EOFError)


def test_an_exception_in_the_block_carries_the_programs_words() -> None:
    def lose_the_monitor() -> None:
        with launched(("sh", "-c", "echo no such accelerator >&2"), (), soon()) as child:
            assert within(5, lambda: not alive(child.pid))
            raise ValueError("monitor closed")

    with pytest.raises(ValueError, match="monitor closed") as caught:
        lose_the_monitor()
    assert caught.value.__notes__ == ["sh said: no such accelerator"]


def test_a_program_that_shouts_unheard_does_not_hang() -> None:
    with launched(("sh", "-c", "yes 2>/dev/null | head -c 300000 >&2; exit 0"), (), soon()) as child:
        assert within(10, lambda: not alive(child.pid))


@pytest.mark.parametrize("argv", [("/no/such/emulator",), ("/etc/passwd",), ()])
def test_a_program_that_cannot_be_started_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(ProbeRefused, match="cannot be started"), launched(argv, (), soon()):
        pass


WITHOUT_THREADS = """
import resource, time
from domcaps_exporter.children import launched
from domcaps_exporter.errors import ProbeRefused
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 20), resource.RLIM_INFINITY))  # no room for a thread's stack
try:
    with launched(("sleep", "1000"), (), time.monotonic() + 5) as program:
        print("launched")
except ProbeRefused as error:
    print(error)
"""


def test_a_program_that_no_thread_could_end_at_its_deadline_is_refused_and_ended() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_THREADS], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "there is no thread to end sleep with at its deadline: can't start new thread\n"


def test_no_descriptor_is_left_open() -> None:
    def use() -> None:
        run(("true",), soon())
        with launched(("true",), (), soon()):
            pass
        with pytest.raises(ProbeRefused), launched(("/no/such/emulator",), (), soon()):
            pass

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    use()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


LAUNCHER = """
import time
from domcaps_exporter.children import launched
with launched(("sleep", "1000"), (), time.monotonic() + 1000) as child:
    print(child.pid, flush=True)
    time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: the parent-death signal")
def test_an_exporter_that_is_killed_leaves_no_child_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True) as exporter:
        assert exporter.stdout is not None
        child = int(exporter.stdout.readline())
        assert alive(child)
        exporter.send_signal(signal.SIGKILL)
    assert within(5, lambda: not alive(child))

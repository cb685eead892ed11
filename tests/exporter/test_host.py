"""Every kind of question, asked of the machine that the tests run on."""

import json
import os
import time
from pathlib import Path

import pytest

from domcaps_exporter.errors import ProbeTimeout
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_exporter.model import ABSENT, LATE, Answer, Host, Question, Refusal, question

KINDS = (
    "read",
    "list",
    "exists",
    "stat",
    "exec",
    "which",
    "resolve",
    "access",
    "env",
    "uname",
    "cpu",
    "cpuid",
    "msr",
    "kvm",
    "run",
    "within",
    "said",
)


@pytest.fixture
def host() -> Host:
    return RealHost(time.monotonic() + 30, Paths(), Store())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"\xff\0text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "program").touch(0o755)
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "big").open("wb") as big:
        big.truncate(4 * 1024 * 1024 + 1)
    return tmp_path


def why(answer: Answer) -> str:
    return answer.why if isinstance(answer, Refusal) else repr(answer)


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        ("read", "file", b"\xff\0text"),
        ("read", "link", b"\xff\0text"),
        ("read", "nothing", ABSENT),
        ("read", "file/below", ABSENT),
        ("list", "empty", b""),
        ("list", ".", b"big\0empty\0fifo\0file\0link\0loop\0program"),
        ("list", "nothing", ABSENT),
        ("list", "file", ABSENT),
        ("exists", "link", b"file"),
        ("exists", "empty", b"directory"),
        ("exists", "fifo", b"other"),
        ("exists", "nothing", ABSENT),
        ("exec", "program", b"yes"),
        ("exec", "file", ABSENT),
        ("exec", "empty", ABSENT),
        ("exec", "nothing", ABSENT),
    ],
)
def test_files_are_described(host: Host, tree: Path, kind: str, name: str, answer: Answer) -> None:
    assert host.ask(question(kind, str(tree / name))) == answer


@pytest.mark.parametrize("name", ["fifo", "empty", "big", "loop"])
def test_what_cannot_be_read_is_an_error_and_never_waits(host: Host, tree: Path, name: str) -> None:
    assert why(host.ask(question("read", str(tree / name)))) == "error"


def test_a_device_is_a_device_and_is_not_read(host: Host) -> None:
    assert host.ask(question("exists", "/dev/null")) == b"device"
    assert why(host.ask(question("read", "/dev/zero"))) == "error"


def test_a_file_of_the_largest_size_is_read(host: Host, tree: Path) -> None:
    os.truncate(tree / "big", 4 * 1024 * 1024)
    assert host.ask(question("read", str(tree / "big"))) == bytes(4 * 1024 * 1024)


def test_a_name_that_is_no_text_survives(host: Host, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.write_text("x")
    assert host.ask(question("list", str(tmp_path))) == b"caf\xe9"
    assert host.ask(question("read", str(odd))) == b"x"
    assert host.ask(question("resolve", str(odd))) == os.fsencode(odd)


def test_stat_stands_still_while_a_file_is_only_read(host: Host, tree: Path) -> None:
    asked = question("stat", str(tree / "file"))
    before = host.ask(asked)
    os.utime(tree / "link", ns=(1, (tree / "file").stat().st_mtime_ns), follow_symlinks=False)
    host.ask(question("read", str(tree / "file")))
    assert host.ask(asked) == before


@pytest.mark.parametrize("change", ["content", "mode", "replaced"])
def test_stat_moves_when_the_file_changes(host: Host, tree: Path, change: str) -> None:
    asked, file = question("stat", str(tree / "file")), tree / "file"
    before = host.ask(asked)
    if change == "content":
        file.write_bytes(b"other text")
    elif change == "mode":
        file.chmod(0o600)
    else:
        (tree / "program").replace(file)
    assert host.ask(asked) != before


def test_what_procfs_makes_up_is_not_in_its_stat(host: Host) -> None:
    assert host.ask(question("stat", "/proc/cpuinfo")).split()[2:6] == [b"-"] * 4  # type: ignore[union-attr]


def test_resolve_follows_links(host: Host, tree: Path) -> None:
    assert host.ask(question("resolve", str(tree / "link"))) == os.fsencode((tree / "file").resolve())


def test_access_is_answered_for_the_exporter_and_for_others(host: Host, tree: Path) -> None:
    asked = str(tree / "file")
    assert host.ask(question("access", asked, "rw", "")) == b"yes"
    (tree / "file").chmod(0o640)
    assert host.ask(question("access", asked, "r", "nobody")) == b"no"
    assert host.ask(question("access", str(tree / "nothing"), "r", "")) == ABSENT
    assert why(host.ask(question("access", asked, "r", "no such user"))) == "error"
    assert why(host.ask(question("access", asked, "x", ""))) == "error"


def test_what_may_not_be_looked_at_is_denied(host: Host, tree: Path) -> None:
    (tree / "file").chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        assert why(host.ask(question("read", str(tree / "file")))) == "denied"
    finally:
        os.seteuid(me)


def test_which_finds_the_first_program_in_the_path(host: Host, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tree}/empty:{tree}")
    assert host.ask(question("which", "program")) == os.fsencode(tree / "program")
    assert host.ask(question("which", "file")) == ABSENT
    assert why(host.ask(question("which", str(tree / "program")))) == "error"


def test_the_environment_is_the_exporters(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMCAPS_TRY", "1")
    assert host.ask(question("env", "DOMCAPS_TRY")) == b"1"
    assert host.ask(question("env", "DOMCAPS_UNSET")) == ABSENT


def test_the_system_names_itself(host: Host) -> None:
    system = os.uname()
    assert host.ask(question("uname")) == f"{system.sysname}\0{system.release}\0{system.machine}".encode()
    assert b"\n\n" not in host.ask(question("cpu"))  # type: ignore[operator]


def test_kvm_answers_a_number_or_is_not_there(host: Host) -> None:
    answer = host.ask(question("kvm", "9"))
    if isinstance(answer, Refusal):
        pytest.skip(f"needs KVM: {answer}")
    assert int(answer) > 0


def test_programs_are_run(host: Host) -> None:
    assert host.ask(question("run", "echo", "a b")) == b"a b\n"
    assert host.ask(question("run", "/no/such/program")) == ABSENT
    assert host.ask(question("run", "/etc/passwd")) == Refusal("denied", "Permission denied")
    assert why(host.ask(question("run", "false"))) == "error"


def test_a_program_that_fails_is_heard_all_the_same(host: Host) -> None:
    assert heard(host, "echo list; echo complaint >&2; exit 4") == {"status": 4, "stdout": "list\n", "stderr": "complaint"}
    assert heard(host, "kill -9 $$") == {"status": -9, "stdout": "", "stderr": ""}
    assert heard(host, r"printf '\377'")["stdout"] == r"\xff"
    assert host.ask(question("said", "/no/such/program")) == ABSENT


def test_a_usage_of_thousands_of_bytes_is_heard_whole(host: Host) -> None:
    assert len(str(heard(host, "yes usage | head -c 60000 >&2")["stderr"])) > 59000


def heard(host: Host, script: str) -> dict[str, object]:
    answer = host.ask(question("said", "sh", "-c", script))
    assert isinstance(answer, bytes)
    told: dict[str, object] = json.loads(answer)
    return told


@pytest.mark.parametrize("arguments", [(), ("\0",), ("relative",), ("\ud800",), ("a", "b", "c", "d", "e"), ("",)])
@pytest.mark.parametrize("kind", [*KINDS, "telepathy"])
def test_a_question_that_means_nothing_is_answered_all_the_same(host: Host, kind: str, arguments: tuple[str, ...]) -> None:
    assert isinstance(host.ask(Question(kind, arguments)), bytes | Refusal)


def test_the_rootfs_moves_files_but_not_programs(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("the host's")
    (tmp_path / "etc/link").symlink_to("/etc/real")
    (tmp_path / "cpuinfo").write_text("processor: 7\n\n")
    host = RealHost(time.monotonic() + 30, Paths(str(tmp_path), str(tmp_path)), Store())
    assert host.ask(question("read", "/etc/link")) == b"the host's"
    assert host.ask(question("resolve", "/etc/link")) == b"/etc/real"
    assert host.ask(question("list", "/etc")) == b"link\0real"
    assert host.ask(question("access", "/etc/link", "r", "")) == b"yes"
    assert host.ask(question("cpu")) == b"processor: 7"
    assert host.ask(question("exec", "/bin/sh")) == b"yes"
    assert host.ask(question("exists", "/bin/sh")) == ABSENT


def test_after_the_deadline_every_method_raises_timeout() -> None:
    host = RealHost(time.monotonic() - 1, Paths(), Store())
    with pytest.raises(ProbeTimeout):
        host.ask(question("uname"))
    with pytest.raises(ProbeTimeout):
        host.launch(("true",), ())
    with pytest.raises(ProbeTimeout):
        host.remember(frozenset(), lambda _: (), lambda _: {})


def test_a_program_keeps_the_probes_deadline() -> None:
    host = RealHost(time.monotonic() + 0.2, Paths(), Store())
    with pytest.raises(ProbeTimeout):
        host.ask(question("run", "sleep", "1000"))


def test_a_program_with_a_time_of_its_own_costs_no_more_than_that() -> None:
    started = time.monotonic()
    host = RealHost(started + 30, Paths(), Store())
    assert host.ask(question("within", "1", "sleep", "1000")) == LATE
    assert 1 <= time.monotonic() - started < 10
    assert host.ask(question("within", "20", "echo", "soon")) == b"soon\n"
    assert host.ask(question("within", "20", "false")) == Refusal("error", "exit status 1")
    assert host.ask(question("within", "20", "/no/such/program")) == ABSENT
    assert why(host.ask(question("within", "soon", "true"))) == "error"


def test_a_program_with_a_time_of_its_own_leaves_half_of_the_probes_to_others() -> None:
    started = time.monotonic()
    host = RealHost(started + 5, Paths(), Store())
    assert host.ask(question("within", "100", "sleep", "1000")) == LATE
    assert host.ask(question("uname"))


def test_a_launched_program_names_the_file_that_really_runs(host: Host) -> None:
    with host.launch(("sleep", "1000"), ()) as child:
        assert Path(child.exe).samefile(f"/proc/{child.pid}/exe")


def test_the_store_outlives_the_probe(tree: Path) -> None:
    store, asked = Store(), question("qmp", "types")

    def probe() -> Answer:
        host = RealHost(time.monotonic() + 30, Paths(), store)
        identity = question("stat", str(tree / "file"))
        return host.remember(frozenset({asked}), lambda _: (identity,), lambda _: {asked: b"an answer"[:]})[asked]

    assert probe() is probe()

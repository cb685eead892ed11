"""The command as a person meets it: the installed program, with a stranger's plugin whose answers the tests decide."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.request import urlopen

import pytest

from domcaps_exporter.cli import main
from domcaps_exporter.commands import COMMANDS
from domcaps_exporter.flags import UsageError, parse

COMMAND = str(Path(sys.executable).with_name("domcaps-exporter"))
OURS = sorted({point.name for point in distribution("domcaps-exporter").entry_points if point.group == "domcaps"})
"""The drivers of this project."""
ALONE = [COMMAND, *(f"--no-driver.{name}" for name in OURS)]
"""The command, with the drivers of this project left alone."""

ACME = """
import time
from domcaps_exporter import *

GUEST = Verdict("guest", "", "", True)
DOCUMENT = Document("kvm", "x86_64", path="/bin/acme", machine="q35", vcpus_max=8)

@hookimpl
def domcaps_drivers(settings):
    mode = settings.section("acme").get("mode", "answer")
    if mode not in ("answer", "hang", "refuse", "absent"):
        raise SettingError("mode", f"found {mode!r}, expected answer, hang, refuse or absent")

    def probe(host):
        if mode == "hang":
            time.sleep(1000)
        if mode == "refuse":
            raise ProbeRefused("acmed: permission denied")
        if mode == "absent":
            raise HypervisorAbsent("no acmed")
        return {question("read", "/etc/acme"): b"word for word"}

    def describe(facts):
        return [Report(Identity("/bin/acme", "x86_64", "q35", "kvm"), GUEST, DOCUMENT)]

    return [Driver("acme", probe, describe)]
"""

TWO = """[
        Report(Identity("/bin/acme", "x86_64", "q35", one), GUEST, Document(one, "x86_64", path="/bin/acme", machine="q35"))
        for one in ("kvm", "qemu")
    ]"""
"""What describes two kinds of guests in its place."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """A place with the plugin `acme` installed, and a configuration file for it."""

    folder: Path

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def configure(self, text: str) -> str:
        (self.folder / "domcaps.yaml").write_text(text)
        return f"--config.file={self.folder / 'domcaps.yaml'}"

    def mode(self, mode: str) -> str:
        return self.configure(f"drivers: {{acme: {{mode: {mode}}}}}\n")

    def run(self, *argv: str) -> Done:
        done = subprocess.run([*ALONE, *argv], env=self.environment(), capture_output=True, text=True, timeout=30, check=False)
        return Done(done.returncode, done.stdout, done.stderr)


def install(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}_plugin.py").write_text(source)
    metadata = folder / f"{name}_plugin-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.5\n")
    (metadata / "entry_points.txt").write_text(f"[domcaps]\n{name} = {name}_plugin\n")


@pytest.fixture
def world(tmp_path: Path) -> World:
    install(tmp_path, "acme", ACME)
    return World(tmp_path)


# ---- words that mean nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["serv"], "found the command 'serv'; expected one of serve, show, "),
        (["show", "qemu"], "show: found 'qemu'; expected LABEL=VALUE with one of driver, "),
        (["show", "arch=a", "b"], "show: found 'arch=a' 'b' after the command; expected [SELECTOR]"),
        (["diff", "a"], "diff: found 'a' after the command; expected A B"),
        (["completion", "csh"], "completion: found 'csh'; expected one of bash, zsh, fish"),
        (["record", "qemu"], "record: found 'qemu' after the command; expected DRIVER DIR"),
        (["textfile", ""], "textfile: found '' after the command; expected FILE"),
        (["diff", "", "local"], "diff: found '' 'local' after the command; expected A B"),
        (["--state.file="], "--state.file: found nothing; expected a name"),
        (["--replay", "", "show"], "--replay: found nothing; expected a name"),
        (["serve", "--format=xml"], "--format: means nothing to serve; expected it with show or diff only"),
        (["--format", "json", "drivers"], "--format: means nothing to drivers; expected it with show or diff only"),
        (["--web.listen"], "unrecognized arguments: --web.listen"),
        (["--driver.Q"], "--driver.Q: expected --driver.NAME or --no-driver.NAME"),
        (["--driver.qemu=yes"], "--driver.qemu=yes: expected --driver.NAME"),
        (["--driver.qemu", "--no-driver.qemu"], "--no-driver.qemu: contradicts --driver.qemu"),
        (["--probe.timeout", "soon"], "--probe.timeout: found 'soon'; expected a time"),
        (["--probe.timeout", "0"], "--probe.timeout: found '0'; expected a time"),
        (["--probe.timeout", "2h"], "--probe.timeout: found '2h'; expected a time of at most 1h"),
        (["--probe.timeout", "-1s"], "--probe.timeout: expected one argument"),
        (["--probe.timeout", "٣s"], "--probe.timeout: found '٣s'; expected a time"),
        (["--series.limit", "many"], "--series.limit: found 'many'; expected a whole number above 0"),
        (["--series.limit=0"], "--series.limit: found '0'"),
        (["--path.rootfs", "/nowhere"], "--path.rootfs: found '/nowhere'; expected a folder that is there"),
        (["--log.level", "loud"], "--log.level: invalid choice: 'loud'"),
        (["--libvirt.profile", "10.0"], "--libvirt.profile: invalid choice: '10.0'"),
        (["--web.listen-address", "19177"], "--web.listen-address: found '19177'; expected :PORT"),
        (["--web.listen-address", ":99999"], "--web.listen-address: found ':99999'; expected :PORT"),
        (["--web.listen-address", "::1:80"], "--web.listen-address: found '::1:80'; expected :PORT"),
        (["--web.telemetry-path", "metrics"], "--web.telemetry-path: found 'metrics'; expected a path that begins with /"),
        (["--web.telemetry-path", "/documents"], "--web.telemetry-path: found '/documents'; expected a path that nothing else has"),
        (["show", "--format", "yaml"], "--format: invalid choice: 'yaml'"),
    ],
)
def test_a_command_line_that_means_nothing_is_one_line_and_exit_code_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"domcaps-exporter: error: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("5s", 5), ("500ms", 0.5), ("1m", 60), ("0.25s", 0.25), ("1h", 3600)])
def test_times_may_have_units(text: str, seconds: float) -> None:
    assert parse(["--probe.timeout", text]).probe_timeout == seconds


def test_flags_may_stand_before_and_after_the_command() -> None:
    flags = parse(
        ["--log.level=warn", "--web.listen-address", ":1", "record", "--no-driver.xen", "qemu", "--replay=x", "d", "--driver.qemu"]
    )
    assert (flags.command, flags.operands, flags.log_level, flags.replay) == ("record", ("qemu", "d"), "warn", Path("x"))
    assert flags.drivers == {"xen": False, "qemu": True}


def test_an_address_may_stand_several_times() -> None:
    flags = parse(["--web.listen-address=127.0.0.1:0", "serve", "--web.listen-address", "[::1]:0"])
    assert flags.web_listen_address == ["127.0.0.1:0", "[::1]:0"]


def test_serving_is_what_it_does_when_nothing_is_said() -> None:
    flags = parse([])
    assert (flags.command, flags.web_listen_address, flags.web_telemetry_path, flags.probe_timeout) == (
        "serve",
        None,
        "/metrics",
        30,
    )


@pytest.mark.parametrize("command", [*COMMANDS])
def test_every_command_takes_the_flags_of_the_service(command: str) -> None:
    flags = ["--web.telemetry-path=/x", "--web.systemd-socket", "--state.file=x", "--series.limit=7", "--log.format=json"]
    assert parse([command, *("x" for word in COMMANDS[command] if word[0] != "["), *flags]).series_limit == 7


def test_a_flag_is_not_guessed_from_its_beginning() -> None:
    with pytest.raises(UsageError, match=r"unrecognized arguments: --log\.lev=warn"):
        parse(["--log.lev=warn"])


@pytest.mark.parametrize(
    ("argv", "text", "complaint"),
    [
        (["--no-driver.vmm"], None, "--no-driver.vmm: no plugin brings this driver; there are: acme, "),
        (["--no-driver.acme"], None, f"--no-driver.{', '.join(['acme', *OURS])}: leaves no driver to ask"),
        (["record", "vmm", "x"], None, "record: found the driver 'vmm'; expected one of: acme"),
        (["--replay", "/nowhere"], None, "--replay: "),
        (["--config.file=/nowhere"], None, "/nowhere: cannot be read: No such file or directory"),
        (
            ["show"],
            "drivers: {amce: {}}\n",
            "domcaps.yaml: drivers.amce: no installed plugin brings this driver; there are: acme, ",
        ),
        (["show"], "drivers: {acme: {mode: sing}}\n", "domcaps.yaml: drivers.acme.mode: found 'sing', expected answer, hang"),
        *(
            ([command], "targets: {a: {uri: 'qemu:///system', timout: 10s}}\n", "domcaps.yaml: targets.a.timout: no such key; ")
            for command in ("serve", "show", "drivers")
        ),
        (["drivers"], "driver: {}\n", "domcaps.yaml: driver: no such key; allowed: drivers"),
    ],
)
def test_settings_that_mean_nothing_stop_every_command(world: World, argv: list[str], text: str | None, complaint: str) -> None:
    done = world.run(*argv, *([] if text is None else [world.configure(text)]))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("domcaps-exporter: error: ")
    assert complaint in done.err


# ---- one answer --------------------------------------------------------------------------------------------------------------


def test_the_version_names_the_python_it_runs_on(world: World) -> None:
    done = world.run("--version")
    assert re.fullmatch(r"domcaps-exporter, version \d+\.\d+\.\d+ \(python 3\.\d+\.\d+\S*\)\n", done.out)
    assert done.code == 0


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("table", "acme: x86_64 q35 kvm\n"),
        ("xml", "<domainCapabilities>\n  <path>/bin/acme</path>\n"),
        ("json", '"driver": "acme"'),
        ("metrics", 'domcaps_vcpus_max{arch="x86_64",driver="acme",emulator="/bin/acme",machine="q35",virttype="kvm"} 8.0\n'),
    ],
)
def test_a_host_can_be_shown_in_four_ways(world: World, form: str, part: str) -> None:
    done = world.run("show", "--format", form)
    assert part in done.out
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(("mode", "text"), [("refuse", "acmed: permission denied"), ("absent", "no acmed")])
def test_a_host_that_gives_no_answer_is_told_on_stderr(world: World, mode: str, text: str) -> None:
    done = world.run("show", world.mode(mode))
    assert (done.code, done.err) == (1, f"domcaps-exporter: error: acme: {text}\n")


def test_whoever_is_absent_is_no_error_beside_what_failed(world: World) -> None:
    install(world.folder, "void", ACME.replace("acme", "void"))
    done = world.run("show", "--format=metrics", world.configure("drivers: {acme: {mode: refuse}, void: {mode: absent}}\n"))
    assert (done.code, done.err) == (1, "domcaps-exporter: error: acme: acmed: permission denied\n")
    both = world.run("show", world.configure("drivers: {acme: {mode: absent}, void: {mode: absent}}\n"))
    assert (both.code, both.err.count("\n")) == (1, 2)


def test_a_probe_that_hangs_does_not_hold_the_command(world: World) -> None:
    before = time.monotonic()
    done = world.run("show", world.mode("hang"), "--probe.timeout=100ms")
    assert done.code == 1
    assert done.err.startswith("domcaps-exporter: error: acme: no answer ")  # at the deadline, or within what the command waits
    assert time.monotonic() - before < 20


def test_what_was_selected_and_gave_no_answer_says_so_and_who_was_not_says_nothing(world: World) -> None:
    install(world.folder, "void", ACME.replace("acme", "void"))
    modes = world.configure("drivers: {acme: {mode: refuse}, void: {mode: absent}}\n")
    refused, absent = world.run("show", "driver=acme", modes), world.run("show", "driver=void", modes)
    refusal = "acme: no answer (refused): acmed: permission denied\n"
    assert refused == Done(1, refusal, "domcaps-exporter: error: acme: acmed: permission denied\n")
    assert absent == Done(1, "void: no answer (absent): no voidd\n", "domcaps-exporter: error: void: no voidd\n")
    both = world.run("show", "machine=pc", world.configure("drivers: {acme: {mode: refuse}}\n"))
    assert both.err.splitlines() == [
        "domcaps-exporter: error: show: this host has nothing of what was selected; there is void x86_64 q35 kvm",
        "domcaps-exporter: error: acme: acmed: permission denied",
    ]
    assert world.run("show", "driver=void", world.mode("refuse")).code == 0


def test_a_machine_is_selected_also_by_the_version_that_its_name_means(world: World, tmp_path: Path) -> None:
    source = ACME.replace("GUEST, DOCUMENT)", 'GUEST, DOCUMENT, canonical="pc-q35-7.2")')
    (tmp_path / "acme_plugin.py").write_text(source)
    for name, code in (("pc-q35-7.2", 0), ("", 1)):
        assert world.run("show", f"machine={name}").code == code


def test_a_reader_who_leaves_early_is_no_error(world: World) -> None:
    with subprocess.Popen([*ALONE, "show"], env=world.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_recording_answers_like_the_host_it_was_made_on(world: World, tmp_path: Path) -> None:
    place = str(tmp_path / "recorded")
    assert world.run("record", "acme", place) == Done(0, f"{place}: 1 answers\n", "")
    replayed = world.run("--replay", place, "show", "--format=xml", world.mode("refuse"))
    assert (replayed.code, replayed.out) == (0, world.run("show", "--format=xml").out)
    assert world.run("record", "acme", place).err.startswith(f"domcaps-exporter: note: {place}: this replaced the recording of 20")


def test_a_recording_is_read_with_the_settings_it_was_made_with_unless_there_are_others(world: World, tmp_path: Path) -> None:
    place, hidden = str(tmp_path / "recorded"), 'if settings.section("acme").get("seen") != "yes": return []\n        '
    (tmp_path / "acme_plugin.py").write_text(ACME.replace("return [Report", f"{hidden}return [Report"))
    assert world.run("record", "acme", place, world.configure("drivers: {acme: {seen: 'yes'}}\n")).code == 0
    then = f"{place} was recorded with seen of drivers.acme set"
    assert world.run("--replay", place, "show").out.startswith("acme: x86_64 q35 kvm\n")
    lost = world.run("diff", place, "local")
    assert (lost.code, "- the whole kind of guest" in lost.out) == (2, False)
    assert f"note: {then}, and is read by that; the other side may have other settings\n" in lost.err
    same = world.run("diff", place, "local", world.configure("drivers: {acme: {seen: 'yes'}}\n"))
    assert (same.code, same.err) == (0, "")
    other = world.run("--replay", place, "show", world.configure("drivers: {acme: {seen: 'no'}}\n"))
    assert f"note: --replay: {then}; it is read by the section of {tmp_path}/domcaps.yaml, which differs\n" in other.err
    assert "acme: x86_64 q35 kvm" not in other.out


def test_what_is_wrong_with_a_recordings_settings_is_told_with_its_file(world: World, tmp_path: Path) -> None:
    place = str(tmp_path / "recorded")
    assert world.run("record", "acme", place, world.configure("drivers: {acme: {mode: answer}}\n")).code == 0
    manifest = tmp_path / "recorded" / "recording.json"
    manifest.write_text(manifest.read_text().replace('"mode": "answer"', '"mode": "sing"'))
    done = world.run("--replay", place, "show")
    assert (done.code, done.out) == (2, "")
    assert f"error: {manifest}: drivers.acme.mode: found 'sing', expected answer, hang" in done.err


def test_what_show_writes_diff_reads_however_many_documents_it_is(world: World, tmp_path: Path) -> None:
    two = ACME.replace('[Report(Identity("/bin/acme", "x86_64", "q35", "kvm"), GUEST, DOCUMENT)]', TWO)
    (tmp_path / "acme_plugin.py").write_text(two)
    (tmp_path / "all.xml").write_text(world.run("show", "--format=xml").out)
    done = world.run("diff", str(tmp_path / "all.xml"), "local")
    assert (done.code, done.out.count("  equal\n"), done.err) == (0, 2, "")


def test_a_host_that_refuses_cannot_be_recorded(world: World, tmp_path: Path) -> None:
    done = world.run("record", "acme", str(tmp_path / "recorded"), world.mode("refuse"))
    assert (done.code, done.err) == (1, "domcaps-exporter: error: acme: acmed: permission denied\n")
    assert not (tmp_path / "recorded").exists()


def test_plugins_are_listed_with_their_versions_and_drivers(world: World) -> None:
    done = world.run("drivers")
    assert re.search(r"^acme +1\.5 +acme +answers: 1$", done.out, re.MULTILINE)
    assert (done.code, done.err) == (0, "")


def test_a_refused_plugin_is_named_and_costs_only_itself(world: World) -> None:
    install(world.folder, "broken", "import no_such_module\n")
    listed = world.run("drivers")
    assert listed.code == 1
    assert re.search(r"^broken +1\.5 +- +refused: ModuleNotFoundError: No module named 'no_such_module'$", listed.out, re.MULTILINE)
    assert listed.err.startswith("domcaps-exporter: error: plugin broken: ModuleNotFoundError")
    assert world.run("show", "--no-driver.broken", world.configure("drivers: {broken: {a: 1}}\n")).code == 0


def test_settings_of_a_strangers_driver_that_takes_none_are_refused_with_the_file_and_the_key(world: World) -> None:
    (world.folder / "acme_plugin.py").write_text(
        "from domcaps_exporter import *\n@hookimpl\ndef domcaps_drivers(): return [Driver('acme', dict, list)]\n"
    )
    done = world.run("drivers", world.configure("drivers: {acme: {foo: 1}}\n"))
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("domcaps.yaml: drivers.acme.foo: no such key; the driver acme takes no settings\n")


def test_what_serves_is_not_loaded_to_show() -> None:
    code = "import sys, domcaps_exporter.cli; print(*{'aiohttp', 'domcaps_exporter.web'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


# ---- serving -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    process: subprocess.Popen[str]
    url: str

    def get(self, path: str) -> str:
        with urlopen(self.url + path, timeout=10) as answer:  # noqa: S310  our own server
            text: str = answer.read().decode()
        return text

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """The exit code, and how many seconds it took."""
        before = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(10), time.monotonic() - before


Start = Callable[..., Serving]


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def launch(*argv: str, stdin: int = subprocess.DEVNULL) -> Serving:
        whole = [*ALONE, "--web.listen-address=127.0.0.1:0", "--log.format=json", *argv]
        process = subprocess.Popen(whole, env=world.environment(), stdin=stdin, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stderr is not None
        events = (json.loads(line) for line in process.stderr)
        return Serving(process, next(event["url"] for event in events if event["msg"] == "listening"))

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_stops_cleanly(start: Start, number: signal.Signals) -> None:
    serving = start()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", serving.url)
    assert 'domcaps_guest_supported{arch="x86_64",driver="acme"' in serving.get("metrics")
    code, took = serving.stop(number)
    assert code == 0
    assert took < 3  # a tenth of a second where nobody else uses the machine


def test_a_hangup_changes_nothing_and_is_answered_in_the_log(start: Start) -> None:
    serving = start()
    serving.process.send_signal(signal.SIGHUP)
    assert serving.process.stderr is not None
    assert "SIGHUP changes nothing" in serving.process.stderr.readline()
    assert "domcaps_guest_supported" in serving.get("metrics")
    assert serving.stop(signal.SIGTERM)[0] == 0


def test_a_hangup_of_its_own_terminal_ends_it(start: Start) -> None:
    ours, its = pty.openpty()
    try:
        assert start(stdin=its).stop(signal.SIGHUP)[0] == 0
    finally:
        os.close(ours)
        os.close(its)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_a_second_also_with_a_probe_in_the_air(start: Start, world: World, number: signal.Signals) -> None:
    serving = start(world.mode("hang"))
    host, port = serving.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        time.sleep(0.3)  # the probe hangs now, and the scrape waits for it
        code, took = serving.stop(number)
    assert code == 0
    assert took < 3  # a tenth of a second where nobody else uses the machine


def test_an_address_that_is_taken_is_exit_code_1(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = world.run("--web.listen-address", address)
    assert (done.code, done.err) == (1, f"domcaps-exporter: error: cannot listen on {address}: Address already in use\n")


def test_a_web_configuration_that_cannot_be_used_is_one_line_and_exit_code_2(world: World) -> None:
    (world.folder / "web.yml").write_text("tls_server_config: {cert_file: nope.pem, key_file: nope.key}\n")
    done = world.run("--web.listen-address=127.0.0.1:0", f"--web.config.file={world.folder / 'web.yml'}")
    complaint = f"{world.folder / 'web.yml'}: tls_server_config.cert_file: {world.folder / 'nope.pem'}: No such file or directory"
    assert (done.code, done.err) == (2, f"domcaps-exporter: error: {complaint}\n")


def test_metrics_can_live_at_another_path(start: Start) -> None:
    assert "domcaps_exporter_build_info" in start("--web.telemetry-path=/host/metrics").get("host/metrics")

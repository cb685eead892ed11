"""Both ways of asking a libvirt, with stand-ins for virsh and for libvirt-python: words, failures, and what ends in time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from domcaps_exporter import Facts, HypervisorAbsent, ProbeRefused, ProbeTimeout, UnreadableAnswer, question
from domcaps_exporter.host import Paths, RealHost, Store
from domcaps_libvirt import clients
from domcaps_libvirt.clients import Bindings, Virsh, client
from domcaps_libvirt.probe import Libvirt
from domcaps_libvirt.settings import Wanted

URI = "qemu+ssh://there/system"
EMULATOR = "/opt/qemu system/bin/qemu;quit"
CAPABILITIES = f"""<capabilities><host><cpu><arch>x86_64</arch></cpu></host><guest><arch name='x86_64'>
<emulator>{EMULATOR}</emulator><machine canonical='pc-q35-9.0'>q35</machine><domain type='kvm'/></arch></guest></capabilities>"""
DOCUMENT = """<domainCapabilities>
  <domain>kvm</domain>
  <arch>x86_64</arch>
  <devices>
    <teleport supported='yes'/>
  </devices>
</domainCapabilities>
"""
ANSWERING = """
case $4 in capabilities) cat FOLDER/capabilities.xml ;; *) cat FOLDER/document.xml ;; esac
"""
SAYING = """
echo 'error: failed to get emulator capabilities' >&2
echo 'error: WORDS' >&2
exit 1
"""
LIBVIRT_PY = """
import json, pathlib, time
class libvirtError(Exception): pass
folder = pathlib.Path(__file__).parent
def registerErrorHandler(handler, context): pass
class Connection:
    def getCapabilities(self): return (folder / "capabilities.xml").read_text()
    def getDomainCapabilities(self, *words):
        (folder / "words").write_text(json.dumps(words))
        if not (folder / "document.xml").exists(): raise libvirtError("no such guest")
        return (folder / "document.xml").read_text()
def open(uri):
    (folder / "uri").write_text(uri)
    exec((folder / "opening").read_text())
    return Connection()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "capabilities.xml").write_text(CAPABILITIES)
    (tmp_path / "document.xml").write_text(DOCUMENT)
    return tmp_path


@pytest.fixture
def virsh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a virsh first in PATH that does as the script says, and notes its words."""
    monkeypatch.setitem(sys.modules, "libvirt", None)  # there is no libvirt-python, whatever is installed
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def install(script: str) -> None:
        program = folder / "virsh"
        note = f'printf "%s\\0" "$@" >>{folder}/words\necho "$LIBVIRT_AUTOSTART $SSH_AUTH_SOCK" >{folder}/environment'
        program.write_text(f"#!/bin/sh\n{note}\n{script.replace('FOLDER', str(folder))}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def bindings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a libvirt.py before any other, whose `open` does as the statements say."""
    monkeypatch.syspath_prepend(str(folder))
    (folder / "libvirt.py").write_text(LIBVIRT_PY)

    def install(opening: str) -> None:
        (folder / "opening").write_text(opening)

    return install


def host(seconds: float = 20) -> RealHost:
    return RealHost(time.monotonic() + seconds, Paths(), Store())


def driver() -> Libvirt:
    return Libvirt(Wanted((URI,)))


GUEST = question("libvirt", URI, "domcapabilities", EMULATOR, "x86_64", "q35", "kvm")
ANSWERS: Facts = {
    question("libvirt", URI, "capabilities"): CAPABILITIES.encode() + b"\n",
    GUEST: DOCUMENT.encode(),
}


def test_virsh_is_asked_where_there_is_no_libvirt_python(virsh: Callable[[str], None]) -> None:
    virsh(ANSWERING)
    assert isinstance(client(host()), Virsh)
    assert driver().probe(host()) == ANSWERS


def test_libvirt_python_says_the_same_and_comes_first(bindings: Callable[[str], None]) -> None:
    bindings("")
    assert isinstance(client(host()), Bindings)
    assert driver().probe(host()) == ANSWERS


def test_the_pythons_of_the_system_may_have_it_where_ours_has_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(clients, "SYSTEM_PYTHON", sys.executable)
    assert isinstance(client(host()), Bindings)


def test_where_nothing_can_ask_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(clients, "SYSTEM_PYTHON", str(folder / "python3"))
    with pytest.raises(ProbeRefused, match=r"neither libvirt-python \(pip install 'domcaps-exporter\[libvirt\]'\) nor virsh"):
        driver().probe(host())


def test_what_a_remote_libvirt_says_is_never_taken_for_a_command(virsh: Callable[[str], None], folder: Path) -> None:
    virsh(ANSWERING)
    driver().probe(host())
    *_, command, emulator, arch, machine, virttype = (folder / "words").read_text().split("\0")[:-1]
    assert (command, emulator) == ("domcapabilities", f"--emulatorbin={EMULATOR}")
    assert (arch, machine, virttype) == ("--arch=x86_64", "--machine=q35", "--virttype=kvm")


def test_empty_words_are_left_to_libvirt(bindings: Callable[[str], None], folder: Path) -> None:
    bindings("")
    asked = question("libvirt", URI, "domcapabilities", "", "x86_64", "", "bhyve")
    dict(client(host()).ask(host(), URI, [asked]))
    assert json.loads((folder / "words").read_text()) == [None, "x86_64", None, "bhyve"]
    assert (folder / "uri").read_text() == URI


def test_keys_are_found_and_no_session_libvirt_is_started(
    virsh: Callable[[str], None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    virsh(ANSWERING)
    driver().probe(host())
    assert (folder / "environment").read_text() == "0 /run/agent\n"


def test_an_unchanged_libvirt_is_asked_the_same_once_and_gives_the_same_facts(virsh: Callable[[str], None], folder: Path) -> None:
    virsh(ANSWERING)
    libvirt = driver()
    first = libvirt.probe(host())
    (folder / "words").unlink()
    assert libvirt.probe(host()) is first
    assert (folder / "words").read_text().count("\0-c\0") == len(first)


def test_what_libvirt_says_now_is_in_the_next_probe(virsh: Callable[[str], None], folder: Path) -> None:
    virsh(ANSWERING)
    libvirt = driver()
    libvirt.probe(host())
    (folder / "document.xml").write_text(DOCUMENT.replace("yes", "no"))
    (folder / "capabilities.xml").write_text(CAPABILITIES.replace(">q35<", ">q36<"))
    facts = libvirt.probe(host())
    assert [one.args[4] for one in facts if one.args[1] == "domcapabilities"] == ["q36"]
    assert [report.identity.machine for report in libvirt.describe(facts)] == ["q36"]


def test_without_uris_there_is_nothing_to_ask() -> None:
    with pytest.raises(HypervisorAbsent, match=r"^it is off: no URI is configured"):
        Libvirt(Wanted()).probe(host())


# ---- failures ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "operation forbidden: read only access prevents virConnectGetDomainCapabilities",
        "access denied: 'QEMU' denied access",
        "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'",
        "Disconnected from qemu:///system due to end of file",
    ],
)
def test_a_libvirt_that_lets_nobody_ask_is_refused_in_its_own_words(virsh: Callable[[str], None], words: str) -> None:
    virsh(f"[ $4 = capabilities ] && exec cat FOLDER/capabilities.xml\n{SAYING.replace('WORDS', words.replace(chr(39), ''))}")
    with pytest.raises(ProbeRefused, match=words.replace("'", "").split(":")[0]):
        driver().probe(host())


def test_an_emulator_that_libvirt_may_not_execute_costs_its_own_guests_only(virsh: Callable[[str], None], folder: Path) -> None:
    words = "QEMU binary /opt/broken is not executable: Permission denied"
    (folder / "capabilities.xml").write_text(CAPABILITIES.replace("<machine", "<machine>pc</machine><machine", 1))
    virsh(f'case "$*" in *machine=pc*) {SAYING.replace("WORDS", words)} ;; esac\n{ANSWERING}')
    libvirt = Libvirt(Wanted((URI,), machines=("q35", "pc")))
    told = {one.identity.machine: one for one in libvirt.describe(libvirt.probe(host()))}
    assert [told[machine].guest.supported for machine in ("q35", "pc")] == [True, None]
    assert words in told["pc"].notes[0]


def test_a_libvirt_that_is_not_there_is_refused_in_its_own_words(bindings: Callable[[str], None]) -> None:
    bindings("raise libvirtError('Failed to connect socket to /run/libvirt: No such file or directory')")
    with pytest.raises(ProbeRefused, match=r"qemu\+ssh://there/system: .*No such file or directory"):
        driver().probe(host())


def test_a_libvirt_that_refuses_every_document_has_no_answer(bindings: Callable[[str], None], folder: Path) -> None:
    bindings("")
    (folder / "document.xml").unlink()
    with pytest.raises(ProbeRefused, match="no such guest"):
        driver().probe(host())


def test_a_libvirt_without_wanted_guests_is_refused(virsh: Callable[[str], None]) -> None:
    virsh(ANSWERING)
    with pytest.raises(ProbeRefused, match="offers no guests"):
        Libvirt(Wanted((URI,), archs=("alpha",))).probe(host())


def test_a_broken_libvirt_python_is_named(bindings: Callable[[str], None], folder: Path) -> None:
    bindings("")
    (folder / "libvirt.py").write_text("import no_such_module")
    with pytest.raises(ProbeRefused, match="has no libvirt-python: No module named 'no_such_module'"):
        driver().probe(host())


@pytest.mark.parametrize(
    "opening", ["print('hello')", "print('[]', flush=True); import os; os._exit(0)", "print(1); import os; os._exit(0)"]
)
def test_a_libvirt_python_that_prints_something_else_is_unreadable(bindings: Callable[[str], None], opening: str) -> None:
    bindings(f"{opening}")
    with pytest.raises(UnreadableAnswer, match=r"qemu\+ssh://there/system: "):
        driver().probe(host())


def test_a_virsh_that_prints_no_xml_is_unreadable(virsh: Callable[[str], None]) -> None:
    virsh("echo hello")
    libvirt = driver()
    facts = libvirt.probe(host())
    with pytest.raises(UnreadableAnswer, match=r"libvirt qemu\+ssh://there/system capabilities: "):
        libvirt.describe(facts)


def test_a_hung_virsh_ends_at_the_deadline(virsh: Callable[[str], None]) -> None:
    virsh("exec sleep 1000")
    before = time.monotonic()
    with pytest.raises(ProbeTimeout, match=r"qemu\+ssh://there/system: libvirt had not answered at the deadline"):
        driver().probe(host(0.3))
    assert time.monotonic() - before < 10


def test_a_hung_libvirt_python_ends_at_the_deadline(bindings: Callable[[str], None]) -> None:
    bindings("time.sleep(1000)")
    with pytest.raises(ProbeTimeout):
        driver().probe(host(0.3))


def test_a_crashing_libvirt_python_costs_one_probe(bindings: Callable[[str], None]) -> None:
    bindings("import os; os.kill(os.getpid(), 11)")
    libvirt = driver()
    with pytest.raises(ProbeRefused, match="ended by signal 11"):
        libvirt.probe(host())
    bindings("")
    assert libvirt.probe(host()) == ANSWERS


def test_many_questions_are_put_in_several_processes(bindings: Callable[[str], None]) -> None:
    bindings("")
    asked = [question("libvirt", URI, "domcapabilities", EMULATOR, "x86_64", f"m{number}", "kvm") for number in range(150)]
    answers = dict(client(host()).ask(host(), URI, asked))
    assert list(answers) == asked
    assert set(answers.values()) == {DOCUMENT.encode()}

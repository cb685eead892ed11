"""Our documents against a real libvirt of this machine's own, byte for byte; and that nothing is left of it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.endtoend import eventually, runs
from tests.live import kvmless
from tests.live.kvm import WITHOUT_KVM
from tests.live.libvirtd import REAPER, lacking, private
from tests.live.suites import CHECKOUT

EMULATORS = sorted(map(str, Path("/usr/bin").glob("qemu-system-*")))
NATIVE = f"/usr/bin/qemu-system-{os.uname().machine}"
COMMAND = str(Path(sys.executable).with_name("domcaps-exporter"))
STABLE = {"x86_64": "q35", "s390x": "s390-ccw-virtio", "ppc64le": "pseries"}.get(os.uname().machine, "virt")

Needs = Callable[[str, object, str], None]


@pytest.fixture
def compared(needs: Needs, record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Asserts that all documents are identical, and says how many they were."""
    needs(lacking() or "libvirtd", not lacking(), "its documents are what ours are compared with")

    def compare(*argv: str, within: Sequence[str] = ()) -> None:
        command = [*within, sys.executable, "-m", "tests.live.compare", *argv]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)
        where = " without KVM" if within else ""
        record_property("said", f"beside libvirt, {Path(argv[0]).name}{where}: {_last_line(done.stdout)}")
        assert done.returncode == 0, done.stdout + done.stderr

    return compare


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].removeprefix("in all: ")


def test_the_native_emulators_documents_are_libvirts_to_the_byte(compared: Callable[..., None], needs: Needs) -> None:
    needs(Path(NATIVE).name, Path(NATIVE).exists(), "it is asked")
    compared(NATIVE, "--machines", STABLE)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", EMULATORS, ids=lambda path: Path(path).name)
def test_every_emulators_documents_are_libvirts_to_the_byte(compared: Callable[..., None], emulator: str) -> None:
    compared(emulator)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", EMULATORS, ids=lambda path: Path(path).name)
def test_so_they_are_where_there_is_no_kvm(compared: Callable[..., None], needs: Needs, emulator: str) -> None:
    needs("root", os.geteuid() == 0, "/dev/kvm is hidden in a mount namespace")
    compared(emulator, within=WITHOUT_KVM)


@pytest.mark.slow
def test_so_they_are_of_a_qemu_that_was_built_without_kvm(compared: Callable[..., None], needs: Needs, tmp_path: Path) -> None:
    needs(kvmless.NAME, kvmless.REAL.exists(), "one without KVM is made of it")
    compared(kvmless.made(tmp_path), "--machines", "q35")


@pytest.mark.parametrize("order", [("LIBVIRT", "local"), ("local", "LIBVIRT")])
def test_by_diff_a_libvirt_is_equal_to_its_own_host(needs: Needs, tmp_path: Path, order: tuple[str, str]) -> None:
    needs(lacking() or "libvirtd", not lacking(), "it is compared with this host")
    needs(Path(NATIVE).name, Path(NATIVE).exists(), "it is asked")
    (tmp_path / "domcaps.yaml").write_text(f"drivers: {{qemu: {{emulators: [{NATIVE}], guest_user: root, virttypes: [qemu]}}}}\n")
    with private() as libvirt:
        names = [libvirt.uri if name == "LIBVIRT" else name for name in order]
        command = [COMMAND, "diff", *names, f"--config.file={tmp_path / 'domcaps.yaml'}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    told = [f"from {names[0]}", f"to   {names[1]}", "", f"{os.uname().machine} {STABLE} qemu", "  equal"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, told, "")


def test_nothing_is_left_of_what_a_program_started_and_left_behind(tmp_path: Path) -> None:
    left = tmp_path / "pid"
    script = f"(setsid sh -c 'echo $$ > {left}; exec sleep 1000') & while [ ! -s {left} ]; do :; done; exit 3"
    done = subprocess.run([sys.executable, REAPER, "sh", "-c", script], timeout=20, check=False)
    assert done.returncode == 3
    assert not runs(int(left.read_text()))


def test_what_ends_in_the_reapers_care_leaves_the_process_table_at_once(tmp_path: Path) -> None:
    ended = tmp_path / "pid"
    script = f"(setsid sh -c 'echo $$ > {ended}' &); exec sleep 1000"
    reaper = subprocess.Popen([sys.executable, REAPER, "sh", "-c", script])
    try:
        assert eventually(lambda: ended.exists() and ended.read_text().endswith("\n"))
        assert eventually(lambda: not Path(f"/proc/{int(ended.read_text())}").exists())
    finally:
        reaper.terminate()
        assert reaper.wait(20) == -15 % 256

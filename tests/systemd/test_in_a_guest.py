"""The unit under a real systemd: a Debian in a virtual machine, in which tests/systemd/examine installs the exporter and looks.

`make test-systemd` makes the disk (DOMCAPS_GUEST names its folder) and runs this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUEST = os.environ.get("DOMCAPS_GUEST", "")
PATIENCE = 3600
"""Seconds. It runs without KVM, which is not everywhere, and takes its time."""

FOUND = [
    "installs",
    "starts",
    "is-ready",
    "is-nobody-in-particular",
    "has-no-capabilities",
    "has-a-place-for-its-state",
    "asks-the-host",
    "is-scraped-by-debians-prometheus",
    "has-debians-alertmanager",
    "puts-files-where-grafana-reads-them",
    "feeds-the-watchdog",
    "is-started-again-when-it-hangs",
    "alerts-about-firmware-that-is-lost",
    "tells-alertmanager",
    "has-rules-that-hold",
    "is-silent-when-it-is-back",
    "is-configured-and-asks-without-kvm-as-the-readme-says",
    "serves-tls-and-asks-for-a-password-as-the-readme-says",
    "lets-nobody-in-without-the-password",
    "keeps-key-and-password-to-root",
    "lets-in-who-bears-a-certificate-where-any-will-do",
    "stops",
    "is-started-by-who-calls",
    "is-judged-well",
    "writes-a-file-for-node-exporter",
    "writes-it-every-minute",
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What was found out, by name: `ok`, or why not."""
    folder = tmp_path_factory.mktemp("guest")
    console = booted(Path(GUEST), seed(folder))
    lines = re.findall(r"^(not ok|ok) ([a-z-]+)(?:: (.*))?$", console.replace("\r", ""), re.MULTILINE)
    assert lines, console[-5000:]
    return {name: why if verdict == "not ok" else "ok" for verdict, name, why in lines}


def seed(folder: Path) -> Path:
    """A disk with this clone, the packages, and who examines."""
    content = folder / "content"
    for name in ("exporter", "plugins", "docs", "grafana", "requirements"):
        shutil.copytree(ROOT / name, content / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, content / "clone")
    shutil.copy(ROOT / "tests" / "systemd" / "examine", content)
    shutil.copytree(Path(GUEST) / "wheels", content / "wheels")
    disk = folder / "seed"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", content, disk, "200M"], check=True, capture_output=True)
    return disk


def booted(guest: Path, disk: Path) -> str:
    """What the machine wrote on its console until it was off. Its own disk stays as it is."""
    kernel = "root=/dev/vda rw console=ttyS0 quiet systemd.wants=examine.service systemd.mask=serial-getty@ttyS0.service"
    argv = "qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 1536 -smp 2 -nographic -no-reboot -nic none".split()
    argv += ["-kernel", str(guest / "kernel"), "-initrd", str(guest / "initrd"), "-append", kernel]
    for image in (guest / "disk", disk):
        argv += ["-drive", f"file={image},format=raw,if=virtio,snapshot=on"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", FOUND)
def test_under_a_real_systemd_it(said: Mapping[str, str], name: str) -> None:
    assert said.get(name, "nothing was said") == "ok"

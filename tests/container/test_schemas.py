"""The DaemonSet against Kubernetes' own schemas, strictly: what they do not know a cluster would drop without a word."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.container.podman import README

MANIFEST = README.parent / "daemonset.yaml"
VERSIONS = pytest.mark.parametrize("version", ["1.28", "1.31", "1.34", "1.37"])


def refused(manifest: Path, version: str) -> str:
    """Why; empty where it holds."""
    program = Path(os.environ["DOMCAPS_CONTAINER"]) / "schemas/bin/kubernetes-validate"
    argv = [str(program), "--strict", "--kubernetes-version", version, str(manifest)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@VERSIONS
def test_the_daemonset_holds_against_the_schema(version: str) -> None:
    assert not refused(MANIFEST, version)


@VERSIONS
def test_so_does_it_with_what_stands_there_as_a_comment(version: str, tmp_path: Path) -> None:
    text, found = re.subn(r"^( +)# (\w+: [\[{])", r"\1\2", MANIFEST.read_text().replace("[GID]", "[36]"), flags=re.MULTILINE)
    assert found == 3
    (tmp_path / "daemonset.yaml").write_text(text)
    assert not refused(tmp_path / "daemonset.yaml", version)


@pytest.mark.parametrize("word", ["readOnlyRootFilesystem", "containerPort", "seccompProfile", "hostPath"])
def test_a_misspelt_field_does_not(word: str, tmp_path: Path) -> None:
    text = MANIFEST.read_text()
    assert word in text
    (tmp_path / "daemonset.yaml").write_text(text.replace(word, f"{word}s"))
    assert word in refused(tmp_path / "daemonset.yaml", "1.37")

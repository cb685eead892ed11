"""A short soak, and that it would notice: the long one is `make soak`."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.endtoend import REAL_QEMU
from tests.soak import SLACK, Held, Soaked, soak
from tests.test_changing_host import privately


@pytest.mark.slow
@REAL_QEMU
def test_nothing_grows_while_a_host_changes_and_probes_are_killed(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*privately(), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root and mount namespaces: the host that changes is a private one")
    soaked = soak(tmp_path, 20, 0)
    assert soaked.problems() == []
    assert soaked.logged["warn: capability lost"] >= len(soaked.held)


USUAL = Held(60_000_000, 8, 2, 0)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (Held(60_000_000 + SLACK, 8, 2, 0), []),
        (Held(60_000_001 + SLACK, 8, 2, 0), ["memory"]),
        (Held(60_000_000, 9, 3, 1), ["descriptors", "threads", "children"]),
        (Held(50_000_000, 7, 1, 0), []),
    ],
)
def test_what_grew_is_told(last: Held, told: list[str]) -> None:
    held = [Held(0, 0, 0, 0), Held(0, 0, 0, 0), USUAL, USUAL, last, last]
    assert [problem.partition(":")[0] for problem in Soaked(held, Counter(), Counter()).problems()] == told


def test_one_who_had_more_for_a_moment_has_not_grown() -> None:
    busy = Held(70_000_000, 20, 5, 1)
    assert Soaked([USUAL, USUAL, USUAL, busy, busy, USUAL], Counter(), Counter()).problems() == []


def test_what_failed_is_told() -> None:
    assert Soaked([USUAL] * 3, Counter(), Counter({"error: GET '/' failed": 1})).problems() == ["logged: error: GET '/' failed (1)"]

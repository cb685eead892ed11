"""The requirement mechanism of `conftest`, tried on throw-away test files in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_there(needs):
    needs("paper", True, "to write on")

def test_a_fixture(needs):
    needs("ink", False, "to write with")

@pytest.mark.skipif(True, reason="needs ink: it writes too")
def test_a_mark():
    pass

def test_a_plain_skip():
    pytest.skip("needs libvirt's corpus: it compares")

def test_another_reason():
    pytest.skip("not on this kernel")
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    (tmp_path / "conftest.py").write_bytes((Path(__file__).parent / "conftest.py").read_bytes())
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("DOMCAPS_", "PYTEST_"))}

    def call(source: str, **environment: str) -> tuple[int, str]:
        (tmp_path / "test_parts.py").write_text(source)
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
        done = subprocess.run(
            argv,
            env={**clean, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        return done.returncode, done.stdout

    return call


def test_what_was_skipped_for_want_of_a_part_is_summed_up_at_the_end(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run(TESTS)
    assert code == 0
    assert "3 tests skipped for want of: ink (2), libvirt's corpus (1)" in output
    assert "1 passed, 4 skipped" in output.splitlines()[-1]


def test_a_required_part_that_lacks_is_a_failure(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run(TESTS, DOMCAPS_REQUIRE="all")
    assert code == 1
    assert "this machine lacks ink: needs ink: to write with" in output
    assert "1 failed, 1 passed, 2 skipped, 1 error" in output


def test_libvirts_corpus_is_required_only_where_it_was_promised(run: Callable[..., tuple[int, str]]) -> None:
    _, output = run(TESTS, DOMCAPS_REQUIRE="all", DOMCAPS_LIBVIRT_CORPUS="/nowhere")
    assert "2 failed, 1 passed, 1 skipped, 1 error" in output


def test_a_whole_file_can_lack_a_part(run: Callable[..., tuple[int, str]]) -> None:
    source = 'import pytest\npytest.skip("needs ink: all of it", allow_module_level=True)\n'
    assert "1 tests skipped for want of: ink (1)" in run(source)[1]
    assert "this machine lacks ink" in run(source, DOMCAPS_REQUIRE="all")[1]

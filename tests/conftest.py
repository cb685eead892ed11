"""What a machine lacks, said aloud: tests that skip with `needs PART: why` are summed up, and fail under DOMCAPS_REQUIRE=all.

Two parts may be lacking all the same: `kvm` where the machine has no /dev/kvm, and `libvirt's corpus` where DOMCAPS_LIBVIRT_CORPUS
does not say where it is.

Tests marked `slow` are left out, unless CI=true or --slow.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

_LACKING: pytest.StashKey[Counter[str]] = pytest.StashKey()


@pytest.fixture
def needs() -> Callable[[str, object, str], None]:
    """`needs("promtool", shutil.which("promtool"), "it checks the exposition")`: skip the test where the part is not there."""

    def check(part: str, there: object, why: str) -> None:
        if not there:
            pytest.skip(f"needs {part}: {why}")

    return check


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", default=os.environ.get("CI") == "true", help="run the slow tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LACKING] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _count(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _count(collector.config, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lacking = config.stash[_LACKING]
    if lacking:
        parts = ", ".join(f"{part} ({count})" for part, count in lacking.most_common())
        terminalreporter.section("what this machine lacks", yellow=True)
        terminalreporter.write_line(f"{lacking.total()} tests skipped for want of: {parts}")


def _count(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = _reason(report)
    match = re.match("needs ([^:]+):", reason)
    if match is None:
        return
    if os.environ.get("DOMCAPS_REQUIRE") == "all" and not _excused(match[1]):
        report.outcome = "failed"
        report.longrepr = f"DOMCAPS_REQUIRE=all, and this machine lacks {match[1]}: {reason}"
    else:
        config.stash[_LACKING][match[1]] += 1


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped; empty where it was not, and for what was expected to fail."""
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return ""
    return report.longrepr[2].removeprefix("Skipped: ")


def _excused(part: str) -> bool:
    absent = {"kvm": not Path("/dev/kvm").exists(), "libvirt's corpus": "DOMCAPS_LIBVIRT_CORPUS" not in os.environ}
    return absent.get(part.casefold(), False)

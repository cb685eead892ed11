"""What a machine lacks, said aloud: tests that skip with `needs PART: why` are summed up, and fail under DOMCAPS_REQUIRE=all.

Two parts may be lacking all the same: `kvm` where the machine has no /dev/kvm, and `libvirt's corpus` where DOMCAPS_LIBVIRT_CORPUS
does not say where it is.

Tests marked `slow` are left out, unless CI=true or --slow. No test has a time limit: Hypothesis' own is switched off.
"""

from __future__ import annotations

import gc
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("domcaps", deadline=None)
settings.load_profile("domcaps")


@pytest.fixture(autouse=True)
def _quiet_again() -> Generator[None]:
    """A command that ran in this process has set the log's level; the next test hears everything again."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


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


def pytest_collection_finish() -> None:
    """What was collected stays to the end. The garbage collector need not look through it again and again; tests wait for it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _insist(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _insist(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """From the reports alone, so that it is the same where the tests run in several processes."""
    lacking = Counter(part for report in terminalreporter.getreports("skipped") if (part := _part(report)))
    if lacking:
        parts = ", ".join(f"{part} ({count})" for part, count in lacking.most_common())
        terminalreporter.section("what this machine lacks", yellow=True)
        terminalreporter.write_line(f"{lacking.total()} tests skipped for want of: {parts}")
    said = [value for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome) for value in _said(report)]
    if said:
        terminalreporter.section("what was counted")
        terminalreporter.write_line("\n".join(said))


def _said(report: pytest.TestReport) -> list[str]:
    """What a test wants to be read, also where it passed: its property `said`."""
    return [str(value) for name, value in report.user_properties if name == "said"]


def _insist(report: pytest.TestReport | pytest.CollectReport) -> None:
    part = _part(report)
    if part and os.environ.get("DOMCAPS_REQUIRE") == "all" and not _excused(part):
        reason = _reason(report)
        report.outcome = "failed"
        report.longrepr = f"DOMCAPS_REQUIRE=all, and this machine lacks {part}: {reason}"


def _part(report: pytest.TestReport | pytest.CollectReport) -> str:
    match = re.match("needs ([^:]+):", _reason(report))
    return "" if match is None else match[1]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped; empty where it was not, and for what was expected to fail."""
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return ""
    return report.longrepr[2].removeprefix("Skipped: ")


def _excused(part: str) -> bool:
    absent = {"kvm": not Path("/dev/kvm").exists(), "libvirt's corpus": "DOMCAPS_LIBVIRT_CORPUS" not in os.environ}
    return absent.get(part.casefold(), False)

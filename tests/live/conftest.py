"""Sums up, at the end of a run, what was compared with a real libvirt: tests say it as the property `compared`."""

from __future__ import annotations

import pytest
from tests.live.compare import COMPARED, Tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    whole = Tally()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, said in report.user_properties:
                if name == COMPARED:
                    whole.include(Tally.read(str(said)))
    if whole.documents:
        terminalreporter.section("beside libvirt")
        terminalreporter.write_line(str(whole))

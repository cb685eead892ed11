"""Columns that several dashboards show, and where a click on them leads."""

from __future__ import annotations

from collections.abc import Sequence

from grafana.dashboards.frame import HOST, Options, address
from grafana.dashboards.look import BLUE, RED, Column

THING = (Column("element", "Element", width=150), Column("enum", "Enum", width=170), Column("value", "Value"))
LACKS = Column("prerequisite", "What it lacks")
GUEST = (Column("machine", "Machine", width=90), Column("virttype", "Virttype", width=80))
LACKING = {-1.0: ("✗ not usable", RED), 0.0: ("✓ usable", BLUE)}
"""Of a CPU model: usable, not, or how many features are lacking."""


def host(options: Options) -> Column:
    """The host, with links to all about it."""
    return Column("instance", "Host", width=180, links=links(options))


def links(options: Options) -> Sequence[tuple[str, str]]:
    """For a cell that says a host."""
    here = "${__value.raw}"
    return (("Everything about this host", address(HOST, here)), ("Its exporter's page", options.page_of(here)))


def group(options: Options) -> Column:
    """The label of hosts that ought to be alike."""
    return Column(options.group, "Group", width=120)

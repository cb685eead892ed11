"""The table of plugins and drivers."""

from __future__ import annotations

from domcaps_exporter.drivers import Plugin
from domcaps_exporter.inventory import complaints, table
from domcaps_exporter.model import Failure, Identity, Outcome, Report, Verdict

PLUGINS = (
    Plugin("qemu", "1.0", None, ("qemu",)),
    Plugin("two", "2.1", None, ("xen", "left")),
    Plugin("hung", "3", None, ("hung",)),
    Plugin("acme", "", "ImportError:\n\x1b[31mno module"),
)
OUTCOMES = {
    "qemu": Outcome("qemu"),
    "xen": Outcome("xen", failure=Failure("absent", "no control domain")),
    "hung": Outcome("hung", failure=Failure("timeout", "no answer within 5 s")),
}


def test_each_driver_has_its_state_with_the_reason_beside_it() -> None:
    assert [line.split(maxsplit=3) for line in table(PLUGINS[:3], OUTCOMES).splitlines()] == [
        ["PLUGIN", "VERSION", "DRIVER", "STATE"],
        ["qemu", "1.0", "qemu", "answers: 0"],
        ["two", "2.1", "xen", "absent: no control domain"],
        ["two", "2.1", "left", "left alone"],
        ["hung", "3", "hung", "timeout: no answer within 5 s"],
    ]


def test_what_drivers_note_stands_below_each_note_once() -> None:
    guests = (Identity("/bin/qemu", "x86_64", "q53", virttype) for virttype in ("kvm", "qemu"))
    runs = Verdict("guest", "", "", False)
    outcome = Outcome("qemu", tuple(Report(guest, runs, notes=("machines: found 'q53'\x1b", "another")) for guest in guests))
    assert table(PLUGINS[:1], {"qemu": outcome}).splitlines()[2:] == ["", "qemu: machines: found 'q53'?", "qemu: another"]


def test_a_refused_plugin_has_its_error_on_one_line_that_a_terminal_only_shows() -> None:
    assert table(PLUGINS[3:], {}).splitlines()[1].split() == ["acme", "-", "refused:", "ImportError:", "?[31mno", "module"]


def test_what_is_wrong_is_a_refused_plugin_and_a_driver_that_fails_but_no_absent_hypervisor() -> None:
    assert list(complaints(PLUGINS, OUTCOMES)) == [
        "plugin acme: ImportError:\n\x1b[31mno module",
        "driver hung: timeout: no answer within 5 s",
    ]

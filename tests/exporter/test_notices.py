"""Notes of drivers as warnings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domcaps_exporter.model import Failure, Identity, Outcome, Report, Verdict
from domcaps_exporter.notices import Notices, notes


def outcome(*noted: str) -> Outcome:
    guests = (Identity("/bin/qemu", "x86_64", "q35", virttype) for virttype in ("kvm", "qemu"))
    return Outcome("qemu", tuple(Report(guest, Verdict("guest", "", "", True), notes=noted) for guest in guests))


def test_a_note_is_told_once_however_many_guests_and_scrapes_have_it(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for said in (outcome("one", "two"), outcome("two"), outcome("two", "three"), outcome("one")):
        notices.tell(said)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "one"),
        ("WARNING", "two"),
        ("WARNING", "three"),
    ]


def test_a_driver_whose_every_note_is_another_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for number in range(1000):
        notices.tell(outcome(f"note {chr(0x4E00 + number)}"))
    notices.tell(replace(outcome("another driver's"), driver="xen"))
    *told, left_out, other = [one.getMessage() for one in caplog.records]
    assert len(told) == 50
    assert left_out == "further notes are left out: see the page"
    assert other == "another driver's"


def test_notes_that_differ_in_numbers_only_are_told_once_and_long_ones_in_part(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for number in range(3):
        notices.tell(outcome(f"qemu[{15000 + number}]: could not open display", "x" * 100_000))
    assert [len(one.getMessage()) for one in caplog.records] == [35, 500]


def test_what_is_withheld_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    notices = Notices()
    for number in (101, 102):
        notices.refuse("qemu", Failure("limit", f"{number} series are more than the 100 allowed"))
    for _ in range(2):
        notices.refuse("qemu", None)
        notices.refuse("xen", None)
    told = [(one.levelname, one.getMessage(), getattr(one, "fields", None)) for one in caplog.records]
    assert told == [
        ("WARNING", "probe failed", {"driver": "qemu", "reason": "limit", "error": "101 series are more than the 100 allowed"}),
        ("INFO", "probe answers again", {"driver": "qemu"}),
    ]


def test_who_gave_no_answer_has_no_notes() -> None:
    assert notes(Outcome("xen", failure=Failure("absent", "no Xen"))) == ()

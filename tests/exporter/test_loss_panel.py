"""The page's section about losses: what `domcaps_lost_timestamp_seconds` tells, with the reasons, for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.exporter.test_page import HOSTILE, told
from tests.exporter.test_past import ARM, CODE, EPYC, KVM, VFIO, report, vfio

from domcaps_exporter.claims import GUEST
from domcaps_exporter.loss_panel import Missed, missed
from domcaps_exporter.model import Failure, Identity, Outcome, Report
from domcaps_exporter.past import Guest, Past, Presence, Trace
from domcaps_exporter.truths import Key

SINCE = 1_770_000_000.0


def past(*keys: Key, identity: Identity = KVM, presence: Presence = "reported") -> Past:
    """One that misses just these."""
    return Past({identity: Guest({GUEST: Trace(True), **{key: Trace(False, SINCE, listed=True) for key in keys}}, presence)})


def said(past: Past, *reports: Report, failure: str = "") -> str:
    outcome = Outcome("qemu", reports, Failure(failure, "why") if failure else None)
    return told(f"<body>{missed([outcome], [past]).shown}</body>")


BLOCKED = report(models={"EPYC": "no"}, blockers=("sse4a", "svm"))


@pytest.mark.parametrize(
    ("key", "reports", "failure", "reason"),
    [
        (VFIO, [report(vfio(False))], "", "the kernel shows no IOMMU groups"),
        (CODE, [replace(report(), loaders=(("/fw/CODE.fd", False),))], "", "a file that the firmware descriptor names is not"),
        (EPYC, [BLOCKED], "", "sse4a; svm"),
        (EPYC, [report(models={})], "", "it is no longer named"),
        (("cpu", "feature", "tsx"), [replace(report(), host_features=(("tsx", False),))], "", "no reason is given"),
        (GUEST, [report(guest=False)], "", "there is no /dev/kvm"),
        (VFIO, [report(guest=False)], "", "no such guest can run here now"),
        (VFIO, [], "timeout", "the driver qemu gives no answer now"),
    ],
)
def test_a_loss_is_told_with_its_guest_its_time_and_its_reason(
    key: Key, reports: Sequence[Report], failure: str, reason: str
) -> None:
    text = said(past(key), *reports, failure=failure)
    what = " ".join(filter(None, key))
    where = "qemu x86_64 q35 kvm /usr/bin/qemu-system-x86_64"
    assert f"Lost, and not back What a guest could have and cannot now: 1 What Since Why ✗ lost {what} {where}" in text
    assert f"2026-02-02 02:40:00 UTC {reason}" in text


@pytest.mark.parametrize(
    ("failure", "reason"), [("", "the emulator is not there"), ("absent", "the hypervisor is not there any more")]
)
def test_a_guest_that_is_gone_stands_first_and_says_what_is_gone_with_it(failure: str, reason: str) -> None:
    text = said(past(VFIO, GUEST, identity=ARM, presence="gone"), failure=failure)
    assert text.index("✗ lost guest qemu aarch64 virt qemu") < text.index("✗ lost hostdev pciBackend vfio")
    assert reason in text
    assert "no such guest can run here now" in text


def test_where_nothing_is_lost_and_of_guests_that_nobody_asks_for_nothing_is_said() -> None:
    assert said(past(), report()) == ""
    assert said(past(VFIO, presence="withdrawn"), report()) == ""


def test_losses_beyond_a_page_full_are_counted() -> None:
    text = said(past(*(("disk", "bus", f"b{number}") for number in range(300))), report())
    assert "What a guest could have and cannot now: 300, of which 200" in text
    assert text.count("✗ lost") == 200


def test_what_is_said_of_the_same_reports_and_pasts_is_written_once() -> None:
    outcomes = [Outcome("qemu", (report(vfio(False)),)), Outcome("xen", failure=Failure("absent", "no /dev/xen"))]
    pasts = [past(VFIO), Past()]
    first = missed(outcomes, pasts)
    again = [replace(outcomes[0], duration=2.0), Outcome("xen", failure=Failure("absent", "no /dev/xen"))]
    assert missed(again, pasts, first) is first
    others: list[tuple[list[Outcome], list[Past]]] = [
        (again, [past(VFIO), Past()]),
        ([Outcome("qemu", (report(vfio(False)),)), again[1]], pasts),
        ([Outcome("qemu", failure=Failure("timeout", "")), again[1]], pasts),
        ([again[0], Outcome("xen", failure=Failure("crashed", ""))], pasts),
        (again[:1], pasts[:1]),
    ]
    for outcomes, pasts in others:
        found = missed(outcomes, pasts, first)
        assert found is not first
        assert found == missed(outcomes, pasts)


def test_whatever_is_remembered_is_text() -> None:
    known = past((HOSTILE, HOSTILE, HOSTILE), identity=Identity(HOSTILE, HOSTILE, HOSTILE, HOSTILE))
    found: Missed = missed([Outcome(HOSTILE, failure=Failure("crashed", HOSTILE))], [known])
    assert "✗ lost" in found.shown
    assert "<script" not in found.shown
    found.shown.encode()

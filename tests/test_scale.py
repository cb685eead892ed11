"""The bench of fleets, on a tiny one: it runs to its end, and VictoriaMetrics answers as Prometheus does."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from tests.bench.panels import Ask, bare, difference
from tests.bench.scale import main
from tests.bench.stores import Vector

TINY = "--hosts 20 --interval 2 --settle 4 --rounds 2 --history 0.05 --repeat 1"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["live", "cluster"])
def test_the_bench_measures_a_tiny_fleet(
    part: str, needs: Callable[[str, object, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("prometheus", "victoria-metrics"):
        needs(program, shutil.which(program), "it is what is measured")
    assert main([part, *TINY.split()]) == 0
    said = capsys.readouterr().out
    if part == "live":
        assert "live: 20 of 20 hosts up" in said
    else:
        assert "instant queries 0 are answered differently" in said, said


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alive"]) == 2
    assert capsys.readouterr().err == "scale: no part 'alive'; expected some of: live, curve, disk, cluster\n"


def test_without_the_recording_rules_a_query_asks_what_they_would_have_recorded() -> None:
    (found,) = bare([Ask("", 'sum(domcaps:secure_slots_seen) + count(domcaps:wave{group="a"}) + count(up)')])
    assert found.expr.startswith("sum(domcaps:secure_slots_seen) + count((")  # the first needs its own past
    assert "domcaps:wave" not in found.expr
    assert found.expr.endswith(") + count(up)")


def said(label: str, value: float) -> Vector:
    return {(("a", label),): value}


def test_two_answers_are_alike_where_labels_are_and_values_nearly() -> None:
    assert difference(said("b", 1 / 3), said("b", 1 / 3 + 1e-12)) == ""
    assert difference(said("b", 1), said("c", 1)) == "1 and 1 series; {'a': 'b'} in the first only"
    assert difference(said("b", 1), said("b", 2)) == "1 of 1 values: 1 and 2 of {'a': 'b'}"

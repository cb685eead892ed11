"""What our samples come to: metric families, as prometheus_client's own parser reads our bytes."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from domcaps_exporter.exposition import TEXT_0, Part
from domcaps_exporter.metrics import Sample, families, lines


def parsed(samples: Iterable[Sample]) -> list[Metric]:
    """The families of these samples."""
    return list(text_string_to_metric_families(Part(families([lines(samples)])).plain(TEXT_0).decode()))

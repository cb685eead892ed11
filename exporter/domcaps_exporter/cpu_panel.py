"""The processor on the page: which CPU models a guest can have and what blocks the others, and what the host's CPU offers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domcaps_exporter.markup import folded, items, table, text
from domcaps_exporter.model import CpuModel, HostModel, Report
from domcaps_exporter.truths import host_model, models

_STATES = {"yes": '<b class="yes">✓ usable</b>', "no": '<b class="no">✗ blocked</b>'}


def render(report: Report) -> str:
    """Folded tables, and none for what the report does not tell."""
    return _models(told_apart(report)) + _host_model(host_model(report)) + _features(report.host_features)


def told_apart(report: Report) -> tuple[CpuModel, ...]:
    """The CPU models without those that are only another name of a listed one."""
    listed = models(report).values()
    names = {model.canonical for model in listed}
    return tuple(model for model in listed if model.name not in names)


def _models(shown: tuple[CpuModel, ...]) -> str:
    if not shown:
        return ""
    usable = sum(model.usable == "yes" for model in shown)
    rows = (
        (text(model.name) + _about(model), _STATES.get(model.usable, '<b class="unsure">? nobody knows</b>'), _blockers(model))
        for model in shown
    )
    listing = table("CPU models by name (mode custom)", ("Model", "On this host", "Blocked by"), rows)
    return folded(f"CPU models: {usable} of {len(shown)} usable", listing)


def _about(model: CpuModel) -> str:
    words = [model.vendor or "", "deprecated" if model.deprecated == "yes" else ""]
    return f" <small>{text(', '.join(filter(None, words)))}</small>"


def _blockers(model: CpuModel) -> str:
    return " ".join(f'<code class="whole">{text(feature)}</code>' for feature in model.blockers)


def _host_model(model: HostModel | None) -> str:
    if model is None:
        return ""
    features = "".join(_policies(model))
    words = " ".join(filter(None, (model.model, f"({model.vendor})" if model.vendor else "")))
    return folded(f"The mode host-model means {text(words)}", features or "<p>without any changes</p>")


def _policies(model: HostModel) -> Iterator[str]:
    for policy in dict.fromkeys(feature.policy for feature in model.features):
        named = (text(feature.name) for feature in model.features if feature.policy == policy)
        yield f"<h3>{text(policy)}</h3>" + items("plain", policy, named, "")


def _features(offered: Iterable[tuple[str, bool]]) -> str:
    features = dict(offered)
    if not features:
        return ""
    there = [text(name) for name, truth in features.items() if truth]
    away = [text(name) for name, truth in features.items() if not truth]
    listed = items("have", "offered", there, "✓") + items("unknown", "not offered", away, "✗")
    return folded(f"The host's CPU: offers {len(there)} of the {len(features)} features looked at", listed)

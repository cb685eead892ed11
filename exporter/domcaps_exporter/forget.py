"""Acknowledges losses in the state file, also while an exporter uses it: that notices at its next scrape. It acts on that file."""

from __future__ import annotations

from domcaps_exporter.memoir import Memory
from domcaps_exporter.past import Loss, forgotten, labels
from domcaps_exporter.selector import Selector
from domcaps_exporter.statefile import StateFile

_PATIENCE = 5.0
"""Seconds to wait for an exporter that is writing."""


def forget(file: StateFile, selector: Selector) -> tuple[Loss, ...]:
    """Forget the chosen losses; what they were.

    Raises:
        Damaged: it is no state file. It stays as it is: the exporter sets it aside.
        OSError: there is no such file, or it cannot be read or replaced.
    """
    if not _without(file.existing(), selector)[1]:  # nothing is locked, or left behind, for nothing
        return ()
    with file.locked(_PATIENCE):
        memory, losses = _without(file.existing(), selector)
        if losses:
            file.write(memory)
    return losses


def remembered(file: StateFile) -> tuple[Loss, ...]:
    """Every loss that `forget` could choose.

    Raises:
        Damaged: it is no state file.
        OSError: there is no such file, or it cannot be read.
    """
    return tuple(loss for driver, past in file.existing().items() for loss in forgotten(driver, past, lambda _: True)[1])


def _without(memory: Memory, selector: Selector) -> tuple[Memory, tuple[Loss, ...]]:
    """The memory without the chosen losses, and what they were."""
    split = {driver: forgotten(driver, past, lambda loss: selector.chooses(labels(loss))) for driver, past in memory.items()}
    return {driver: past for driver, (past, _) in split.items()}, tuple(loss for _, found in split.values() for loss in found)

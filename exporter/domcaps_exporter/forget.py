"""Acknowledges losses in the state file, also while an exporter uses it: that notices at its next scrape. It acts on that file."""

from __future__ import annotations

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
    with file.locked(_PATIENCE):
        memory = file.existing()
        losses: list[Loss] = []
        for driver, past in memory.items():
            memory[driver], found = forgotten(driver, past, lambda loss: selector.chooses(labels(loss)))
            losses += found
        if losses:
            file.write(memory)
    return tuple(losses)


def remembered(file: StateFile) -> tuple[Loss, ...]:
    """Every loss that `forget` could choose.

    Raises:
        Damaged: it is no state file.
        OSError: there is no such file, or it cannot be read.
    """
    return tuple(loss for driver, past in file.existing().items() for loss in forgotten(driver, past, lambda _: True)[1])

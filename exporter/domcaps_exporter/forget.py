"""Acknowledges losses in the state file, also while an exporter uses it: that notices at its next scrape. It acts on that file."""

from __future__ import annotations

import errno
import os

from domcaps_exporter.past import Loss, forgotten
from domcaps_exporter.selector import Selector
from domcaps_exporter.statefile import StateFile

LABELS = ("driver", "emulator", "arch", "machine", "virttype", "element", "enum", "value")
"""What losses can be chosen by: the labels of `domcaps_lost_timestamp_seconds`."""

_PATIENCE = 5.0
"""Seconds to wait for an exporter that is writing."""


def forget(file: StateFile, selector: Selector) -> tuple[Loss, ...]:
    """Forget the chosen losses; what they were.

    Raises:
        Damaged: it is no state file. It stays as it is: the exporter sets it aside.
        OSError: there is no such file, or it cannot be read or replaced.
    """
    with file.locked(_PATIENCE):
        if not file.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file.path))
        memory = file.read()
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
        OSError: it cannot be read.
    """
    return tuple(loss for driver, past in file.read().items() for loss in forgotten(driver, past, lambda _: True)[1])


def labels(loss: Loss) -> dict[str, str]:
    """A loss's labels, as in `domcaps_lost_timestamp_seconds`."""
    guest = loss.identity
    return dict(zip(LABELS, (loss.driver, guest.emulator, guest.arch, guest.machine, guest.virttype, *loss.key), strict=True))

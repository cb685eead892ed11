"""What libvirt costs here for the same answer: one call of virsh, to a libvirtd of its own. Prints a table, judges nothing.

The libvirtd has an empty cache and a parent that reaps at once, as a host's init does: what is timed is libvirt, not the container.
Usage: python -m tests.bench.libvirt [--all]
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.live.libvirtd import Cost, cost, lacking

_LIBVIRT_NAME = {"i386": "i686", "arm": "armv7l"}
_PREFIX = "/usr/bin/qemu-system-"


def cold_and_warm() -> tuple[float, float]:
    """Seconds for the native emulator's default machine, with an empty cache and with a full one; NaN where it has no answer."""
    measured = _cost(platform.machine())
    return measured.cold, measured.warm


def _cost(name: str) -> Cost:
    return cost(_PREFIX + name, _LIBVIRT_NAME.get(name, name))


def main(argv: Sequence[str]) -> int:
    """The native emulator, or all that are installed."""
    if lacking():
        print(f"{lacking()} is not installed", file=sys.stderr)
        return 2
    every = sorted(path.name.removeprefix("qemu-system-") for path in Path(_PREFIX).parent.glob("qemu-system-*"))
    print(f"{'libvirt, in seconds':32} {'cold':>8} {'warm':>8}")
    for name in every if "--all" in argv else (platform.machine(),):
        measured = _cost(name)
        print(f"{name:32} {measured.cold:8.3f} {measured.warm:8.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

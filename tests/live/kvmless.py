"""A QEMU for x86 as a build without KVM would be, made of the machine's own; and as a program, the comparison for it.

It knows no CPU of the name `host`, so libvirt looks at the processor itself, and it has no accelerator but TCG, whatever /dev/kvm
is. Usage: as that of tests.live.compare, without emulators.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.live import compare

NAME = "qemu-system-x86_64"
REAL = Path("/usr/bin", NAME)
_MODULES = Path("/usr/lib", str(sysconfig.get_config_var("MULTIARCH")), "qemu")
_WRAPPER = """#!/bin/sh
for one; do
    set -- "$@" "$(echo "$one" | sed 's/accel=kvm[a-z:]*/accel=tcg/')"
    shift
done
QEMU_MODULE_DIR={modules} exec {program} "$@"
"""


def made(folder: Path) -> str:
    """Its path in this folder. It is the real one with another name for that CPU's type, of equal length."""
    program, wrapper = folder / "program", folder / NAME
    program.write_bytes(REAL.read_bytes().replace(b"host-x86_64-cpu", b"none-x86_64-cpu"))
    wrapper.write_text(_WRAPPER.format(modules=_MODULES, program=program))
    for file in (program, wrapper):
        file.chmod(0o755)
    return str(wrapper)


def main(argv: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return compare.main([made(Path(folder)), *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

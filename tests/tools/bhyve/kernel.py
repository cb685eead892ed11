"""Stands in for the programs that tell about FreeBSD's kernel: `kernel.py HOST PROGRAM ARGV…`. Run, never imported.

HOST is a file of lines: `knob hw.vmm.maxcpu 8`, `module vmm.ko`, `device ppt0@pci0:1:0:0`.
Sources: sbin/sysctl/sysctl.c (parse), sbin/kldstat/kldstat.c (printfile), usr.sbin/pciconf/pciconf.c (list_devs).
"""

from __future__ import annotations

import sys

Host = dict[str, list[list[str]]]


def sysctl(host: Host, arguments: list[str]) -> int:
    """`name: value`, with -n the value only; what is not known is a warning, with -i nothing; the status counts the warnings."""
    flags = [one for one in arguments if one.startswith("-")]
    knobs = {name: " ".join(value) for name, *value in host["knob"]}
    warnings = 0
    for name in arguments[len(flags) :]:
        if name in knobs:
            print(knobs[name] if "-n" in flags else f"{name}: {knobs[name]}")
        elif "-i" not in flags:
            print(f"sysctl: unknown oid '{name}'", file=sys.stderr)
            warnings += 1
    return warnings


def kldstat(host: Host, _: list[str]) -> int:
    """A table of the files that are loaded."""
    print("Id Refs Address                Size Name")
    for number, (name,) in enumerate(host["module"], 1):
        print(f"{number:2} {1:4} 0xffffffff80200000 {4096:8x} {name}")
    return 0


def pciconf(host: Host, _: list[str]) -> int:
    """`-l`: a line for each device, the driver's name first."""
    for (selector,) in host["device"]:
        print(f"{selector}:\tclass=0x020000 rev=0x01 hdr=0x00 vendor=0x8086 device=0x1521 subvendor=0x8086 subdevice=0x0001")
    return 0


def read(path: str) -> Host:
    host: Host = {"knob": [], "module": [], "device": []}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  without pathlib it starts in half the time
        for line in file:
            kind, *words = line.split()
            host[kind].append(words)
    return host


if __name__ == "__main__":
    programs = {"sysctl": sysctl, "kldstat": kldstat, "pciconf": pciconf}
    sys.exit(programs[sys.argv[2]](read(sys.argv[1]), sys.argv[3:]))

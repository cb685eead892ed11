"""Stands in for FreeBSD's bhyve of one release: `bhyve.py RELEASE ARCH ARGV…`. Run, never imported.

It answers what the real one answers without a guest's name: which stream, which text, which exit status, which check first.
Only what a driver may look at is written out: of the usage text the head with the flags, and the lines of -c and -u.

No imports but sys: the tests start hundreds of these. Sources, in FreeBSD's tree: usr.sbin/bhyve/bhyverun.c (usage, main's getopt),
pci_emul.c (pci_parse_slot, pci_print_supported_devices), pci_lpc.c (lpc_device_parse, lpc_print_supported_devices) and the Makefile
(which devices there are, in which order), of 10.4, 12.1, 12.2, 13.2: the release trees; 13.0: main of early 2021, before the
configuration rewrite; 14.0, 15.0: main, after -l tpm and after the split into amd64/, aarch64/ and riscv/.
"""

from __future__ import annotations

import sys

COM = ("com1", "com2", "com3", "com4")
OLD = tuple("ahci ahci-hd ahci-cd e1000 dummy amd_hostbridge hostbridge lpc passthru virtio-blk virtio-net virtio-rnd uart".split())
LISTED = (*OLD, "fbuf", "nvme", "virtio-console", "virtio-scsi", "xhci")
NEWER = (*LISTED, "hda", "virtio-9p")
NEWEST = (*NEWER, "virtio-input")
ABROAD = tuple(one for one in NEWEST if one not in ("lpc", "passthru", "fbuf", "amd_hostbridge"))
TOPOLOGY = "[-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]"
COMMON = "[-m mem] [-o var=value] [-p vcpu:hostcpu] [-r file] [-s pci] [-U uuid] vmname"
CONFIGURED = f"{TOPOLOGY} [-G port] [-k config_file] [-l lpc] {COMMON}"
PORTABLE = f"{TOPOLOGY} [-G port] [-k config_file] {COMMON}"


class Release:
    """What differs from one release to the next. `rewritten`: after the configuration rewrite (13.1)."""

    def __init__(
        self,
        flags: str,
        rest: str,
        devices: tuple[str, ...],
        lpc: tuple[str, ...],
        lists: bool = True,
        unknown_status: int = 4,
        slot: str = "0:0",
        rewritten: bool = False,
    ) -> None:
        self.flags, self.rest, self.devices, self.lpc = flags, rest, devices, lpc
        self.lists, self.unknown_status, self.slot, self.rewritten = lists, unknown_status, slot, rewritten


R10 = Release(
    "abehuwxACHPSWY", "[-c vcpus] [-g <gdb port>] [-l <lpc>]", OLD, ("bootrom", "com1", "com2"), lists=False, unknown_status=1
)
R121 = Release("abehuwxACHPSWY", TOPOLOGY, LISTED, ("bootrom", "COM1", "COM2"))
R122 = Release("abehuwxACDHPSWY", TOPOLOGY, LISTED, ("bootrom", "COM1", "COM2"))
R130 = Release("aehuwxACDHPSWY", TOPOLOGY, NEWER, ("bootrom", "COM1", "COM2", "COM3", "COM4", "pc-testdev"))
R132 = Release("AaCDeHhPSuWwxY", CONFIGURED, NEWEST, ("bootrom", *COM, "pc-testdev"), slot="0:0:0", rewritten=True)
R140 = Release("aCDeHhPSuWwxY", CONFIGURED, NEWEST, ("bootrom", *COM, "tpm", "pc-testdev"), slot="0:0:0", rewritten=True)
ELSEWHERE = Release("CDHhSW", PORTABLE, ABROAD, (), slot="0:0:0", rewritten=True)

RELEASES = {
    ("10.4", "amd64"): R10,
    ("12.1", "amd64"): R121,
    ("12.2", "amd64"): R122,
    ("13.0", "amd64"): R130,
    ("13.2", "amd64"): R132,
    ("14.0", "amd64"): R140,
    ("15.0", "amd64"): R140,
    ("15.0", "aarch64"): ELSEWHERE,
    ("15.0", "riscv64"): ELSEWHERE,
}


def usage(release: Release, status: int) -> None:
    """usage() of bhyverun.c."""
    lines = [
        f"Usage: bhyve [-{release.flags}]",
        f"             {release.rest}",
        "       -c: number of CPUs and/or topology specification",
    ]
    lines += ["       -u: RTC keeps UTC time"] if "u" in release.flags else []
    fail("\n".join(lines), status)


def fail(text: str, status: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(status)


def names(devices: tuple[str, ...]) -> None:
    print("\n".join(devices))
    sys.exit(0)


def slot(release: Release, argument: str) -> None:
    """pci_parse_slot(): the list first, then the form, then the device."""
    if release.lists and "help".startswith(argument):
        names(release.devices)
    place, comma, rest = argument.partition(",")
    if not comma or not place.replace(":", "").isdecimal():
        fail(f'Invalid PCI slot info field "{argument}"', release.unknown_status)
    device = rest.partition(",")[0]
    if device not in release.devices:
        fail(f'pci slot {release.slot}: unknown device "{device}"', release.unknown_status)


def lpc(release: Release, argument: str) -> None:
    """lpc_device_parse(): the list first, then the device; its options only after the rewrite."""
    if release.lists and "help".startswith(argument):
        names(release.lpc)
    device, comma, _ = argument.partition(",")
    if device.lower() not in [one.lower() for one in release.lpc]:
        fail(f"bhyve: invalid lpc device configuration '{argument}'", 64)
    if release.rewritten and device == "bootrom" and not comma:
        fail('bhyve: invalid bootrom option "bootrom"', 4)
    if device == "tpm" and not comma:
        fail('bhyve: invalid tpm type "tpm"', 4)


def main(release: Release, arguments: list[str]) -> None:
    """main()'s getopt; without a guest's name it ends in the usage, with 1."""
    for option, argument in zip(arguments, [*arguments[1:], ""], strict=True):
        if option == "-h":
            usage(release, 0)
        if option == "-s":
            slot(release, argument)
        if option == "-l":
            if not release.lpc:
                print("bhyve: illegal option -- l", file=sys.stderr)
                usage(release, 1)
            lpc(release, argument)
    usage(release, 1)


if __name__ == "__main__":
    main(RELEASES[sys.argv[1], sys.argv[2]], sys.argv[3:])

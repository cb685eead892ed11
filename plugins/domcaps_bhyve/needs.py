"""The prerequisites that rows of the table name: what users read in `prerequisite="…"`. Pure.

Names are stable. `bhyve-…` is the emulator's part, the rest is the host's.
"""

from __future__ import annotations

from domcaps_bhyve.world import World
from domcaps_exporter import Truth
from domcaps_exporter.rules import ALWAYS, Need, ValueRow, Version, value
from domcaps_exporter.view import all_known

Rule = Need[World]

UNHEARD: Version = ALWAYS[1]
"""`since=UNHEARD`: a row that no libvirt's answer has, as far as is known here; the metrics do."""


def device(*names: str) -> Rule:
    """A PCI device that bhyve emulates; all of these."""
    return Need(f"bhyve-device:{'+'.join(names)}", lambda world: all_known([world.device(name) for name in names]))


def option(letter: str) -> Rule:
    """An option of bhyve's command line."""
    return Need(f"bhyve-option:{letter}", lambda world: world.option(letter))


def node(path: str) -> Rule:
    """A device node: `dev-cam-ctl` for /dev/cam/ctl."""
    return Need(path.strip("/").replace("/", "-"), lambda world: world.exists(path))


def without(name: str) -> Rule:
    """What bhyve has not, in any release that is known here."""
    return Need(f"bhyve:{name}", lambda _: False)


def unheard(name: str, *needs: Rule, besides: tuple[Rule, ...] = ()) -> ValueRow[World]:
    """A value that a guest may have, of an element that libvirt calls unsupported all the same."""
    return value(name, *needs, besides=besides, before=(UNHEARD, (without("libvirt"),)))


def _topology(world: World) -> Truth:
    told = world.usage()
    return None if told is None else told.topology


bootrom: Rule = Need("bhyve-lpc:bootrom", lambda world: world.bootrom())
tpm: Rule = Need("bhyve-lpc:tpm", lambda world: world.lpc("tpm"))
swtpm: Rule = Need("bhyve-tpm:swtpm", lambda _: None)
"""Nobody knows: bhyve's lists do not say which TPM backends it was built with (swtpm came after passthru)."""
topology: Rule = Need("bhyve-option:c-topology", _topology)

vmm_ko: Rule = Need("vmm-ko", lambda world: world.vmm())
virtualization: Rule = Need("hardware-virtualization", lambda world: world.virtualization() if world.vmm() is not False else None)
unrestricted: Rule = Need("unrestricted-guest", lambda world: world.unrestricted())
iommu: Rule = Need("iommu", lambda world: world.iommu())
ppt: Rule = Need("ppt-device", lambda world: world.ppt())
firmware_file: Rule = Need("firmware-file", lambda world: world.firmware())
variables_file: Rule = Need("firmware-file:uefi-vars", lambda world: world.variables())
aarch64: Rule = Need("arch:aarch64", lambda world: world.arch == "aarch64")

PASSTHROUGH = (device("passthru"), iommu, ppt)
"""All three, or no device goes through."""
FIRMWARE = (unrestricted, firmware_file)
"""What starting firmware takes besides a bhyve that can."""

"""The prerequisites that rows of the table name: what users read in `prerequisite="…"`. Pure.

Names are stable. `qemu-…` is the emulator's part, the rest is the host's.
"""

from __future__ import annotations

import json
from typing import Any

from domcaps_exporter import ABSENT, Refusal, Truth, UnreadableAnswer, question
from domcaps_exporter.patience import unheard
from domcaps_exporter.qmp import listing, reply, text
from domcaps_exporter.rules import Need
from domcaps_exporter.view import View, all_known, any_known, presence_of
from domcaps_qemu.computed import sev_guests
from domcaps_qemu.replies import gics, version
from domcaps_qemu.world import ACCELERATED, World

Rule = Need[World]


# ---- the emulator ------------------------------------------------------------------------------------------------------------


def qom(*types: str, name: str = "") -> Rule:
    """Any of these QOM types. `name` stands for a long list of them."""
    return Need(f"qemu-device:{name or '|'.join(types)}", lambda world: world.has_type(*types))


def prop(typename: str, name: str) -> Rule:
    """A property of a QOM type."""
    return Need(f"qemu-property:{typename}.{name}", lambda world: world.has_property(typename, name))


def schema(*paths: str, name: str = "") -> Rule:
    """Paths in QEMU's QMP schema."""
    return Need(f"qemu-qmp:{name or paths[0]}", lambda world: world.has_schema(*paths))


def option(name: str, parameter: str | None = None) -> Rule:
    """An option of QEMU's command line, or a parameter of it."""
    label = name if parameter is None else f"{name}.{parameter}"
    return Need(f"qemu-option:{label}", lambda world: world.has_option(name, parameter))


def listed(query: str, word: str) -> Rule:
    """A word in the reply to a QMP query."""
    return Need(f"qemu:{word}", lambda world: world.has_word(query, word))


def machine(name: str, *patterns: str) -> Rule:
    """The machine is one of these."""
    return Need(f"machine:{name}", lambda world: world.machine_is(*patterns))


_ARM = ("aarch64", "armv7l", "armv6l")
x86: Rule = Need("arch:x86", lambda world: world.is_x86)
x86_64: Rule = Need("arch:x86_64", lambda world: world.arch_is("x86_64"))
s390: Rule = Need("arch:s390", lambda world: world.is_s390)
ppc64: Rule = Need("arch:ppc64", lambda world: world.is_ppc64)
arm: Rule = Need("arch:arm", lambda world: world.arch_is(*_ARM))

I440FX = ("pc", "pc-0.*", "pc-1.*", "pc-i440fx-*", "rhel*")
Q35 = ("q35", "pc-q35-*")


fsdev_handle: Rule = Need("qemu-fsdev:handle", lambda world: _older(world, 4))


def _older(world: World, major: int) -> Truth:
    """Is QEMU older than this? For what it says nothing about: the `handle` driver went with 4.0."""
    told = world.binary(version, "query-version")
    return None if told is None else told[0] < major


# ---- the host's files --------------------------------------------------------------------------------------------------------

MODULES = "/lib/modules"
"""Where the kernel's modules are installed, by release."""

iommu_groups: Rule = Need("iommu-groups", lambda world: world.has_entries("/sys/kernel/iommu_groups"))


def node(path: str) -> Rule:
    """A device node: `dev-vhost-net` for /dev/vhost-net."""
    return Need(path.strip("/").replace("/", "-"), lambda world: world.exists(path))


def _renders(world: World) -> Truth:
    nodes = world.view.entries(question("list", "/dev/dri"))
    return None if nodes is None else any(name.startswith("renderD") for name in nodes)


render_node: Rule = Need("render-node", _renders)
"""A GPU's: QEMU draws on it ("no drm render node available"), and libvirt looks for one when the guest starts."""

dev_tpm = node("/dev/tpm0")
"""What QEMU and libvirt pass through unless another is named."""

dev_vfio: Rule = Need("dev-vfio", lambda world: world.exists("/dev/vfio/vfio"))


def _modules(index: bytes) -> frozenset[str]:
    """The names of the modules in modules.dep or modules.builtin."""
    paths = (line.partition(b":")[0].rpartition(b"/")[2] for line in index.splitlines())
    return frozenset(path.partition(b".ko")[0].decode("utf-8", "replace") for path in paths)


def _module(world: World, name: str) -> Truth:
    """Is a kernel module there: built in, or installed for the running kernel?"""
    if world.kernel_release is None:
        return None
    indexes = (question("read", f"{MODULES}/{world.kernel_release}/modules.{kind}") for kind in ("dep", "builtin"))
    forms = [world.view.form(index, _modules) for index in indexes]
    return any_known(name in form if isinstance(form, frozenset) else presence_of(form) for form in forms)


def _vfio_pci(world: World) -> Truth:
    registered = world.exists("/sys/bus/pci/drivers/vfio-pci")
    return registered if registered is True else any_known([registered, _module(world, "vfio-pci")])


vfio_driver: Rule = Need("vfio-pci-driver", _vfio_pci)

dev_iommu = node("/dev/iommu")


def _device_nodes(world: World) -> Truth:
    """Does the kernel make a node per VFIO device (CONFIG_VFIO_DEVICE_CDEV)? While no device is bound, only its build tells."""
    nodes = world.exists("/dev/vfio/devices")
    if nodes is True:
        return True
    groups = world.view.entries(question("list", "/dev/vfio"))
    if nodes is False and groups is not None and any(name.isdigit() for name in groups):
        return False
    release = world.kernel_release
    built = world.contains(f"/boot/config-{release}", lambda line: line == "CONFIG_VFIO_DEVICE_CDEV=y") if release else None
    readable = release is not None and world.view.there(question("read", f"/boot/config-{release}")) is True
    return built if readable else None


vfio_cdev: Rule = Need("vfio-device-nodes", _device_nodes)


def module_parameter(path: str, *beginnings: str) -> Rule:
    """A module's parameter begins with one of these."""
    return Need(
        f"kernel-parameter:{path.rsplit('/', 1)[1]}", lambda world: world.contains(path, lambda line: line.startswith(beginnings))
    )


def _secure_x86(world: World) -> Truth:
    """libvirt's test for a host with secure guests: AMD's SEV switched on and its device there, or Intel's TDX switched on."""
    sev = all_known([module_parameter(f"{_KVM_AMD}/sev", "1", "Y", "y").met(world), world.exists("/dev/sev")])
    return any_known([sev, tdx_enabled.met(world)])


_KVM_AMD = "/sys/module/kvm_amd/parameters"
tdx_enabled = module_parameter("/sys/module/kvm_intel/parameters/tdx", "Y")
snp_enabled = module_parameter(f"{_KVM_AMD}/sev_snp", "1", "Y", "y")
secure_x86: Rule = Need("secure-guest-host", _secure_x86)


def _kvm_type(bit: int) -> Rule:
    def met(world: World) -> Truth:
        told = world.view.form(question("kvm", "235"), int)  # KVM_CAP_VM_TYPES
        return bool(told >> bit & 1) if isinstance(told, int) else presence_of(told)

    return Need("kvm-vm-type:tdx", met)


kvm_tdx = _kvm_type(5)
kvm: Rule = Need("kvm", lambda world: world.virttype == "kvm")

VFIO = (iommu_groups, dev_vfio, qom("vfio-pci"))
"""What libvirt checks before it lists VFIO (virHostHasIOMMU, /dev/vfio/vfio, the device)."""


# ---- programs beside the emulator --------------------------------------------------------------------------------------------


def program(name: str) -> Rule:
    """An executable in PATH."""
    return Need(f"program:{name}", lambda world: world.in_path(name))


VHOST_USER = ("/usr/share/qemu/vhost-user", "/etc/qemu/vhost-user")


def _vhost_user(world: World, kind: str) -> tuple[list[str], bool]:
    """The programs that vhost-user descriptors name for a kind of device, and whether all descriptors could be read."""
    found: list[str] = []
    complete = True
    for folder in VHOST_USER:
        entries = world.view.entries(question("list", folder))
        complete = complete and entries is not None
        for entry in entries or ():
            form = world.view.form(question("read", f"{folder}/{entry}"), _binary_of)
            complete = complete and form is not None and not (isinstance(form, Refusal) and form.why != "absent")
            found += [binary for one, binary in form if one == kind] if isinstance(form, tuple) else []
    return found, complete


def _binary_of(data: bytes) -> tuple[tuple[str, str], ...]:
    """(type, binary) of a vhost-user descriptor (QEMU's docs/interop/vhost-user.json); none where it is not one."""
    try:
        parsed: dict[str, Any] = json.loads(data)
        return ((text(parsed["type"]), text(parsed["binary"])),)
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()


def vhost_user_program(name: str, kind: str, *paths: str) -> Rule:
    """A program that vhost-user descriptors name for `kind`, or that lies where distributions put it."""

    def met(world: World) -> Truth:
        named, complete = _vhost_user(world, kind)
        return any_known([*([] if complete else [None]), world.any_program(*named, *paths), world.in_path(name)])

    return Need(f"program:{name}", met)


virtiofsd = vhost_user_program("virtiofsd", "fs", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")


SWTPM = tuple(program(name) for name in ("swtpm", "swtpm_setup", "swtpm_ioctl"))


def _features(line: bytes) -> frozenset[str]:
    return frozenset(map(text, listing(json.loads(line)["features"])))


SWTPM_FEATURES = question("within", "3", "swtpm_setup", "--print-capabilities")
"""It takes some 20 ms; three seconds are a hundred times that, and leave the rest of a scrape its time."""


def _capabilities(view: View) -> frozenset[str] | Refusal | None:
    """What swtpm_setup says it can do. That it makes no sense is no reason to fail QEMU's driver."""
    try:
        return view.form(SWTPM_FEATURES, _features)
    except UnreadableAnswer:
        return Refusal("error", "its answer makes no sense")


def swtpm_version(feature: str) -> Rule:
    """A TPM version that swtpm_setup says it can make."""

    def met(world: World) -> Truth:
        there = world.in_path("swtpm_setup")
        if there is not True:
            return there  # what is not there need not be tried at every scrape
        form = _capabilities(world.view)
        return feature in form if isinstance(form, frozenset) else presence_of(form)

    return Need(f"swtpm:{feature}", met)


def unknown_versions(view: View) -> tuple[str, ...]:
    """Why nobody knows which TPM versions swtpm makes, if it was asked and did not say. Without swtpm it makes none."""
    there = (view.there(question("which", name)) for name in ("swtpm", "swtpm_setup"))
    if SWTPM_FEATURES not in view.facts or not all(one is True for one in there):
        return ()
    form = _capabilities(view)
    if not isinstance(form, Refusal) or form == ABSENT:
        return ()
    return (f"which versions of TPM swtpm makes is unknown: {unheard(SWTPM_FEATURES, form)}",)


# ---- firmware ----------------------------------------------------------------------------------------------------------------


def descriptor(interface: str, *features: str) -> Rule:
    """A firmware descriptor of this interface with these features is meant for this guest."""
    label = ":".join(("firmware-descriptor", *features))
    return Need(label, lambda world: world.firmware.offers(interface, *features))


def firmware_files(interface: str, *features: str) -> Rule:
    """One whose files are all there."""
    label = ":".join(("firmware-file", *features))
    return Need(label, lambda world: world.firmware.whole(interface, *features))


def firmware_feature(name: str, *, there: bool) -> Rule:
    """A descriptor of any interface has this feature, or lacks it."""
    return Need(f"firmware-descriptor:{'' if there else 'no-'}{name}", lambda world: world.firmware.feature(name, there=there))


def feature_files(name: str, *, there: bool) -> Rule:
    """The files of such a one are all there."""
    return Need(f"firmware-file:{'' if there else 'no-'}{name}", lambda world: world.firmware.feature_whole(name, there=there))


firmware_variables: Rule = Need("firmware-descriptor:uefi-vars", lambda world: world.firmware.variables())


# ---- what QEMU says of this host ---------------------------------------------------------------------------------------------


def _gic(number: int) -> Rule:
    def met(world: World) -> Truth:
        if not world.arch_is(*_ARM):
            return False  # not even asked: QEMU 10.1 and later answers with an error
        offered = world.here(gics, "query-gic-capabilities")
        if offered is None:
            return None
        virttype = world.virttype
        return any(one == number and {"kvm": kernel, "qemu": emulated}.get(virttype, False) for one, kernel, emulated in offered)

    return Need(f"gic-v{number}", met)


gic_v2, gic_v3 = _gic(2), _gic(3)


def answered(query: str, device: str) -> Rule:
    """QEMU answered this query rather than refuse it. A refusal says nothing where the exporter may not open the device itself.

    Where it may, the device may have been busy: that answer is doubted, so that it does not stand for ever.
    """

    def met(world: World) -> Truth:
        answer = world.here(reply, query)
        there = world.view.there(question("exists", device))
        mine = world.view.text(question("access", device, "rw", "")) == "yes"
        if answer is None or answer.error is None:
            return None if answer is None else True
        if there is True and mine:
            world.doubt(ACCELERATED, query)
        return False if there is False or mine else None

    return Need(f"qemu:{query}", met)


_SWITCHED_ON = tuple(f"prot_virt={word}" for word in ("y", "Y", "on", "ON", "oN", "On", "1"))

ultravisor: Rule = Need("ultravisor", lambda world: world.exists("/sys/firmware/uv"))
prot_virt: Rule = Need(
    "prot-virt",
    lambda world: world.contains("/proc/cmdline", lambda line: any(word.startswith(_SWITCHED_ON) for word in line.split())),
)


# ---- AMD's secure guests -----------------------------------------------------------------------------------------------------

sev_answer = answered("query-sev-capabilities", "/dev/sev")
sgx_answer = answered("query-sgx-capabilities", "/dev/sgx_vepc")
sev_slots: Rule = Need("sev-asids", lambda world: _slots(world, 0))
sev_es_slots: Rule = Need("sev-es-asids", lambda world: _slots(world, 1))


def _slots(world: World, which: int) -> Truth:
    """Does the host leave ASIDs to such guests?"""
    guests = sev_guests(world)
    return None if guests is None else guests[which] > 0

"""The commands: what stands after each, what it does, which flags it heeds, and an example of it. Data."""

from __future__ import annotations

from collections.abc import Mapping

PROGRAM = "domcaps-exporter"
SHELLS = ("bash", "zsh", "fish")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "serve": (),
    "show": ("[SELECTOR]",),
    "diff": ("A", "B"),
    "record": ("DRIVER", "DIR"),
    "forget": ("[SELECTOR]",),
    "textfile": ("FILE",),
    "drivers": (),
    "completion": ("SHELL",),
    "manual": (),
}
"""Command -> what stands after it; in brackets what may be left out."""

SUMMARIES: Mapping[str, str] = {
    "serve": "serve /metrics (the default)",
    "show": "this host, on the terminal; SELECTOR is some of driver, emulator, arch, machine and virttype: arch=x86_64,machine=q35",
    "diff": "what B lost and gained against A, and why; each is a domainCapabilities XML file, a directory that `record` wrote, "
    "an exporter's URL, a libvirt URI, or `local`. Exit code 0: equal, 1: different, 2: they could not be compared",
    "record": "a driver's raw answers, one file per question: a bug report, a test fixture",
    "forget": "acknowledge losses: they are no longer reported until they happen again; SELECTOR is some of their labels: "
    "element=hostdev,value=vfio",
    "textfile": "write the exposition, as a whole or not at all, for node_exporter's textfile collector",
    "drivers": "the plugins found, what becomes of asking their drivers, and why",
    "completion": "what makes bash, zsh or fish complete this command line",
    "manual": "this text as a manual page (roff)",
}
"""Command -> what it does."""

_ASKING = ("config.file", "[no-]driver.NAME", "replay", "probe.timeout", "path.rootfs", "path.procfs", "path.sysfs")
"""The flags of whatever asks a host."""
_LOGGING = ("log.level", "log.format")
_REMEMBERING = ("state.file", "state.retention")

HEEDED: Mapping[str, tuple[str, ...]] = {
    "serve": (
        *("web.listen-address", "web.telemetry-path", "web.config.file", "web.systemd-socket", "web.max-requests"),
        *(*_ASKING, "libvirt.profile", "series.limit", *_REMEMBERING, *_LOGGING),
    ),
    "show": ("format", *_ASKING, "libvirt.profile", "series.limit", *_REMEMBERING, *_LOGGING),
    "diff": ("format", *_ASKING, "libvirt.profile", "series.limit", *_LOGGING),
    "record": (*_ASKING, *_LOGGING),
    "forget": ("state.file", *_LOGGING),
    "textfile": (*_ASKING, "series.limit", *_REMEMBERING, *_LOGGING),
    "drivers": (*_ASKING, "series.limit", *_LOGGING),
    "completion": ("config.file",),
    "manual": (),
}
"""Command -> its flags; it takes those of `serve` as well, and they mean nothing to it."""

EXAMPLES: Mapping[str, str] = {
    "serve": "domcaps-exporter --web.listen-address=127.0.0.1:19177 --state.file=state.json",
    "show": "domcaps-exporter show machine=q35,virttype=kvm --format=xml",
    "diff": "domcaps-exporter diff monday http://hypervisor-2:19177",
    "record": "domcaps-exporter record qemu monday",
    "forget": "domcaps-exporter forget element=os,value=efi",
    "textfile": "domcaps-exporter textfile /var/lib/prometheus/node-exporter/domcaps.prom",
    "drivers": "domcaps-exporter drivers --config.file=domcaps.yaml",
    "completion": "source <(domcaps-exporter completion bash)",
    "manual": "domcaps-exporter manual | man -l -",
}
"""Command -> a call of it."""

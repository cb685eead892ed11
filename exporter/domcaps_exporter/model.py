"""The frozen values that travel from a host to the exposition, and the `Host` port that probes speak through. Nothing here acts.

A probe asks `Question`s and gets `Answer`s; together they are the `Facts`. A driver's `describe` turns facts into `Report`s, one
per kind of guest. What became of a driver in one scrape is its `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol, TypeAlias

Truth: TypeAlias = bool | None
"""True, False, or None: nobody knows."""


class Question(NamedTuple):
    """One thing to ask a host. `Host` lists the kinds that every host answers; a driver may add its own, for its own probe."""

    kind: str
    args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.kind, *self.args))


@lru_cache(maxsize=16_384)
def question(kind: str, *args: str) -> Question:
    """`Question(kind, args)`, kept: rules ask the same thousands of times, and to find a tuple is cheaper than to make it."""
    return Question(kind, args)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not bytes: `absent` is a definite no, `denied` and `error` mean that nobody knows."""

    why: Literal["absent", "denied", "error"]
    text: str = ""


Answer: TypeAlias = bytes | Refusal
Facts: TypeAlias = Mapping[Question, Answer]
Identifying: TypeAlias = Callable[[Question], tuple[Question, ...] | None]
"""A question's identity: what its answer depends on; None: nobody knows."""

ABSENT = Refusal("absent")
DENIED = Refusal("denied")
LATE = Refusal("error", "no answer in time")
"""Of a program that was given a time of its own (`within`), and was ended."""


class Child(Protocol):
    """A program that a probe started. It dies with the `with` block, with the deadline and with the exporter."""

    @property
    def pid(self) -> int: ...

    @property
    def exe(self) -> str:
        """The file that really runs (`/proc/PID/exe`), which is not `argv[0]` for a wrapper script; empty if it cannot be read."""
        ...


class Host(Protocol):
    """Where a probe asks. Every method keeps the probe's deadline and raises `ProbeTimeout` beyond it; no other exception.

    Kinds of question that `ask` answers (paths are those of the host, below `--path.rootfs` and its like):

    ==========  ======================  =================================================================================
    kind        arguments               answer
    ==========  ======================  =================================================================================
    read        path                    the file's bytes (an error above 4 MiB)
    list        directory               its entries' names, sorted, joined by NUL; `b""` where it is empty
    exists      path                    `file`, `directory`, `device` or `other`, symbolic links followed
    stat        path                    what changes when the file does: type, device, inode, size, mtime, ctime, mode, owner
    program     path                    as `stat`, for a program or a library of the exporter's own
    exec        path                    `yes` for a regular file that may be executed; a file that only others may is denied
    which       name                    the first executable of that name in the exporter's PATH
    resolve     path                    the path without symbolic links
    access      path, "r"/"w"/"rw",     `yes` or `no`: may this user (groups and POSIX ACLs counted) open it so;
                user name[, group]      an empty user is the exporter's own; in a group besides its own
    env         variable                the exporter's environment variable
    uname                               system, release and machine, joined by NUL
    cpu                                 the first processor's paragraph in /proc/cpuinfo, without what varies by the second
    cpuid       leaf, subleaf (hex)     EAX EBX ECX EDX in lower-case hex, joined by blanks; absent on other than x86
    msr         index (hex)             a processor's register, 16 digits of lower-case hex; absent on other than x86
    kvm         extension (decimal)     KVM_CHECK_EXTENSION on /dev/kvm, decimal
    kvm         "create"                `yes` if KVM makes a virtual machine now, which is closed at once
    run         argv…                   what the program wrote to stdout (an error if it failed, or wrote over 4 MiB)
    within      seconds, argv…          as `run`; `LATE` where it takes longer than that, or than half of the time that is left
    said        argv…                   `{"status": …, "stdout": "…", "stderr": "…"}`, however it ended (negative: by that signal)
    ==========  ======================  =================================================================================
    """

    @property
    def deadline(self) -> float:
        """When this probe must be over, in seconds of `time.monotonic()`."""
        ...

    def ask(self, question: Question) -> Answer: ...

    def launch(self, argv: tuple[str, ...], pass_fds: tuple[int, ...]) -> AbstractContextManager[Child]:
        """Start a program of its own session with no standard streams but stderr into the debug log.

        Raises:
            ProbeError: it cannot be started.
        """
        ...

    def remember(
        self,
        questions: frozenset[Question],
        identity: Identifying,
        ask: Callable[[frozenset[Question]], Facts],
    ) -> Facts:
        """The answers to `questions`, from `ask` for those not yet known; each is kept while all its `identity` answers the same.

        `identity` is called before and after asking: what it named before must answer the same afterwards, else the answer is
        used this once and not kept; what it names afterwards (once a launch has shown it) is what later probes compare.
        Refusals are not kept, nor is what has None for an identity by then.
        """
        ...

    def forget(self, questions: frozenset[Question]) -> None:
        """Remember none of these any longer, nor what was learnt together with them and depends on the same."""
        ...


# ---- the document: what libvirt's <domainCapabilities> can say ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enum:
    """`<enum name='…'>` with its values, in order."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """Any other element: `<hostdev supported='yes'>`, `<cbitpos>51</cbitpos>`, `<value>…</value>`, or one not invented yet."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    children: tuple[Enum | Element, ...] = ()

    def get(self, attribute: str) -> str | None:
        return dict(self.attributes).get(attribute)

    @property
    def supported(self) -> Truth:
        return {"yes": True, "no": False}.get(self.get("supported") or "")

    @property
    def enums(self) -> tuple[Enum, ...]:
        return tuple(child for child in self.children if isinstance(child, Enum))

    @property
    def elements(self) -> tuple[Element, ...]:
        return tuple(child for child in self.children if isinstance(child, Element))


@dataclass(frozen=True, slots=True)
class CpuFeature:
    """`<feature policy='require' name='…'/>` of the host model."""

    name: str
    policy: str


@dataclass(frozen=True, slots=True)
class HostModel:
    """What the mode `host-model` means on this host. `others`: elements that are not known here, kept as they are."""

    model: str
    fallback: str | None = None
    vendor: str | None = None
    maxphysaddr: tuple[tuple[str, str], ...] | None = None
    features: tuple[CpuFeature, ...] = ()
    others: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class CpuModel:
    """A named CPU model of the mode `custom`. `usable` is `yes`, `no` or `unknown`; `blockers` are the features it lacks here."""

    name: str
    usable: str = "unknown"
    deprecated: str | None = None
    vendor: str | None = None
    canonical: str | None = None
    blockers: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CpuMode:
    """`<mode name='…' supported='…'>`."""

    name: str
    supported: bool
    enums: tuple[Enum, ...] = ()
    host_model: HostModel | None = None
    models: tuple[CpuModel, ...] = ()
    others: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Cpu:
    """`<cpu>`: the modes in order."""

    modes: tuple[CpuMode, ...] = ()

    def mode(self, name: str) -> CpuMode | None:
        return next((mode for mode in self.modes if mode.name == name), None)


@dataclass(frozen=True, slots=True)
class Document:
    """libvirt's answer, whole: `children` are what follows `<vcpu>`, in order, with the containers `<devices>` and `<features>`."""

    domain: str
    arch: str
    path: str | None = None
    machine: str | None = None
    vcpus_max: int | None = None
    children: tuple[Element | Cpu, ...] = ()

    @property
    def cpu(self) -> Cpu | None:
        return next((child for child in self.children if isinstance(child, Cpu)), None)


# ---- the report: the document, and the truth beside it -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unmet:
    """One thing whose lack makes a value impossible. `libvirt` says whether libvirt checks it too."""

    prerequisite: str
    libvirt: Literal["refuses", "accepts"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Can a guest have this value, and if not, why not? `supported` is None where nobody knows."""

    element: str
    enum: str
    value: str
    supported: Truth
    unmet: tuple[Unmet, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What one report is about: the emulator's path as found, libvirt's arch, the machine's stable name, libvirt's `<domain>`."""

    emulator: str
    arch: str
    machine: str
    virttype: str

    @property
    def kind(self) -> str:
        """What people call such a guest: `x86_64 q35 kvm`."""
        return " ".join(filter(None, (self.arch, self.machine, self.virttype)))


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine that the emulator offers."""

    machine: str
    alias: str = ""
    deprecated: bool = False
    vcpus_max: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a driver found out about one kind of guest.

    Attributes:
        guest: can such a guest run at all (`element="guest"`, empty enum and value)?
        document: libvirt's words, of the libvirt whose XML is written; None where it would give none.
        capabilities: the same in the words of the newest libvirt, of which the metrics are made; None where `document` is it.
        verdicts: the truth per value, also for values that libvirt does not list and elements it does not know.
        loaders: firmware files and whether they are there.
        host_features: what the host CPU, fully expanded, offers.
        notes: what could not be found out, in sentences for a person.
    """

    identity: Identity
    guest: Verdict
    document: Document | None = None
    verdicts: tuple[Verdict, ...] = ()
    loaders: tuple[tuple[str, bool], ...] = ()
    version: str = ""
    path: str = ""
    source: str = "native"
    canonical: str = ""
    deprecated: bool = False
    host_features: tuple[tuple[str, bool], ...] = ()
    machine_types: tuple[MachineType, ...] = ()
    notes: tuple[str, ...] = ()
    capabilities: Document | None = None

    @property
    def told(self) -> Document | None:
        """What the metrics are made of."""
        return self.capabilities or self.document


@dataclass(frozen=True, slots=True)
class Driver:
    """A hypervisor's driver: `probe` has the effects and only asks; `describe` is pure and only understands."""

    name: str
    probe: Callable[[Host], Facts]
    describe: Callable[[Facts], Iterable[Report]]


REASONS = ("absent", "timeout", "unreadable", "refused", "crashed", "contract", "limit")
"""Why a driver may have no reports: the closed list behind `domcaps_probe_failures_total{reason=…}`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a driver has no reports; `reason` is one of `REASONS`, `text` is for a person."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one driver: its reports, or the one reason why there are none. `facts` is what the reports were read from.

    `started` is in seconds of the monotonic clock, `finished` in seconds since the epoch, `duration` in seconds.
    """

    driver: str
    reports: tuple[Report, ...] = ()
    failure: Failure | None = None
    duration: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    facts: Facts = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_absent(self) -> bool:
        """There is no hypervisor to ask: that is an answer."""
        return self.failure is not None and self.failure.reason == "absent"

    @property
    def problem(self) -> Failure | None:
        """Why nothing is known of what should have answered; None where it did, or there is nobody to ask."""
        return None if self.is_absent else self.failure


# ---- what a plugin is told ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user configured: one section per driver (raw YAML values), and whose XML to write (`auto` or a libvirt version)."""

    drivers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    libvirt_profile: str = "auto"

    def section(self, driver: str) -> Mapping[str, object]:
        return self.drivers.get(driver, {})

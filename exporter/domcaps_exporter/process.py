"""This process: prometheus_client's families `process_*` and `python_*`, and how it keeps its memory. It reads /proc/self.

What prometheus_client's collectors say is taken over once, at the start; after that only the values are asked, which costs a fifth.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from domcaps_exporter.exposition import Figures, Format, Part, written

_Key: TypeAlias = tuple[str, str]
"""A sample's name, and its `generation` if it has one."""


_PAGE = resource.getpagesize()
_GENERATIONS = ("0", "1", "2")
_COUNTS = (
    ("collected", "python_gc_objects_collected_total"),
    ("uncollectable", "python_gc_objects_uncollectable_total"),
    ("collections", "python_gc_collections_total"),
)
"""gc.get_stats' words for them."""

_ARENAS = -8
"""glibc's M_ARENA_MAX, see mallopt(3)."""


def share_memory() -> None:
    """Let all threads allocate from one heap. glibc gives each its own, and those of probes that have ended fill with holes.

    Before the first thread is started; where there is no glibc, nothing has to be done.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_ARENAS, 1)


class Process:
    """The process that made it. Where there is no /proc, only Python has something to say."""

    def __init__(self) -> None:
        self._collected = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._collected)
        families = tuple(self._collected.collect())
        samples = [sample for family in families for sample in family.samples]
        self._figures = Figures(families)
        self._asked = [(sample.name, sample.labels.get("generation", "")) for sample in samples]
        self._first = {key: float(sample.value) for key, sample in zip(self._asked, samples, strict=True)}
        self._has_proc = ("process_open_fds", "") in self._first

    def plain(self, wanted: Format) -> bytes:
        """Its families in that format, as they are now; without descriptors to read /proc with, what can be said nevertheless."""
        try:
            return self._figures.plain(self._now(), wanted)
        except OSError:
            return Part(written(self._collected.collect())).plain(wanted)

    def _now(self) -> Sequence[float]:
        """Of what is not among these (the start, Python's version) the first value is the last."""
        found = self._first | _of_python()
        if self._has_proc:
            found |= _of_process()
        return [found[key] for key in self._asked]


def _of_process() -> dict[_Key, float]:
    size, resident, *_ = _read("/proc/self/statm").split()
    used, most = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        ("process_virtual_memory_bytes", ""): int(size) * _PAGE,
        ("process_resident_memory_bytes", ""): int(resident) * _PAGE,
        ("process_cpu_seconds_total", ""): used.ru_utime + used.ru_stime,
        ("process_open_fds", ""): len(os.listdir("/proc/self/fd")),
        ("process_max_fds", ""): math.inf if most == resource.RLIM_INFINITY else most,
    }


def _of_python() -> dict[_Key, float]:
    return {
        (name, number): found[count] for number, found in zip(_GENERATIONS, gc.get_stats(), strict=False) for count, name in _COUNTS
    }


def _read(path: str) -> bytes:
    """A short file of the kernel's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)

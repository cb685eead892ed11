"""This process in figures: prometheus_client's families `process_*` and `python_*`. It reads /proc/self.

prometheus_client's own collector opens three files each time; half of a scrape's cost was that. What never changes is asked once.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Process:
    """The process that made it. Where there is no /proc, only Python has something to say."""

    def __init__(self) -> None:
        self.constant: Sequence[Metric] = tuple(PlatformCollector(registry=None).collect())
        """What never changes."""
        self._started = [one for one in ProcessCollector(registry=None).collect() if one.name == "process_start_time_seconds"]
        self._ticks, self._page = os.sysconf("SC_CLK_TCK"), resource.getpagesize()
        self._python = CollectorRegistry()
        GCCollector(registry=self._python)

    def families(self) -> Iterator[Metric]:
        """All others, as they are now."""
        if self._started:
            yield from self._started
            with suppress(OSError):
                yield from self._taken()
        yield from self._python.collect()

    def _taken(self) -> Iterator[Metric]:
        """As /proc/PID/stat counts: see proc(5)."""
        fields = _read("/proc/self/stat").rpartition(b")")[2].split()
        user, system, size, pages = (int(fields[number]) for number in (11, 12, 20, 21))
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", size)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", pages * self._page)
        seconds = (user + system) / self._ticks
        yield CounterMetricFamily("process_cpu_seconds", "Total user and system CPU time spent in seconds.", seconds)
        yield GaugeMetricFamily("process_open_fds", "Number of open file descriptors.", len(os.listdir("/proc/self/fd")))
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most_of_all = math.inf if most == resource.RLIM_INFINITY else most
        yield GaugeMetricFamily("process_max_fds", "Maximum number of open file descriptors.", most_of_all)


def _read(path: str) -> bytes:
    """A short file of the kernel's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)

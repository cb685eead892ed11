"""What fleets cost a real Prometheus, and how long its answers take. Prints tables, judges nothing; docs/scale.md has one run.

Usage: python -m tests.bench.scale [live] [curve] [disk] [cluster] [--hosts N] …; all four by default. `live`: a fleet scraped every
minute with all rules, after a day of history, and every query of every panel. `curve`: what scraping alone costs, by number of
hosts. `disk`: what a day takes on disk. `cluster`: the same fleet by remote write, from a Prometheus and from one in agent mode, to
VictoriaMetrics, and whether it answers the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.bench.panels import Timed, asked_by_rules, bare, differing, panels, recordings, rule_files, timed
from tests.bench.stores import Store, configure, crowded, prometheus, reload, scraped, size, victoria
from tests.fleet.crowd import crowd, samples
from tests.fleet.history import Series, recorded, series, write

HOST = "host-17"
"""Which one the dashboard of one host shows."""
_DELIVERED = 12.0
"""Seconds after which a sample has surely come through remote write."""
_SHOWN_IN_TIME = re.compile(
    r"(domcaps_(document_info|guest_supported|probe_.*|capability_changes_total|lost_timestamp_seconds|series|exporter_build_info)"
    r"|process_(cpu_seconds_total|resident_memory_bytes))\{.*\}"
    r"|domcaps_supported\{.*value=\"custom\".*\}|domcaps_cpu_model_usable\{.*model=\"EPYC\".*\}"
)
"""What panels show over time, of every host; the rules record from it what they show besides."""


def _say(*words: object) -> None:
    print(*words, flush=True)


# ---- live --------------------------------------------------------------------------------------------------------------------


def live(said: argparse.Namespace) -> None:
    """A fleet at its usual pace, with rules and panels."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(crowded(said.hosts))
        store = stack.enter_context(prometheus(folder, {}, "--web.enable-remote-write-receiver"))
        _remember(store, said)
        configure(folder, _ruled(address, said))
        reload(store)
        time.sleep(said.settle * said.interval)
        _watch(store, said)
        _ask(store, said)


def _ruled(address: str, said: argparse.Namespace) -> dict[str, object]:
    """The configuration with all rules."""
    pace = {"evaluation_interval": f"{said.interval:g}s"}
    return {"global": pace, "rule_files": [str(file) for file in rule_files()], "scrape_configs": [scraped(address, said.interval)]}


def _remember(store: Store, said: argparse.Namespace) -> None:
    """A day of history of what panels show over time, and of everything of one host; it is made into blocks before all else."""
    began = time.time()
    found = list(series(crowd(said.hosts), "domcaps", _SHOWN_IN_TIME, [HOST]))
    found += sorted(_recorded(found), key=lambda one: one.host)
    end = began - 120
    count = write(f"{store.url}/api/v1/write", found, end - said.history * 3600, end)
    _say(f"history: {count:,} samples of {len(found):,} series in {time.time() - began:.0f} s")
    before = -1.0
    while store.cpu() - before > 0.5:  # until it has made its blocks
        before = store.cpu()
        time.sleep(min(10, said.interval))


def _recorded(found: list[Series]) -> Iterator[Series]:
    """What the rules record of such hosts, told by ten minutes of them in a Prometheus of its own."""
    with tempfile.TemporaryDirectory() as folder, prometheus(Path(folder), {}, "--web.enable-remote-write-receiver") as store:
        begin = time.time() - 600
        write(f"{store.url}/api/v1/write", found, begin, begin + 600)
        for rule, every in recordings():
            vector = store.vector(rule["expr"], begin + 599)
            made = list(recorded(vector, rule["record"], rule["expr"], rule.get("labels", {}), every))
            write(f"{store.url}/api/v1/write", made, begin, begin + 600)
            yield from made


def _watch(store: Store, said: argparse.Namespace) -> None:
    """The fleet's own cost, for so many scrapes of each host."""
    used, began = store.cpu(), time.monotonic()
    appended = store.own("prometheus_tsdb_head_samples_appended_total")
    lasting: dict[str, list[float]] = {}
    for _ in range(said.rounds):
        time.sleep(said.interval)
        for group, took in store.own_by("prometheus_rule_group_last_duration_seconds").items():
            lasting.setdefault(group.rpartition(";")[2].rstrip('"}'), []).append(took)
    seconds = time.monotonic() - began
    up = store.number('count(up{job="domcaps"} == 1)')
    _say(f"\nlive: {up:.0f} of {said.hosts} hosts up; each scraped {said.rounds} times, every {said.interval:g} s, and all rules")
    _row("series of a host, median", statistics.median(samples(crowd(said.hosts)).values()))
    _row("series in the head", store.own("prometheus_tsdb_head_series"))
    _row("recorded series", store.number('count({__name__=~"domcaps:.+"})'))
    _row("samples a second", (store.own("prometheus_tsdb_head_samples_appended_total") - appended) / seconds)
    _row("CPU, cores", (store.cpu() - used) / seconds, 3)
    _row("memory, MB", store.memory(), 0, f"(at its highest: {store.memory('VmHWM'):.0f})")
    for group, seen in lasting.items():
        _row(f"rules {group}, s", statistics.median(seen), 2, f"median (longest: {max(seen):.2f})")
    _row("scrape, s: p95", store.number('quantile(0.95, scrape_duration_seconds{job="domcaps"})'), 3)
    _row("alerts firing", store.number('count(ALERTS{alertstate="firing"}) or vector(0)'))


def _ask(store: Store, said: argparse.Namespace) -> None:
    """Every panel's query, with the recording rules and without them, and the rules' own."""
    asks = panels(HOST)
    for title, found in (
        ("panels, with the recording rules", asks),
        ("panels, without the recording rules", list(bare(asks))),
        ("rules", asked_by_rules()),
    ):
        _latencies(f"{title}: ms of {said.repeat} times, the slowest first", timed(store, found, said.repeat), said.show)


def _latencies(title: str, found: Sequence[Timed], shown: int) -> None:
    if not found:
        return
    slowest = sorted(found, key=lambda one: -one.p95)
    over = sum(one.p95 > 1 for one in found)
    middle = statistics.median(one.p95 for one in found) * 1e3
    _say(f"\n{title}\n{len(found)} queries; p95 over 1 s: {over}; median of the p95s: {middle:.0f} ms")
    _say(f"{'':56} {'min':>8} {'median':>7} {'p95':>7} {'CPU':>7} {'series':>7}")
    for one in slowest[:shown]:
        _say(f"{one.ask.place[:49]:49} {'range' if one.ask.range else '':6} {one} {one.series:>7}")
    for dashboard, asked in groupby(sorted(found, key=lambda one: one.ask.place), key=lambda one: one.ask.place.partition(":")[0]):
        every = list(asked)
        cpu = sum(one.cpu for one in every)
        _say(f"  {dashboard}: {len(every)} queries, together {sum(one.p95 for one in every):.2f} s (p95s), {cpu:.2f} s CPU")


def _row(name: str, value: float, digits: int = 0, more: str = "") -> None:
    _say(f"{name:34} {value:>14,.{digits}f} {more}")


# ---- curve -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """What scraping alone costs: of how many hosts, how many are up, series, cores, megabytes, bytes of the log a sample."""

    hosts: int
    up: float
    series: float
    cores: float
    memory: float
    log: float


def curve(said: argparse.Namespace) -> None:
    """Without rules, from when every host was scraped: the first scrapes, which make the series, are not counted."""
    points = [_point(hosts, said) for hosts in said.curve]
    _say(f"\ncurve: scraping alone, every {said.interval:g} s; {said.scrapes} scrapes after the first")
    _say(f"{'hosts':>7} {'up':>7} {'series':>10} {'cores':>7} {'MB at its highest':>18} {'bytes of WAL a sample':>22}")
    for one in points:
        _say(f"{one.hosts:>7,} {one.up:>7,.0f} {one.series:>10,.0f} {one.cores:>7.3f} {one.memory:>18,.0f} {one.log:>22.2f}")
    if len(points) > 1:
        _say("extrapolated in a straight line from the last two points, not measured:")
        for hosts in (10_000, 100_000):
            _say(
                f"{hosts:>7,} {'':>7} {_beyond(points, hosts, 'series'):>10,.0f} {_beyond(points, hosts, 'cores'):>7.3f} "
                f"{_beyond(points, hosts, 'memory'):>18,.0f}"
            )


def _point(hosts: int, said: argparse.Namespace) -> Point:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(crowded(hosts))
        store = stack.enter_context(prometheus(folder, {"scrape_configs": [scraped(address, said.interval)]}))
        _await(store, hosts, 60 + 5 * said.interval)
        used, began, written = store.cpu(), time.monotonic(), size(store.data)
        appended = store.own("prometheus_tsdb_head_samples_appended_total")
        time.sleep(said.scrapes * said.interval)
        seconds = time.monotonic() - began
        count = store.own("prometheus_tsdb_head_samples_appended_total") - appended
        log = (size(store.data) - written) / max(count, 1)
        series = store.own("prometheus_tsdb_head_series")
        up = store.number("count(up == 1)")
        return Point(hosts, up, series, (store.cpu() - used) / seconds, store.memory("VmHWM"), log)


def _await(store: Store, hosts: int, seconds: float) -> None:
    """Until the hosts are scraped, but for one in fifty at most: on a busy machine some are late."""
    until = time.monotonic() + seconds
    while not (up := store.number("count(up == 1)")) >= 0.98 * hosts:
        if time.monotonic() > until:
            raise RuntimeError(f"of {hosts} hosts {up:.0f} could be scraped in {seconds:.0f} s")
        time.sleep(2)


def _beyond(points: Sequence[Point], hosts: int, what: str) -> float:
    one, other = points[-2:]
    low, high = getattr(one, what), getattr(other, what)
    return float(high + (high - low) / (other.hosts - one.hosts) * (hosts - other.hosts))


# ---- disk --------------------------------------------------------------------------------------------------------------------


def disk(said: argparse.Namespace) -> None:
    """Two hours of samples in two minutes: scraped each second by a crowd whose clock runs sixty times as fast; then a block.

    Where scrapes do not begin on the millisecond that they ought to, each sample keeps its own time, which takes two bytes:
    `--scrape.timestamp-tolerance` is how much Prometheus overlooks (2 ms unless it is told).
    """
    _say(f"\ndisk: {said.disk_hosts} hosts, two hours")
    _say(f"{'tolerance':>10} {'samples':>11} {'series':>8} {'bytes a sample':>15} {'index a series':>15} {'MB a host and day':>18}")
    for tolerance in ("2ms", "10ms"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            address = stack.enter_context(crowded(said.disk_hosts, speed=60))
            flags = ("--web.enable-admin-api", f"--scrape.timestamp-tolerance={tolerance}")
            store = stack.enter_context(prometheus(folder, {"scrape_configs": [scraped(address, 1)]}, *flags))
            time.sleep(125)
            block = _snapshot(store)
            day = 12 * (block.chunks + block.index) / said.disk_hosts / 1e6
            each = (block.chunks / block.samples, block.index / block.series, day)
            _say(f"{tolerance:>10} {block.samples:>11,} {block.series:>8,} {each[0]:>15.2f} {each[1]:>15.0f} {each[2]:>18.2f}")


@dataclass(frozen=True, slots=True)
class Block:
    """How many there are in a block, and bytes."""

    samples: int
    series: int
    chunks: int
    index: int


def _snapshot(store: Store) -> Block:
    with urllib.request.urlopen(f"{store.url}/api/v1/admin/tsdb/snapshot", b"", 120):  # noqa: S310
        pass
    (block,) = (found.parent for found in (store.data / "snapshots").glob("*/*/meta.json"))
    stats = json.loads((block / "meta.json").read_text())["stats"]
    return Block(stats["numSamples"], stats["numSeries"], size(block / "chunks"), (block / "index").stat().st_size)


# ---- cluster -----------------------------------------------------------------------------------------------------------------


def cluster(said: argparse.Namespace) -> None:
    """A Prometheus with rules writes to one VictoriaMetrics, one in agent mode to another."""
    asks = panels(HOST) + [ask for ask in asked_by_rules() if "last_over_time" not in ask.expr]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(crowded(said.hosts))
        whole, bare_store = (stack.enter_context(victoria(folder, name)) for name in ("victoria", "victoria-of-agent"))
        server = stack.enter_context(prometheus(folder, {**_ruled(address, said), "remote_write": _writing(whole)}))
        told = {"scrape_configs": [scraped(address, said.interval)], "remote_write": _writing(bare_store)}
        agent = stack.enter_context(prometheus(folder, told, agent=True, name="agent"))
        time.sleep(said.settle * said.interval)
        used, began = [one.cpu() for one in (server, agent, whole, bare_store)], time.monotonic()
        time.sleep(said.rounds * said.interval)
        seconds = time.monotonic() - began
        _say(
            f"\ncluster: {said.hosts} hosts, {said.rounds} times every {said.interval:g} s: cores, MB at its highest, bytes on disk"
        )
        for one, before in zip((server, agent, whole, bare_store), used, strict=True):
            _say(f"  {one.name:20} {(one.cpu() - before) / seconds:>7.3f} {one.memory('VmHWM'):>7.0f} {one.disk():>14,}")
        at = time.time()
        time.sleep(_DELIVERED)
        scraped_series = 'count({job="domcaps",__name__!~"domcaps:.+|ALERTS.*"})'
        counts = [one.vector(scraped_series, at) for one in (server, whole, bare_store)]
        _say(f"  series that were scraped, in the server and the two: {[value for found in counts for value in found.values()]}")
        unlike = differing(server, whole, (ask for ask in asks if not ask.extrapolates), at)
        instant = [ask for ask in asks if not ask.range]
        left_out = sum(ask.extrapolates for ask in instant)
        _say(f"  of {len(instant) - left_out} instant queries {len(unlike)} are answered differently")
        _say(f"  ({left_out} more have rate or increase, which VictoriaMetrics does not extrapolate)")
        for ask, what in unlike:
            _say(f"    {ask.place}: {what}")
        _latencies(f"VictoriaMetrics: ms of {said.repeat} times", timed(whole, panels(HOST), said.repeat), said.show)


def _writing(store: Store) -> list[dict[str, object]]:
    return [{"url": f"{store.url}/api/v1/write", "queue_config": {"max_shards": 4, "max_samples_per_send": 5000}}]


# ---- the command -------------------------------------------------------------------------------------------------------------

PARTS = {"live": live, "curve": curve, "disk": disk, "cluster": cluster}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=(__doc__ or "").splitlines()[0])
    made.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    made.add_argument("--hosts", type=int, default=1000, help="of live and cluster (%(default)s)")
    made.add_argument("--interval", type=float, default=60.0, help="seconds between two scrapes of a host (%(default)s)")
    made.add_argument("--settle", type=float, default=2.2, help="intervals before anything is measured (%(default)s)")
    made.add_argument("--rounds", type=int, default=5, help="intervals that live and cluster are watched (%(default)s)")
    made.add_argument("--history", type=float, default=24.0, help="hours that live has behind it (%(default)s)")
    made.add_argument("--repeat", type=int, default=7, help="how often each query is asked (%(default)s)")
    made.add_argument("--show", type=int, default=12, help="how many of the slowest queries are shown (%(default)s)")
    made.add_argument("--curve", type=int, nargs="+", default=[100, 300, 1000, 3000, 5000], help="numbers of hosts")
    made.add_argument("--scrapes", type=int, default=2, help="intervals that each point of curve is watched (%(default)s)")
    made.add_argument("--disk-hosts", type=int, default=100, help="(%(default)s)")
    return made


def main(argv: Sequence[str]) -> int:
    said = parser().parse_args(argv)
    unknown = [part for part in said.parts if part not in PARTS]
    if unknown:
        print(f"scale: no part {unknown[0]!r}; expected some of: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    _say(f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {os.cpu_count()} processors, Linux {platform.release()}")
    for name, part in PARTS.items():
        if name in said.parts or not said.parts:
            part(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a crowd's hosts said in the past, for a Prometheus or another store that takes remote write. It sends.

Remote write 1.0 by hand: a protobuf message in snappy's format, of which only literals are used (nothing is compressed).
"""

from __future__ import annotations

import re
import struct
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.fleet.crowd import Crowd, exposition, moving

_SLICE = 1800
"""Seconds for one turn through all series: less than the hour by which a store's samples may lag."""
_SERIES = 5000
"""In one request."""
_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its host, its metric, its labels as protobuf has them, its value (None: it moves); it has
    a sample `every` so many steps."""

    host: str
    metric: str
    labels: bytes
    value: float | None
    every: int = 1


def series(one: Crowd, job: str, wanted: re.Pattern[str], whole: Iterable[str] = ()) -> Iterator[Series]:
    """Of every host what matches (its name and labels, as they are written), of the hosts in `whole` everything."""
    everything = frozenset(whole)
    for host in one.kinds:
        about = {"job": job, **one.labels(host)}
        shifting = moving(host, 0)
        for metric, labels, value in _LINE.findall(exposition(one, host, 0).decode()):
            if host in everything or wanted.fullmatch(f"{metric}{{{labels}}}"):
                told = {"__name__": metric, **about, **{name: _plain(text) for name, text in _LABEL.findall(labels) if text}}
                yield Series(host, metric, _labels(told), None if metric in shifting else float(value))
        for metric, value in (("up", 1.0), ("scrape_duration_seconds", 0.004)):
            yield Series(host, metric, _labels({"__name__": metric, **about}), value)


def recorded(
    vector: Mapping[tuple[tuple[str, str], ...], float], name: str, expr: str, labels: Mapping[str, str], every: int
) -> Iterator[Series]:
    """What a rule found and records, as series; they move where it reads something that does."""
    moves = next((metric for metric in moving("", 0) if metric in expr), "")
    for found, value in vector.items():
        told = {**dict(found), **labels, "__name__": name}
        yield Series(told.get("instance", ""), moves or name, _labels(told), None if moves else value, every)


def write(url: str, found: list[Series], begin: float, end: float, step: float = 60) -> int:
    """Send their samples of that time, from the first to the last; how many they were."""
    times = [begin + number * step for number in range(int((end - begin) // step))]
    turn = max(1, int(_SLICE // step))
    for first in range(0, len(times), turn):
        for request in _requests(found, list(enumerate(times))[first : first + turn]):
            _send(url, request)
    return sum(len(times[:: one.every]) for one in found)


def _requests(found: list[Series], times: Sequence[tuple[int, float]]) -> Iterator[bytes]:
    same: dict[tuple[float, int], bytes] = {}
    host, values = "", dict[float, Mapping[str, float]]()
    for first in range(0, len(found), _SERIES):
        parts = []
        for one in found[first : first + _SERIES]:
            mine = [time for number, time in times if number % one.every == 0]
            if one.value is None:
                if one.host != host:
                    host, values = one.host, {time: moving(one.host, time) for _, time in times}
                samples = b"".join(_sample(values[time][one.metric], time) for time in mine)
            else:
                key = one.value, one.every
                samples = same.get(key) or b"".join(_sample(one.value, time) for time in mine)
                same[key] = samples
            parts.append(_field(1, one.labels + samples))
        yield b"".join(parts)


def _send(url: str, message: bytes) -> None:
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    body = _varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message  # one literal
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60):  # noqa: S310
        pass


# ---- protobuf ----------------------------------------------------------------------------------------------------------------


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in sorted(labels.items()))


def _sample(value: float, time: float) -> bytes:
    return _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(time * 1000)))


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _plain(text: str) -> str:
    return text.replace(r"\"", '"').replace(r"\n", "\n").replace("\\\\", "\\")

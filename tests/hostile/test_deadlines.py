"""Every wait for a caller has an end that no trickle of bytes puts off, and no crowd keeps an honest scraper out."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from tests.endtoend import resident, threads
from tests.exporter.certificates import Authority
from tests.hostile import crowd
from tests.hostile.crowd import Caller, Victim, typical, victim

T = TypeVar("T")

DEADLINE = 3.0
SHORT = (f"--handshake={DEADLINE}", f"--head={DEADLINE}", "--body=1", "--answer=2")
"""Long enough that no honest caller is late on a machine that stands still for a second or two. Those who wait do it at once."""
SLACK = 6.0
"""Seconds that a loaded machine may add to a deadline."""


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 120))


def at_once(asking: Mapping[str, Callable[[], Coroutine[None, None, T]]]) -> Mapping[str, T | BaseException]:
    """What each of them comes to, the errors as well."""

    async def ask() -> Sequence[T | BaseException]:
        return await asyncio.gather(*(one() for one in asking.values()), return_exceptions=True)

    return dict(zip(asking, run(ask()), strict=True))


def sound(found: T | BaseException) -> T:
    """An error is raised."""
    if isinstance(found, BaseException):
        raise found
    return found


@pytest.fixture(scope="module")
def hurried() -> Iterator[Victim]:
    """An exporter whose deadlines are some seconds."""
    with victim(*SHORT) as running:
        yield running


PATIENT: dict[str, Caller] = {
    "silent": crowd.silent,
    "half_a_head": crowd.half_a_head,
    "idle": crowd.idle,
    "trickling": partial(crowd.trickling, pause=0.2),  # some bytes within the time that they do not put off
    "trickling_body": crowd.trickling_body,
}


HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST /-/healthy HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
HEADS: dict[str, tuple[bytes, list[str]]] = {
    "half a head": (b"GET /metrics HTTP/1.1\r\nHost: he", ["408"]),
    "a letter": (b"G", ["408"]),
    "half a second head": (HEALTHY + b"GET /metrics", ["200", "408"]),
    "half a third head": (HEALTHY * 2 + b"GET /metrics HTTP/1.1\r\nHost: he", ["200", "200", "408"]),
    "a letter after twenty": (HEALTHY * 20 + b"G", ["200"] * 20 + ["408"]),
    "empty lines after a request": (HEALTHY + b"\r\n\r\n", ["200"]),
    "half a head after a body": (POST + b"GET", ["405"]),  # only the parser knows where the body ends
    "nothing": (b"", []),
    "an empty line": (b"\r\n", []),
    "a request": (HEALTHY, ["200"]),
    "a request with a body": (POST, ["405"]),
}
"""What is sent, and the statuses that are answered until the connection ends."""
CUTS = (len(HEALTHY) - 3, len(HEALTHY) - 1, len(HEALTHY))


@pytest.fixture(scope="module")
def seconds(hurried: Victim) -> Mapping[str, float | BaseException]:
    """How long each of the patient is let wait."""

    async def wait(behaviour: Caller) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
        before = time.monotonic()
        calling = asyncio.create_task(behaviour(reader, writer))
        await asyncio.wait([calling], timeout=30)
        writer.close()
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        return time.monotonic() - before

    return at_once({name: partial(wait, behaviour) for name, behaviour in PATIENT.items()})


@pytest.mark.parametrize("name", PATIENT)
def test_a_caller_who_does_not_get_on_is_let_go_at_the_deadline(seconds: Mapping[str, float | BaseException], name: str) -> None:
    assert sound(seconds[name]) < DEADLINE + SLACK


@pytest.fixture(scope="module")
def answers(hurried: Victim) -> Mapping[str, bytes | BaseException]:
    """All that is answered to each head, and to what comes in two segments."""

    async def cut(place: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
        writer.write(HEALTHY[:place])
        await asyncio.sleep(0.1)
        writer.write(HEALTHY[place:] + b"G")
        answer = await reader.read()
        writer.close()
        return answer

    async def after_a_request() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
        writer.write(HEALTHY)
        assert b"200 OK" in await reader.read(10_000)
        writer.write(b"GET /metr")
        answer = await reader.read()
        writer.close()
        return answer

    heads = {name: partial(hurried.answer, sent) for name, (sent, _) in HEADS.items()}
    return at_once({**heads, **{f"cut at {place}": partial(cut, place) for place in CUTS}, "after": after_a_request})


@pytest.mark.parametrize("name", HEADS)
def test_who_has_begun_a_head_is_told_that_time_is_up_and_nobody_else(
    answers: Mapping[str, bytes | BaseException], name: str
) -> None:
    assert statuses(sound(answers[name])) == HEADS[name][1]


def statuses(answer: bytes) -> list[str]:
    return re.findall(r"HTTP/1.1 ([0-9]+) ", answer.decode())


@pytest.mark.parametrize("cut", CUTS)
def test_half_a_head_is_seen_wherever_the_segments_end(answers: Mapping[str, bytes | BaseException], cut: int) -> None:
    assert statuses(sound(answers[f"cut at {cut}"])) == ["200", "408"]


def test_half_a_head_after_a_request_is_told_too(answers: Mapping[str, bytes | BaseException]) -> None:
    answer = sound(answers["after"])
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(b"\r\n\r\nRequest Timeout\n")


def test_half_a_head_over_tls_is_told_too(secure: Victim) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting())
        writer.write(b"GET /metr")
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await writer.wait_closed()
        return answer

    assert run(ask()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_who_leaves_amid_a_large_answer_over_tls_is_nothing_for_the_log(secure: Victim) -> None:
    """The fixture looks into it."""

    async def leave() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(crowd.UNPACKED)
        assert await reader.read(10)
        writer.transport.abort()

    async def ask() -> bytes:
        for _ in range(20):
            await leave()
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting())
        writer.write(crowd.SCRAPE)
        answer = await reader.read()
        writer.close()
        return answer

    assert run(ask()).startswith(b"HTTP/1.1 200 OK")


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_caller_who_does_not_read_is_let_go_at_the_deadline(hurried: Victim) -> None:
    before = connections(hurried)

    async def ask() -> tuple[int, float]:
        calling = asyncio.create_task(crowd.once(hurried.port, crowd.gorging))
        while connections(hurried) <= before:
            await asyncio.sleep(0.05)
        during, began = connections(hurried), time.monotonic()
        while connections(hurried) > before:
            await asyncio.sleep(0.05)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        return during, time.monotonic() - began

    during, took = run(ask())
    assert during == before + 1
    assert took < 3 + SLACK


def connections(of: Victim) -> int:
    """The sockets that an exporter has open. One may be closed while they are counted."""
    count = 0
    for one in Path(f"/proc/{of.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(one.readlink()).startswith("socket:")
    return count


def test_a_handshake_that_does_not_come_ends_at_the_deadline(secure: Victim) -> None:
    async def wait(behaviour: Caller) -> float:
        before = time.monotonic()
        await crowd.once(secure.port, behaviour)
        return time.monotonic() - before

    found = at_once({one.__name__: partial(wait, one) for one in (crowd.silent, crowd.half_a_handshake, crowd.malformed)})
    assert max(map(sound, found.values())) < DEADLINE + SLACK


@pytest.fixture(scope="module", params=["NoClientCert", "RequestClientCert"])
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """With Python's TLS, and with that which asks for certificates. What went wrong with callers is not in the log."""
    folder = tmp_path_factory.mktemp("secure")
    Authority(folder).certify("server", "IP:127.0.0.1")
    auth = f"client_auth_type: {request.param}"
    (folder / "web.yml").write_text(f"tls_server_config: {{cert_file: server.pem, key_file: server.key, {auth}}}\n")
    with victim(f"--web={folder / 'web.yml'}", "--values=9000", *SHORT) as running:
        yield running
        running.process.terminate()
        assert running.process.stderr is not None
        assert not [line for line in running.process.stderr.read().splitlines() if not line.startswith(auth)]


@pytest.mark.parametrize(
    ("number", "behaviour"),
    [(300, crowd.silent), (50, crowd.half_a_handshake), (20, crowd.dropping)],
    ids=["silent", "half", "dropping"],
)
def test_callers_without_a_handshake_keep_nobody_out_of_tls(secure: Victim, number: int, behaviour: Caller) -> None:
    async def ask() -> bytes:
        with secure.besieged(number, behaviour):
            reader, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting())
            writer.write(crowd.SCRAPE)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    assert run(ask()).startswith(b"HTTP/1.1 200 OK")


# ---- crowds ----------------------------------------------------------------------------------------------------------------

CROWDS: dict[str, tuple[int, Caller]] = {
    "silent": (500, crowd.silent),
    "half a head": (200, crowd.half_a_head),
    "trickling": (200, crowd.trickling),
    "idle": (500, crowd.idle),
    "not reading": (200, crowd.not_reading),
    "hasty": (20, crowd.hasty),
    "leafing": (20, crowd.leafing),
    "malformed": (50, crowd.malformed),
}


@pytest.mark.parametrize(
    ("number", "behaviour"),
    [(200, crowd.not_reading), (20, crowd.hasty), (700, crowd.idle)],
    ids=["not reading", "hasty", "idle, more than there is room for"],
)
def test_a_crowd_keeps_no_honest_scraper_out(number: int, behaviour: Caller) -> None:
    async def ask() -> tuple[float, float]:
        with victim() as running:
            usual = await running.scraped(5)
            with running.besieged(number, behaviour):
                besieged = await running.scraped(10)
            assert threads(running.process.pid) < 10
            return typical(usual), typical(besieged)

    usual, besieged = run(ask())
    assert besieged < usual + 2  # what it is where nothing else runs, the slow test says


@pytest.mark.slow
@pytest.mark.parametrize(("number", "behaviour"), CROWDS.values(), ids=CROWDS)
def test_an_honest_scraper_has_its_answer_within_100_ms_of_its_usual_time(number: int, behaviour: Caller) -> None:
    async def ask() -> tuple[float, float]:
        with victim() as running:
            usual = await running.scraped(50)
            with running.besieged(number, behaviour):
                besieged = await running.scraped(100)
            return typical(usual), sorted(besieged)[-10]

    usual, besieged = run(ask())
    print(f"usual {usual * 1000:.1f} ms, besieged {besieged * 1000:.1f} ms (90th percentile)")
    assert besieged < usual + 0.1


def test_answers_that_nobody_reads_are_not_kept_once_for_each() -> None:
    async def ask() -> tuple[int, int]:
        with victim("--values=9000") as running:
            answer = await running.answer(crowd.UNPACKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            before = resident(running.process.pid)
            with running.besieged(200, crowd.not_reading):
                await running.scraped(3)
                return len(answer), resident(running.process.pid) - before

    size, more = run(ask())
    assert size > 1_000_000
    assert more < 200 * 200_000


def test_there_are_never_more_connections_than_there_may_be() -> None:
    async def ask() -> int:
        with victim("--connections=50") as running, running.besieged(200, crowd.silent):
            await running.scraped(3)
            return connections(running)

    assert run(ask()) < 50 + 10

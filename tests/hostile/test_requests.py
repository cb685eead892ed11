"""Requests that are wrong, odd or not HTTP at all: a correct answer, no 500, no traceback, nothing about who answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.hostile.crowd import Victim, victim

T = TypeVar("T")

HOST = b"Host: here\r\n"
CLOSE = HOST + b"Connection: close\r\n"
BANNER = re.compile(rb"(?i)aiohttp|python|traceback|\nserver:|site-packages")


@pytest.fixture(scope="module")
def server() -> Iterator[Victim]:
    with victim("--head=1", "--body=0.2") as running:
        yield running


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/[0-9.]+ ([0-9]{3}) ", answer)]


def first(path: bytes, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\n" + headers + CLOSE + b"\r\n"


ODD: dict[str, tuple[bytes, int]] = {
    "no http": (b"hello\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http 0.9": (b"GET /\r\n\r\n", 400),
    "http 9": (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400),
    "long path": (first(b"/" + b"a" * 9000), 414),
    "long query": (first(b"/metrics?" + b"a" * 9000), 414),
    "very long path": (first(b"/" + b"a" * 3_000_000), 414),
    "long header's name": (first(b"/metrics", b"X" * 9000 + b": a\r\n"), 431),
    "long header": (first(b"/metrics", b"X: " + b"a" * 9000 + b"\r\n"), 431),
    "very long header": (first(b"/metrics", b"X: " + b"a" * 3_000_000 + b"\r\n"), 431),
    "many headers": (first(b"/metrics", b"".join(b"X%d: a\r\n" % number for number in range(2000))), 400),
    "no colon": (first(b"/metrics", b"nonsense\r\n"), 400),
    "space before colon": (first(b"/metrics", b"X : a\r\n"), 400),
    "nul in header": (first(b"/metrics", b"X: a\0b\r\n"), 400),
    "two lengths": (first(b"/metrics", b"Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
    "negative length": (first(b"/metrics", b"Content-Length: -1\r\n"), 400),
    "length and chunks": (first(b"/metrics", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
    "post": (first(b"/metrics", method=b"POST"), 405),
    "method of nobody": (first(b"/metrics", method=b"BREW"), 400),
    "options": (first(b"*", method=b"OPTIONS"), 404),
    "connect": (first(b"example.org:80", method=b"CONNECT"), 404),
    "trace": (first(b"/metrics", method=b"TRACE"), 405),
    "up and away": (first(b"/documents/../../../etc/passwd"), 404),
    "encoded up and away": (first(b"/documents/%2e%2e%2f%2e%2e%2fetc%2fpasswd.xml"), 404),
    "nul in path": (first(b"/documents/%00.xml"), 404),
    "no utf-8 in path": (first(b"/documents/%ff%fe.xml"), 404),
    "two slashes": (first(b"//metrics"), 404),
    "percent alone": (first(b"/%"), 404),
    "whole url": (first(b"http://elsewhere/metrics"), 200),
    "query of nonsense": (first(b"/metrics?%zz=%&&&==;#"), 200),
    "accept of nonsense": (first(b"/metrics", b"Accept: ;;q=,,*/*;q=abc;\r\n"), 200),
    "long accept": (first(b"/metrics", b"Accept: " + b"a/b;q=0.1," * 700 + b"\r\n"), 200),
    "encodings of nonsense": (first(b"/metrics", b"Accept-Encoding: gzip;q=x, *;q=0\r\n"), 200),
    "timeout of nonsense": (first(b"/metrics", b"X-Prometheus-Scrape-Timeout-Seconds: 1e999\r\n"), 200),
    "expectation": (first(b"/metrics", b"Expect: miracles\r\n"), 417),
    "websocket": (first(b"/metrics", b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n"), 200),
    "unknown encoding of nothing": (first(b"/metrics", b"Content-Encoding: br\r\n"), 200),
    "collect nobody": (first(b"/metrics?collect[]=%00"), 400),
}


@pytest.mark.parametrize(("request_", "status"), ODD.values(), ids=ODD)
def test_an_odd_request_has_a_correct_answer(server: Victim, request_: bytes, status: int) -> None:
    answer = run(server.answer(request_))
    assert statuses(answer)[:1] == [status], answer[:300]
    assert not BANNER.search(answer.partition(b"\r\n\r\n")[0])


@pytest.mark.parametrize("name", ["no http", "long header", "no colon"])
def test_what_is_no_http_is_answered_in_one_plain_line_that_quotes_nothing(server: Victim, name: str) -> None:
    head, _, body = run(server.answer(ODD[name][0])).partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain" in head
    assert body in (b"Bad Request\n", b"Request Header Fields Too Large\n")


def test_pipelined_requests_are_answered_in_order(server: Victim) -> None:
    paths = (b"/-/healthy", b"/nothing", b"/metrics", b"/-/ready")
    requests = b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths)
    assert statuses(run(server.answer(requests + first(b"/documents/none.xml")))) == [200, 404, 200, 200, 404]


def test_nonsense_behind_good_requests_does_not_spoil_their_answers(server: Victim) -> None:
    answer = run(server.answer(b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"\r\n" + b"nonsense\r\n\r\n"))
    assert statuses(answer) in ([200, 400], [400])


def test_a_body_is_not_taken_for_the_next_request(server: Victim) -> None:
    smuggled = b"GET /-/ready HTTP/1.1\r\n" + HOST + b"\r\n"
    length = b"Content-Length: %d\r\n" % len(smuggled)
    request = b"GET /nothing HTTP/1.1\r\n" + HOST + length + b"\r\n" + smuggled + first(b"/-/healthy")
    assert statuses(run(server.answer(request))) == [404, 200]


TOKENS = st.sampled_from(
    b"GET|HEAD| |/|/metrics|/documents/|HTTP/1.1|HTTP/1.0|\r\n|\n|\r|:|Host: a|Content-Length: |Transfer-Encoding: chunked"
    b"|Connection: |keep-alive|Upgrade: h2c|Expect: 100-continue|Accept: |?collect[]=|%|\0|0\r\n\r\n|5\r\nabcde\r\n"
    b"|18446744073709551616|-1|Authorization: Basic ".split(b"|")
)
PIECES = st.lists(st.one_of(TOKENS, st.binary(max_size=8)), max_size=25).map(b"".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES)
@example(b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
@example(b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
@example(b"GET /metrics HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n")
@example(b"GET /documents/\xff.xml HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n")
def test_no_bytes_make_an_error_of_ours(server: Victim, sent: bytes) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    answer = run(ask())
    assert all(status < 500 for status in statuses(answer)), answer[:300]
    assert not BANNER.search(answer) or b"python_info" in answer


def test_after_all_that_it_has_logged_nothing_and_answers(server: Victim) -> None:
    assert statuses(run(server.answer(first(b"/-/healthy")))) == [200]
    server.process.kill()
    assert server.process.stderr is not None
    assert server.process.stderr.read() == ""

"""What another exporter says of its host: its metrics and documents over HTTP, bounded in bytes and seconds, never led elsewhere.

Talks to the network. What answers may be anything: redirects are not followed, links in answers are not used.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import aiohttp

from domcaps_exporter.errors import DomcapsError, reason
from domcaps_exporter.selector import LABELS

LIMIT = 16 << 20
"""Bytes of one answer; a large host's metrics have a tenth of it."""

_UNKNOWN = (18, 19, 20, 21)
"""OpenSSL's words for a certificate that nobody known vouches for (X509_V_ERR_…: self-signed, its issuer not known)."""
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL finds where the other side does not speak TLS."""

_NO_ADDRESS = "no address that can be asked; expected http://HOST:PORT or https://USER:PASSWORD@HOST:PORT"

_DOCUMENTS = 500
"""How many documents an exporter may have."""


class RemoteError(DomcapsError):
    """An exporter that cannot be read; the message names the address, without a password in it."""


@dataclass(frozen=True, slots=True)
class Told:
    """The exposition (text 0.0.4), and per document its five identity labels and its XML."""

    metrics: str
    documents: tuple[tuple[tuple[str, ...], bytes], ...]


def told(url: str, seconds: float) -> Told:
    """Everything that the exporter at this address says, in that many seconds. The address of its /metrics will do.

    Raises:
        RemoteError: it does not answer in time, or not as an exporter.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RemoteError(f"{shown(url)}: {_NO_ADDRESS}") from error
    if "@" in url.partition("://")[2].removeprefix(parts.netloc):
        raise RemoteError(f"{shown(url)}: a '/', '?' or '#' in the name or the password; expected %2F, %3F or %23 in its place")
    try:
        return asyncio.run(_told(url.rstrip("/").removesuffix("/metrics"), seconds))
    except TimeoutError as error:
        raise RemoteError(f"{shown(url)}: no answer within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise RemoteError(f"{shown(url)}: {_trouble(error, secure=parts.scheme.lower() == 'https')}") from error


def shown(url: str) -> str:
    """The address as it may be printed: without name and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _hint(status: int, url: str) -> str:
    """What may help against such an answer."""
    scheme, _, rest = shown(url).partition("://")
    if status == HTTPStatus.UNAUTHORIZED:
        known = "@" in urlsplit(url).netloc
        return "; it does not take this name and password" if known else f"; expected {scheme}://USER:PASSWORD@{rest.split('/')[0]}"
    return "; does it speak https?" if status == HTTPStatus.BAD_REQUEST and scheme.lower() == "http" else ""


def _trouble(error: Exception, *, secure: bool) -> str:
    """Why there is no connection or no answer, and what may help."""
    if isinstance(error, aiohttp.InvalidURL):
        return _NO_ADDRESS  # its own words are the address, with the password
    found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    found = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else found
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {found.verify_message}{_vouched() if found.verify_code in _UNKNOWN else ''}"
    if isinstance(found, ssl.SSLError):
        said = (found.reason or "no reason given").replace("_", " ").lower()
        return f"TLS fails: {said}{'; does it speak http?' if found.reason in _PLAIN else ''}"
    if isinstance(found, aiohttp.ServerDisconnectedError) or getattr(found, "errno", None) in (errno.ECONNRESET, errno.EPIPE):
        return f"it ended the connection without an answer{'' if secure else '; does it speak https?'}"
    if isinstance(found, OSError) and found.errno is not None and found.errno > 0:
        return os.strerror(found.errno).lower()
    return (found.strerror if isinstance(found, OSError) else "") or str(found) or type(found).__name__


def _vouched() -> str:
    """What makes a certificate trusted. OpenSSL passes over a file in SSL_CERT_FILE that it cannot use, and says nothing."""
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        try:
            ssl.create_default_context(cafile=named)
        except OSError as error:
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else reason(error)
            return f"; SSL_CERT_FILE={named} is of no use: {why}"
    return "; where it is of your own making: SSL_CERT_FILE=CERTIFICATE.pem before the command"


async def _told(url: str, seconds: float) -> Told:
    async with asyncio.timeout(seconds), aiohttp.ClientSession(auto_decompress=False) as session:
        metrics = await _fetched(session, f"{url}/metrics", "text/plain; version=0.0.4")
        listed = await _fetched(session, f"{url}/documents", "application/json")
        entries = tuple(_entries(listed, shown(f"{url}/documents")))
        xmls = [await _fetched(session, f"{url}/documents/{quote(name, safe='')}.xml", "application/xml") for name, _ in entries]
    return Told(metrics.decode("utf-8", "replace"), tuple((labels, xml) for (_, labels), xml in zip(entries, xmls, strict=True)))


async def _fetched(session: aiohttp.ClientSession, url: str, accept: str) -> bytes:
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            raise RemoteError(f"{shown(url)}: answered {answer.status}, 200 expected{_hint(answer.status, url)}")
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > LIMIT:
                raise RemoteError(f"{shown(url)}: more than {LIMIT} bytes")
        return bytes(body)


def _entries(data: bytes, where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each document's id and labels."""
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"{where}: not JSON") from error
    if not isinstance(listed, list) or len(listed) > _DOCUMENTS:
        raise RemoteError(f"{where}: an array of at most {_DOCUMENTS} documents was expected")
    for entry in listed:
        words = [entry.get(key) for key in ("id", *LABELS)] if isinstance(entry, dict) else []
        name, *labels = [word for word in words if isinstance(word, str)] or [""]
        if len(labels) != len(LABELS):
            raise RemoteError(f"{where}: a document without id or labels")
        yield name, tuple(labels)

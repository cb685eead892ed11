"""TLS as the web configuration wants it: a context for asyncio, and who may come in. It reads certificates; it talks to nobody.

Python's TLS is less than Go's in two places: who asks for a certificate verifies it, for which reason `bearers` serves those who
only ask, and of several curves it can prefer one only. Where they differ, it is the stricter that is done, or the file is refused;
nobody comes in whom Go would keep out, unless an authority signed something that Go does not take (SHA-1, Ed448).
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from domcaps_exporter.errors import SettingError
from domcaps_exporter.files import LIMIT, head
from domcaps_exporter.webconfig import CIPHERS, Pem, Tls


class Context(Protocol):
    """All that asyncio asks of an `ssl.SSLContext`."""

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = ..., server_hostname: str | bytes | None = ...
    ) -> object: ...


_VERSIONS: Mapping[str, ssl.TLSVersion] = MappingProxyType(
    {
        "TLS10": ssl.TLSVersion.MINIMUM_SUPPORTED,  # SSL 3 is off in every context; naming TLS 1.0 would make Python warn
        "TLS11": ssl.TLSVersion.TLSv1_1,
        "TLS12": ssl.TLSVersion.TLSv1_2,
        "TLS13": ssl.TLSVersion.TLSv1_3,
    }
)
_CURVES: Mapping[str, str] = MappingProxyType(
    {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
)
_ASKING: Mapping[str, ssl.VerifyMode] = MappingProxyType(
    {
        "NoClientCert": ssl.CERT_NONE,
        "RequestClientCert": ssl.CERT_REQUIRED,  # it is `bearers` that asks; would Python, nobody could come in unverified
        "RequireAnyClientCert": ssl.CERT_REQUIRED,
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
    }
)
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert")


def context(tls: Tls) -> Context:
    """A context for servers, with the certificates as they are now.

    There are no tickets. TLS 1.2 knows sessions by their number as well, and Python lets nobody switch that off: who resumes one
    comes in by the certificate that began it, at which `welcome` looks again.

    Raises:
        SettingError: a file cannot be read, or is not what it should be; the key is that of `tls_server_config`.
        OSError, ValueError: it asks for what cannot be done (ssl.SSLError is an OSError).
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    _restrict(made, tls)
    for name, pem in (("cert", tls.cert), ("key", tls.key), ("client_ca", tls.client_ca)):
        _insist_on_content(name, pem)  # OpenSSL's errors do not name the file
    _admit(made, tls)
    with _named(tls.cert) as cert, _named(tls.key) as key:
        try:
            made.load_cert_chain(cert, key, password=_refused)
        except ssl.SSLError as error:
            raise _misfit(tls, error) from error
        except _Encrypted as error:
            raise _wrong("key", tls.key, "it is encrypted; expected a key without a password") from error
    return _asking(made, tls) if tls.client_auth in _UNVERIFIED else made


def welcome(allowed: frozenset[str] | None, certificate: Mapping[str, object] | None) -> bool:
    """May a client with that certificate come in? `certificate` is as `ssl.SSLSocket.getpeercert` gives it.

    One without an end is one whose end is nobody's concern.
    """
    shown = certificate or {}
    return not _over(shown.get("notAfter")) and (allowed is None or not allowed.isdisjoint(_names(shown)))


def _over(end: object) -> bool:
    """Whether that time is in the past."""
    return isinstance(end, str) and ssl.cert_time_to_seconds(end) < time.time()


def _names(certificate: Mapping[str, object]) -> Iterator[str]:
    """The alternative names in Go's words: DNS, e-mail, IP and URI."""
    names = certificate.get("subjectAltName", ())
    for kind, name in names if isinstance(names, tuple) else ():
        if kind == "IP Address":
            yield str(ipaddress.ip_address(name.strip()))
        elif kind in ("DNS", "email", "URI"):
            yield name


def _restrict(made: ssl.SSLContext, tls: Tls) -> None:
    """Versions, ciphers and the curve."""
    made.minimum_version, made.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    if tls.max_version == "TLS10":
        made.maximum_version = ssl.TLSVersion.TLSv1
    names = [CIPHERS[name] for name in tls.ciphers if CIPHERS[name]]
    if tls.ciphers and not names:
        made.minimum_version = ssl.TLSVersion.TLSv1_3
    elif tls.min_version in ("TLS10", "TLS11"):
        made.set_ciphers(":".join([*(names or ["DEFAULT"]), "@SECLEVEL=0"]))  # OpenSSL has them on no higher level
    elif names:
        made.set_ciphers(":".join(names))
    if tls.prefer_server_ciphers:
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.curves:
        made.set_ecdh_curve(_CURVES[tls.curves[0]])


def _admit(made: ssl.SSLContext, tls: Tls) -> None:
    """Whose certificates are asked for, and who vouches for them."""
    made.verify_mode = _ASKING[tls.client_auth]
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, an authority needs nobody above it
    if made.verify_mode == ssl.CERT_NONE:
        return
    try:
        if isinstance(tls.client_ca, Path):
            made.load_verify_locations(cafile=tls.client_ca)
        elif tls.client_ca is not None:
            made.load_verify_locations(cadata=tls.client_ca)
        elif tls.client_auth not in _UNVERIFIED:
            made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    except ssl.SSLError as error:
        raise _wrong("client_ca", tls.client_ca or "", _reason(error)) from error


def _asking(like: ssl.SSLContext, tls: Tls) -> Context:
    """As `like`, which has found nothing wrong with the files, but certificates are asked for only."""
    try:
        bearers: Any = importlib.import_module("domcaps_exporter.bearers")  # what it needs is large, and few ask for it
    except ImportError as error:
        raise SettingError("client_auth_type", f"{tls.client_auth} needs pyOpenSSL (pip install pyopenssl): {error}") from error
    required = tls.client_auth == "RequireAnyClientCert"
    groups = [_CURVES[name] for name in tls.curves]
    try:
        made: Context = bearers.context(like, _content(tls.cert), _content(tls.key), required=required, groups=groups)
    except MemoryError as error:
        raise SettingError("client_auth_type", f"{tls.client_auth} cannot be served here: {error}") from error
    return made


def _content(pem: Pem) -> bytes:
    return head(str(pem), LIMIT) if isinstance(pem, Path) else pem.encode()


@contextmanager
def _named(pem: Pem) -> Iterator[str]:
    """A path for what OpenSSL reads from files only; what is no file never reaches a disk."""
    if isinstance(pem, Path):
        yield str(pem)
        return
    with os.fdopen(os.memfd_create("pem"), "wb") as file:
        file.write(pem.encode())
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


class _Encrypted(Exception):
    """A password was asked for."""


def _refused() -> str:
    """The password for an encrypted key: without one OpenSSL would ask the terminal."""
    raise _Encrypted


def _insist_on_content(name: str, pem: Pem | None) -> None:
    if isinstance(pem, Path):
        try:
            head(str(pem), 1)
        except OSError as error:
            raise _wrong(name, pem, error.strerror or str(error)) from error


def _misfit(tls: Tls, error: ssl.SSLError) -> SettingError:
    """Which of the two it is, and why: OpenSSL says it of both at once, or only that it is PEM."""
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        other = f"cert_file {tls.cert}" if isinstance(tls.cert, Path) else "cert"
        return _wrong("key", tls.key, f"this private key does not belong to the certificate of {other}")
    if not _holds(tls.cert, "CERTIFICATE"):
        return _wrong("cert", tls.cert, "no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----")
    if not _holds(tls.key, "PRIVATE KEY"):
        return _wrong("key", tls.key, "no private key in it; expected PEM, -----BEGIN PRIVATE KEY-----")
    if error.reason and error.library != "PEM":
        return _wrong("cert", tls.cert, _reason(error))
    try:
        with _named(tls.cert) as cert:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=cert)
    except ssl.SSLError:
        return _wrong("cert", tls.cert, "the certificate in it cannot be read")
    return _wrong("key", tls.key, "the private key in it cannot be read")


def _holds(pem: Pem, kind: str) -> bool:
    return re.search(rf"-----BEGIN [A-Z0-9 ]*{kind}-----".encode(), _content(pem)) is not None


def _wrong(name: str, pem: Pem, what: str) -> SettingError:
    return SettingError(f"{name}_file", f"{pem}: {what}") if isinstance(pem, Path) else SettingError(name, what)


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()

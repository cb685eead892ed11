"""TLS as the web configuration wants it: an `ssl.SSLContext`, and who may come in. It reads certificates; it talks to nobody.

Python's TLS is less than Go's in two places: who asks for a certificate verifies it (OpenSSL would leave that to a callback, which
Python lets nobody set), and of several curves it can prefer one only. Where they differ, it is the stricter that is done, or the
file is refused; nobody comes in whom Go would keep out.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from domcaps_exporter.files import head
from domcaps_exporter.webconfig import CIPHERS, Pem, Tls

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
        "RequestClientCert": ssl.CERT_NONE,  # Go asks, and takes whatever comes, or nothing; not to ask has the same guests
        "RequireAnyClientCert": ssl.CERT_REQUIRED,
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
    }
)


def context(tls: Tls) -> ssl.SSLContext:
    """A context for servers, with the certificates as they are now.

    No sessions are resumed: each connection proves anew who it is.

    Raises:
        OSError: a file cannot be read, or is not what it should be (ssl.SSLError is one, too).
        ValueError: it asks for what cannot be done.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    _restrict(made, tls)
    _admit(made, tls)
    for file in tls.files:
        head(str(file), 1)  # for its error: that of load_cert_chain does not name the file
    with _named(tls.cert) as cert, _named(tls.key) as key:
        try:
            made.load_cert_chain(cert, key, password=_refused)
        except ssl.SSLError as error:
            raise ValueError(f"cert and key: {_reason(error)}") from error
    return made


def welcome(allowed: frozenset[str] | None, certificate: Mapping[str, object] | None) -> bool:
    """May a client with that (verified) certificate come in? `certificate` is as `ssl.SSLSocket.getpeercert` gives it."""
    return allowed is None or not allowed.isdisjoint(_names(certificate or {}))


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
    if tls.client_auth == "RequireAnyClientCert" and tls.client_ca is None:
        raise ValueError(
            "client_auth_type: found RequireAnyClientCert without client_ca or client_ca_file; "
            "expected one of them, by which every certificate is verified: one that nobody vouches for cannot be taken here"
        )
    made.verify_mode = _ASKING[tls.client_auth]
    if made.verify_mode == ssl.CERT_NONE:
        return
    try:
        if tls.client_ca is None:
            made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        elif isinstance(tls.client_ca, Path):
            made.load_verify_locations(cafile=tls.client_ca)
        else:
            made.load_verify_locations(cadata=tls.client_ca)
    except ssl.SSLError as error:
        raise ValueError(f"client_ca: {_reason(error)}") from error


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


def _refused() -> str:
    """The password for an encrypted key: without one OpenSSL would ask the terminal."""
    raise ValueError("key: it is encrypted; expected one without a password")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()

"""TLS for the bearers of any certificate, which is asked for and vouched for by nobody. It knows bytes; it talks to nobody.

Python's `ssl` verifies whatever it asks for; OpenSSL itself leaves that to a callback, which pyOpenSSL lets us set. That a caller
has the key of what is shown, and that Go could read it, is seen to all the same. What is made here looks to asyncio like a context
of `ssl`. Only `tls` imports it, and only where it is asked for: pyOpenSSL takes some 13 MB of memory.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

T = TypeVar("T")

_RECORD = 16384
"""Bytes that a record of TLS has room for: no reading yields more at once."""

_OPTIONS = SSL.OP_NO_SSLv2 | SSL.OP_NO_SSLv3 | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
_LONGEST_RSA = 8192
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_KINDS: Mapping[type[x509.GeneralName], str] = MappingProxyType(
    {x509.DNSName: "DNS", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "URI", x509.IPAddress: "IP Address"}
)
"""The names that Go knows, in the words of `ssl`."""


class Conversation:
    """One connection, as asyncio uses an `ssl.SSLObject`: what comes is in one buffer, what goes in the other.

    Every error is one of `ssl`, as it would be there.
    """

    def __init__(self, connection: SSL.Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._connection, self._incoming, self._outgoing = connection, incoming, outgoing

    def do_handshake(self) -> None:
        self._do(self._connection.do_handshake)

    def read(self, length: int, buffer: memoryview | bytearray | None = None) -> bytes | int:
        """Nothing (or 0) once the other side has said that it is done."""
        length = min(length, _RECORD)
        try:
            if buffer is None:
                return self._do(lambda: self._connection.recv(length))
            return self._do(lambda: self._connection.recv_into(buffer, length))
        except ssl.SSLZeroReturnError:
            return b"" if buffer is None else 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return self._do(lambda: self._connection.send(data)) if data else 0

    def unwrap(self) -> None:
        """Say that we are done, and wait until the other side has said so."""
        if not (self._do(self._connection.shutdown) or self._do(self._connection.shutdown)):
            raise ssl.SSLWantReadError

    def getpeercert(self) -> Mapping[str, object] | None:
        """What was shown, with its alternative names only; None: nothing.

        Raises:
            ssl.SSLError: nobody can read it, or Go would not take such a key.
        """
        try:
            shown = self._connection.get_peer_certificate(as_cryptography=True)
            return None if shown is None else {"subjectAltName": _names(shown)}
        except Exception as error:  # it is a caller's work: whatever may be wrong with it, it ends his connection only
            raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, f"the certificate cannot be used: {error}") from error

    def cipher(self) -> tuple[str, str, int] | None:
        name, version, bits = (
            self._connection.get_cipher_name(),
            self._connection.get_cipher_version(),
            self._connection.get_cipher_bits(),
        )
        return None if name is None or version is None or bits is None else (name, version, bits)

    def compression(self) -> None:
        """There is none."""

    def _do(self, act: Callable[[], T]) -> T:
        """Act on what has come, and hand out what is to go, be it an alert."""
        if came := self._incoming.read():
            self._connection.bio_write(came)
        try:
            return act()
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError from None
        except SSL.Error as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, _said(error)) from None
        finally:
            self._hand_out()

    def _hand_out(self) -> None:
        try:
            while True:
                self._outgoing.write(self._connection.bio_read(16 * _RECORD))
        except SSL.WantReadError:
            return


class Context:
    """What makes conversations."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
    ) -> Conversation:
        """The server's side of a conversation; there is no other."""
        if not server_side or server_hostname is not None:
            raise ValueError("this context is a server's")
        connection = SSL.Connection(self._context)
        connection.set_accept_state()
        return Conversation(connection, incoming, outgoing)


def context(like: ssl.SSLContext, cert: bytes, key: bytes, *, required: bool, groups: Sequence[str] = ()) -> Context:
    """A context with the versions and ciphers of `like`, which names its authorities to callers and asks them for nothing.

    Args:
        cert: in PEM, as is the key.
        required: whether a caller must show a certificate.
        groups: the curves, in OpenSSL's names; none: OpenSSL's choice.

    Raises:
        MemoryError: nobody here may have memory that can be written and executed, which callbacks from C need.
        ValueError: the certificates, the key or the settings are not what they should be.
    """
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        _restrict(made, like, groups)
        made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        made.set_alpn_select_callback(_chosen)
        made.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0), _anybody)
        made.set_verify_depth(0)  # nobody looks at a chain, so none need be made of what a caller sends
        for authority in like.get_ca_certs(binary_form=True):
            made.add_client_ca(x509.load_der_x509_certificate(authority))
        _present(made, cert, key)
    except (SSL.Error, TypeError, UnsupportedAlgorithm) as error:  # TypeError: a key with a password, or of no use here
        raise ValueError(_said(error)) from error
    return Context(made)


def _said(error: Exception) -> str:
    """Why, in OpenSSL's words where it has some."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return next((reason for *_, reason in reasons if reason), str(error))


def _restrict(made: SSL.Context, like: ssl.SSLContext, groups: Sequence[str]) -> None:
    oldest = like.minimum_version
    made.set_min_proto_version(0 if oldest == ssl.TLSVersion.MINIMUM_SUPPORTED else oldest)
    made.set_max_proto_version(like.maximum_version)
    made.set_options(_OPTIONS | (SSL.OP_CIPHER_SERVER_PREFERENCE if like.options & ssl.OP_CIPHER_SERVER_PREFERENCE else 0))
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    ciphers = [cipher["name"] for cipher in like.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    if ciphers:
        made.set_cipher_list(":".join([*ciphers, f"@SECLEVEL={like.security_level}"]).encode())
    if groups and not _set_groups(made, ":".join(groups)):
        raise ValueError("curve_preferences: this pyOpenSSL cannot choose them")


def _set_groups(made: Any, groups: str) -> bool:
    """pyOpenSSL itself can name but one, and not X25519: so this looks behind it, and is content not to find what it looks for."""
    choose = getattr(Binding.lib, "SSL_CTX_set1_curves_list", None)
    behind = getattr(made, "_context", None)
    return choose is not None and behind is not None and choose(behind, groups.encode()) == 1


def _present(made: SSL.Context, cert: bytes, key: bytes) -> None:
    first, *rest = x509.load_pem_x509_certificates(cert)
    made.use_certificate(first)
    for one in rest:
        made.add_extra_chain_cert(one)
    made.use_privatekey(load_pem_private_key(key, password=None))  # type: ignore[arg-type]  # all that can serve
    made.check_privatekey()


def _anybody(*_: object) -> bool:
    """Whether to go on, whatever was found to be wrong with a certificate."""
    return True


def _chosen(_: SSL.Connection, offered: list[bytes]) -> Any:  # the type of what means none is pyOpenSSL's own
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _names(shown: x509.Certificate) -> tuple[tuple[str, str], ...]:
    """Its alternative names, as `ssl` has them, if all of it can be read and it has a key that Go takes."""
    if shown.serial_number < 0:
        raise ValueError("a negative serial number")
    if not _taken(shown.public_key()):
        raise ValueError("no such key is taken")
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple((_KINDS[type(name)], str(name.value)) for name in names if type(name) in _KINDS)


def _taken(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size <= _LONGEST_RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _CURVES)
    return isinstance(key, ed25519.Ed25519PublicKey)

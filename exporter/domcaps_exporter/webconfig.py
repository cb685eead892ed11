"""The web configuration file, in exporter-toolkit's format: bytes in, `Web` out. It opens no certificate and serves nothing.

What Prometheus' `promtool check web-config` takes is taken, with Go's reading of YAML: every scalar is a word first, and becomes a
number or a switch only where one is expected. Unknown keys are refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from domcaps_exporter.config import MERGE, ConfigError, Unrepeated, parsed

Pem: TypeAlias = Path | str
"""Where a PEM is, or the PEM itself."""

AUTHS = ("NoClientCert", "RequestClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
CURVES = ("CurveP256", "CurveP384", "CurveP521", "X25519")
CIPHERS: Mapping[str, str] = MappingProxyType(
    {
        "TLS_AES_128_GCM_SHA256": "",
        "TLS_AES_256_GCM_SHA384": "",
        "TLS_CHACHA20_POLY1305_SHA256": "",
        "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
        "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    }
)
"""Go's names (crypto/tls, CipherSuites) -> OpenSSL's; those of TLS 1.3 cannot be chosen, in Go either."""

HEADERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Content-Security-Policy": (),
        "Strict-Transport-Security": (),
        "X-Content-Type-Options": ("nosniff",),
        "X-Frame-Options": ("deny", "sameorigin"),
        "X-XSS-Protection": (),
    }
)
"""The headers that may be added -> the values that they may have (none named: any)."""

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("y", "yes", "true", "on")
_FALSE = ("n", "no", "false", "off")
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LENGTH = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Tls:
    """How to serve TLS. Paths are absolute or relative to the working directory; names are the file's own words."""

    cert: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: str = AUTHS[0]
    client_allowed_sans: frozenset[str] | None = None
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True
    curves: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What has to be read again when it changes."""
        return tuple(pem for pem in (self.cert, self.key, self.client_ca) if isinstance(pem, Path))


@dataclass(frozen=True, slots=True)
class Rate:
    """One request per `interval` (seconds), and `burst` of them at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class Web:
    """What the file says. `users`: name -> bcrypt hash; nobody in it: no authentication."""

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    rate: Rate | None = None


def parse(file: Path, data: bytes) -> Web:
    """What `data`, the content of `file`, says.

    Raises:
        ConfigError: it says something that it may not.
    """
    top = _Section(file, "", parsed(file, data, _Words))
    tls, http, rate = top.section("tls_server_config"), top.section("http_server_config"), top.section("rate_limit")
    users = top.section("basic_auth_users").pairs()
    http.switch("http2", default=True)  # taken as Prometheus' own exporters take it; what is served is HTTP/1.1
    web = Web(_tls(tls), _headers(http.section("headers")), users, _rate(rate))
    for section in (top, tls, http, rate):
        section.end()
    for name, text in users.items():
        if not _HASH.fullmatch(text):
            raise ConfigError(file, f"basic_auth_users.{name}: expected a bcrypt hash, such as htpasswd -nBC 10 '' writes")
    return web


class _Words(Unrepeated):
    """No scalar means more than its words, but for the key `<<`, which merges."""

    merging = True
    yaml_implicit_resolvers = {"<": [(MERGE, re.compile("<<"))]}  # noqa: RUF012  so PyYAML's classes are told


class _Section:
    """A mapping, and the keys that were asked of it: no others may be in it."""

    def __init__(self, file: Path, name: str, value: object) -> None:
        self._file, self._name = file, name
        self._asked: list[str] = []
        if not isinstance(value, dict) and value not in (None, *_NULL):
            raise ConfigError(file, f"{name or 'the file'}: expected a mapping (key: value)")
        self._found: dict[str, object] = value if isinstance(value, dict) else {}

    def error(self, key: str, message: str) -> ConfigError:
        return ConfigError(self._file, f"{self._full(key)}: {message}")

    def end(self) -> None:
        for key in self._found:
            if key not in self._asked:
                raise self.error(str(key), f"no such key; allowed: {', '.join(dict.fromkeys(self._asked))}")

    def section(self, key: str) -> _Section:
        return _Section(self._file, self._full(key), self._value(key))

    def pairs(self) -> dict[str, str]:
        return {key: self.text(key) for key in self._found}

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str | None):
            raise self.error(key, "expected a word")
        return "" if value is None or value in _NULL else value

    def word(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        return self._one(key, self.text(key) or default, allowed)

    def words(self, key: str, allowed: tuple[str, ...] = ()) -> tuple[str, ...] | None:
        """None where the key is not there."""
        value = self._value(key)
        if value is None or value in _NULL:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.error(key, "expected a list of words")
        return tuple(self._one(key, one, allowed) if allowed else one for one in value)

    def switch(self, key: str, *, default: bool) -> bool:
        word = self.text(key).lower()
        if word and word not in (*_TRUE, *_FALSE):
            raise self.error(key, f"found {word!r}, expected true or false")
        return word in _TRUE if word else default

    def path(self, key: str) -> Path | None:
        """A relative path starts where the file is; `..` in it is a word, as Go has it, and follows no link."""
        text = self.text(key)
        if not text or posixpath.isabs(text):
            return Path(text) if text else None
        return Path(posixpath.normpath(self._file.parent / text))

    def _one(self, key: str, word: str, allowed: tuple[str, ...]) -> str:
        if word not in allowed:
            raise self.error(key, f"found {word!r}, expected one of {', '.join(allowed)}")
        return word

    def _value(self, key: str) -> object:
        self._asked.append(key)
        return self._found.get(key)

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def _tls(section: _Section) -> Tls | None:
    """None where nothing is named that needs TLS, as the toolkit decides it."""
    cert, key, client_ca = (section.path(f"{name}_file") or section.text(name) for name in ("cert", "key", "client_ca"))
    named = section.text("client_auth_type")
    auth = "RequireAnyClientCert" if named == "RequireClientCert" else section.word("client_auth_type", AUTHS, AUTHS[0])
    sans, ciphers, curves = section.words("client_allowed_sans"), _ciphers(section), section.words("curve_preferences", CURVES)
    oldest, newest = section.word("min_version", VERSIONS, "TLS12"), section.word("max_version", VERSIONS, "TLS13")
    prefer = section.switch("prefer_server_cipher_suites", default=True)
    if not (cert or key or client_ca or named):
        return None
    if not cert or not key:
        missing = "key" if cert else "cert"
        raise section.error(f"{missing}_file", f"TLS needs {missing} or {missing}_file")
    if client_ca and auth == "NoClientCert":
        raise section.error("client_auth_type", "client CAs without a client_auth_type that asks for certificates")
    if sans is not None and not auth.startswith("Require"):
        raise section.error("client_allowed_sans", "needs a client_auth_type that requires a certificate")
    allowed = None if sans is None else frozenset(sans)
    return Tls(cert, key, client_ca or None, auth, allowed, oldest, newest, ciphers, prefer, curves or ())


def _ciphers(section: _Section) -> tuple[str, ...]:
    return section.words("cipher_suites", tuple(CIPHERS)) or ()


def _headers(section: _Section) -> dict[str, str]:
    """Blank ones are not sent; what a folded YAML text leaves of line ends would end the header."""
    headers = {key: " ".join(value.split()) for key, value in section.pairs().items()}
    for key, value in headers.items():
        if key not in HEADERS:
            raise section.error(key, f"no such header can be added; allowed: {', '.join(HEADERS)}")
        if HEADERS[key] and value not in HEADERS[key]:
            raise section.error(key, f"found {value!r}, expected one of {', '.join(HEADERS[key])}")
        if not value.isprintable():
            raise section.error(key, "expected a text that can be printed")
    return {key: value for key, value in headers.items() if value}


def _rate(section: _Section) -> Rate | None:
    """None where nothing is limited."""
    interval, burst = section.text("interval") or "0", section.text("burst") or "0"
    if not re.fullmatch("[0-9]{1,9}", burst):
        raise section.error("burst", f"found {burst!r}, expected a whole number")
    seconds = _seconds(interval)
    if seconds is None:
        raise section.error("interval", f"found {interval!r}, expected a time such as 1s, 500ms or 1m30s")
    return Rate(seconds, int(burst)) if seconds else None


def _seconds(text: str) -> float | None:
    """A time as Go writes them: 1m30s, 500ms; a number alone is nanoseconds."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text) * 1e-9
    if not re.fullmatch(f"\\+?({_LENGTH.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _LENGTH.findall(text))

"""The web configuration as it stands now: its file is looked at anew for each request. It reads files and serves nobody.

A file that is written in its place is seen half written, and half of it may make sense. So what keeps callers out is given up only
by an explicit act, which is to start the exporter again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from domcaps_exporter import tls
from domcaps_exporter.config import ConfigError, read
from domcaps_exporter.errors import SettingError
from domcaps_exporter.webconfig import Tls, Web, parse

_Look: TypeAlias = tuple[tuple[int, ...], ...]

_LOG = logging.getLogger(__name__)

_OPEN: Mapping[str, str] = MappingProxyType(
    {
        "RequestClientCert": "keeps nobody out: certificates are asked for and not verified",
        "RequireAnyClientCert": "lets in whoever makes himself a certificate, whatever client_ca is named",
    }
)
"""What is to be said of a client_auth_type that Go would have as open as that."""

_ASKED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "NoClientCert": frozenset(),
        "RequestClientCert": frozenset(),
        "RequireAnyClientCert": frozenset({"required"}),
        "VerifyClientCertIfGiven": frozenset({"verified"}),
        "RequireAndVerifyClientCert": frozenset({"required", "verified"}),
    }
)
"""What a client's certificate is, by client_auth_type."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A configuration that holds, and its TLS (None: plain HTTP)."""

    web: Web
    context: tls.Context | None = None


class Standing:
    """One file and the certificates that it names.

    Raises:
        ConfigError: at the start, the file cannot be used.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._watched: tuple[Path, ...] = ()
        self._look: _Look = ()
        self._problem: ConfigError | None = None
        self.last = Settled(Web())
        """The last that held; connections are made with it, so that also an error reaches its reader by TLS."""
        if file is not None:
            self.last = self._read(file)
            self._warn()

    def current(self) -> Settled:
        """The configuration now; the very same object while nothing changes.

        Raises:
            ConfigError: it does not hold any more: nobody may be served. The log has said why, once.
        """
        if self._file is not None and self._look != _looks(self._watched):
            self._renew(self._file)
        if self._problem is not None:
            raise self._problem
        return self.last

    def _renew(self, file: Path) -> None:
        before, self._problem = self._problem, None
        try:
            found = self._read(file)
            _insist_on_as_much(file, self.last.web, found.web)
        except ConfigError as error:
            self._problem = error
            if str(error) != str(before):
                _LOG.error("the web configuration does not hold; every request is refused: %s", error)
            return
        self.last = found
        _LOG.info("the web configuration was read again")
        self._warn()

    def _read(self, file: Path) -> Settled:
        """Whatever comes of it, what was looked at is remembered as it was before it was read."""
        self._watched = (file,)
        self._look = _looks(self._watched)
        web = parse(file, read(file))
        if web.tls is None:
            return Settled(web)
        self._watched = (file, *web.tls.files)
        self._look = (*self._look, *_looks(web.tls.files))
        try:
            return Settled(web, tls.context(web.tls))
        except SettingError as error:
            raise ConfigError(file, f"tls_server_config.{error.key}: {error.message}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(file, f"tls_server_config: {_said(error)}") from error

    def _warn(self) -> None:
        if self.last.web.users and self.last.context is None:
            _LOG.warning("passwords are asked for without TLS: whoever listens on the way can read them")
        if self.last.web.tls is not None and self.last.web.tls.client_auth in _OPEN:
            auth = self.last.web.tls.client_auth
            _LOG.warning("client_auth_type: %s %s; RequireAndVerifyClientCert verifies them", auth, _OPEN[auth])


def _insist_on_as_much(file: Path, before: Web, after: Web) -> None:
    """Callers are asked for no less than before, and spoken to as before."""
    if (before.tls is None) is not (after.tls is None):
        raise ConfigError(file, "TLS cannot be switched on or off while it serves; start the exporter again")
    for key in _given_up(before, after):
        what = "what keeps callers out cannot be given up while it serves"
        raise ConfigError(file, f"{key}: {what}; put it back, or start the exporter again")


def _given_up(before: Web, after: Web) -> Iterator[str]:
    """The keys by which callers come in whom nobody named. Other users, authorities and names are as good as those before."""
    if before.users and not after.users:
        yield "basic_auth_users"
    if before.tls is not None and after.tls is not None:
        yield from (f"tls_server_config.{key}" for key in _given_up_of_tls(before.tls, after.tls))


def _given_up_of_tls(before: Tls, after: Tls) -> Iterator[str]:
    asked = _ASKED[before.client_auth]
    if not asked <= _ASKED[after.client_auth]:
        yield "client_auth_type"
    if "verified" in asked and before.client_ca is not None and after.client_ca is None:
        yield "client_ca_file"  # in its place would come the authorities that the system trusts, and they know everybody
    if before.client_allowed_sans is not None and after.client_allowed_sans is None:
        yield "client_allowed_sans"


def _looks(files: tuple[Path, ...]) -> _Look:
    return tuple(map(_looked, files))


def _looked(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)

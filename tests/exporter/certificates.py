"""Certificates for tests, made by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A certificate authority in a folder, with `ca.pem`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl: it makes the certificates")
        self.folder = folder
        usage = ("-addext", "keyUsage=critical,keyCertSign")  # without which Python 3.13 trusts none
        openssl("req", "-x509", *NEW_KEY, "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=authority", *usage)

    def certify(self, name: str, names: str) -> Path:
        """`name.pem` and `name.key`, for those alternative names (`DNS:a,IP:127.0.0.1`); the path of the certificate."""
        return self._certified(name, f"subjectAltName={names}")

    def deputy(self, folder: Path) -> Authority:
        """An authority in another folder, which this one vouches for."""
        made = Authority(folder)
        certificate = self._certified("deputy", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
        certificate.rename(folder / "ca.pem")
        certificate.with_suffix(".key").rename(folder / "ca.key")
        return made

    def _certified(self, name: str, *extensions: str) -> Path:
        certificate, key, request = (self.folder / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        words = [word for extension in extensions for word in ("-addext", extension)]
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}", *words)
        (self.folder / "extensions").write_text("authorityKeyIdentifier=keyid\n")
        signing = ("-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key", "-extfile", self.folder / "extensions")
        openssl("x509", "-req", "-in", request, "-out", certificate, "-days", "2", "-copy_extensions", "copy", *signing)
        return certificate

    def certify_for(self, name: str, seconds: float) -> Path:
        """`name.pem` and `name.key`, good for so many seconds from now; of that many ago, where they are negative."""
        authority = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        signing = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        made = x509.CertificateBuilder(authority.subject, x509.Name([]), key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(end - timedelta(days=1)).not_valid_after(end)
        return _written(self.folder / f"{name}.pem", made.sign(signing, hashes.SHA256()), key)


def self_made(folder: Path, name: str, *extras: str, key: tuple[str, ...] = ()) -> Path:
    """`name.pem` and `name.key`, vouched for by nobody; `extras` are extensions, in openssl's words."""
    certificate = folder / f"{name}.pem"
    words = [word for extra in extras for word in ("-addext", extra)]
    files = ("-keyout", certificate.with_suffix(".key"), "-out", certificate)
    openssl("req", "-x509", *(("-newkey", *key, "-nodes") if key else NEW_KEY), *files, "-subj", f"/CN={name}", *words)
    return certificate


def _written(certificate: Path, made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate.write_bytes(made.public_bytes(pem))
    certificate.with_suffix(".key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return certificate


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)

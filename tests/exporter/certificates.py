"""Certificates for tests, made by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """A certificate authority in a folder, with `ca.pem`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl: it makes the certificates")
        self.folder = folder
        openssl("req", "-x509", *NEW_KEY, "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=authority")

    def certify(self, name: str, names: str) -> Path:
        """`name.pem` and `name.key`, for those alternative names (`DNS:a,IP:127.0.0.1`); the path of the certificate."""
        certificate, key, request = (self.folder / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        signing = ("-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key", "-copy_extensions", "copy")
        openssl("x509", "-req", "-in", request, "-out", certificate, "-days", "2", *signing)
        return certificate


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)

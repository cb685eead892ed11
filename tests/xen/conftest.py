"""A real Xen is booted by `make test-xen` only: DOMCAPS_XEN names the folder that `.setup/xen` filled."""

from __future__ import annotations

import os

import pytest

collect_ignore = [] if "DOMCAPS_XEN" in os.environ else ["test_real_xen.py"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xen: boots a real Xen; run by make test-xen")

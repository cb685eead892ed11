"""A Debian is booted by `make test-systemd` only: DOMCAPS_GUEST names the folder that `.setup/guest` filled."""

from __future__ import annotations

import os

collect_ignore = [] if "DOMCAPS_GUEST" in os.environ else ["test_in_a_guest.py"]

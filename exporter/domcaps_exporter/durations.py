"""Times as people write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 3600.0
_LONG_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}


def seconds(text: str) -> float:
    """Seconds in `5`, `5s`, `500ms`, `1m`.

    Raises:
        ValueError: the text is no time above 0 and of at most an hour; the message says what was expected.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", text)
    found = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not 0 < found <= _LONGEST:
        raise ValueError(f"found {text!r}; expected a time of at most 1h, such as 5s, 500ms or 1m")
    return found


def long_seconds(text: str) -> float:
    """Seconds in `12h`, `30d`, `4w`, `1y`.

    Raises:
        ValueError: the text is no such time above 0; the message says what was expected.
    """
    match = re.fullmatch(r"([0-9]{1,4})([hdwy])", text)
    found = float(match[1]) * _LONG_SECONDS[match[2]] if match else 0.0
    if found == 0:
        raise ValueError(f"found {text!r}; expected a time such as 12h, 30d, 4w or 1y")
    return found


def moment(since: float) -> str:
    """`2026-01-31T12:00:00Z`, of seconds since the epoch."""
    return f"{datetime.fromtimestamp(since, UTC):%Y-%m-%dT%H:%M:%SZ}"

"""The log: one line per event on stderr, as logfmt or JSON, as exporters write it. It never shows where in the code it came from.

Whoever logs may add fields: `logger.info("listening", extra={"fields": {"url": url}})`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TextIO

LEVELS = ("debug", "info", "warn", "error")
FORMATS = ("logfmt", "json")

_BARE = re.compile(r'[^\s"=\\\x00-\x1f\x7f]+')


def configure(level: str, form: str, stream: TextIO, heeded: Collection[str] = ()) -> None:
    """Make the root logger write to `stream`; `level` and `form` are one of `LEVELS` and `FORMATS`.

    Warnings of the loggers `heeded` are written at any level.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Json() if form == "json" else Logfmt())
    handler.addFilter(lambda record: record.levelno >= (min(least, logging.WARNING) if record.name in heeded else least))
    logging.basicConfig(level=min(least, logging.WARNING) if heeded else least, handlers=[handler], force=True)


class Logfmt(logging.Formatter):
    """`ts=2026-01-31T12:00:00.000Z level=info msg="listening" url=http://127.0.0.1:19177/`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        return " ".join(f"{key}={_quoted(text)}" for key, text in _fields(record).items())


class Json(logging.Formatter):
    """The same fields as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        return json.dumps(_fields(record), ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level(record.levelno),
        "msg": record.getMessage(),
    }
    extra = getattr(record, "fields", None)
    if isinstance(extra, Mapping):
        fields |= {str(key): str(value) for key, value in extra.items()}
    if record.exc_info and record.exc_info[1] is not None:
        fields.setdefault("error", repr(record.exc_info[1]))
    return fields


def _level(number: int) -> str:
    """The name in the ecosystem's words: `warn`, and nothing above `error`."""
    name = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn"}
    return name.get(number, "error" if number > logging.WARNING else "debug")


def _quoted(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)

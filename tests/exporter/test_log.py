from __future__ import annotations

import json
import logging
import re

from domcaps_exporter.log import Json, Logfmt


def record(level: int, message: str, *args: object, fields: object = None) -> logging.LogRecord:
    made = logging.LogRecord("domcaps_exporter.web", level, __file__, 1, message, args, None)
    made.fields = fields
    return made


def test_a_line_says_when_how_bad_and_what() -> None:
    line = Logfmt().format(record(logging.INFO, "listening", fields={"url": "http://127.0.0.1:19177/"}))
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info msg=listening url=http://127\.0\.0\.1:19177/", line)


def test_whatever_a_message_holds_it_stays_one_line() -> None:
    line = Logfmt().format(record(logging.WARNING, '%s: said "no"\nlevel=error', "qemu", fields={"empty": ""}))
    assert line.endswith(r'level=warn msg="qemu: said \"no\"\nlevel=error" empty=""')


def test_json_has_the_same_fields() -> None:
    event = json.loads(Json().format(record(logging.CRITICAL, "stopped\nthen", fields={"after": 3})))
    assert (event["level"], event["msg"], event["after"]) == ("error", "stopped\nthen", "3")


def test_an_exception_is_a_field_not_a_traceback() -> None:
    made = record(logging.ERROR, "a page failed")
    made.exc_info = (ValueError, ValueError("x\ny"), None)
    assert Logfmt().format(made).endswith('''msg="a page failed" error="ValueError('x\\\\ny')"''')

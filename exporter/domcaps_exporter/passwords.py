"""Passwords against bcrypt hashes, one at a time, in a thread of their own. It tells right from wrong, and not why.

One who is not let in learns nothing by the clock: an unknown name costs what a known one does. A password that was right once is
known again at once, so those who guess cannot make those wait who know.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import bcrypt

LONGEST = 72
"""Bytes of a password that bcrypt can tell apart; longer ones are wrong."""

WAITING = 32
"""Checks that may wait; the next one is turned away."""


class Crowded(Exception):
    """Too many checks are waiting."""


@dataclass(frozen=True, slots=True)
class _Check:
    password: bytes
    hashed: bytes
    answer: Future[bool]


class Passwords:
    """The checks of one exporter, and the passwords that were right. For one event loop."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._right: dict[str, bytes] = {}
        self._checks: queue.Queue[_Check] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    async def right(self, users: Mapping[str, str], name: str, password: bytes) -> bool:
        """Is it that user's? `users` (not empty): name -> hash.

        Raises:
            Crowded: that cannot be said now.
        """
        known = name in users
        hashed = users[name] if known else self._decoy(users, name)
        digest = self._digest(hashed.encode(), password)
        if known and hmac.compare_digest(self._right.get(hashed, b""), digest):
            return True
        matches = len(password) <= LONGEST and await self._checked(password, hashed)
        if known and matches:
            self._right = {one: seen for one, seen in self._right.items() if one in users.values()} | {hashed: digest}
        return known and matches

    def _decoy(self, users: Mapping[str, str], name: str) -> str:
        """Some user's hash, always the same for a name: so the costs of unknown names are those of known ones."""
        number = int.from_bytes(self._digest(b"decoy", os.fsencode(name)))
        return sorted(users.values())[number % len(users)]

    def _digest(self, what: bytes, text: bytes) -> bytes:
        return hmac.digest(self._secret, what + b"\0" + text, hashlib.sha256)

    async def _checked(self, password: bytes, hashed: str) -> bool:
        check = _Check(password, hashed.encode(), Future())
        try:
            self._checks.put_nowait(check)
        except queue.Full:
            raise Crowded from None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="passwords", daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(check.answer)

    def _work(self) -> None:
        """A check whose asker has gone is not done."""
        while True:
            check = self._checks.get()
            if check.answer.set_running_or_notify_cancel():
                check.answer.set_result(_matches(check.password, check.hashed))


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False

"""Passwords: hashed, compared, and guarded against guessing.

Kept is argon2id of the SHA-512 of a password, in hex. So a caller that has only the SHA-512 (ZStack's clients send that) and
one that has the password itself are compared with the same hash, and a stolen database is of no use with either.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from enum import StrEnum
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind

_TRIES = 5
_WITHIN_SECONDS = 60.0
_NAMES = 10_000
_AT_A_TIME = 2
_SHA512 = re.compile("[0-9a-fA-F]{128}")


class PasswordForm(StrEnum):
    """The form in which a call gives its passwords."""

    PLAIN = "plain"  #: as people type them
    SHA512 = "sha512"  #: the SHA-512 of that, 128 lower-case hex digits, as ZStack's clients send it


def sha512_hex(password: str, form: PasswordForm = PasswordForm.PLAIN, field: str = "password") -> str:
    """The SHA-512 of a password that comes in the given form (``auth.bad-password-form``, naming `field`)."""
    if form is PasswordForm.PLAIN:
        return hashlib.sha512(password.encode()).hexdigest()
    if _SHA512.fullmatch(password) is None:
        raise CairnError(
            "auth.bad-password-form",
            f"{field}: it was announced as a SHA-512, but is not 128 hex digits. Hash it, or send it as passwordForm=plain.",
            kind=ErrorKind.INVALID,
            fields={field: "128 hex digits would fit, or passwordForm=plain"},
        )
    return password.lower()


def interactive_hasher() -> PasswordHasher:
    """argon2id with 19 MiB and two passes: some 30 ms of a core, and little memory while many log in."""
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Hasher(Protocol):
    """The slow function; tests bring a quick one."""

    def hash(self, password: str) -> str:
        """The salted hash of a password."""

    def verify(self, hash: str, password: str) -> bool:
        """True, or an exception of argon2's when it does not fit."""


class Passwords:
    """Hashes and compares, off the event loop, a few at a time so that logins never take all of the memory.

    Args:
        hasher: the slow function.
        clock: for counting wrong passwords.
    """

    def __init__(self, hasher: Hasher, clock: Clock) -> None:
        self._hasher = hasher
        self._throttle = Throttle(clock)
        self._gate = asyncio.Semaphore(_AT_A_TIME)
        self._nobody: str | None = None

    async def hash(self, password_sha512_hex: str) -> str:
        """The hash of a password, to be kept."""
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, password_sha512_hex)

    async def compare(self, name: str, kept: str | None, password_sha512_hex: str) -> None:
        """See that a password is the one that `kept` was made of.

        A try is counted before its end is known, so that hanging up early gains nothing, and only when its turn has
        come, so that many callers with the right password can log in at once.

        Args:
            name: of the account, also of one that does not exist.
            kept: what `hash` gave; None (no such account) takes the same time.

        Raises:
            CairnError: ``auth.wrong-password``, ``auth.too-many-tries``.
        """
        async with self._gate:
            self._throttle.begin(name)
            if not await asyncio.to_thread(self._verify, kept, password_sha512_hex):
                raise wrong_password()
            self._throttle.succeeded(name)

    def _verify(self, kept: str | None, password_sha512_hex: str) -> bool:
        if self._nobody is None:
            self._nobody = self._hasher.hash("")
        try:
            return self._hasher.verify(kept or self._nobody, password_sha512_hex) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


class Throttle:
    """Five wrong passwords for a name within a minute, and the name has to wait until the first is a minute old."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, name: str) -> None:
        """A try begins; it counts until `succeeded` (``auth.too-many-tries``)."""
        now = self._clock.monotonic()
        tries = [when for when in self._tries.get(name, []) if now - when < _WITHIN_SECONDS]
        if len(tries) >= _TRIES:
            seconds = int(_WITHIN_SECONDS - (now - tries[0])) + 1
            raise CairnError(
                "auth.too-many-tries",
                f"There were {len(tries)} wrong passwords for this account within a minute. Wait {seconds} s.",
                kind=ErrorKind.EXHAUSTED,
                details={"seconds": seconds},
            )
        self._tries[name] = [*tries, now]
        self._tries.move_to_end(name)
        while len(self._tries) > _NAMES:
            self._tries.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """The password was right: count from nothing again."""
        self._tries.pop(name, None)


def wrong_password() -> CairnError:
    """The error for a wrong password; the same for an account that does not exist, so that it tells nothing of accounts."""
    return CairnError(
        "auth.wrong-password",
        "The account's name or the password is wrong. Check both; names are case-sensitive.",
        kind=ErrorKind.UNAUTHENTICATED,
    )

"""Passwords: hashed, compared, and guarded against guessing.

Kept is argon2id of the SHA-512 of a password, in hex. So a caller that has only the SHA-512 (ZStack's clients send that) and
one that has the password itself are compared with the same hash, and a stolen database is of no use with either.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol, TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.turns import Pool, Turn, Turns
from cairn.services.identity.throttle import HERE, Throttle

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_AT_A_TIME = 2
#: one more at a time, for places that are known
_FOR_KNOWN = 1
_WAITING_OF_PLACE = 32
_WAITING_OF_ALL = 256
_BUSY_SECONDS = 5
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
    """Hashes and compares, in threads of its own, a few at a time, so that logins never take all of the memory.

    Who waits for a comparison waits in turn with all other places, so none holds up the others; and only so many wait at a
    time, of one place and in all: more are refused at once, since their hashing is what costs. One more runs at a time if it
    is for a place that the account's password has come from before.

    Args:
        hasher: the slow function.
        clock: for counting wrong passwords.
    """

    def __init__(self, hasher: Hasher, clock: Clock) -> None:
        self._hasher = hasher
        self._throttle = Throttle(clock)
        self._ordinary = Pool("ordinary", lambda: _AT_A_TIME, lambda _: _AT_A_TIME)
        self._reserve = Pool("known", lambda: _FOR_KNOWN, lambda _: _FOR_KNOWN)
        self._turns: Turns[asyncio.Future[None]] = Turns((self._ordinary, self._reserve))
        self._waiting: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(_AT_A_TIME + _FOR_KNOWN, thread_name_prefix="passwords")
        self._nobody: str | None = None

    async def hash(self, password_sha512_hex: str) -> str:
        """The hash of a password, to be kept."""
        async with self._turn(HERE, known=False):
            return await self._in_thread(self._hasher.hash, password_sha512_hex)

    async def compare(self, name: str, kept: str | None, password_sha512_hex: str, place: str = HERE) -> None:
        """See that a password is the one that `kept` was made of.

        A try is counted before its end is known, so that hanging up early gains nothing, and only when its turn has
        come, so that many callers with the right password can log in at once.

        Args:
            name: of the account, also of one that does not exist.
            kept: what `hash` gave; None (no such account) takes the same time.
            password_sha512_hex: what is compared.
            place: where it comes from (`throttle.place_of`).

        Raises:
            CairnError: ``auth.wrong-password``, ``auth.too-many-tries``, ``auth.busy``.
        """
        self._throttle.check(name, place)
        known = self._throttle.knows(name, place)
        self._refuse_crowds(place, known=known)
        async with self._turn(place, known=known):
            self._throttle.begin(name, place)
            if not await self._in_thread(self._verify, kept, password_sha512_hex):
                raise wrong_password()
            self._throttle.succeeded(name, place)

    async def _in_thread(self, call: Callable[[*Ts], T], *given: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *given)

    def _refuse_crowds(self, place: str, *, known: bool) -> None:
        most = _WAITING_OF_ALL * (2 if known else 1)
        if self._waiting[place] < _WAITING_OF_PLACE and self._waiting.total() < most:
            return
        raise CairnError(
            "auth.busy",
            "Too many log-ins wait for their turn. Try again in a moment, or keep the session that you have.",
            kind=ErrorKind.EXHAUSTED,
            details={"retryAfterSeconds": _BUSY_SECONDS},
        )

    @asynccontextmanager
    async def _turn(self, place: str, *, known: bool) -> AsyncIterator[None]:
        """A place among those that hash at a time; places that wait take turns."""
        pools = (self._ordinary, self._reserve) if known else (self._ordinary,)
        turn = Turn(asyncio.get_running_loop().create_future(), place, pools)
        self._waiting[place] += 1
        self._turns.add(turn)
        self._wake()
        try:
            try:
                await turn.what
            finally:
                self._waiting[place] -= 1
                if not self._waiting[place]:
                    del self._waiting[place]
            yield
        finally:
            self._turns.leave(turn)
            self._wake()

    def _wake(self) -> None:
        while (turn := self._turns.take()) is not None:
            if not turn.what.done():
                turn.what.set_result(None)

    def _verify(self, kept: str | None, password_sha512_hex: str) -> bool:
        if self._nobody is None:
            self._nobody = self._hasher.hash("")
        try:
            return self._hasher.verify(kept or self._nobody, password_sha512_hex) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


def wrong_password() -> CairnError:
    """The error for a wrong password; the same for an account that does not exist, so that it tells nothing of accounts."""
    return CairnError(
        "auth.wrong-password",
        "The account's name or the password is wrong. Check both; names are case-sensitive.",
        kind=ErrorKind.UNAUTHENTICATED,
    )

"""Seals: what is secret lies in the database encrypted, with keys that are not in the database.

A field that is marked `Sealed` is sealed on its way in and opened on its way out; whoever uses the record notices nothing
(`cairn.kernel.store.statements`). A sealed value is an envelope: the mark, which key it was sealed with, a nonce, and the
AES-256-GCM of the value. It is bound to its column: moved to another one it does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cairn.kernel.error import CairnError, ErrorKind

KEY_BYTES: Final = 32
_MARK: Final = b"seal1:"
_ID_DIGITS: Final = 16
_NONCE_BYTES: Final = 12
_NONCES_AT_A_TIME: Final = 512
_HEAD: Final = len(_MARK) + _ID_DIGITS


class SealKey:
    """A key. Its id is made of it, so that no other key can stand in its place."""

    __slots__ = ("cipher", "head", "id", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.id = hashlib.blake2b(secret, digest_size=_ID_DIGITS // 2, person=b"cairn-seal-key").hexdigest()
        self.head = _MARK + self.id.encode("ascii")
        self.cipher = AESGCM(secret)

    def __repr__(self) -> str:
        return f"SealKey({self.id})"


class Seals:
    """Seals and opens values. May be used by several threads.

    Args:
        keys: the first seals; all of them open.
    """

    def __init__(self, keys: Iterable[SealKey]) -> None:
        found = list(keys)
        self.current = found[0]
        self.keys: Mapping[bytes, SealKey] = {key.head: key for key in found}
        self._nonces: list[bytes] = []

    @classmethod
    def ephemeral(cls) -> Seals:
        """A key that nobody keeps: for databases that end with the process."""
        return cls([SealKey(os.urandom(KEY_BYTES))])

    def knows(self, key: str) -> bool:
        """Whether the key with this id is there."""
        return _MARK + key.encode("ascii", "replace") in self.keys

    def learn(self, keys: Iterable[SealKey]) -> list[str]:
        """Open with these keys as well; which one seals stays. Returns the ids of those that are new."""
        new = {key.head: key for key in keys if key.head not in self.keys}
        self.keys = {**self.keys, **new}
        return [key.id for key in new.values()]

    def seal(self, value: bytes, column: str) -> bytes:
        """The envelope of a value that lies in `column` (``table.field``)."""
        key, nonce = self.current, self._nonce()
        return key.head + nonce + key.cipher.encrypt(nonce, value, column.encode())

    def open(self, envelope: bytes, column: str) -> bytes:
        """The value in an envelope.

        Raises:
            CairnError: ``secret.not-sealed``, ``secret.key-missing``, ``secret.damaged``.
        """
        key = self.keys.get(envelope[:_HEAD])
        if key is None:
            raise _unopened(envelope, column)
        nonce, sealed = envelope[_HEAD : _HEAD + _NONCE_BYTES], envelope[_HEAD + _NONCE_BYTES :]
        try:
            return key.cipher.decrypt(nonce, sealed, column.encode())
        except (InvalidTag, ValueError):
            raise _damaged(column) from None

    def seal_text(self, value: str, column: str) -> str:
        """As `seal`, for columns of text."""
        return base64.b64encode(self.seal(value.encode(), column)).decode("ascii")

    def open_text(self, envelope: str, column: str) -> str:
        """As `open`, for columns of text."""
        try:
            raw = base64.b64decode(envelope, validate=True)
        except (binascii.Error, ValueError):
            raise _unopened(b"", column) from None
        return self.open(raw, column).decode()

    def is_current(self, value: str | bytes) -> bool:
        """Whether a value from the database is an envelope, made with the key that seals now."""
        return envelope_of(value)[:_HEAD] == self.current.head

    def _nonce(self) -> bytes:
        """A random nonce. They are drawn many at a time: a call to the system for each takes half as long as the sealing."""
        try:
            return self._nonces.pop()
        except IndexError:
            drawn = os.urandom(_NONCE_BYTES * _NONCES_AT_A_TIME)
            fresh = [drawn[at : at + _NONCE_BYTES] for at in range(0, len(drawn), _NONCE_BYTES)]
            nonce = fresh.pop()
            self._nonces = fresh
            return nonce


def envelope_of(value: str | bytes) -> bytes:
    """The envelope that a value from the database may be, whatever the column's type."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_envelope(value: str | bytes) -> bool:
    """Whether a value from the database looks sealed."""
    return envelope_of(value).startswith(_MARK)


def _unopened(envelope: bytes, column: str) -> CairnError:
    if not envelope.startswith(_MARK):
        return CairnError(
            "secret.not-sealed",
            f"A value of {column} lies in the database without a seal, so it was not written by cairn. It is not used.",
            kind=ErrorKind.INTERNAL,
        )
    key = envelope[len(_MARK) : _HEAD].decode("ascii", "replace")
    return CairnError(
        "secret.key-missing",
        f"A value of {column} was sealed with the key {key}, which is not in the key file. Every node of a cloud has the same "
        "one: copy it from a node that runs, or put it back from the backup.",
        kind=ErrorKind.INTERNAL,
        details={"key": key},
    )


def _damaged(column: str) -> CairnError:
    return CairnError(
        "secret.damaged",
        f"A sealed value of {column} does not open: it was changed in the database, or moved there from another column.",
        kind=ErrorKind.INTERNAL,
    )

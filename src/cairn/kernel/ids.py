"""Ids: 32 lower-case hex digits (a version-4 UUID without dashes), each noun's a type of its own."""

from __future__ import annotations

import os
import random
import re
from typing import NewType, Protocol

from cairn.kernel.words import END

UUID_PATTERN = rf"^[0-9a-f]{{32}}{END}"
_UUID = re.compile(UUID_PATTERN)

JobId = NewType("JobId", str)
NodeId = NewType("NodeId", str)
TaskId = NewType("TaskId", str)


def is_uuid(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return _UUID.fullmatch(text) is not None


class IdSource(Protocol):
    """The only source of new ids."""

    def new(self) -> str:
        """An id that nothing else has."""


class RandomIds:
    """Version-4 UUIDs. With a seed they repeat from run to run, for tests; without, they come from the system.

    The system is asked for many at a time: a call to it costs more than all the rest of making an id.
    """

    _AT_A_TIME = 256

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)  # noqa: S311
        self._bytes = b""
        self._at = 0

    def new(self) -> str:
        """32 hex digits with version and variant set as RFC 9562 says."""
        bits = self._system_bits() if self._random is None else self._random.getrandbits(128)
        bits = (bits & ~(0xF << 76)) | (4 << 76)
        bits = (bits & ~(0x3 << 62)) | (2 << 62)
        return f"{bits:032x}"

    def _system_bits(self) -> int:
        if self._at == len(self._bytes):
            self._bytes = os.urandom(16 * self._AT_A_TIME)
            self._at = 0
        self._at += 16
        return int.from_bytes(self._bytes[self._at - 16 : self._at], "big")

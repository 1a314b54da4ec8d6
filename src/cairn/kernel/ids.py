"""Ids: 32 lower-case hex digits (a version-4 UUID without dashes), each noun's a type of its own."""

from __future__ import annotations

import random
import re
from typing import NewType, Protocol

UUID_PATTERN = "^[0-9a-f]{32}$"
_UUID = re.compile(UUID_PATTERN)

JobId = NewType("JobId", str)
NodeId = NewType("NodeId", str)
TaskId = NewType("TaskId", str)


def is_uuid(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return _UUID.fullmatch(text) is not None


class IdSource(Protocol):
    """Where new ids come from."""

    def new(self) -> str:
        """An id that nobody else has."""


class RandomIds:
    """Version-4 UUIDs. With a seed they repeat from run to run, for tests; without, they come from the system."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311

    def new(self) -> str:
        """32 hex digits with version and variant set as RFC 9562 says."""
        bits = self._random.getrandbits(128)
        bits = (bits & ~(0xF << 76)) | (4 << 76)
        bits = (bits & ~(0x3 << 62)) | (2 << 62)
        return f"{bits:032x}"

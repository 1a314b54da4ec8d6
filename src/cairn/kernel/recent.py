"""A read-through cache, for hot paths that would otherwise read the same few rows for every VM.

A value is kept for a short time, and dropped at once when this node hears of a change. So reads after
a change that was made here see it, and a change on another node is seen after that time at the latest. Many reads of
the same key at once cause one look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from cairn.kernel.clock import Clock

K = TypeVar("K", bound=str)
V = TypeVar("V")

KEEP_SECONDS: Final = 2.0
_MOST: Final = 10_000


class Recent(Generic[K, V]):
    """Values by key, read when they are not known.

    Args:
        clock: for the values' age.
        read: reads the values of some keys; those that do not exist are left out, which is remembered as well.
        keep_seconds: how long a value is taken for true.
    """

    def __init__(
        self,
        clock: Clock,
        read: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        *,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._clock = clock
        self._read = read
        self._keep_seconds = keep_seconds
        self._values: dict[K, tuple[float, V | None]] = {}
        self._reading = asyncio.Lock()
        self._drops = 0

    async def get(self, keys: Iterable[K]) -> dict[K, V]:
        """The values of `keys`; those that do not exist are left out. Raises what `read` raises, keeping nothing."""
        found, missing = self._known(keys)
        if missing:
            async with self._reading:  # after waiting, look at what the others have read
                more, missing = self._known(missing)
                found |= more
                if missing:
                    found |= await self._load(missing)
        return found

    def drop(self, key: K) -> None:
        """Forget the value of `key`: it is read again when it is next asked for. A read that is under way is not kept."""
        self._values.pop(key, None)
        self._drops += 1

    def _known(self, keys: Iterable[K]) -> tuple[dict[K, V], list[K]]:
        now = self._clock.monotonic()
        found: dict[K, V] = {}
        missing: list[K] = []
        for key in keys:
            until, value = self._values.get(key, (now, None))
            if until <= now:
                missing.append(key)
            elif value is not None:
                found[key] = value
        return found, missing

    async def _load(self, keys: list[K]) -> Mapping[K, V]:
        drops = self._drops
        until = self._clock.monotonic() + self._keep_seconds
        read = await self._read(list(dict.fromkeys(keys)))
        if drops == self._drops:
            if len(self._values) > _MOST:
                self._values.clear()
            self._values.update((key, (until, read.get(key))) for key in keys)
        return read

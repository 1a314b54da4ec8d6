"""The clock is handed to constructors, so that a test can own the time (`cairn.testing.clock`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class TimerHandle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Cancel the call. Safe to repeat, and after the call was made."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The time of day, UTC, aware."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait. 0 lets others run once."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Call `call` from the event loop after `seconds`."""


class SystemClock:
    """The machine's own time, as a running node uses it."""

    def now(self) -> datetime:
        """The machine's time of day, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic clock, in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of the machine's time."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Call `call` from the running loop after `seconds`."""
        return asyncio.get_running_loop().call_later(seconds, call)

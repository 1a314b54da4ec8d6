"""The clock of the agents, handed to constructors so that a test can own the time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The only source of time of an agent."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def time(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait. 0 lets others run once."""


class SystemClock:
    """The machine's own time, as a running agent uses it."""

    def monotonic(self) -> float:
        """The machine's monotonic clock."""
        return time.monotonic()

    def time(self) -> float:
        """The machine's time of day."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of the machine's time."""
        await asyncio.sleep(seconds)

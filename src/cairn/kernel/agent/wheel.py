"""One timer for the deadlines of all calls.

A time-out object for each call costs as much as a third of the call itself. Here a deadline is a membership in the
set of its tick; one timer goes from tick to tick for as long as anything is waiting. A deadline therefore comes up
to one tick late, and never early.
"""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.clock import Clock


class Expiring(Protocol):
    """Something with a deadline. `tick` belongs to the wheel while it is in there."""

    tick: int

    def expire(self) -> None:
        """The deadline has passed. Called once, and not after `DeadlineWheel.discard`."""


class DeadlineWheel:
    """Calls `expire` on what was added and not discarded in time.

    Args:
        clock: whose seconds count.
        tick_seconds: how late a deadline may come at most.
    """

    def __init__(self, clock: Clock, tick_seconds: float = 0.1) -> None:
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._ticks: dict[int, set[Expiring]] = {}
        self._count = 0
        self._last = 0
        self._armed = False

    def __len__(self) -> int:
        """How many are waiting for their deadline."""
        return self._count

    def add(self, item: Expiring, seconds: float) -> None:
        """Have `item` expire in `seconds` (0 or less: at the next tick)."""
        now = self._clock.monotonic()
        tick = int((now + max(seconds, 0.0)) / self._tick_seconds) + 1
        item.tick = tick
        members = self._ticks.get(tick)
        if members is None:
            members = self._ticks[tick] = set()
        members.add(item)
        self._count += 1
        if not self._armed:
            self._last = int(now / self._tick_seconds)
            self._arm()

    def discard(self, item: Expiring) -> None:
        """Forget the deadline of `item`. Not there, or expired already: nothing happens."""
        members = self._ticks.get(item.tick)
        if members is not None and item in members:
            members.remove(item)
            self._count -= 1

    def _arm(self) -> None:
        self._armed = True
        self._clock.call_later(self._tick_seconds, self._turn)

    def _turn(self) -> None:
        current = int(self._clock.monotonic() / self._tick_seconds)
        for tick in range(self._last + 1, current + 1):
            members = self._ticks.pop(tick, None)
            if members:
                self._count -= len(members)
                for item in members:
                    item.expire()
        self._last = current
        if self._count:
            self._arm()
        else:
            self._armed = False
            self._ticks.clear()

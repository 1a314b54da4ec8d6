"""How late envelopes come, without comparing the clocks of two machines.

Each request carries the instant at which it was sent, by its sender's monotonic clock. The difference from the receiver's
own is an offset that means nothing, and the time under way. The smallest such difference of the last minutes belongs to
the fastest envelopes; by how much another one exceeds it is how late that one is.
"""

from __future__ import annotations

from math import inf

#: how long the fastest envelope is remembered, at least: clocks drift apart by some 50 us a second
WINDOW_SECONDS = 60.0


class Lateness:
    """Of the envelopes of one process."""

    __slots__ = ("_before", "_now", "_turn")

    def __init__(self) -> None:
        self._before = inf  # the smallest difference of the window before this one
        self._now = inf
        self._turn = -inf

    def of(self, sent: float, received: float) -> float:
        """By how many seconds an envelope is later than the fastest ones. The first one is taken to be on time.

        Args:
            sent: by the sender's monotonic clock.
            received: by ours.
        """
        if received >= self._turn:
            self._before, self._now = self._now, inf
            self._turn = received + WINDOW_SECONDS
        difference = received - sent
        self._now = min(self._now, difference)
        return difference - min(self._now, self._before)

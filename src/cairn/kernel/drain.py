"""A node that is told to end, where there are others: it hands on what it has not begun, and ends what it has.

It owns no keys from the beginning, so nothing new comes to it but calls, which it passes to their owners. It takes those for a
while longer: whoever looks after who takes calls needs some time to see that this node does not want any more.
What it has not ended in time is dropped where it stands, and taken over by the others (`cairn.kernel.takeover`).
"""

from __future__ import annotations

import structlog

from cairn.kernel.bus.bus import Bus
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.jobs import Jobs
from cairn.kernel.membership import Membership
from cairn.kernel.ring import Ring

_LOOK_SECONDS = 0.1
_log = structlog.get_logger("cairn.node")


class Drain:
    """Empties one node.

    Args:
        membership: of this node.
        ring: who the others are.
        jobs: those of this node.
        bus: what others have asked of it.
        clock: time.
    """

    def __init__(self, *, membership: Membership, ring: Ring, jobs: Jobs, bus: Bus, clock: Clock) -> None:
        self._membership = membership
        self._ring = ring
        self._jobs = jobs
        self._bus = bus
        self._clock = clock

    async def run(self, seconds: float, notice_seconds: float) -> bool:
        """Hand on, and wait until nothing is at work here. May be cancelled at any time.

        Args:
            seconds: the longest that it takes.
            notice_seconds: the shortest, unless the others leave as well.

        Returns:
            Whether nothing is at work any more. False at once where no other node takes work.
        """
        now = self._clock.monotonic()
        until, noticed = now + max(seconds, notice_seconds), now + notice_seconds
        if not await self._is_drained():
            return False
        _log.info("node.draining", node=self._membership.node, seconds=seconds)
        while self._ring.members and (now := self._clock.monotonic()) < until:
            self._jobs.pass_on()
            if self._is_idle() and now >= noticed:
                return True
            await self._clock.sleep(_LOOK_SECONDS)
        running, _ = self._jobs.counts()
        _log.info("node.not-drained", node=self._membership.node, running=running)
        return False

    async def _is_drained(self) -> bool:
        try:
            return await self._membership.drain()
        except CairnError as error:
            _log.warning("node.not-drained", node=self._membership.node, error=str(error))
            return False

    def _is_idle(self) -> bool:
        return self._jobs.counts() == (0, 0) and self._bus.serving == 0

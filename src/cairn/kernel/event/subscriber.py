"""Subscribers: who is told of which events inside the process, and how one is called.

Whatever a subscriber does, it cannot end its watch: what it raises is an answer, a call that hangs is cancelled, and trouble
of the store passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.clock import Clock
from cairn.kernel.event.log import EventLog
from cairn.kernel.event.model import EventRow
from cairn.kernel.event.turn import NotOursError

T = TypeVar("T")
Subscriber = Callable[[EventRow], Awaitable[None]]

#: the longest that a subscriber may take for one event
CALL_SECONDS: Final = 300.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_log = structlog.get_logger("cairn.event")


class Subscription(Struct, frozen=True, eq=False):
    """Who is told, of what, and how."""

    name: str
    names: frozenset[str]  #: of the events that it hears; empty: all
    call: Subscriber

    def hears(self, name: str) -> bool:
        """Whether events of that name concern it."""
        return not self.names or name in self.names


class Teller:
    """Calls subscribers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wheel = DeadlineWheel(clock)

    def stop(self) -> None:
        """Forget the deadlines."""
        self._wheel.stop()

    async def tell(self, subscription: Subscription, row: EventRow) -> str | None:
        """Tell a subscriber of an event. Returns what it failed with; None: it took it."""
        what = f"telling {subscription.name} of {row.name}"
        try:
            await limit(self._wheel, self._clock.monotonic() + CALL_SECONDS, what, _call(subscription.call, row))
        except (Exception, asyncio.CancelledError) as error:
            if ends(error):
                raise
            _log.exception(
                "event.subscriber-failed",
                subscriber=subscription.name,
                told=row.name,
                sequence=row.sequence,
                resource=row.resource_uuid,
                error=str(error),
            )
            return f"{type(error).__name__}: {error}"[:2000]
        return None

    async def surely(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is tried until there is one: trouble of the store passes.

        Raises:
            NotOursError: the subscriber is another node's.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await work()
            except (Exception, asyncio.CancelledError) as error:
                if ends(error) or isinstance(error, NotOursError):
                    raise
                _log.warning("event.not-read", what=what, error=str(error))
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class Listener:
    """Tells a subscriber that is not durable: from now on, each event once, in order, whether it takes it or not."""

    def __init__(self, subscription: Subscription, log: EventLog, teller: Teller) -> None:
        self.subscription = subscription
        self.fresh = asyncio.Event()  #: set when there may be something to tell
        self._log = log
        self._teller = teller
        self._sequence = 0

    def begin(self, sequence: int) -> None:
        """Go on behind this sequence number."""
        self._sequence = sequence

    async def run(self) -> None:
        """Tell of events as they come, until cancelled."""
        subscription = self.subscription
        while True:
            self.fresh.clear()
            page = await self._teller.surely(
                subscription.name, lambda: self._log.page(self._sequence, names=subscription.names)
            )
            for row in page.rows:
                await self._teller.tell(subscription, row)
            self._sequence = page.upto
            if not page.more:
                await self.fresh.wait()


def ends(error: BaseException) -> bool:
    """Whether an exception is the end of the current task, and not only of something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _call(call: Subscriber, row: EventRow) -> None:
    await call(row)

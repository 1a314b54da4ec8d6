"""The subscribers to events on this node. Each has a queue of its own: it hears events in their order, one
after another, and neither a slow nor a failing one disturbs the others or the publisher."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.bus.message import Event, tag_of
from cairn.kernel.bus.tasks import Tasks, being_cancelled
from cairn.kernel.clock import Clock
from cairn.kernel.metrics import Metrics

_log = structlog.get_logger("cairn.bus")


class _Subscription:
    __slots__ = ("event_type", "handler", "name", "waiting", "working")

    def __init__(self, event_type: type[Event], handler: Callable[[Any], Awaitable[None]], name: str) -> None:
        self.event_type = event_type
        self.handler = handler
        self.name = name
        self.waiting: deque[tuple[Event, CallContext]] = deque()
        self.working = False


class Subscribers:
    """The subscriptions of one node."""

    def __init__(
        self, clock: Clock, metrics: Metrics, wheel: DeadlineWheel, default_timeout: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._wheel = wheel
        self._default_timeout = default_timeout
        self._subscriptions: list[_Subscription] = []
        self._by_type: dict[type[Event], list[_Subscription]] = {}
        self._tasks = Tasks()

    def subscribe(
        self, event_type: type[Event], handler: Callable[[Any], Awaitable[None]], name: str
    ) -> Callable[[], None]:
        """Tell `handler` of events of `event_type`. Returns a function that ends the subscription."""
        subscription = _Subscription(event_type, handler, name)
        self._subscriptions.append(subscription)
        self._by_type.clear()

        def end() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                self._by_type.clear()

        return end

    def deliver(self, event: Event, context: CallContext) -> None:
        """Put `event` in the queue of each of its subscribers; `context` tells job and actor."""
        for subscription in self._listening(type(event)):
            subscription.waiting.append((event, context))
            if not subscription.working:
                subscription.working = True
                self._tasks.start(self._work(subscription), f"subscriber {subscription.name}")

    async def settle(self) -> None:
        """Wait until all events that were delivered are handled."""
        await self._tasks.settle()

    async def stop(self) -> None:
        """Stop telling; waiting events are forgotten here (those that must not be lost are in the outbox)."""
        await self._tasks.stop()

    def _listening(self, event_type: type[Event]) -> list[_Subscription]:
        found = self._by_type.get(event_type)
        if found is None:
            found = [one for one in self._subscriptions if issubclass(event_type, one.event_type)]
            self._by_type[event_type] = found
        return found

    async def _work(self, subscription: _Subscription) -> None:
        try:
            while subscription.waiting:
                event, origin = subscription.waiting.popleft()
                await self._tell(subscription, event, origin)
        finally:
            subscription.working = False

    async def _tell(self, subscription: _Subscription, event: Event, origin: CallContext) -> None:
        """The edge: whatever a subscriber raises ends here."""
        tag = tag_of(event)
        started = self._clock.monotonic()
        deadline = started + self._default_timeout()
        with entered(CallContext(origin.job, (tag, subscription.name), deadline, origin.actor)):
            try:
                await limit(self._wheel, deadline, f"{subscription.name} on {tag}", _call(subscription, event))
            except (Exception, asyncio.CancelledError):
                if being_cancelled():
                    raise
                _log.exception("bus.subscriber-failed", subscriber=subscription.name, message=tag)
        self._metrics.events.of(tag, subscription.name).observe(self._clock.monotonic() - started)


async def _call(subscription: _Subscription, event: Event) -> None:
    await subscription.handler(event)

"""The bus of one node: exactly one answer for each request, whatever happens to its handler.

A call to this node runs the handler in the caller's own task: no copy, no task, no queue. So the caller's
cancellation is the handler's, and an inherited deadline needs nothing more: its owner cancels the task, and with
it everything that the task awaits. Only a call that brings a deadline of its own puts an entry on the wheel. The answer
comes when the work has ended, its clean-up included.

A call to another node is an envelope and a future; `Remote` has that half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from typing import Any, TypeVar, cast

import structlog

from cairn.kernel.bus.asking import stopped
from cairn.kernel.bus.context import CONTEXT, CallContext
from cairn.kernel.bus.deadline import DeadlineWheel, deadline_passed, is_watched, limit
from cairn.kernel.bus.events import Subscribers
from cairn.kernel.bus.handlers import handlers_of
from cairn.kernel.bus.message import Command, Event, Message, Query, answer_type, tag_of
from cairn.kernel.bus.remote import Remote
from cairn.kernel.bus.transport import NOT_OWNER, Transport
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, internal
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring

R = TypeVar("R")
M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=Event)

DEFAULT_TIMEOUT_SECONDS = 1800.0

_log = structlog.get_logger("cairn.bus")


class _Handler:
    """A registered handler with all that a call needs of its message's class."""

    __slots__ = ("answer", "call", "failed", "name", "ok", "tag")

    def __init__(self, cls: type[Message], call: Callable[[Any], Awaitable[object]], metrics: Metrics) -> None:
        self.call = call
        self.tag = tag_of(cls)
        self.name = getattr(call, "__qualname__", repr(call))
        answer = answer_type(cls)
        self.answer: type = type(None) if answer is None else getattr(answer, "__origin__", answer)
        self.ok = metrics.messages.of(self.tag, "ok")
        self.failed = metrics.messages.of(self.tag, "error")

    def through(self, call: Callable[[Any], Awaitable[object]]) -> _Handler:
        """The same, but that the answer comes from `call`."""
        other = copy(self)
        other.call = call
        return other


class Bus:
    """Sends messages to their handlers, here or on another node.

    Args:
        node: this node.
        ring: which node owns a resource.
        transport: the way to other nodes.
        clock: time.
        metrics: where calls are counted.
        ids: for requests to other nodes.
        default_timeout: seconds for a call without a time-out or an inherited deadline; read at each call.
        incarnation: the epoch in which this process joined the ring, so that other nodes tell it from the process before; 0:
            it has not joined, and does nothing for others.
    """

    def __init__(
        self,
        node: NodeId,
        ring: Ring,
        transport: Transport,
        clock: Clock,
        metrics: Metrics,
        ids: IdSource,
        *,
        default_timeout: Callable[[], float] = lambda: DEFAULT_TIMEOUT_SECONDS,
        incarnation: Callable[[], int] = lambda: 1,
    ) -> None:
        self.node = node
        self._ring = ring
        self._clock = clock
        self.metrics = metrics
        self._default_timeout = default_timeout
        self._wheel = DeadlineWheel(clock)  # of calls and of subscribers at work
        self._handlers: dict[type[Message], _Handler] = {}
        self._proxies: dict[type[Message], _Handler] = {}
        self._stopped = False
        self._subscribers = Subscribers(clock, metrics, self._wheel, default_timeout)
        deliver = self._subscribers.deliver
        self._remote = Remote(node, ring, transport, clock, ids, self._call_here, deliver, incarnation)

    def register(self, message_type: type[M], handler: Callable[[M], Awaitable[object]]) -> None:
        """Have `handler` answer messages of `message_type` on this node.

        Raises:
            CairnError: ``bus.handler-twice`` when it has a handler already.
        """
        known = self._handlers.get(message_type)
        if known is not None:
            name = getattr(handler, "__qualname__", repr(handler))
            raise CairnError(
                "bus.handler-twice",
                f"{tag_of(message_type)} is handled by {known.name} already, so {name} cannot handle it as well. "
                "Remove one of the two handlers.",
                kind=ErrorKind.INTERNAL,
            )
        self._handlers[message_type] = _Handler(message_type, handler, self.metrics)

    def serve(self, service: object) -> None:
        """Have the methods of `service` that are marked with `handles` answer their messages (``bus.handler-twice``)."""
        for message_type, handler in handlers_of(service):
            self.register(message_type, handler)

    def handles(self, message_type: type[Message]) -> bool:
        """Whether this node has a handler for `message_type`."""
        return message_type in self._handlers

    def subscribe(self, event_type: type[E], handler: Callable[[E], Awaitable[None]], name: str) -> Callable[[], None]:
        """Have `handler` told of events of `event_type`, and of classes derived from it, one after another.

        Args:
            event_type: `Event` itself for all.
            handler: told in the order of publishing; its errors are logged with `name` and disturb no other.
            name: of the subscriber, for logs and metrics.

        Returns:
            A function that ends the subscription; safe to repeat.
        """
        return self._subscribers.subscribe(event_type, handler, name)

    async def start(self) -> None:
        """Begin to hear other nodes."""
        self._stopped = False
        await self._remote.start()

    async def stop(self) -> None:
        """Stop: open calls to other nodes and work for them are answered ``bus.stopped``; later calls, too."""
        self._stopped = True
        await self._remote.stop()
        await self._subscribers.stop()
        self._wheel.stop()

    async def call(self, message: Command[R] | Query[R], *, timeout_seconds: float | None = None) -> R:
        """Send the message to its handler and return the answer.

        The message's `route` picks the node. The work is cancelled, here or there, when the caller is cancelled, or
        when the deadline passes: the nearer of `timeout_seconds` and what the context inherits; without both, the
        default.

        Raises:
            CairnError: what the handler raised; ``internal.bug`` for any other exception and a wrong type of answer;
                ``bus.no-handler``; ``bus.deadline-passed``; ``bus.node-gone`` and ``bus.not-owner`` (another node);
                ``bus.work-cancelled`` (something that the handler awaited was cancelled); ``bus.stopped``.
        """
        route = message.route
        if route is not None:
            key = getattr(message, route)
            if key is not None and self._ring.node_of(key) != self.node:
                return cast("R", await self._perform(self._proxy(type(message)), message, timeout_seconds))
        try:
            return cast("R", await self._perform(self._handler_of(type(message)), message, timeout_seconds))
        except CairnError as error:
            if route is None or error.code != NOT_OWNER:
                raise
        return cast("R", await self._perform(self._proxy(type(message)), message, timeout_seconds))

    def owns(self, key: str) -> bool:
        """Whether this node owns `key`, as far as it knows. What belongs to a resource is done by its owner."""
        return self._ring.owns(self.node, key)

    async def at_owner(self, message: Command[R] | Query[R], here: Callable[[], Awaitable[R]]) -> R:
        """Have something done on the node that owns the message's key: by `here` if that is this one, which costs no call.

        Errors are those of `here`, or those of `call`.
        """
        assert message.route is not None, f"{type(message).__name__} is not routed"
        if self.owns(getattr(message, message.route)):
            return await here()
        return await self.call(message)

    @property
    def epoch(self) -> int:
        """The epoch of the members that this node knows: what it owns, it owns in this one."""
        return self._ring.epoch

    async def here(self, message: Command[R] | Query[R], *, timeout_seconds: float | None = None) -> R:
        """Have this node handle the message, whatever the ring says: for work that was begun here and ends here.

        Arguments and errors are those of `call`, but for those of other nodes.
        """
        return cast("R", await self._perform(self._handler_of(type(message)), message, timeout_seconds))

    async def ask(self, node: NodeId, message: Command[R] | Query[R], *, timeout_seconds: float | None = None) -> R:
        """Have `node` handle the message, whatever the ring says. This node may be asked, too.

        Raises:
            CairnError: as `call`; ``bus.node-gone`` when `node` is no member, or leaves before it has answered: whether the
                work was done is not known then.
        """
        if node == self.node:
            return await self.here(message, timeout_seconds=timeout_seconds)
        handler = self._proxy(type(message)).through(partial(self._remote.ask, node))
        return cast("R", await self._perform(handler, message, timeout_seconds))

    async def publish(self, event: Event) -> None:
        """Tell of `event` on this node and on all others. Returns once it is in the subscribers' queues here."""
        context = CONTEXT.get()
        self._subscribers.deliver(event, context)
        self._remote.announce(event, context)

    @property
    def serving(self) -> int:
        """How many calls of other nodes are at work here."""
        return self._remote.serving

    def trouble(self) -> str | None:
        """Why other nodes cannot be reached, in words for everybody; None: they can. Calls on this node are not hurt by it."""
        return self._remote.trouble()

    async def settle(self) -> None:
        """Wait until the subscribers here have handled all events delivered so far, and what these led to."""
        await self._subscribers.settle()

    async def _call_here(self, message: Message) -> object:
        return await self._perform(self._handler_of(type(message)), message, None)

    def _handler_of(self, cls: type[Message]) -> _Handler:
        handler = self._handlers.get(cls)
        if handler is None:
            raise _no_handler(tag_of(cls), self.node)
        return handler

    def _proxy(self, cls: type[Message]) -> _Handler:
        """The handler of messages of `cls` whose resource another node owns."""
        proxy = self._proxies.get(cls)
        if proxy is None:
            proxy = self._proxies[cls] = _Handler(cls, self._remote.call, self.metrics)
        return proxy

    async def _perform(self, handler: _Handler, message: Message, timeout_seconds: float | None) -> object:
        if self._stopped:
            raise stopped(handler.tag)
        outer = CONTEXT.get()
        started = self._clock.monotonic()
        deadline = outer.deadline
        if timeout_seconds is None:
            if deadline is None:
                deadline = started + self._default_timeout()
        elif deadline is None or started + timeout_seconds < deadline:
            deadline = started + timeout_seconds
        stack = (*outer.stack, handler.tag)
        token = CONTEXT.set(
            CallContext(outer.job, stack, deadline, outer.actor, outer.origin, outer.parent, outer.fence)
        )
        series = handler.failed
        try:
            if deadline <= started:
                raise deadline_passed(handler.tag)
            if is_watched(deadline):
                answer = await _answer(handler, message)
            else:
                answer = await limit(self._wheel, deadline, handler.tag, _answer(handler, message))
            series = handler.ok
            return answer
        finally:
            CONTEXT.reset(token)
            series.observe(self._clock.monotonic() - started)


async def _answer(handler: _Handler, message: Message) -> object:
    """The handler's answer, or a `CairnError`: never anything else."""
    try:
        answer = await handler.call(message)
    except CairnError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _work_cancelled(handler.tag) from None
    except Exception as error:
        raise _as_cairn_error(handler, error) from error
    if type(answer) is not handler.answer and not isinstance(answer, handler.answer):
        found = TypeError(f"{handler.name} answered {type(answer).__name__}, not {handler.answer.__name__}")
        _log.error("bus.wrong-answer", message=handler.tag, error=str(found))
        raise internal(handler.tag, found)
    return answer


def _as_cairn_error(handler: _Handler, error: Exception) -> CairnError:
    """An exception group counts as the handler's own error if each of its tasks raised a `CairnError`."""
    expected = error
    while isinstance(expected, ExceptionGroup) and expected.split(CairnError)[1] is None:
        expected = expected.exceptions[0]
    if isinstance(expected, CairnError):
        return expected
    _log.error("bus.handler-failed", message=handler.tag, handler=handler.name, exc_info=error)
    return internal(handler.tag, error)


def _no_handler(tag: str, node: NodeId) -> CairnError:
    return CairnError(
        "bus.no-handler",
        f"Nothing on node {node} handles {tag}. The plugin that does may be disabled; look at plugins.disabled.",
        kind=ErrorKind.UNAVAILABLE,
        details={"message": tag, "node": node},
    )


def _work_cancelled(tag: str) -> CairnError:
    return CairnError(
        "bus.work-cancelled",
        f"{tag} waited for something that was cancelled, and ended. Ask again if it is still wanted.",
        kind=ErrorKind.CANCELLED,
    )

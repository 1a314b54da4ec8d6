"""Calls to other nodes and for other nodes.

Asking: the request goes out, a future waits under its id. It ends by the answer, by the caller's cancellation or
deadline (then a cancel goes after the request), or when the ring says that the node has left: whichever is first; anything
that comes later finds no future and is dropped. So there is exactly one answer.

Serving: each request is a task. It runs only if this node's ring agrees that the resource is its own; otherwise it is
refused untouched, and the asker, whose ring was older or newer, resolves the owner again. A request that the transport
repeats is run once. When the asker's node has left, nobody waits and its job is being taken over: the work is
cancelled.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from cairn.kernel.bus.context import CONTEXT, CallContext, entered
from cairn.kernel.bus.message import Event, Message, answer_type, decode_message, encode_message, tag_of
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.bus.transport import (
    NOT_OWNER,
    Announcement,
    Answer,
    Cancel,
    Request,
    Transport,
    node_gone,
    not_owner,
    pack,
    unpack,
)
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, from_record, internal
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.ring import Ring, RingChange

_log = structlog.get_logger("cairn.bus")

_RESOLVE_ATTEMPTS = 20
_RESOLVE_PAUSE_SECONDS = 0.25
_REMEMBERED_REQUESTS = 10_000


class _Pending:
    __slots__ = ("future", "node", "tag")

    def __init__(self, node: NodeId, tag: str) -> None:
        self.node = node
        self.tag = tag
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def fail(self, error: CairnError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Remote:
    """One node's calls to the other nodes, and theirs to it."""

    def __init__(
        self,
        node: NodeId,
        ring: Ring,
        transport: Transport,
        clock: Clock,
        ids: IdSource,
        call_here: Callable[[Any], Awaitable[Any]],
        deliver: Callable[[Event, CallContext], None],
    ) -> None:
        self._node = node
        self._ring = ring
        self._transport = transport
        self._clock = clock
        self._ids = ids
        self._call_here = call_here
        self._deliver = deliver
        self._pending: dict[str, _Pending] = {}
        self._serving: dict[tuple[NodeId, str], asyncio.Task[None]] = {}
        self._seen: OrderedDict[tuple[NodeId, str], None] = OrderedDict()
        self._tasks = Tasks()
        self._stopping = False
        transport.on_receive(self._receive)
        ring.listen(self._members_changed)

    async def start(self) -> None:
        """Begin to hear the others."""
        self._stopping = False
        await self._transport.start()

    async def stop(self) -> None:
        """Answer open calls of either side with ``bus.stopped``, and stop listening."""
        self._stopping = True
        for pending in list(self._pending.values()):
            pending.fail(stopped(pending.tag))
        await self._tasks.stop()
        await self._transport.stop()

    async def call(self, message: Message) -> object:
        """Have `message` handled by the node that owns its resource. The context has the deadline."""
        assert message.route is not None, "only a routed message comes here"
        key: str = getattr(message, message.route)
        for _ in range(_RESOLVE_ATTEMPTS):
            owner = self._ring.node_of(key)
            try:
                return await (self._call_here(message) if owner == self._node else self._ask(owner, message))
            except CairnError as error:
                if error.code != NOT_OWNER:
                    raise
            await self._clock.sleep(_RESOLVE_PAUSE_SECONDS)
        raise not_owner(tag_of(message), owner)

    async def ask(self, node: NodeId, message: Message) -> object:
        """Have `message` handled by `node`, another one, whatever the ring says of its route. The context has the deadline."""
        if node not in self._ring.alive:
            raise node_gone(node, tag_of(message))
        return await self._ask(node, message, named=True)

    async def announce(self, event: Event, context: CallContext) -> None:
        """Tell all other members of `event`."""
        others = [node for node in self._ring.alive if node != self._node]
        if not others:
            return
        envelope = pack(
            Announcement(sender=self._node, message=encode_message(event), job=context.job, actor=context.actor)
        )
        for node in others:
            try:
                await self._transport.send(node, envelope)
            except CairnError as error:
                _log.warning("bus.event-not-delivered", node=node, message=tag_of(event), error=str(error))

    async def _ask(self, node: NodeId, message: Message, *, named: bool = False) -> object:
        tag = tag_of(message)
        if self._stopping:
            raise stopped(tag)
        context = CONTEXT.get()
        seconds = max(0.0, (context.deadline or 0.0) - self._clock.monotonic())
        request = Request(
            id=self._ids.new(),
            sender=self._node,
            message=encode_message(message),
            seconds=seconds,
            job=context.job,
            stack=context.stack[:-1],
            actor=context.actor,
            origin=context.origin,
            parent=context.parent,
            named=named,
        )
        pending = self._pending[request.id] = _Pending(node, tag)
        try:
            await self._transport.send(node, pack(request))
            answer = await pending.future
        except asyncio.CancelledError:
            cancel = pack(Cancel(id=request.id, sender=self._node))
            self._tasks.start(self._send(node, cancel), f"cancel {tag}")
            raise
        finally:
            self._pending.pop(request.id, None)
            pending.future.cancel()
        if answer.error is not None:
            raise from_record(answer.error)
        return _decode_answer(message, answer.body)

    def _receive(self, data: bytes) -> None:
        try:
            envelope = unpack(data)
        except msgspec.MsgspecError as error:
            _log.warning("bus.envelope-unreadable", error=str(error))
            return
        match envelope:
            case Request():
                self._take(envelope)
            case Answer():
                pending = self._pending.get(envelope.id)
                if pending is not None and not pending.future.done():
                    pending.future.set_result(envelope)
            case Cancel():
                task = self._serving.get((envelope.sender, envelope.id))
                if task is not None:
                    task.cancel()
            case Announcement():
                self._hear(envelope)

    def _take(self, request: Request) -> None:
        key = (request.sender, request.id)
        if key in self._seen or self._stopping:
            return
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED_REQUESTS:
            self._seen.popitem(last=False)
        task = self._tasks.start(self._serve(request), f"request {request.id} of {request.sender}")
        self._serving[key] = task
        task.add_done_callback(lambda _: self._serving.pop(key, None))

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._answer(request)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            answer = Answer(id=request.id, sender=self._node, error=stopped("The request").record())
        await self._send(request.sender, pack(answer))

    async def _answer(self, request: Request) -> Answer:
        deadline = self._clock.monotonic() + request.seconds
        try:
            message = decode_message(request.message)
            if not request.named:
                self._check_owner(message)
            with entered(_context_of(request, deadline)):
                body = msgspec.msgpack.encode(await self._call_here(message))
        except CairnError as error:
            return Answer(id=request.id, sender=self._node, error=error.record())
        except Exception as error:  # noqa: BLE001 (whatever it is, the asking node is answered)
            _log.exception("bus.answer-failed", sender=request.sender)
            return Answer(id=request.id, sender=self._node, error=internal("Answering a request", error).record())
        return Answer(id=request.id, sender=self._node, body=body)

    def _check_owner(self, message: Message) -> None:
        key = getattr(message, message.route) if message.route is not None else None
        if key is not None and self._ring.node_of(key) != self._node:
            raise not_owner(tag_of(message), self._node)

    def _hear(self, announcement: Announcement) -> None:
        try:
            event = decode_message(announcement.message)
        except CairnError as error:
            _log.warning("bus.event-unreadable", sender=announcement.sender, error=str(error))
            return
        if isinstance(event, Event):
            self._deliver(event, CallContext(job=announcement.job, actor=announcement.actor))

    async def _send(self, node: NodeId, envelope: bytes) -> None:
        try:
            await self._transport.send(node, envelope)
        except CairnError as error:
            _log.warning("bus.envelope-not-sent", node=node, error=str(error))

    def _members_changed(self, change: RingChange) -> None:
        for pending in list(self._pending.values()):
            if pending.node in change.left:
                pending.fail(node_gone(pending.node, pending.tag))
        for (sender, _), task in list(self._serving.items()):
            if sender in change.left:
                task.cancel()


def stopped(what: str) -> CairnError:
    """``bus.stopped``: this node is going out of service."""
    return CairnError(
        "bus.stopped", f"{what}: the node is stopping. Ask again in a moment.", kind=ErrorKind.UNAVAILABLE
    )


def _context_of(request: Request, deadline: float) -> CallContext:
    return CallContext(request.job, request.stack, deadline, request.actor, request.origin, request.parent)


def _decode_answer(message: Message, body: bytes) -> object:
    try:
        return msgspec.msgpack.decode(body, type=answer_type(type(message)))
    except msgspec.MsgspecError as error:
        raise internal(f"The answer to {tag_of(message)} from another node", error) from error

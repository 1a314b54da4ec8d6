"""One node's way to the other nodes: what comes in is given to the half that it belongs to.

`Asking` has the calls to others, `Serving` those of others; what both have to know of processes that come and go is there. An
event goes to everybody at once, and is not repeated: it may be missed, so what must not be missed is in the outbox, and
events only wake its readers. One that comes twice is heard once, and one of a stranger is not heard: two clouds may share
a broker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from cairn.kernel.bus.asking import Asking
from cairn.kernel.bus.context import CallContext
from cairn.kernel.bus.message import Event, Message, decode_message, encode_message, tag_of
from cairn.kernel.bus.serving import Serving
from cairn.kernel.bus.transport import (
    NOT_OWNER,
    Announcement,
    Answer,
    Cancel,
    Envelope,
    Request,
    Returned,
    Transport,
    node_gone,
    not_owner,
    pack,
    unpack,
)
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.ring import Ring, RingChange

_log = structlog.get_logger("cairn.bus")

_RESOLVE_ATTEMPTS = 20
_RESOLVE_PAUSE_SECONDS = 0.25
_REMEMBERED_ANNOUNCEMENTS = 10_000


class Remote:
    """One node's calls to the other nodes, and theirs to it.

    Args:
        node: this node.
        ring: who the members are.
        transport: the way to the others.
        clock: time.
        ids: of requests.
        call_here: handles a message on this node.
        deliver: tells the subscribers of this node.
        incarnation: the epoch in which this process joined; read whenever it is needed.
    """

    def __init__(
        self,
        node: NodeId,
        ring: Ring,
        transport: Transport,
        clock: Clock,
        ids: IdSource,
        call_here: Callable[[Any], Awaitable[Any]],
        deliver: Callable[[Event, CallContext], None],
        incarnation: Callable[[], int],
    ) -> None:
        self._node = node
        self._ring = ring
        self._transport = transport
        self._clock = clock
        self._call_here = call_here
        self._deliver = deliver
        self._incarnation = incarnation
        self._asking = Asking(node, ring, clock, ids, incarnation, self._pack_and_send, self._reachable)
        self._serving = Serving(node, ring, clock, incarnation, call_here, self._send)
        self._epoch = ring.epoch
        self._announced = 0
        self._heard: OrderedDict[tuple[NodeId, int, int], None] = OrderedDict()
        transport.on_receive(self._receive)
        transport.on_resume(self._resume)
        ring.listen(self._members_changed)

    async def start(self) -> None:
        """Begin to hear the others."""
        self._asking.start()
        self._serving.start()
        await self._transport.start()

    async def stop(self) -> None:
        """Answer open calls of either side with ``bus.stopped``, and stop listening."""
        self._asking.stop()
        await self._serving.stop()
        await self._transport.stop()

    @property
    def serving(self) -> int:
        """How many requests of other nodes are at work here."""
        return self._serving.count

    def trouble(self) -> str | None:
        """Why other nodes cannot be reached; None: they can."""
        return self._transport.trouble()

    async def call(self, message: Message) -> object:
        """Have `message` handled by the node that owns its resource. The context has the deadline."""
        assert message.route is not None, "only a routed message comes here"
        key: str = getattr(message, message.route)
        for _ in range(_RESOLVE_ATTEMPTS):
            owner = self._ring.node_of(key)
            try:
                return await (self._call_here(message) if owner == self._node else self._asking.ask(owner, message))
            except CairnError as error:
                if error.code != NOT_OWNER:
                    raise
            await self._clock.sleep(_RESOLVE_PAUSE_SECONDS)
        raise not_owner(tag_of(message), owner)

    async def ask(self, node: NodeId, message: Message) -> object:
        """Have `message` handled by `node`, another one, whatever the ring says of its route. The context has the deadline."""
        if node not in self._ring.alive:
            raise node_gone(node, tag_of(message))
        return await self._asking.ask(node, message, named=True)

    def announce(self, event: Event, context: CallContext) -> None:
        """Tell all other members of `event`. Nothing is waited for."""
        if len(self._ring.alive) < 2:
            return
        self._announced += 1
        announcement = Announcement(
            sender=self._node,
            message=encode_message(event),
            incarnation=self._incarnation(),
            number=self._announced,
            job=context.job,
            actor=context.actor,
        )
        try:
            self._transport.broadcast(pack(announcement, tag_of(event)))
        except CairnError as error:
            _log.warning("bus.event-not-announced", message=tag_of(event), error=str(error))

    def _reachable(self) -> bool:
        return self._transport.trouble() is None

    def _pack_and_send(self, node: NodeId, envelope: Envelope, what: str) -> None:
        self._transport.send(node, pack(envelope, what))

    def _send(self, node: NodeId, envelope: bytes) -> None:
        try:
            self._transport.send(node, envelope)
        except CairnError as error:
            _log.warning("bus.envelope-not-sent", node=node, error=str(error))

    def _resume(self) -> None:
        self._asking.resume()
        self._transport.broadcast(pack(Returned(sender=self._node), "returned"))

    def _receive(self, data: bytes) -> None:
        try:
            self._take(unpack(data))
        except msgspec.MsgspecError as error:
            _log.warning("bus.envelope-unreadable", error=str(error))
        except Exception:  # noqa: BLE001 (what one envelope does must not cost the others that came with it)
            _log.exception("bus.envelope-failed")

    def _take(self, envelope: Envelope) -> None:
        match envelope:
            case Request():
                self._serving.take(envelope)
            case Answer():
                self._asking.take(envelope)
            case Cancel():
                self._serving.cancel(envelope)
            case Announcement():
                self._hear(envelope)
            case Returned() if envelope.sender != self._node:
                self._asking.resume(envelope.sender)
            case Returned():
                pass

    def _hear(self, announcement: Announcement) -> None:
        key = (announcement.sender, announcement.incarnation, announcement.number)
        if key in self._heard or announcement.sender == self._node or announcement.sender not in self._ring.alive:
            return
        self._heard[key] = None
        if len(self._heard) > _REMEMBERED_ANNOUNCEMENTS:
            self._heard.popitem(last=False)
        try:
            event = decode_message(announcement.message)
        except CairnError as error:
            _log.warning("bus.event-unreadable", sender=announcement.sender, error=str(error))
            return
        if isinstance(event, Event):
            self._deliver(event, CallContext(job=announcement.job, actor=announcement.actor))

    def _members_changed(self, change: RingChange) -> None:
        before, self._epoch = self._epoch, change.epoch
        self._asking.left(change.left)
        self._serving.left(change.left, before)

"""Transports carry envelopes between nodes. They know nothing of messages; the bus knows nothing of the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta, Struct

from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import Origin
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord
from cairn.kernel.ids import JobId, NodeId

Receive = Callable[[bytes], None]
#: the code of an error that says: nothing was done, another node owns it
NOT_OWNER = "bus.not-owner"

#: bytes of an envelope, at most: what is larger does not belong on a bus
MAX_ENVELOPE_BYTES = 16 << 20


class Transport(Protocol):
    """Carries envelopes to other nodes. It may lose, delay, reorder and repeat them; it must not change them."""

    async def start(self) -> None:
        """Begin to receive: envelopes go to what `on_receive` was given."""

    async def stop(self) -> None:
        """Stop receiving; envelopes that are under way may be lost. Safe to repeat."""

    def send(self, node: NodeId, envelope: bytes) -> None:
        """Send `envelope` to `node`. It may not arrive. Nothing is waited for.

        Raises:
            CairnError: ``bus.node-gone`` when it is known not to arrive.
        """

    def broadcast(self, envelope: bytes) -> None:
        """Send `envelope` to all other nodes. It may not arrive everywhere."""

    def on_receive(self, receive: Receive) -> None:
        """Call `receive` from the event loop with each envelope that comes in. It does not raise."""

    def on_resume(self, resume: Callable[[], None]) -> None:
        """Call `resume` when the way to the others is there again: what was under way may be lost."""

    def trouble(self) -> str | None:
        """Why other nodes cannot be reached, in words that everybody may read; None: they can."""


class Request(Struct, frozen=True, kw_only=True, tag="request", omit_defaults=True):
    """A call from another node."""

    id: str
    sender: NodeId
    message: bytes
    #: seconds the asker still has; clocks of nodes do not compare
    seconds: Annotated[float, Meta(ge=0)]
    #: which process of the sender asks: the epoch in which it joined
    incarnation: int = 0
    #: the epoch of the members that the asker knew when it sent this first
    epoch: int = 0
    #: seconds since it was sent first; 0: this is the first time
    age: Annotated[float, Meta(ge=0)] = 0.0
    #: now, by the asker's monotonic clock; for `Lateness`
    sent: float = 0.0
    job: JobId | None = None
    stack: tuple[str, ...] = ()
    actor: str | None = None
    origin: Origin | None = None
    parent: str | None = None
    fence: Fence | None = None
    #: this very node is meant, whatever the ring says of the message's route
    named: bool = False


class Answer(Struct, frozen=True, kw_only=True, tag="answer", omit_defaults=True):
    """The one answer to a request: a body, or an error."""

    id: str
    sender: NodeId
    #: of the request
    incarnation: int = 0
    body: bytes = b""
    error: ErrorRecord | None = None


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel", omit_defaults=True):
    """Tells a node that this request no longer has anyone waiting for its answer. It is answered, so it can be repeated."""

    id: str
    sender: NodeId
    incarnation: int = 0


class Announcement(Struct, frozen=True, kw_only=True, tag="event", omit_defaults=True):
    """An event that was published on another node."""

    sender: NodeId
    message: bytes
    incarnation: int = 0
    #: counts up with each announcement of a process, so that a repeated one is known
    number: int = 0
    job: JobId | None = None
    actor: str | None = None


class Returned(Struct, frozen=True, kw_only=True, tag="returned"):
    """Tells everybody that a node can be reached again: what was on its way to it may be lost."""

    sender: NodeId


Envelope = Request | Answer | Cancel | Announcement | Returned

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)


def pack(envelope: Envelope, what: str) -> bytes:
    """The envelope as bytes.

    Args:
        envelope: what goes to another node.
        what: is in it, for the error.

    Raises:
        CairnError: ``bus.message-too-large``.
    """
    data = _encoder.encode(envelope)
    if len(data) > MAX_ENVELOPE_BYTES:
        raise CairnError(
            "bus.message-too-large",
            f"{what} has {len(data) >> 20} MiB; up to {MAX_ENVELOPE_BYTES >> 20} MiB go from node to node. Ask for less at a "
            "time.",
            kind=ErrorKind.INVALID,
            details={"bytes": len(data), "most": MAX_ENVELOPE_BYTES},
        )
    return data


def unpack(data: bytes) -> Envelope:
    """The envelope in `data`; fields that a newer node has added are left out.

    Raises:
        msgspec.MsgspecError: there is none, or it is too large.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise msgspec.ValidationError(f"{len(data)} bytes are too many for an envelope")
    return _decoder.decode(data)


def node_gone(node: NodeId, what: str) -> CairnError:
    """``bus.node-gone``: `what` was to be done by `node`, which is no longer there."""
    return CairnError(
        "bus.node-gone",
        f"{what}: node {node} is gone, and other nodes take over its work. See first whether it was done, then "
        "ask again.",
        kind=ErrorKind.UNAVAILABLE,
        details={"node": node},
    )


def not_owner(tag: str, node: NodeId) -> CairnError:
    """``bus.not-owner``: `tag` is not for `node`. Nothing of it was done."""
    return CairnError(
        NOT_OWNER,
        f"{tag}: node {node} does not own the resource, because nodes are joining or leaving. Nothing was done; "
        "ask again.",
        kind=ErrorKind.UNAVAILABLE,
        details={"node": node},
    )


class NoTransport:
    """The transport of a node that is alone: there is no other to send to."""

    async def start(self) -> None:
        """Nothing begins: no other node will send anything."""

    async def stop(self) -> None:
        """Nothing ends, because nothing is under way."""

    def send(self, node: NodeId, envelope: bytes) -> None:
        """Refuse: no other node can be reached."""
        raise node_gone(node, "send")

    def broadcast(self, envelope: bytes) -> None:
        """Nobody else is there to hear it."""

    def on_receive(self, receive: Receive) -> None:
        """Nothing ever comes in."""

    def on_resume(self, resume: Callable[[], None]) -> None:
        """There is no way that could be there again."""

    def trouble(self) -> str | None:
        """None: nobody has to be reached."""
        return None


class MemoryNetwork:
    """Joins several nodes in one process, for tests, with dials for what goes wrong on a real network."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._receivers: dict[NodeId, Receive] = {}
        self._cut: set[frozenset[NodeId]] = set()
        #: seconds that each envelope is under way
        self.delay_seconds: float = 0.0
        #: how often each envelope arrives; 2 repeats each
        self.copies: int = 1
        #: says of (from, to, envelope) whether it gets lost
        self.drop: Callable[[NodeId, NodeId, bytes], bool] = lambda source, target, envelope: False

    def transport(self, node: NodeId) -> MemoryTransport:
        """The end of the network at `node`."""
        return MemoryTransport(self, node)

    def cut(self, one: NodeId, other: NodeId) -> None:
        """Lose everything between two nodes from now on, in both directions."""
        self._cut.add(frozenset((one, other)))

    def mend(self) -> None:
        """Undo every `cut`; what was lost meanwhile stays lost."""
        self._cut.clear()

    def attach(self, node: NodeId, receive: Receive) -> None:
        """Deliver to `receive` what is sent to `node`."""
        self._receivers[node] = receive

    def detach(self, node: NodeId) -> None:
        """Lose what is sent to `node`."""
        self._receivers.pop(node, None)

    def carry(self, source: NodeId, target: NodeId, envelope: bytes) -> None:
        """Take an envelope on its way."""
        if frozenset((source, target)) in self._cut or self.drop(source, target, envelope):
            return
        for _ in range(self.copies):
            self._clock.call_later(self.delay_seconds, lambda: self._deliver(target, envelope))

    def carry_to_all(self, source: NodeId, envelope: bytes) -> None:
        """Take an envelope on its way to everybody else."""
        for target in list(self._receivers):
            if target != source:
                self.carry(source, target, envelope)

    def _deliver(self, target: NodeId, envelope: bytes) -> None:
        receive = self._receivers.get(target)
        if receive is not None:
            receive(envelope)


class MemoryTransport:
    """One node's end of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, node: NodeId) -> None:
        self._network = network
        self._node = node
        self._receive: Receive | None = None

    async def start(self) -> None:
        """Receive from now on; without a receiver, what comes is lost."""
        if self._receive is not None:
            self._network.attach(self._node, self._receive)

    async def stop(self) -> None:
        """Receive nothing more; what is under way to this node is lost."""
        self._network.detach(self._node)

    def send(self, node: NodeId, envelope: bytes) -> None:
        """Hand the envelope to the network; it may get lost there."""
        self._network.carry(self._node, node, envelope)

    def broadcast(self, envelope: bytes) -> None:
        """Hand the envelope to the network for each other node that has started."""
        self._network.carry_to_all(self._node, envelope)

    def on_receive(self, receive: Receive) -> None:
        """Deliver to `receive` once started."""
        self._receive = receive

    def on_resume(self, resume: Callable[[], None]) -> None:
        """A network in memory is never told that it is there again: the bus repeats by itself."""

    def trouble(self) -> str | None:
        """None: a network in memory is always there, even where it loses everything."""
        return None

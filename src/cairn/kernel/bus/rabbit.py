"""The transport over RabbitMQ.

Each node has one queue, bound to a direct exchange by the node's id and to a fanout exchange for events. Queues are
exclusive: they live as long as their connection, are called anew at each, and so a connection that the broker still takes to
be alive is in nobody's way. What lies in a queue that ends is lost; the bus repeats it.

Sending puts an envelope into the `SendBuffer` and waits for nothing. One task takes batches out and publishes them, some at a
time; each is confirmed by the broker, and what was not confirmed when a connection ends goes out again on the next one, in
its order. An envelope may so arrive twice, which the bus knows. What finds no room in the buffer is dropped, and counted.

A message that no queue takes is dropped by the broker without a word: a node that starts again, or connects again, is no
node that is gone. Who is gone is for the ring to say.

A connection may be up and carry nothing: a broker that is out of memory or disk takes nothing more, an operator deletes a queue.
So each node sends itself an echo, and connects anew when one does not come back.

The broker may be away for as long as it likes. It is tried again for ever, with growing pauses that differ from node to node,
and the node does meanwhile what needs no other node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random

import msgspec
import structlog
from aio_pika import Connection, ExchangeType
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import DeliveryError
from aiormq.channel import Channel as UnderlayChannel
from pamqp.commands import Basic
from pamqp.common import FieldTable
from yarl import URL

from cairn.kernel.bus.broker import Broker
from cairn.kernel.bus.send_buffer import Batch, SendBuffer, envelopes_of
from cairn.kernel.bus.tasks import Tasks, being_cancelled
from cairn.kernel.bus.transport import Receive
from cairn.kernel.clock import Clock
from cairn.kernel.ids import NodeId
from cairn.kernel.metrics import Metrics

_log = structlog.get_logger("cairn.broker")

#: batches that are published and not confirmed, at a time; the more, the smaller each is under load
WINDOW = 4
#: batches that the broker sends ahead of what we have taken
PREFETCH = 64
#: it is told of this many at a time, and at each echo: a call to the system for each would be half of what a lone call costs
_ACKNOWLEDGED_AT_ONCE = PREFETCH // 4
#: of the first connection, which `start` waits for, and of each
START_SECONDS = 5.0
CONNECT_SECONDS = 10.0
#: between two tries to connect: doubled each time, up to the second
PAUSES_SECONDS = (0.2, 5.0)
#: until the last envelopes are out, and until the broker has said goodbye, when the node stops
_FLUSH_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
_LOG_AGAIN_SECONDS = 60.0
#: for an echo to come back, at most
_ECHO_HEARTBEATS = 3
#: of a queue whose node does not take from it: what lies longer, or is too much, is dropped, the oldest first
_QUEUE: FieldTable = {"x-message-ttl": 60_000, "x-max-length-bytes": 64 << 20, "x-overflow": "drop-head"}
_NODES, _EVENTS = ".nodes", ".events"  #: exchanges, behind the prefix
_NOT_ON_DISK = 1  # the mode of delivery: secrets may be in a message
_EVERYBODY = ""
_ECHO = b""

# They would log frames, in which secrets are; what matters of them is logged here.
for _library in ("aio_pika", "aiormq"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)


class _Connection(Connection):
    """Closed by who made it: the library's own would begin to, in the collector's midst, if it never was open."""

    def __del__(self) -> None:
        """Nothing is left to do."""


class _Link:
    """A connection that was made, with all that is declared on it."""

    def __init__(self, connection: Connection, wake: asyncio.Event) -> None:
        self.connection = connection
        self.ended = False
        self._wake = wake  # set when it ends
        self.prefix = ""
        self.channel: UnderlayChannel
        connection.close_callbacks.add(self.end)

    def end(self, *_: object) -> None:
        """It carries nothing any more."""
        self.ended = True
        self._wake.set()

    async def declare(self, prefix: str, node: NodeId, name: str) -> AbstractQueue:
        """Exchanges and this node's queue. They go when nobody uses them any more."""
        channel: AbstractChannel = await self.connection.channel(publisher_confirms=True, on_return_raises=False)
        channel.close_callbacks.add(self.end)
        await channel.set_qos(prefetch_count=PREFETCH)
        nodes = await channel.declare_exchange(f"{prefix}{_NODES}", ExchangeType.DIRECT, auto_delete=True)
        events = await channel.declare_exchange(f"{prefix}{_EVENTS}", ExchangeType.FANOUT, auto_delete=True)
        queue = await channel.declare_queue(name, exclusive=True, auto_delete=True, arguments=_QUEUE)
        await queue.bind(nodes, routing_key=node)
        await queue.bind(events)
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, UnderlayChannel), "the libraries belong together"
        self.prefix, self.channel = prefix, underlay
        return queue

    async def publish(self, batch: Batch) -> None:
        """Returns once the broker has it.

        Through the lower library: the upper one also waits until the socket is empty, which `WINDOW` makes needless, and leaves
        futures behind that nobody awaits when a connection ends.
        """
        everybody = batch.receiver == _EVERYBODY
        await self.channel.basic_publish(
            batch.body(),
            exchange=f"{self.prefix}{_EVENTS if everybody else _NODES}",
            routing_key=batch.receiver,
            properties=Basic.Properties(delivery_mode=_NOT_ON_DISK),
            wait=False,
        )

    async def close(self) -> None:
        """Say goodbye, if the other side still listens."""
        with suppress(Exception, asyncio.TimeoutError):
            await asyncio.wait_for(self.connection.close(), _CLOSE_SECONDS)


class RabbitTransport:
    """This node's way to the others through a broker.

    Args:
        broker: where it is.
        node: this node.
        clock: time.
        metrics: where envelopes are counted.
        random: so that nodes do not try again in step.
    """

    def __init__(
        self, broker: Broker, node: NodeId, clock: Clock, metrics: Metrics, random: Random | None = None
    ) -> None:
        self._broker = broker
        self._node = node
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - no secret
        self._receive: Receive = lambda envelope: None
        self._resume: Callable[[], None] = lambda: None
        self._buffer = SendBuffer()
        self._under_way: dict[int, Batch] = {}
        self._taken = 0
        self._wake = asyncio.Event()
        self._up = asyncio.Event()
        self._empty = asyncio.Event()  # nothing waits, and nothing is under way
        self._empty.set()
        self._away_since: float | None = None
        self._logged = 0.0
        self._failures = 0  # to connect, one after another
        self._echoed = False
        self._unacknowledged = 0  # messages of this connection
        self._tasks = Tasks()
        self._linked = Tasks()  # what ends with a connection
        self._counts = metrics.broker
        self._counts.waiting.read_from(lambda: {(): float(self._buffer.bytes)})
        self._counts.connected.read_from(lambda: {(): float(self._up.is_set())})

    async def start(self) -> None:
        """Connect, and stay connected. A broker that does not answer at once is waited for in the background."""
        self._away_since = self._clock.monotonic()
        self._tasks.start(self._run(), "broker")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._up.wait(), START_SECONDS)

    async def stop(self) -> None:
        """Send what waits, for a second at most, and disconnect. Safe to repeat."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._empty.wait(), _FLUSH_SECONDS if self._up.is_set() else 0)
        await self._tasks.stop()

    def send(self, node: NodeId, envelope: bytes) -> None:
        """Put the envelope into the buffer; it is dropped if there is no room."""
        self._put(node, envelope)

    def broadcast(self, envelope: bytes) -> None:
        """Put the envelope into the buffer for everybody; it is dropped if there is no room."""
        self._put(_EVERYBODY, envelope)

    def on_receive(self, receive: Receive) -> None:
        """Deliver to `receive` what comes in."""
        self._receive = receive

    def on_resume(self, resume: Callable[[], None]) -> None:
        """Call `resume` after each new connection."""
        self._resume = resume

    def trouble(self) -> str | None:
        """How long the broker has been away."""
        if self._up.is_set() or self._away_since is None:
            return None
        return f"the broker has not been reached for {self._clock.monotonic() - self._away_since:.0f} s"

    def _put(self, receiver: str, envelope: bytes) -> None:
        if not self._buffer.put(receiver, envelope):
            self._counts.dropped("buffer-full", 1)
            return
        self._empty.clear()
        self._wake.set()

    async def _run(self) -> None:
        while True:
            why = "the connection has ended"
            try:
                await self._connect_and_publish()
            except (Exception, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                self._failures += 1
                why = self._told(error)
            self._went(why)
            await self._clock.sleep(self._pause())

    async def _connect_and_publish(self) -> None:
        """Returns, or raises, when a connection has ended, or there was none."""
        link = await self._connect()
        try:
            self._came()
            self._linked.start(self._listen_for_echo(link), "echo")
            await self._publish_until_ended(link)
        finally:
            self._up.clear()
            await self._linked.stop()
            self._buffer.back(self._under_way.values())  # what has not arrived for certain waits again
            self._under_way.clear()
            await link.close()

    async def _connect(self) -> _Link:
        tls = await asyncio.to_thread(self._broker.tls_context)
        connection = _Connection(URL(self._broker.url(f"cairn {self._node}"), encoded=True), ssl_context=tls)
        link = _Link(connection, self._wake)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
                name = f"{self._broker.prefix}.{self._node}.{self._random.getrandbits(32):08x}"
                queue = await link.declare(self._broker.prefix, self._node, name)
                await queue.consume(self._arrived, exclusive=True)
        except BaseException:
            await link.close()
            raise
        return link

    def _came(self) -> None:
        seconds = self._clock.monotonic() - (self._away_since or self._clock.monotonic())
        self._away_since = None
        self._logged = 0.0
        self._failures = 0
        self._unacknowledged = 0
        self._up.set()
        _log.info("broker.connected", broker=repr(self._broker), away_seconds=round(seconds, 1))
        self._resume()

    def _went(self, why: str) -> None:
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
        if self._logged == 0.0 or now >= self._logged + _LOG_AGAIN_SECONDS:
            self._logged = now
            away = round(now - self._away_since, 1)
            _log.warning("broker.away", broker=repr(self._broker), error=why, away_seconds=away)

    def _told(self, error: BaseException) -> str:
        text = f"{type(error).__name__}: {error}"
        return text.replace(self._broker.password, "***") if self._broker.password else text

    def _pause(self) -> float:
        first, longest = PAUSES_SECONDS
        return min(longest, first * 2.0 ** min(self._failures, 10)) * self._random.uniform(0.5, 1.0)

    async def _publish_until_ended(self, link: _Link) -> None:
        while not link.ended:
            self._wake.clear()
            while self._buffer and len(self._under_way) < WINDOW:
                self._publish(link, self._buffer.take())
            await self._wake.wait()

    def _publish(self, link: _Link, batch: Batch) -> None:
        self._taken += 1
        self._under_way[self._taken] = batch
        self._linked.start(self._published(link, self._taken, batch), "publish")

    async def _published(self, link: _Link, number: int, batch: Batch) -> None:
        try:
            await link.publish(batch)
            self._counts.sent(len(batch.envelopes))
        except DeliveryError:
            self._counts.dropped("refused", len(batch.envelopes))
        except (Exception, asyncio.CancelledError):
            if being_cancelled():
                raise
            link.end()  # the batch stays under way, and goes out again
            return
        del self._under_way[number]
        self._buffer.done(batch)
        self._wake.set()
        if not self._buffer and not self._under_way:
            self._empty.set()

    async def _listen_for_echo(self, link: _Link) -> None:
        while not link.ended:
            self._echoed = False
            self._put(self._node, _ECHO)
            await self._clock.sleep(_ECHO_HEARTBEATS * self._broker.heartbeat_seconds)
            if not self._echoed:
                _log.warning("broker.no-echo", broker=repr(self._broker))
                link.end()

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        try:
            envelopes = envelopes_of(message.body)
        except msgspec.MsgspecError as error:
            _log.warning("broker.message-unreadable", error=str(error))
            envelopes = []
        self._counts.received(len(envelopes))
        self._unacknowledged += 1
        echoed = False
        for envelope in envelopes:
            if envelope == _ECHO:
                self._echoed = echoed = True
            else:
                self._receive(envelope)
        if echoed or self._unacknowledged >= _ACKNOWLEDGED_AT_ONCE:
            self._unacknowledged = 0
            with suppress(Exception):  # the connection has ended: its messages come no more, their queue is gone
                await message.ack(multiple=True)

"""The transport to agents: HTTP/1.1 with kept connections, on httptools.

A call is one `_Exchange`: bytes to send and a future. It is written at once to an idle connection of its address, or
waits in the address's line until a connection is free or may be opened. Connections are counted by address and in
total. In the total limit the connection that was idle longest makes room; if none is idle, the exchange that waited longest
gets the next one, whatever its address, so that one busy host cannot keep the others out.

A kept connection may be closed by the other side at the moment of writing. If an exchange gets not one byte of
answer on a connection that has served before, it is sent once more on another. That is right only because what is
sent here may be sent twice: commands carry a task id, a task may be taken back twice, everything else only reads.

An answer that nobody waits for (one sent twice, or one that comes after its deadline) closes the connection: whatever
came next on it could be taken for the answer to another call.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from cairn.agents.protocol.peer import PeerRole, explain, peer_of
from cairn.agents.protocol.wire import KEEP_ALIVE_SECONDS
from cairn.kernel.bus.deadline import DeadlineWheel, Expiring
from cairn.kernel.clock import Clock

_IDLE_SECONDS = KEEP_ALIVE_SECONDS * 0.8
#: certificates are looked at when a connection is opened, so none is kept for ever
_OLDEST_SECONDS = 900.0


class TransportError(Exception):
    """An exchange without an answer.

    `sent` is False when the other side cannot have seen the request.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ConnectFailed(TransportError):
    """No connection: refused, no route, no such name, a certificate that does not fit."""


class AnswerLost(TransportError):
    """The connection broke before the answer was whole, or it was not HTTP."""


class ExchangeTimeout(TransportError):
    """No answer within the time of the exchange."""


class AgentTransport(Protocol):
    """How requests get to agents; `HttptoolsTransport`, or `cairn.testing.transport.MemoryTransport`."""

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        """Send and return status and body.

        Args:
            method: ``GET``, ``POST`` or ``DELETE``.
            url: absolute, printable ASCII without spaces.
            body: JSON; None: no body.
            timeout_seconds: for waiting, connecting and answering together.
            machine: the uuid of the machine whose agent must answer; None: whoever is there, which is right without TLS
                only.

        Raises:
            TransportError: there is no answer.
        """


class _Exchange(Expiring):
    __slots__ = ("connection", "future", "order", "pool", "request", "retried")

    def __init__(self, request: bytes, pool: _Pool, future: asyncio.Future[tuple[int, bytes]], at: float) -> None:
        super().__init__(at)
        self.request = request
        self.pool = pool
        self.future = future
        self.connection: _Connection | None = None
        self.retried = False
        self.order = 0

    def expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(
                ExchangeTimeout(f"{self.pool.address} did not answer in time", sent=self.connection is not None)
            )

    def fail(self, error: TransportError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Pool:
    """The connections of one address, and the line of exchanges that wait for one."""

    __slots__ = ("address", "host", "idle", "key", "machine", "open", "opening", "port", "tls", "waiting")

    def __init__(self, key: str, origin: str, machine: str | None) -> None:
        parts = urlsplit(origin)
        self.key = key
        self.address = parts.netloc
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.machine = machine
        self.idle: list[_Connection] = []
        self.waiting: deque[_Exchange] = deque()
        self.open = 0
        self.opening = 0

    def next_waiting(self) -> _Exchange | None:
        """Take the first exchange that still waits out of the line."""
        while self.waiting:
            exchange = self.waiting.popleft()
            if not exchange.future.done():
                return exchange
        return None

    def trim(self) -> None:
        """Forget the exchanges at the head of the line that gave up."""
        while self.waiting and self.waiting[0].future.done():
            self.waiting.popleft()


class _Connection(asyncio.Protocol):
    __slots__ = (
        "_begun",
        "_body",
        "_complete",
        "_heard",
        "_keep",
        "_parser",
        "_size",
        "_status",
        "_transport",
        "exchange",
        "idle_since",
        "lost",
        "opened",
        "owner",
        "pool",
        "served",
    )

    def __init__(self, owner: HttptoolsTransport, pool: _Pool) -> None:
        self.owner = owner
        self.pool = pool
        self.exchange: _Exchange | None = None
        self.opened = 0.0
        self.idle_since = 0.0
        self.lost = False
        self.served = 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._heard = False
        self._begun = 0
        self._complete = 0
        self._status = 0
        self._keep = False
        self._body: list[bytes] = []
        self._size = 0

    def send(self, exchange: _Exchange) -> None:
        """Begin an exchange; there must be none."""
        self.exchange = exchange
        exchange.connection = self
        self._heard = False
        assert self._transport is not None
        self._transport.write(exchange.request)

    def usable(self) -> bool:
        """Whether a request can be written to it."""
        return self._transport is not None and not self._transport.is_closing()

    def wrong_peer(self) -> str | None:
        """Say who answers, if it is not the agent of the machine that is wanted; None: it is."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        peer = peer_of(tls.getpeercert() if tls is not None else None)
        if peer is not None and peer.role is PeerRole.AGENT and peer.uuid == self.pool.machine:
            return None
        return (
            f"the {peer or 'holder of an unknown certificate'} answers there, and {self.pool.machine} is wanted. The "
            "address leads to another machine of this cloud, or the agent was put there for another"
        )

    def close(self) -> None:
        """Close at once; what was being exchanged is given up by its owner."""
        self.exchange = None
        self.owner.forget(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        self.owner.forget(self)
        if exchange is not None:
            self.owner.lost(exchange, again=self.served > 0 and not self._heard)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break_off(exchange, f"{self.pool.address} does not speak HTTP: {error}")
            return
        if self._complete:
            self._answer(exchange)
        elif self._size > self.owner.max_body_bytes:
            self._break_off(exchange, f"{self.pool.address} answered with more than {self.owner.max_body_bytes} bytes")

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_body(self, data: bytes) -> None:
        if self._complete:
            return
        self._body.append(data)
        self._size += len(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._begun -= 1
        else:
            self._complete += 1
            if self._complete == 1:
                self._status = status
                self._keep = self._parser.should_keep_alive()

    def _answer(self, exchange: _Exchange) -> None:
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        reusable = self._keep and self._begun == 1
        self._body = []
        self._size = self._begun = self._complete = 0
        self.served += 1
        self.exchange = exchange.connection = None
        if not exchange.future.done():
            exchange.future.set_result((self._status, body))
        if reusable:
            self.owner.release(self)
        else:
            self.close()

    def _break_off(self, exchange: _Exchange, message: str) -> None:
        exchange.connection = None
        exchange.fail(AnswerLost(message, sent=True))
        self.close()


class HttptoolsTransport:
    """HTTP to agents over kept connections.

    Args:
        clock: for time-outs and for how long a connection was idle.
        tls: for ``https``: trust and the client certificate; None: ``https`` addresses cannot be reached.
        per_address: how many connections to one host and port.
        total: how many connections together.
        idle_seconds: how long an unused connection is kept; must be less than the agents' own limit, and more than the pause
            between two pings, or each ping costs a handshake of TLS, which is most of a ping.
        oldest_seconds: how long a connection is used at all: then certificates are looked at anew.
        connect_seconds: how long connecting may take, TLS included.
        max_body_bytes: longer answers are refused.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        per_address: int = 32,
        total: int = 4096,
        idle_seconds: float = _IDLE_SECONDS,
        oldest_seconds: float = _OLDEST_SECONDS,
        connect_seconds: float = 10.0,
        max_body_bytes: int = 64 << 20,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self._clock = clock
        self._tls = tls
        self._per_address = per_address
        self._total = total
        self._idle_seconds = idle_seconds
        self._oldest_seconds = oldest_seconds
        self._connect_seconds = connect_seconds
        self._wheel = DeadlineWheel(clock)  # of exchanges
        self._pools: dict[str, _Pool] = {}
        self._connections: set[_Connection] = set()
        self._idle: dict[_Connection, None] = {}  # in the order in which they became idle
        self._starved: dict[_Pool, None] = {}  # wait only because of the total limit
        self._connecting: set[asyncio.Task[None]] = set()
        self._order = 0
        self._sweeping = False
        self._closed = False

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        """Send and return status and body; see `AgentTransport.request`."""
        start = url.find("/", 8)
        if start < 0:
            origin, path = url, "/"
        else:
            origin, path = url[:start], url[start:]
        pool = self._pools.get(origin if machine is None else f"{origin}#{machine}")
        if pool is None:
            pool = self._new_pool(origin, machine)
        exchange = _Exchange(
            _encode(method, pool.address, path, body),
            pool,
            asyncio.get_running_loop().create_future(),
            self._clock.monotonic() + timeout_seconds,
        )
        self._wheel.add(exchange)
        try:
            self._submit(exchange, pool)
            return await exchange.future
        finally:
            self._wheel.discard(exchange)
            if exchange.connection is not None:  # given up while under way
                exchange.connection.close()
                exchange.connection = None

    async def aclose(self) -> None:
        """Close every connection; calls under way fail. Safe to repeat. Nothing can be requested afterwards."""
        self._closed = True
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        for pool in list(self._pools.values()):
            while (waiting := pool.next_waiting()) is not None:
                waiting.fail(ConnectFailed("the transport was closed", sent=False))
        for connection in list(self._connections):
            exchange = connection.exchange
            if exchange is not None:
                exchange.connection = None
                exchange.fail(AnswerLost("the transport was closed", sent=True))
            connection.close()
        self._wheel.stop()

    def counts(self) -> dict[str, int]:
        """How many connections are ``open``, ``idle``, ``opening``, and how many calls are ``waiting`` for one."""
        pools = self._pools.values()
        return {
            "open": len(self._connections),
            "idle": len(self._idle),
            "opening": len(self._connecting),
            "waiting": sum(len(pool.waiting) for pool in pools),
        }

    # Called by connections.

    def release(self, connection: _Connection) -> None:
        """The connection has done its exchange: the next in line has it, or it becomes idle."""
        pool = connection.pool
        now = self._clock.monotonic()
        if now - connection.opened > self._oldest_seconds:
            self._drop(connection)
            connection.close()
            self._queue_for_room(pool)
            return
        if self._starved and self._give_way(pool):
            self._drop(connection)
            connection.close()
            self._queue_for_room(pool)
            return
        waiting = pool.next_waiting() if pool.waiting else None
        if waiting is not None:
            connection.send(waiting)
            return
        connection.idle_since = now
        pool.idle.append(connection)
        self._idle[connection] = None
        if not self._sweeping:
            self._sweep_later(self._idle_seconds)

    def forget(self, connection: _Connection) -> None:
        """The connection is gone. Safe to repeat."""
        if not connection.lost:
            self._drop(connection)
            self._queue_for_room(connection.pool)

    def lost(self, exchange: _Exchange, *, again: bool) -> None:
        """The connection broke during `exchange`; `again` if it may only have been too old."""
        exchange.connection = None
        if again and not exchange.retried and not exchange.future.done() and not self._closed:
            exchange.retried = True
            exchange.pool.waiting.appendleft(exchange)
            self._pools[exchange.pool.key] = exchange.pool
            self._grow(exchange.pool)
        else:
            exchange.fail(AnswerLost(f"the connection to {exchange.pool.address} broke before the answer", sent=True))

    # Handing out connections.

    def _submit(self, exchange: _Exchange, pool: _Pool) -> None:
        while pool.idle:
            connection = pool.idle.pop()
            del self._idle[connection]
            if connection.usable():
                connection.send(exchange)
                return
            self.forget(connection)
        if self._closed:
            raise ConnectFailed("the transport was closed", sent=False)
        self._order += 1
        exchange.order = self._order
        self._pools[pool.key] = pool
        pool.waiting.append(exchange)
        self._grow(pool)

    def _grow(self, pool: _Pool) -> None:
        """Open one more connection if more exchanges wait than connections are being opened, and the limits allow it."""
        if pool.opening >= len(pool.waiting) or pool.open + pool.opening >= self._per_address or self._closed:
            return
        if len(self._connections) + len(self._connecting) >= self._total:
            if not self._idle:
                self._starved[pool] = None
                return
            oldest = next(iter(self._idle))
            self._drop(oldest)
            oldest.close()
        pool.opening += 1
        task = asyncio.get_running_loop().create_task(self._connect(pool), name=f"connect {pool.address}")
        self._connecting.add(task)

    def _give_way(self, pool: _Pool) -> bool:
        """Whether an exchange with another address has waited longer than the first in line of `pool`."""
        pool.trim()
        for other in list(self._starved):
            other.trim()
            if not other.waiting:
                del self._starved[other]
            elif other is not pool:
                return not pool.waiting or other.waiting[0].order < pool.waiting[0].order
        return False

    def _drop(self, connection: _Connection) -> None:
        """Stop counting the connection, without giving its place to another."""
        connection.lost = True
        pool = connection.pool
        self._connections.discard(connection)
        pool.open -= 1
        if connection in self._idle:
            del self._idle[connection]
            pool.idle.remove(connection)
        self._tidy(pool)

    def _tidy(self, pool: _Pool) -> None:
        pool.trim()
        if not pool.waiting and pool.open == 0 and pool.opening == 0:
            self._pools.pop(pool.key, None)

    def _queue_for_room(self, pool: _Pool) -> None:
        """A place has become free: addresses that wait for one go first, then `pool` itself."""
        self._tidy(pool)
        if self._starved:
            if pool.waiting:
                self._starved[pool] = None
            self._feed_starved()
        elif pool.waiting:
            self._grow(pool)

    def _feed_starved(self) -> None:
        while self._starved and (self._idle or len(self._connections) + len(self._connecting) < self._total):
            pool = next(iter(self._starved))
            del self._starved[pool]
            pool.trim()
            self._grow(pool)

    async def _connect(self, pool: _Pool) -> None:
        connection = _Connection(self, pool)
        failed: str | None = None
        try:
            context = self._context(pool)
            async with asyncio.timeout(self._connect_seconds):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    pool.host,
                    pool.port,
                    ssl=context,
                    server_hostname=pool.host if context else None,
                )
            wrong = connection.wrong_peer() if context is not None else None
            if wrong is not None:
                connection.lost = True  # it was never counted
                connection.close()
                failed = f"no connection to {pool.address}: {wrong}"
        except TimeoutError:
            failed = f"{pool.address} did not take a connection within {self._connect_seconds:g} s"
        except (OSError, ValueError) as error:
            failed = f"no connection to {pool.address}: {explain(error)}"
        finally:
            pool.opening -= 1
            task = asyncio.current_task()
            assert task is not None
            self._connecting.discard(task)
        if failed is not None:
            self._failed(pool, failed)
        elif connection.usable():
            pool.open += 1
            connection.opened = self._clock.monotonic()
            self._connections.add(connection)
            self.release(connection)
        else:
            self._failed(pool, f"{pool.address} closed the connection at once")

    def _context(self, pool: _Pool) -> ssl.SSLContext | None:
        if not pool.tls:
            return None
        if self._tls is None:
            raise OSError("there is no certificate for TLS; make the cloud's authority first")
        return self._tls

    def _failed(self, pool: _Pool, message: str) -> None:
        """No connection came about. Where others are open, those serve the line; else the whole line fails."""
        if pool.open == 0 and pool.opening == 0:
            while (waiting := pool.next_waiting()) is not None:
                waiting.fail(ConnectFailed(message, sent=False))
        self._queue_for_room(pool)

    def _new_pool(self, origin: str, machine: str | None) -> _Pool:
        key = origin if machine is None else f"{origin}#{machine}"
        pool = self._pools[key] = _Pool(key, origin, machine)
        return pool

    # Idle connections.

    def _sweep_later(self, seconds: float) -> None:
        self._sweeping = True
        self._clock.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = self._clock.monotonic()
        while self._idle:
            oldest = next(iter(self._idle))
            left = oldest.idle_since + self._idle_seconds - now
            if left > 0:
                self._sweep_later(max(left, 1.0))
                return
            oldest.close()


def _encode(method: str, address: str, path: str, body: bytes | None) -> bytes:
    if body is None:
        return f"{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode("ascii")
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode("ascii") + body

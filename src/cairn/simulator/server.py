"""The simulator's HTTP server: an `asyncio.Protocol` on httptools that answers inline, without a task per request."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.control import Control

_REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found"}
_HEADS = {
    status: f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
    for status, reason in _REASONS.items()
}
_MAX_BODY_BYTES = 16 << 20


class SimulatorServer:
    """Serves agents and control on one address.

    Args:
        agents: they answer ``/hosts/<name>/v1/…``.
        control: it answers the rest.
    """

    def __init__(self, agents: SimulatedAgents, control: Control) -> None:
        self.agents = agents
        self.control = control
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> int:
        """Listen, and return the port (that of the system's choice where `port` is 0).

        Raises:
            OSError: the address is not available, for instance because another process listens there.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), address, port, backlog=4096)
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, and close what is open. Safe to repeat."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.drop()
            await self._server.wait_closed()
            self._server = None


class _Connection(asyncio.Protocol):
    """One connection; its requests are answered one after another, in their order.

    While an answer is due later, what comes in the meantime waits unparsed. Requests that come in one piece are
    answered only if the first of them was answered at once; clients of agents send one at a time.
    """

    __slots__ = ("_agents", "_body", "_busy", "_keep", "_parser", "_server", "_transport", "_unread", "_url")

    def __init__(self, server: SimulatorServer) -> None:
        self._server = server
        self._agents = server.agents
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""
        self._busy = False
        self._keep = True
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._unread += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.drop()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body
        if len(self._body) > _MAX_BODY_BYTES:
            self.drop()

    def on_message_complete(self) -> None:
        url, body = self._url.decode("latin-1"), self._body
        self._url = self._body = b""
        if self._busy:
            self.drop()
            return
        self._keep = self._parser.should_keep_alive()
        self._busy = True
        method = self._parser.get_method().decode("latin-1")
        if "/v1/" in url and url.startswith("/hosts/"):
            self._agents.receive(method, url, body, self)
        else:
            self.answer(*self._server.control.handle(method, url, body))

    # Called by the agents (`cairn.simulator.agents.Exchange`).

    def answer(self, status: int, body: bytes) -> None:
        """Write the answer to the request at hand, then take the next one. Does nothing if the connection is gone."""
        transport = self._transport
        if transport is None:
            return
        transport.write(b"%b%d\r\n\r\n%b" % (_HEADS[status], len(body), body))
        if not self._busy:
            return
        self._busy = False
        if not self._keep:
            transport.close()
            self._transport = None
        elif self._unread:
            unread, self._unread = self._unread, b""
            asyncio.get_running_loop().call_soon(self.data_received, unread)

    def drop(self) -> None:
        """Break the connection without an answer. Safe to repeat."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

"""HTTP/1.1 with as little work as possible: on a small machine, measuring takes time from the node that is measured.

A connection carries one exchange at a time. Requests come as bytes, so that those that differ in two places are not put
together again each time.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

from cairn.cli.errors import unreachable
from cairn.cli.http import trust

_LOOPBACK = "127.0.0.1"
_PER_ADDRESS = 20_000


class Origin:
    """The node that requests go to, and the headers that all of them have."""

    def __init__(self, url: str, session: str, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.tls = trust(ca_file) if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._fixed = f"Host: {parts.netloc}\r\nAuthorization: OAuth {session}\r\n"

    def request(self, verb: str, target: str, body: object = None, headers: str = "") -> bytes:
        """The bytes of a request. `headers` are lines that end with CR LF."""
        content = b"" if body is None else msgspec.json.encode(body)
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        head = f"{verb} {self._prefix}{target} HTTP/1.1\r\n{self._fixed}{headers}{kind}Content-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    async def connect(self, number: int = 0) -> Connection:
        """A new connection (exit code 3 if no node answers). `number`: of how many there are already; a node on this machine is
        reached from one more address for each `_PER_ADDRESS` of them, as an address has so many ports only."""
        loop = asyncio.get_running_loop()
        local = (
            (f"127.0.0.{number // _PER_ADDRESS + 1}", 0) if self.host == _LOOPBACK and number >= _PER_ADDRESS else None
        )
        try:
            _, protocol = await loop.create_connection(Connection, self.host, self.port, ssl=self.tls, local_addr=local)
        except OSError as error:
            raise unreachable(self.url, error.strerror or str(error)) from error
        return protocol


class Connection(asyncio.Protocol):
    """One kept connection to the node, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._body: list[bytes] = []
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send and return status and body.

        Raises:
            ConnectionError: there is no answer.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the node closed the connection")
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Close the connection. Safe when it is closed already."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: the connection is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes of an answer."""
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: the connection is closed, so an exchange under way fails."""
        self._fail(ConnectionResetError("the node closed the connection"))

    def on_body(self, body: bytes) -> None:
        """Called by the parser with a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser: the answer is whole."""
        waiter, parser = self._waiter, self._parser
        if waiter is not None and parser is not None and not waiter.done():
            waiter.set_result((parser.get_status_code(), b"".join(self._body)))

    def _fail(self, error: ConnectionError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

"""Listens in the node's own event loop, on several addresses at once, and leaves signals to the node."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp

from cairn.gateway.connection import Connection, Site
from cairn.gateway.door import Door, Limits
from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.error import CairnError, ErrorKind

#: Thousands of clients may connect in the same moment.
BACKLOG: Final = 8192
_GRACE_SECONDS: Final = 5.0

Address = tuple[str, int]


class HttpServer:
    """Serves one ASGI app.

    Args:
        app: what is served. It may answer later (`cairn.gateway.connection.LATER`).
        tls: for HTTPS; None for plain HTTP. With client certificates, ``scope["state"]["peer"]`` is the one that a
            certificate is for.
        limits: of connections, and of the time that they take.
        clock: for these.
    """

    def __init__(
        self, app: ASGIApp, tls: ssl.SSLContext | None = None, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self._tls = tls
        self._site = Site(
            app,
            limits or Limits(),
            clock or SystemClock(),
            scheme="http" if tls is None else "https",
            peers=tls is not None and tls.verify_mode is not ssl.CERT_NONE,
        )
        self._listeners: list[asyncio.Server] = []

    @property
    def door(self) -> Door[Connection]:
        """Its connections."""
        return self._site.door

    async def start(self, addresses: Sequence[Address]) -> list[Address]:
        """Begin to serve. When this returns, connections are accepted.

        Args:
            addresses: host and port pairs; port 0: the system chooses one.

        Returns:
            The addresses as they are, in the same order.

        Raises:
            CairnError: ``gateway.cannot-listen``, naming the address.
        """
        sockets: list[socket.socket] = []
        try:
            for host, port in addresses:
                sockets.append(await _bind(host, port))
        except CairnError:
            for one in sockets:
                one.close()
            raise
        loop = asyncio.get_running_loop()
        for one in sockets:
            listener = await loop.create_server(self._connection, sock=one, ssl=self._tls, backlog=BACKLOG)
            self._listeners.append(listener)
        return [one.getsockname()[:2] for one in sockets]

    def part(self) -> None:
        """Close each connection after its next answer, which says so: its client comes again elsewhere. Safe to repeat."""
        self._site.parting = True

    async def stop(self) -> None:
        """Stop accepting, give running requests some seconds to end, and close all connections. Safe to repeat."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self.door):
            connection.part()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._empty()
        for task in list(self._site.tasks):
            task.cancel()
        await asyncio.gather(*self._site.tasks, return_exceptions=True)
        for connection in list(self.door):
            connection.abort()
        self._site.wheel.stop()
        self._site.parting = False

    def _connection(self) -> Connection:
        return Connection(self._site)

    async def _empty(self) -> None:
        """Wait until no connection is left."""
        left = asyncio.Event()
        self._site.left = left.set
        try:
            while len(self.door):
                left.clear()
                await left.wait()
        finally:
            self._site.left = None


async def _bind(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CairnError(
            "gateway.cannot-listen",
            f"Cannot listen on {host}:{port}: {error.strerror or error}. The address must be this machine's, and the port free.",
            kind=ErrorKind.CONFLICT,
            details={"address": f"{host}:{port}"},
        ) from error
    listener.setblocking(False)
    return listener

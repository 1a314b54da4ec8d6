"""Listens with uvicorn in the node's own event loop, on several addresses at once, and leaves signals to the node."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cairn.agents.protocol.peer import peer_of
from cairn.kernel.error import CairnError, ErrorKind

#: Longer than clients keep idle connections in their pools, so that none is closed under a request.
KEEP_ALIVE_SECONDS: Final = 120
#: Thousands of clients may connect in the same moment.
BACKLOG: Final = 8192
_GRACE_SECONDS: Final = 5

Address = tuple[str, int]


class HttpServer:
    """Serves one ASGI app.

    Args:
        app: what is served.
        tls: for HTTPS; None for plain HTTP. With client certificates, ``scope["state"]["peer"]`` is the one that a
            certificate is for.
    """

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
        self._config = uvicorn.Config(
            app,
            http=HttpToolsProtocol if tls is None else _TlsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            backlog=BACKLOG,
        )
        self._config.load()
        self._config.ssl = tls
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

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
        self._server = _Server(self._config)
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets), name="http server")
        await self._server.ready.wait()
        return [one.getsockname()[:2] for one in sockets]

    async def stop(self) -> None:
        """Stop accepting, give running requests some seconds to end, and close all connections. Safe to repeat."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._server = self._task = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the node's affair


class _TlsProtocol(HttpToolsProtocol):
    """Tells the app whose certificate the client has shown."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        tls = transport.get_extra_info("ssl_object")
        peer = peer_of(tls.getpeercert() if tls is not None else None)
        self.app_state = {**self.app_state, "peer": peer}
        super().connection_made(transport)


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

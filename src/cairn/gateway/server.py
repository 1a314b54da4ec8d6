"""Listens with uvicorn in the node's own event loop, on several addresses at once, and leaves signals to the node."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cairn.agents.protocol.peer import peer_of
from cairn.gateway.door import Door, Limits
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.words import titled

#: Longer than clients keep idle connections in their pools, so that none is closed under a request.
KEEP_ALIVE_SECONDS: Final = 120
#: Thousands of clients may connect in the same moment.
BACKLOG: Final = 8192
_GRACE_SECONDS: Final = 5
#: between two looks of the server at the time, for the header with the date
_TICK_SECONDS: Final = 1.0
_PARTING: Final = (b"connection", b"close")

Address = tuple[str, int]


class HttpServer:
    """Serves one ASGI app.

    Args:
        app: what is served.
        tls: for HTTPS; None for plain HTTP. With client certificates, ``scope["state"]["peer"]`` is the one that a
            certificate is for.
        limits: of connections, and of the time that they take.
    """

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None, limits: Limits | None = None) -> None:
        self.door: Door[_Protocol] = Door(limits or Limits(), _Protocol.make_room)
        kind = _Protocol if tls is None or tls.verify_mode is ssl.CERT_NONE else _PeerProtocol
        self._config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", partial(kind, self.door)),
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

    def part(self) -> None:
        """Close each connection after its next answer, which says so: its client comes again elsewhere. Safe to repeat."""
        if _PARTING not in self._config.encoded_headers:
            self._config.encoded_headers.append(_PARTING)  # the server makes its headers of these, once a second
            if self._server is not None:
                self._server.server_state.default_headers.append(_PARTING)

    async def stop(self) -> None:
        """Stop accepting, give running requests some seconds to end, and close all connections. Safe to repeat."""
        if self._server is None or self._task is None:
            return
        self._server.end()
        await self._task
        self._server = self._task = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        # uvicorn's looks ten times a second whether to end: a quarter of what an idle node takes. What is left is the date.
        while not await self.on_tick(0):
            timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._ending.set)
            try:
                await self._ending.wait()
            finally:
                timer.cancel()
            self._ending.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the node's affair


class _Reading(Enum):
    """The part of a request that is awaited."""

    NOTHING = auto()
    FIRST = auto()  #: the connection is there, and nothing has come yet
    HEADER = auto()
    BODY = auto()


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to all waiting for a client. A timer is set only for what does not come in one piece."""

    def __init__(self, door: Door[_Protocol], *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._door = door
        self._refused = False
        self._reading = _Reading.NOTHING
        self._timed = _Reading.NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    # -- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._door.enter(self, self.client[0] if self.client else None):
            self._refused = True
            self._end(429, "api.too-many-connections", "Too many connections are open. Close some, or try again later.")
            return
        self._reading = _Reading.FIRST
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        self._stop_timers()
        super().connection_lost(exc)

    def make_room(self) -> None:
        """Close it: it is idle, and its place is needed."""
        self.transport.close()

    # -- what comes -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        super().data_received(data)
        if self._reading is _Reading.HEADER:
            self._header_bytes += len(data)
            if self._header_bytes > self._door.limits.header_bytes:
                most = self._door.limits.header_bytes
                self._end(431, "api.header-too-large", f"The header is larger than {most} bytes. Send less.")
                return
        self._watch()

    def on_message_begin(self) -> None:
        self._door.busy(self)
        self._reading = _Reading.HEADER
        self._header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reading = _Reading.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading = _Reading.NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline and self._reading is _Reading.NOTHING:
            self._door.idle(self)
        super().on_response_complete()

    # -- time -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Set the timer for what is awaited now."""
        if self._reading is self._timed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = self._reading
        if self._reading is not _Reading.NOTHING:
            self._timer = self.loop.call_later(self._seconds(), self._too_slow)

    def _seconds(self) -> float:
        limits = self._door.limits
        return limits.body_seconds if self._reading is _Reading.BODY else limits.header_seconds

    def _too_slow(self) -> None:
        self._timer, self._timed = None, _Reading.NOTHING
        if self._reading is _Reading.NOTHING or self.transport.is_closing():
            return
        if self._is_behind_another():
            self._watch()  # it is not read before the one that is at work has been answered
        elif self._reading is _Reading.FIRST:
            self.transport.close()
        else:
            part = "header" if self._reading is _Reading.HEADER else "body"
            self._end(408, "api.request-timeout", f"The request's {part} did not come within {self._seconds():g} s.")

    def _is_behind_another(self) -> bool:
        """Whether an earlier request of the connection is still at work."""
        if self._reading is _Reading.BODY:
            return bool(self.pipeline)
        return self.cycle is not None and not self.cycle.response_complete

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._door.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._write_timer = None

    def _end(self, status: int, code: str, detail: str) -> None:
        """Say why, unless an answer has begun already, and close."""
        begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not begun:
            told = {"type": f"urn:cairn:error:{code}", "title": titled(code), "status": status, "code": code}
            body = msgspec.json.encode({**told, "detail": detail, "kind": ErrorKind.INVALID.value})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class _PeerProtocol(_Protocol):
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

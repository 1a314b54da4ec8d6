"""The HTTP server that guests ask for their metadata: small, because guests are hostile.

It answers GET and HEAD, keeps no more than a request's header, and gives every guest and every request a bound: how many
connections, how many bytes, how many seconds. Who is over a bound is cut off, and nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from urllib.parse import unquote

from msgspec import Struct

from cairn.agents.kvm.metadata import NOT_FOUND, Answer, answer
from cairn.agents.protocol.network import MetadataEntry

#: Finds the VM that asks, by its address.
Find = Callable[[str], MetadataEntry | None]


class Limits(Struct, frozen=True, kw_only=True):
    """The bounds of what guests may take."""

    connections: int = 1024  #: of all guests of the network
    connections_of_a_guest: int = 8
    header_bytes: int = 8192
    requests: int = 100  #: of a connection
    request_seconds: float = 5.0  #: until a request is there, from the connection's begin or the last answer
    answer_seconds: float = 20.0  #: until an answer is taken


LIMITS = Limits()


class MetadataHttp:
    """Serves the guests that `find` knows. `protocol` is a factory for `loop.create_server`."""

    def __init__(self, find: Find, limits: Limits = LIMITS) -> None:
        self.find = find
        self.limits = limits
        self._open: Counter[str] = Counter()

    def protocol(self) -> asyncio.Protocol:
        """Make the protocol of one connection."""
        return _Connection(self)

    def admit(self, guest: str) -> bool:
        """Count a new connection of `guest`, if it may have one more."""
        if self._open.total() >= self.limits.connections or self._open[guest] >= self.limits.connections_of_a_guest:
            return False
        self._open[guest] += 1
        return True

    def leave(self, guest: str) -> None:
        """Count a connection that has ended."""
        self._open[guest] -= 1
        if not self._open[guest]:
            del self._open[guest]


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after another, the next only when the last answer was taken."""

    def __init__(self, server: MetadataHttp) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._guest = ""
        self._admitted = False
        self._received = bytearray()
        self._left = server.limits.requests
        self._timer: asyncio.TimerHandle | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._guest = str((transport.get_extra_info("peername") or ("",))[0])
        self._admitted = self._server.admit(self._guest)
        if not self._admitted:
            transport.abort()
            return
        transport.set_write_buffer_limits(0)
        self._give(self._limits.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._admitted:
            self._server.leave(self._guest)
        self._admitted = False
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._go_on()

    def pause_writing(self) -> None:
        """The guest is slow to take the answer: no other request is looked at before it has."""
        self._full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._give(self._limits.request_seconds)
            self._go_on()

    def eof_received(self) -> bool:
        return False

    def _give(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cut)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        while self._transport is not None and not self._full and not self._transport.is_closing():
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > self._limits.header_bytes:
                    self._end(431, "Request Header Fields Too Large")
                return
            if end > self._limits.header_bytes:
                self._end(431, "Request Header Fields Too Large")
                return
            header = bytes(self._received[:end])
            del self._received[: end + 4]
            self._request(header)

    def _request(self, header: bytes) -> None:
        line, *fields = header.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[1].startswith("/") or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            self._end(400, "Bad Request")
            return
        named = {name.strip().lower(): value.strip().lower() for name, _, value in (f.partition(":") for f in fields)}
        if "transfer-encoding" in named or named.get("content-length", "0") != "0":
            self._end(413, "Content Too Large")
            return
        if words[0] not in ("GET", "HEAD"):
            self._end(405, "Method Not Allowed")
            return
        self._left -= 1
        keep = words[2] == "HTTP/1.1" and named.get("connection") != "close" and self._left > 0
        vm = self._server.find(self._guest)
        found = answer(vm, unquote(words[1].partition("?")[0])) if vm is not None else NOT_FOUND
        self._answer(found, keep=keep, head=words[0] == "HEAD")

    def _answer(self, found: Answer, *, keep: bool, head: bool) -> None:
        if found.body is None:
            self._write(404, "Not Found", Answer(b"not found\n"), keep=keep, head=head)
        else:
            self._write(200, "OK", found, keep=keep, head=head)

    def _end(self, status: int, reason: str) -> None:
        self._write(status, reason, Answer(f"{reason.lower()}\n".encode()), keep=False, head=False)

    def _write(self, status: int, reason: str, found: Answer, *, keep: bool, head: bool) -> None:
        assert self._transport is not None
        body = found.body or b""
        header = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: {found.content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self._give(self._limits.answer_seconds)
        self._transport.write(header.encode() + (b"" if head else body))
        if not keep:
            self._transport.close()
        elif not self._full:
            self._give(self._limits.request_seconds)

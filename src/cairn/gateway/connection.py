"""One client's connection: HTTP/1.1 by httptools, spoken with an ASGI app.

Tens of thousands of connections may be open at once, most of them with a call that waits for the end of its job, or with none
at all. So what is needed for reading is there only while a request comes (the parser), what an app needs only while it works
(its task, the scope with headers and body), and all time limits of a server are on one wheel. What is left of a request that is
answered later is one `Exchange`.

That an app may answer later is an extension of ASGI: ``scope["extensions"][LATER]`` is a function that the app calls before it
returns without an answer. The server then keeps the connection until `send` is called, by whomever, and tells the app if the
client goes before that.

There is an end to all waiting for a client: to its request, its next request, and its reading of what it is sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextvars import Context
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import unquote

import httptools
import msgspec
import structlog
from starlette.types import ASGIApp, Message, Scope

from cairn.agents.protocol.peer import peer_of
from cairn.gateway.door import Door, Limits
from cairn.kernel.bus.deadline import DeadlineWheel, Expiring
from cairn.kernel.clock import Clock
from cairn.kernel.error import ErrorKind
from cairn.kernel.words import titled

#: Longer than clients keep idle connections in their pools, so that none is closed under a request.
KEEP_ALIVE_SECONDS: Final = 120.0
#: the name of the extension with which an app answers later
LATER: Final = "cairn.later"
#: of a body that the app has not taken yet; more is not read
_MOST_UNTAKEN_BYTES: Final = 1 << 16
#: of requests that are sent before those before them were answered
_MOST_AHEAD: Final = 100
_STATUS_LINES: Final = {one.value: b"HTTP/1.1 %d %s\r\n" % (one.value, one.phrase.encode()) for one in HTTPStatus}
_PROBLEM: Final = b"application/problem+json"
_BODILESS: Final = frozenset((204, 304))
_GONE: Final[Message] = {"type": "http.disconnect"}
_log = structlog.get_logger("cairn.gateway")


class Site:
    """What all connections of one server share.

    Args:
        app: answers.
        limits: of connections, and of the time that they take.
        clock: for these.
        scheme: ``http`` or ``https``.
        peers: whether clients show certificates; ``scope["state"]["peer"]`` is then the one that a certificate is for.
    """

    def __init__(self, app: ASGIApp, limits: Limits, clock: Clock, *, scheme: str, peers: bool) -> None:
        self.app = app
        self.clock = clock
        self.scheme = scheme
        self.peers = peers
        self.door: Door[Connection] = Door(limits, Connection.close)
        self.wheel = DeadlineWheel(clock)
        self.tasks: set[asyncio.Task[None]] = set()
        self.parting = False  #: each answer is the last of its connection
        self.left: Callable[[], None] | None = None  #: called when a connection has gone
        self._date = b""
        self._date_of = 0

    def date(self) -> bytes:
        """The line of a header with the time of day."""
        now = int(self.clock.now().timestamp())
        if now != self._date_of:
            self._date, self._date_of = b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n", now
        return self._date


class _Reading(Enum):
    """The part of a request that is awaited."""

    NOTHING = auto()
    FIRST = auto()  #: the connection is there, and nothing has come yet
    HEADER = auto()
    BODY = auto()


class Connection(Expiring, asyncio.Protocol):
    """A connection. On its server's wheel it is what is awaited of its client now."""

    __slots__ = (
        "_ahead",
        "_client",
        "_deaf",
        "_drained",
        "_exchange",
        "_expects",
        "_headers",
        "_held_up",
        "_parser",
        "_peer",
        "_reading",
        "_silent_bytes",
        "_site",
        "_target",
        "_timed",
        "_transport",
        "stalled",
    )

    def __init__(self, site: Site) -> None:
        super().__init__(0.0)
        self._site = site
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # `connection_made` is called first
        self._client: tuple[str, int] | None = None
        self._peer: object = None
        self._parser: httptools.HttpRequestParser | None = None
        self._reading = _Reading.FIRST
        self._timed: _Reading | None = None  #: what it is on the wheel for; None: for nothing, or the next request
        self._silent_bytes = 0  #: that came since the last byte of a body, or the last request
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._expects = False  #: a word before it sends the body
        self._exchange: Exchange | None = None  #: the last one that was begun
        self._ahead: deque[tuple[Exchange, Scope]] | None = None  #: that wait until those before them are answered
        self._deaf = False  #: nothing that comes is looked at any more
        self._held_up = False  #: nothing is read for now
        self.stalled = False  #: the client does not read what it is sent
        self._drained: asyncio.Future[None] | None = None

    # -- what asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        site = self._site
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self._client = (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
        if site.peers:
            tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
            self._peer = peer_of(tls.getpeercert() if tls is not None else None)
        if site.door.enter(self, self._client[0] if self._client else None):
            self._watch()
        else:
            self.refuse(
                429, "api.too-many-connections", "Too many connections are open. Close some, or try again later."
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone, whoever has closed it."""
        site = self._site
        site.door.leave(self)
        site.wheel.discard(self)
        self._deaf, self._parser = True, None
        self._wake_writer()
        for exchange in (self._exchange, *(one for one, _ in self._ahead or ())):
            if exchange is not None:
                exchange.lose()
        self._exchange = self._ahead = None
        if site.left is not None:
            site.left()

    def data_received(self, data: bytes) -> None:
        """The client has sent something."""
        if self._deaf:
            return
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # what follows is not HTTP, or so the client hopes
        except httptools.HttpParserError:
            if not self._deaf:  # else it is about what follows the last request
                self.refuse(400, "api.malformed-request", "This is not a request of HTTP/1.1. Send one.")
                return
        if self._deaf or self._reading is _Reading.NOTHING:
            self._parser = None
        elif self._silent_bytes > (most := self._site.door.limits.header_bytes):
            self.refuse(431, "api.header-too-large", f"The header is larger than {most} bytes. Send less.")
            return
        self._watch()

    def eof_received(self) -> bool:
        """The client sends no more: it has gone."""
        return False

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent."""
        self.stalled = True
        self._arm(self._site.door.limits.write_seconds)

    def resume_writing(self) -> None:
        """The client has read."""
        self.stalled = False
        self._wake_writer()
        self._timed = None
        self._site.wheel.discard(self)
        self._watch()
        self._rest()

    # -- what the parser calls ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._site.door.busy(self)
        self._reading = _Reading.HEADER
        self._target, self._headers, self._expects = b"", [], False

    def on_url(self, url: bytes) -> None:
        """A part of the target has come."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come; those behind a body are not looked at."""
        if self._headers is None:
            return
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True

    def on_headers_complete(self) -> None:
        """The header has come: the app can begin."""
        parser = self._parser
        assert parser is not None, "it calls"
        self._reading = _Reading.BODY
        version, verb = parser.get_http_version(), parser.get_method()
        last = version == "1.0" or not parser.should_keep_alive() or parser.should_upgrade()
        exchange = Exchange(self, last=last, expected=self._expects, bodiless=verb == b"HEAD", chunks=version != "1.0")
        scope = self._scope(exchange, version, verb)
        before, self._exchange = self._exchange, exchange
        self._target, self._headers = b"", None
        if before is None or before.complete:
            self._begin(exchange, scope)
            return
        self._ahead = self._ahead or deque()
        self._ahead.append((exchange, scope))
        self.hold_up()
        if len(self._ahead) > _MOST_AHEAD:
            self.close()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._silent_bytes = 0
        if self._exchange is not None and self._exchange.take(body) > _MOST_UNTAKEN_BYTES:
            self.hold_up()

    def on_message_complete(self) -> None:
        """The request has come to its end."""
        self._reading = _Reading.NOTHING
        self._silent_bytes = 0
        exchange = self._exchange
        if exchange is not None:
            self._deaf = self._deaf or exchange.last
            exchange.end()
        self._rest()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _scope(self, exchange: Exchange, version: str, verb: bytes) -> Scope:
        url = httptools.parse_url(self._target)
        raw: bytes = url.path
        path = raw.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": None,
            "client": self._client,
            "scheme": self._site.scheme,
            "method": verb.decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": {"peer": self._peer} if self._site.peers else {},
            "extensions": {LATER: exchange.later},
        }

    def _begin(self, exchange: Exchange, scope: Scope) -> None:
        tasks = self._site.tasks
        task = asyncio.get_running_loop().create_task(exchange.run(self._site.app, scope), context=Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def answered(self, exchange: Exchange) -> None:
        """An exchange is over: the next one begins, if it has come already."""
        if exchange.last or self._site.parting:
            self.close()
            return
        if self._ahead:
            self._begin(*self._ahead.popleft())
        if not self._ahead:
            self.go_on()
        self._rest()

    def _rest(self) -> None:
        """Await the next request, if nothing is left to do."""
        if self._reading is not _Reading.NOTHING or self._deaf:
            return
        if self._exchange is None or self._exchange.complete:
            self._exchange = None
            self._site.door.idle(self)
            self._timed = None
            if not self.stalled:
                self._arm(KEEP_ALIVE_SECONDS)

    # -- reading and writing ------------------------------------------------------------------------------------------

    def hold_up(self) -> None:
        """Read nothing for now."""
        if not self._held_up and not self._transport.is_closing():
            self._held_up = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again, unless requests wait that were read."""
        if self._held_up and not self._ahead and not self._transport.is_closing():
            self._held_up = False
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send. What the client does not read yet is kept."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough of what it was sent, or has gone."""
        if self.stalled:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def _wake_writer(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def head(self, status: int) -> bytes:
        """The first lines of an answer."""
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return line + self._site.date()

    @property
    def parts(self) -> bool:
        """Whether each answer is the last of its connection."""
        return self._site.parting

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it, once what was written has been sent; but this is not waited for without end."""
        self._deaf = True
        if not self._transport.is_closing():
            self._transport.close()
            self._arm(self._site.door.limits.write_seconds)

    def abort(self) -> None:
        """Close it at once."""
        self._deaf = True
        self._transport.abort()

    def part(self) -> None:
        """Close it, now if nothing is asked, else after the answer."""
        if self._exchange is None or self._exchange.complete:
            self.close()
        else:
            self._exchange.last = True

    def refuse(self, status: int, code: str, detail: str) -> None:
        """Say why, unless an answer is awaited or has begun already, and close."""
        if (
            self._exchange is None
            or self._exchange.complete
            or not (self._exchange.started or self._is_behind_another())
        ):
            body = _problem(status, code, detail)
            rest = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (_PROBLEM, len(body))
            self.write(self.head(status) + rest + body)
        self.close()

    # -- time ---------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See that what is awaited now comes in time."""
        if self._reading is self._timed or self.stalled:
            return
        if self._reading is not _Reading.NOTHING:
            self._timed = self._reading
            self._arm(self._seconds())
        elif self._exchange is not None:
            self._timed = self._reading
            self._site.wheel.discard(self)

    def _arm(self, seconds: float) -> None:
        wheel = self._site.wheel
        wheel.discard(self)
        self.at = self._site.clock.monotonic() + seconds
        wheel.add(self)

    def _seconds(self) -> float:
        limits = self._site.door.limits
        return limits.body_seconds if self._reading is _Reading.BODY else limits.header_seconds

    def expire(self) -> None:
        """What was awaited has not come."""
        if self.stalled or self._transport.is_closing():
            self.abort()
            return
        self._timed = None
        if self._reading in (_Reading.NOTHING, _Reading.FIRST):
            self.close()
        elif self._is_behind_another():
            self._watch()  # it is not read before the one that is at work has been answered
        else:
            part = "header" if self._reading is _Reading.HEADER else "body"
            self.refuse(408, "api.request-timeout", f"The request's {part} did not come within {self._seconds():g} s.")

    def _is_behind_another(self) -> bool:
        """Whether an earlier request of the connection is still at work."""
        if self._reading is _Reading.BODY:
            return bool(self._ahead)
        return self._exchange is not None and not self._exchange.complete


class Exchange:
    """A request and its answer: the two functions that an ASGI app is given."""

    __slots__ = (
        "_bodiless",
        "_body",
        "_chunked",
        "_chunks",
        "_connection",
        "_ended",
        "_expected",
        "_gone",
        "_head",
        "_left_bytes",
        "_reader",
        "_told",
        "complete",
        "last",
        "lost",
        "started",
    )

    def __init__(
        self, connection: Connection, *, last: bool, expected: bool, bodiless: bool, chunks: bool = True
    ) -> None:
        self._connection = connection
        self._chunks = (
            chunks  #: the client knows chunks; else the end of the connection is that of a body of unknown length
        )
        self._bodiless = bodiless  #: the answer has no body, whatever the app says
        self.last = last  #: of its connection
        self._expected = expected  #: the client waits for a word before it sends the body
        self.started = False  #: the app has begun its answer
        self.complete = False
        self.lost = False  #: the client has gone
        self._body = b""  #: what has come of it and was not taken
        self._ended = False  #: all of the request has come
        self._told = False  #: the app has all of it
        self._reader: asyncio.Future[None] | None = None
        self._head: bytes | None = None  #: not sent before the body begins
        self._chunked = False
        self._left_bytes: int | None = None  #: of the announced length
        self._gone: Callable[[], None] | None = None  #: of an answer that comes later

    # -- the request ------------------------------------------------------------------------------------------------

    def take(self, body: bytes) -> int:
        """A part of the body has come. Returns how many bytes wait for the app."""
        if not self.complete:
            self._body = self._body + body if self._body else body
            self._wake()
        return len(self._body)

    def end(self) -> None:
        """All of it has come."""
        self._ended = True
        self._wake()

    def lose(self) -> None:
        """The client has gone."""
        if self.complete:
            return
        self.lost = True
        self._wake()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def receive(self) -> Message:
        """What comes next of the request (ASGI)."""
        while not self.lost and not self.complete:
            if self._body or (self._ended and not self._told):
                body, self._body = self._body, b""
                self._told = self._ended
                self._connection.go_on()
                return {"type": "http.request", "body": body, "more_body": not self._ended}
            if self._expected and not self._ended and not self.started:
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expected = False
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return _GONE

    # -- the app ----------------------------------------------------------------------------------------------------

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the app answer."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._connection.abort()
            raise
        except Exception as error:  # noqa: BLE001 (the edge: whatever it is, the client is answered)
            if not self.lost:
                _log.exception("gateway.app-failed", path=scope["path"], error=repr(error))
                await self._fail()
        else:
            if not self.complete and not self.lost and self._gone is None:
                _log.error("gateway.app-failed", path=scope["path"], error="it gave no whole answer")
                await self._fail()

    def later(self, gone: Callable[[], None]) -> None:
        """The app answers after it has returned. `gone` is called if the client goes before that (the extension `LATER`)."""
        self._gone = gone

    async def _fail(self) -> None:
        if self.started:
            self._connection.close()
            return
        self.last = True
        body = _problem(500, "internal.bug", "The answer could not be made. This is a bug; the log has the trace.")
        headers = [(b"content-type", _PROBLEM), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    # -- the answer -------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send a part of the answer (ASGI)."""
        if self._connection.stalled:
            await self._connection.drain()
        if self.lost:
            return
        if message["type"] == "http.response.start":
            self._start(message)
        elif not self.complete:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if self.started:
            raise RuntimeError("the answer has begun already")
        self.started = True
        status: int = message["status"]
        self._bodiless = self._bodiless or status in _BODILESS
        self._chunked = self._chunks and not self._bodiless
        lines: list[bytes] = []
        for name, value in message.get("headers", ()):
            name = name.lower()
            if name == b"content-length":
                self._chunked = False
                self._left_bytes = None if self._bodiless else int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.last = True
                continue
            lines.append(name + b": " + value + b"\r\n")
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if self.last or self._connection.parts:
            lines.append(b"connection: close\r\n")
        self._head = self._connection.head(status) + _checked(lines) + b"\r\n"

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if not self.started:
            raise RuntimeError("the body was sent before the header")
        head, self._head = self._head or b"", None
        sent = b"" if self._bodiless else self._framed(body, more=more)
        if head or sent:
            self._connection.write(head + sent if head else sent)
        if more:
            return
        if self._left_bytes:
            raise RuntimeError(f"the body is {self._left_bytes} bytes shorter than its announced length")
        self.complete, self._gone = True, None
        self._body = b""
        self._wake()
        self._connection.answered(self)

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
            if self._left_bytes < 0:
                raise RuntimeError("the body is longer than its announced length")
        return body


def _checked(lines: list[bytes]) -> bytes:
    """The lines as one; none of them may hold another."""
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines) or b"\0" in block:
        raise RuntimeError("a header has a line break in it")
    return block


def _problem(status: int, code: str, detail: str) -> bytes:
    kind = ErrorKind.INTERNAL if status >= 500 else ErrorKind.INVALID
    told = {"type": f"urn:cairn:error:{code}", "title": titled(code), "status": status, "code": code}
    return msgspec.json.encode({**told, "detail": detail, "kind": kind.value})

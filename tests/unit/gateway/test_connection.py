"""One connection, without a socket: what is written for what comes, in whatever pieces it comes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cairn.gateway.connection import KEEP_ALIVE_SECONDS, LATER, Connection, Site
from cairn.gateway.door import Limits
from cairn.testing.clock import VirtualClock

GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: x\r\nX-Thing: 7\r\n\r\n"
POST = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
CHUNKS = b"POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\nX-Late: 1\r\n\r\n"


class Wire(asyncio.Transport):
    """What a client sees of the server."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.told = b""
        self.closed = self.aborted = False
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told += bytes(data)

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def bodies(self) -> list[bytes]:
        """Of all answers; each is ended by a line of its own."""
        return [part.partition(b"\r\n\r\n")[2] for part in self.told.split(b"HTTP/1.1 ")[1:]]


class App:
    """Answers with what it was asked; ``/later`` when the test says so."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.sends: list[Send] = []
        self.gone: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.sends.append(send)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/later":
            scope["extensions"][LATER](lambda: self.gone.append(scope["path"]))
            return
        await reply(send, scope["method"].encode() + b" " + scope["raw_path"] + b" " + body)


async def reply(send: Send, body: bytes, *more: tuple[bytes, bytes], status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def connected(clock: VirtualClock, app: ASGIApp, **limits: float) -> tuple[Connection, Wire]:
    site = Site(app, Limits(**limits), clock, scheme="http", peers=False)  # type: ignore[arg-type]
    connection, wire = Connection(site), Wire()
    connection.connection_made(wire)
    return connection, wire


async def told(connection: Connection, clock: VirtualClock, *pieces: bytes) -> None:
    for piece in pieces:
        connection.data_received(piece)
        await clock.settle()


async def test_request_comes_to_the_app_as_it_was_sent(clock: VirtualClock) -> None:
    app = App()
    connection, wire = connected(clock, app)
    await told(connection, clock, GET)

    (scope,) = app.scopes
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "GET",
        "/a b",
        b"/a%20b",
        b"x=1",
    )
    assert scope["headers"] == [(b"host", b"x"), (b"x-thing", b"7")]
    assert scope["client"] == ("192.0.2.1", 5)
    head, body = wire.told.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert b"content-length: 11" in head
    assert b"connection" not in head
    assert body == b"GET /a%20b "


@given(
    cuts=st.lists(st.integers(1, 40), max_size=12),
    requests=st.lists(st.sampled_from([GET, POST, CHUNKS]), min_size=1, max_size=4),
)
async def test_pieces_in_which_requests_come_make_no_difference(cuts: list[int], requests: list[bytes]) -> None:
    clock = VirtualClock()
    connection, wire = connected(clock, App())
    stream, pieces = b"".join(requests), []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    await told(connection, clock, *[piece for piece in [*pieces, stream] if piece])

    expected = {GET: b"GET /a%20b ", POST: b"POST /things body", CHUNKS: b"POST /things body"}
    assert wire.bodies() == [expected[request] for request in requests]
    assert not wire.is_closing()
    assert wire.reads


async def test_answer_without_a_length_is_sent_in_chunks(clock: VirtualClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    connection, wire = connected(clock, app)
    await told(connection, clock, GET)
    assert wire.bodies() == [b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"]
    assert b"transfer-encoding: chunked" in wire.told


async def test_answer_to_head_has_the_length_and_no_body(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET.replace(b"GET", b"HEAD", 1), GET)
    first, second = wire.bodies()
    assert (first, second) == (b"", b"GET /a%20b ")
    assert b"content-length: 11" in wire.told


async def test_client_that_knows_no_chunks_is_told_the_end_of_a_body_by_that_of_the_connection(
    clock: VirtualClock,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part, more in ((b"one", True), (b"two", False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    connection, wire = connected(clock, app)
    await told(connection, clock, GET.replace(b"/1.1", b"/1.0"))

    assert b"chunked" not in wire.told
    assert wire.bodies() == [b"onetwo"]
    assert wire.closed


@pytest.mark.parametrize(
    "asked", [GET.replace(b"/1.1", b"/1.0"), GET.replace(b"X-Thing: 7", b"Connection: close")], ids=["1.0", "close"]
)
async def test_last_request_of_a_client_is_answered_and_nothing_after_it(clock: VirtualClock, asked: bytes) -> None:
    app = App()
    connection, wire = connected(clock, app)
    await told(connection, clock, asked + GET, GET)
    assert len(app.scopes) == 1
    assert b"connection: close\r\n" in wire.told
    assert wire.closed


async def test_client_that_waits_for_a_word_before_its_body_has_it(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, POST[:-4].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert wire.told == b"HTTP/1.1 100 Continue\r\n\r\n"
    await told(connection, clock, b"body")
    assert wire.told.endswith(b"POST /things body")


_NONSENSE = {
    "no verb": b"nonsense\r\n\r\n",
    "no host": b"GET http:// HTTP/1.1\r\n\r\n",
    "a byte that no path has": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("what", _NONSENSE)
async def test_what_is_no_request_is_refused(clock: VirtualClock, what: str) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, _NONSENSE[what])
    assert wire.told.startswith(b"HTTP/1.1 400 ")
    assert b"api.malformed-request" in wire.told
    assert wire.closed


async def test_nonsense_behind_a_request_is_no_answer_to_it(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET.replace(b"/a%20b", b"/later"), b"nonsense\r\n\r\n")
    assert wire.told == b""
    assert wire.closed


async def test_upgrade_that_is_not_known_is_answered_as_a_request(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET.replace(b"X-Thing: 7", b"Connection: upgrade\r\nUpgrade: h2c"), b"PRI * HTTP/2.0")
    assert wire.bodies() == [b"GET /a%20b "]
    assert wire.closed


async def test_app_that_fails_is_told_of_once_and_the_connection_ends(clock: VirtualClock) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("secret")

    async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    for app in (fails, says_nothing):
        connection, wire = connected(clock, app)
        await told(connection, clock, GET)
        assert wire.told.startswith(b"HTTP/1.1 500 ")
        assert b"internal.bug" in wire.told
        assert b"secret" not in wire.told
        assert wire.closed


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "http.response.start", "status": 200, "headers": [(b"x", b"1\r\nset-cookie: a=b")]}, {}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"x\n", b"1")]}, {}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]}, {"body": b"22"}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}, {"body": b"22"}],
        [{}],
    ],
    ids=["break in a value", "break in a name", "too long", "too short", "no header"],
)
async def test_answer_that_would_not_be_http_is_not_sent_on(clock: VirtualClock, parts: list[Message]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for part in parts:
            await send({"type": "http.response.body", **part})

    connection, wire = connected(clock, app)
    await told(connection, clock, GET)
    assert b"set-cookie" not in wire.told
    assert wire.closed


# -- later --------------------------------------------------------------------------------------------------------


async def test_app_may_answer_after_it_has_returned(clock: VirtualClock) -> None:
    app = App()
    connection, wire = connected(clock, app)
    await told(connection, clock, GET.replace(b"/a%20b", b"/later"))
    await clock.advance(1000)  # longer than all limits
    assert (wire.told, wire.is_closing(), connection._site.tasks) == (b"", False, set())

    await reply(app.sends[0], b"at last")

    assert wire.bodies() == [b"at last"]
    await told(connection, clock, GET)
    assert wire.bodies()[1:] == [b"GET /a%20b "]
    assert app.gone == []


async def test_app_is_told_once_that_the_client_has_gone_before_its_answer(clock: VirtualClock) -> None:
    app = App()
    connection, wire = connected(clock, app)
    await told(connection, clock, GET.replace(b"/a%20b", b"/later"))

    connection.connection_lost(None)
    await reply(app.sends[0], b"too late")

    assert app.gone == ["/later"]
    assert wire.told == b""
    assert len(connection._site.door) == 0


async def test_requests_behind_one_that_is_answered_later_wait_for_it(clock: VirtualClock) -> None:
    app = App()
    connection, wire = connected(clock, app)
    await told(connection, clock, GET.replace(b"/a%20b", b"/later") + GET + POST)
    assert (len(app.scopes), wire.reads) == (1, False)

    await reply(app.sends[0], b"first")
    await clock.settle()

    assert wire.bodies() == [b"first", b"GET /a%20b ", b"POST /things body"]
    assert wire.reads


async def test_client_that_asks_without_end_and_waits_for_nothing_is_let_go(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET.replace(b"/a%20b", b"/later") + GET * 200)
    assert wire.closed


async def test_call_that_waits_keeps_neither_parser_nor_header(clock: VirtualClock) -> None:
    connection, _ = connected(clock, App())
    await told(connection, clock, GET.replace(b"/a%20b", b"/later"))
    assert connection._parser is None
    assert connection._headers is None
    assert not connection.armed


# -- time and room ------------------------------------------------------------------------------------------------


async def test_idle_connection_is_kept_for_a_while(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET)
    await clock.advance(KEEP_ALIVE_SECONDS - 1)
    assert not wire.closed
    await told(connection, clock, GET)
    await clock.advance(KEEP_ALIVE_SECONDS - 1)
    assert not wire.closed
    await clock.advance(2)
    assert wire.closed


async def test_body_that_nobody_takes_is_not_read_on(clock: VirtualClock) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        size = 0
        while (message := await receive())["more_body"]:
            size += len(message["body"])
        await reply(send, b"%d" % (size + len(message["body"])))

    connection, wire = connected(clock, app)
    await told(connection, clock, b"PUT / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", b"x" * 90_000)
    assert not wire.reads
    go.set()
    await clock.settle()
    assert wire.reads
    await told(connection, clock, b"x" * 10_000)
    assert wire.bodies() == [b"100000"]


async def test_header_without_end_behind_a_body_is_refused(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App(), header_bytes=1000)
    await told(connection, clock, CHUNKS[:-4], *[b"x" * 400] * 3)
    assert wire.told.startswith(b"HTTP/1.1 431 ")
    assert wire.closed


async def test_writer_waits_for_a_client_that_does_not_read_and_not_for_ever(clock: VirtualClock) -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            sent.append(number)
            await send({"type": "http.response.body", "body": b"x", "more_body": number < 2})

    connection, wire = connected(clock, app, write_seconds=10.0)
    connection.pause_writing()
    await told(connection, clock, GET)
    assert sent == []
    connection.resume_writing()
    await clock.settle()
    assert sent == [0, 1, 2]

    connection.pause_writing()
    await clock.advance(9)
    assert not wire.aborted
    await clock.advance(2)
    assert wire.aborted


async def test_connection_that_is_closed_is_not_kept_for_a_client_that_reads_nothing(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App(), write_seconds=10.0)
    connection.close()
    await clock.advance(11)
    assert wire.aborted


async def test_server_that_parts_says_so_with_each_answer(clock: VirtualClock) -> None:
    connection, wire = connected(clock, App())
    await told(connection, clock, GET)
    connection._site.parting = True
    await told(connection, clock, GET)
    assert wire.told.count(b"connection: close") == 1
    assert wire.closed

"""The metadata server's HTTP, over real sockets on loopback: what it answers, and who is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cairn.agents.kvm.metadata_http import LIMITS, Limits, MetadataHttp
from cairn.agents.protocol.network import MetadataEntry

Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Serve = Callable[[Limits], Awaitable[Connect]]
NEIGHBOUR = "127.0.0.12"
BIG = bytes(range(256)) * 256
VMS = {
    "127.0.0.11": MetadataEntry(ip="127.0.0.11", vm="a" * 32, hostname="web", user_data=BIG),
    NEIGHBOUR: MetadataEntry(ip=NEIGHBOUR, vm="b" * 32, hostname="db"),
}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(limits: Limits) -> Connect:
        http = MetadataHttp(VMS.get, limits)
        server = await asyncio.get_running_loop().create_server(http.protocol, "127.0.0.1", 0)
        servers.append(server)

        async def connect(guest: str = "127.0.0.11") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(guest, 0))
            writers.append(writer)
            return reader, writer

        return connect

    yield start
    for writer in writers:
        writer.transport.abort()
    for server in servers:
        server.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    header = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = next(int(line[16:]) for line in header.split("\r\n") if line.startswith("Content-Length: "))
    return int(header.split(" ")[1]), await reader.readexactly(size)


async def ask(connect: Connect, text: str, guest: str = "127.0.0.11") -> tuple[int, bytes]:
    reader, writer = await connect(guest)
    writer.write(text.encode())
    return await answer(reader)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the server ends the connection, by whatever means."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_guest_is_told_its_own_by_its_address(serve: Serve) -> None:
    connect = await serve(LIMITS)
    path = "GET /latest/meta-data/hostname HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await ask(connect, path) == (200, b"web")
    assert await ask(connect, path, NEIGHBOUR) == (200, b"db")
    assert (await ask(connect, path, "127.0.0.13"))[0] == 404


async def test_user_data_arrives_byte_for_byte(serve: Serve) -> None:
    connect = await serve(LIMITS)
    assert await ask(connect, "GET /user-data HTTP/1.0\r\n\r\n") == (200, BIG)


async def test_a_connection_is_kept_for_more_requests_but_not_for_ever(serve: Serve) -> None:
    connect = await serve(Limits(requests=3))
    reader, writer = await connect()
    for _ in range(3):
        writer.write(b"GET /latest/meta-data/hostname?x=1 HTTP/1.1\r\n\r\n")
        assert await answer(reader) == (200, b"web")
    assert await ended(reader) == b""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("PUT /latest/api/token HTTP/1.1\r\n\r\n", 405),
        ("GET /user-data HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
        ("GET /user-data HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: " + "x" * 9000, 431),
        ("GET / HTTP/1.1\r\nX: " + "x" * 9000 + "\r\n\r\n", 431),
    ],
)
async def test_what_it_does_not_serve_ends_the_connection(serve: Serve, text: str, status: int) -> None:
    connect = await serve(LIMITS)
    reader, writer = await connect()
    writer.write(text.encode())
    assert (await answer(reader))[0] == status
    assert await ended(reader) == b""


async def test_head_has_no_body(serve: Serve) -> None:
    connect = await serve(LIMITS)
    reader, writer = await connect()
    writer.write(b"HEAD /user-data HTTP/1.0\r\n\r\n")
    assert (await ended(reader)).endswith(b"\r\n\r\n")


async def test_a_guest_with_too_many_connections_is_cut_off_and_its_neighbour_is_served(serve: Serve) -> None:
    connect = await serve(Limits(connections_of_a_guest=2))
    held = [await connect() for _ in range(2)]
    reader, _ = await connect()
    assert await ended(reader) == b""
    path = "GET /latest/meta-data/hostname HTTP/1.1\r\n\r\n"
    assert await ask(connect, path, NEIGHBOUR) == (200, b"db")
    held[0][1].write(path.encode())
    assert await answer(held[0][0]) == (200, b"web")


async def test_a_connection_that_ends_makes_room_for_another(serve: Serve) -> None:
    connect = await serve(Limits(connections=1))
    for _ in range(3):
        reader, writer = await connect()
        writer.write(b"GET /latest/meta-data/hostname HTTP/1.0\r\n\r\n")
        assert await answer(reader) == (200, b"web")
        await ended(reader)


async def test_a_request_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    connect = await serve(Limits(request_seconds=0.01))
    reader, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    assert await ended(reader) == b""


async def test_an_answer_that_is_not_taken_is_not_waited_for(serve: Serve) -> None:
    connect = await serve(Limits(answer_seconds=0.01))
    reader, writer = await connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /user-data HTTP/1.1\r\n\r\n" * 300)
    await writer.drain()
    free, other = await connect()
    other.write(b"GET /latest/meta-data/hostname HTTP/1.0\r\n\r\n")
    assert await answer(free) == (200, b"web")  # the loop was never held up
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await ended(reader)) < 300 * len(BIG)
